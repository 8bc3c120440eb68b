"""`pgbench board`: a leaderboard from its records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  pgbench board control-small                       rebuild and print the table
  pgbench board control-small --add runs            add every ended run, then rebuild
  pgbench board control-small --check               exit code 1 if the page is out of date

Records: leaderboards/records/NAME/<algorithm>.jsonl, append-only. Page: leaderboards/NAME.md.
"""


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(board)


def board(
    name: Annotated[str, typer.Argument(help="The board, for example control-small.")],
    add: Annotated[
        list[Path] | None,
        typer.Option("--add", help="A run folder, or a folder of runs (may be repeated)."),
    ] = None,
    root: Annotated[Path, typer.Option(help="Folder of the boards.")] = Path("leaderboards"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if the page is out of date.")
    ] = False,
) -> None:
    """Add records of runs to a leaderboard; rebuild it from its records."""
    from pgbench import ledger
    from pgbench.board import render
    from pgbench.errors import PgbenchError
    from pgbench.files import write_bytes

    if not ledger.NAME.fullmatch(name):
        raise PgbenchError(f"'{name}' cannot name a board; use letters, digits, '-', '_' and '.'")
    if add and check:
        raise PgbenchError("--check writes nothing, so it cannot --add; give one of them")
    records, page = root / "records" / name, root / f"{name}.md"
    if add:
        done = ledger.add(records, add)
        for line in done.left_out:
            typer.echo(f"left out {line}", err=True)
        typer.echo(f"records: {done.new} added, {done.known} there already", err=True)
    entries = ledger.read_board(records)
    text = render(name, [entry.record for entry in entries])
    old = page.read_bytes() if page.exists() else None
    if check:
        if old != text.encode():
            why = "differs from its records" if old is not None else "does not exist"
            typer.echo(f"{page} {why}; rebuild it: pgbench board {name}", err=True)
            raise typer.Exit(1)
        typer.echo(f"{page} is what its records give ({len(entries)} in all)")
        return
    if old != text.encode():
        write_bytes(page, text.encode())
    typer.echo(text, nl=False)
    typer.echo(f"{page} is written ({len(entries)} in all)", err=True)
