"""`pgbench board`, `cite`, `export`: leaderboards out of their records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BOARD_EXAMPLES = """\b
Examples:
  pgbench board control-mini-v1                     rebuild the board, print its tables
  pgbench board my-board --add runs                 add every ended run, then rebuild
  pgbench board control-mini-v1 --check             exit code 1 if a file is out of date
  pgbench board --all                               every board of the folder

Records: leaderboards/records/NAME/<algorithm>.jsonl, append-only. Out of them, always the same
bytes: leaderboards/NAME.md, .csv, .tex, .bib, .json and .html (one file, no network; open it), and
index.html and index.md of all boards.
"""
CITE_EXAMPLES = """\b
Examples:
  pgbench cite control-mini-v1                      BibTeX of the board and of every paper in it
  pgbench cite control-mini-v1 >> paper.bib
"""
EXPORT_EXAMPLES = """\b
Examples:
  pgbench export control-mini-v1 --to rliable
  pgbench export control-mini-v1 --to huggingface --out hub
"""
Name = Annotated[str, typer.Argument(help="The board, for example control-mini-v1.")]
Root = Annotated[Path, typer.Option(help="Folder of the boards.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(epilog=BOARD_EXAMPLES)(board)
    app.command(epilog=CITE_EXAMPLES)(cite)
    app.command(epilog=EXPORT_EXAMPLES)(export)


def board(
    name: Annotated[
        str | None, typer.Argument(help="The board, for example control-mini-v1.")
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option("--add", help="A run folder, or a folder of runs (may be repeated)."),
    ] = None,
    root: Root = Path("leaderboards"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a file is out of date.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Every board that has records.")] = False,
) -> None:
    """Rebuild a leaderboard from its records: Markdown, CSV, LaTeX, BibTeX, JSON, HTML."""
    from pgbench.errors import PgbenchError

    if every == (name is not None):
        raise PgbenchError("give the name of one board, or --all")
    if every and add:
        raise PgbenchError("--add adds to one board; name it instead of --all")
    if name is not None:
        _one(name, add, root, check)
        return
    names = sorted({path.parent.name for path in (root / "records").glob("*/*.jsonl")})
    if not names:
        raise PgbenchError(f"there are no records in {root / 'records'}; make some: pgbench bench")
    late = []
    for each in names:
        try:
            _one(each, None, root, check, quiet=True)
        except typer.Exit:
            late.append(each)
    if late:
        raise typer.Exit(1)


def _one(name: str, add: list[Path] | None, root: Path, check: bool, quiet: bool = False) -> None:
    from pgbench.boards import index, store
    from pgbench.boards.markdown import results_part
    from pgbench.errors import PgbenchError
    from pgbench.records import ledger

    if add and check:
        raise PgbenchError("--check writes nothing, so it cannot --add; give one of them")
    empty = store.empty_board(name, root)
    if not check:
        for line in ledger.repair(empty.folder):
            typer.echo(line, err=True)
    if add:
        done = ledger.add(empty.folder, add, empty.rule)
        for line in done.left_out:
            typer.echo(f"left out {line}", err=True)
        typer.echo(f"records: {done.new} added, {done.known} there already", err=True)
    opened = store.open_board(name, root)
    files = store.outputs(opened.model(), root)
    if check:
        every = {**files, **index.outputs(root)}
        late = [str(path) for path, data in every.items() if store.stale(path, data)]
        if late:
            typer.echo(
                f"{', '.join(late)} differs from its records; rebuild: pgbench board {name}",
                err=True,
            )
            raise typer.Exit(1)
        typer.echo(f"{name} is what its {len(opened.entries)} records give")
        return
    changed = [*store.write(files), *store.write(index.outputs(root))]
    if not quiet:
        typer.echo(results_part(files[root / f"{name}.md"].decode()), nl=False)
    written = ", ".join(map(str, changed)) or "nothing (all up to date)"
    typer.echo(f"written: {written}", err=True)


def cite(name: Name, root: Root = Path("leaderboards")) -> None:
    """BibTeX of a board (version, digest) and of every paper in its tables."""
    from pgbench.boards import store
    from pgbench.boards.cite import cite as bibtex
    from pgbench.boards.cite import find_papers
    from pgbench.runs.provenance import git

    model = store.open_board(name, root).model()
    typer.echo(bibtex(model, find_papers(), git()["commit"]), nl=False)


def export(
    name: Name,
    to: Annotated[str, typer.Option("--to", help="rliable, marl-eval or huggingface.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to (default: NAME-FORMAT).")
    ] = None,
    root: Root = Path("leaderboards"),
) -> None:
    """A board's scores for other people's tools."""
    from pgbench.boards import store
    from pgbench.boards.export import export as files_of

    folder = out or Path(f"{name}-{to}")
    files = files_of(store.open_board(name, root).model(), to)
    for path in store.write({folder / file: data for file, data in files.items()}):
        typer.echo(path)
