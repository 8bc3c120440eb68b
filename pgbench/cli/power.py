"""`pgbench power`: what a suite's seeds can tell, before the suite is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  pgbench power control-mini-v1                     from the records of its board
  pgbench power my-suite-v1 --runs runs/pilot       from pilot runs: three seeds a row or more
  pgbench power my-suite-v1 --runs runs/pilot --seeds 20
  pgbench power my-suite-v1 --runs runs/pilot --difference 0.05

Pilot runs: pgbench bench SUITE --seeds 3 --runs runs/pilot --root pilot (with pilot/suites/ holding
the suite's file), of all rows or of some. The spread between their seeds is all that is taken from
them, never the differences that they show.
"""


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(power)


def power(
    suite: Annotated[str, typer.Argument(help="A name from `pgbench list suites`, or a file.")],
    runs: Annotated[
        list[Path] | None, typer.Option("--runs", help="A folder of pilot runs (repeatable).")
    ] = None,
    records: Annotated[
        list[Path] | None,
        typer.Option("--records", help="Records: a .jsonl file, or a folder of them (repeatable)."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Seeds a row (default: the track's).", min=2)
    ] = None,
    difference: Annotated[
        float | None,
        typer.Option(help="A difference of normalised scores: how many seeds does it need?"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    root: Annotated[Path, typer.Option(help="Folder of the boards.")] = Path("leaderboards"),
) -> None:
    """The least difference that a suite's seeds can detect, by track; seeds for a wanted one."""
    from pgbench.boards.markdown import two_digits
    from pgbench.boards.power import pilot, plan
    from pgbench.boards.submit import read_submission
    from pgbench.errors import PgbenchError
    from pgbench.records.ledger import read_board, withdrawn
    from pgbench.records.suite import find_suite
    from pgbench.support.text import table

    found = find_suite(suite, root)
    own = root / "records" / found.name
    sources = [*(runs or ()), *(records or ())] or [own]
    if sources == [own] and not own.is_dir():
        raise PgbenchError(
            f"{found.name} has no records yet, and no pilot runs are given. Make some: pgbench "
            f"bench {suite} --seeds 3; then: pgbench power {suite} --runs runs"
        )
    entries = []
    for path in sources:
        if not path.exists():
            raise PgbenchError(f"there is no folder or file {path}")
        ledgers = path.is_dir() and any(path.glob("*.jsonl")) and not (path / "run.json").is_file()
        gone = withdrawn(path) if ledgers else set()
        read = read_board(path) if ledgers else read_submission(path)
        entries += [entry for entry in read if entry.id not in gone]
    unique = {entry.id: entry.record for entry in entries}
    told = pilot(found, list(unique.values()))
    for name in (name for name, tables in told.items() if not tables):
        typer.echo(
            f"no run here is of track {name}; make some: pgbench bench {suite} --track {name} "
            "--seeds 3",
            err=True,
        )
    lines = plan(found, told, seeds, difference)
    if not lines:
        raise PgbenchError(f"no run in {', '.join(map(str, sources))} is of {found.name}")
    if as_json:
        typer.echo(json.dumps(lines, indent=1))
        return

    def say(value: float | None) -> str:
        return "-" if value is None else two_digits(value)

    for track in dict.fromkeys(line["track"] for line in lines):
        own_lines = [line for line in lines if line["track"] == track]
        head = ["table", "deviation", "two rows", f"among {own_lines[0]['rows']} rows"]
        if difference is not None:
            head += ["wanted", "seeds: two rows", f"seeds: {own_lines[0]['rows']} rows"]
        shown = [
            [
                line["table"],
                *(say(line[key]) for key in ("deviation", "pair", "rank")),
                *([say(line["wanted"])] if difference is not None else ()),
                *(
                    str(line[key] or "-")
                    for key in ("seeds_pair", "seeds_rank")
                    if difference is not None
                ),
            ]
            for line in own_lines
        ]
        typer.echo(f"{track}: least differences found with {own_lines[0]['seeds']} seeds\n")
        typer.echo(table(head, shown) + "\n")
    typer.echo(
        "A power of 80% at a level of 5%, for rows of typical spread: two rows by Welch's test;\n"
        "among all rows as ranks are made. `all`: mean normalised scores over the environments,\n"
        "the others in their own unit. `-`: fewer than three seeds, or equal ones, tell no spread."
    )
