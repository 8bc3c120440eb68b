"""`pgbench verify`, `reproduce`, `compare`, `submit`: whether records can be believed, and used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgbench.boards.evidence import Finding
    from pgbench.boards.store import Board
    from pgbench.records.record import Entry

VERIFY_EXAMPLES = """\b
Examples:
  pgbench verify control-mini-v1                    every id, chain, rule and number again
  pgbench verify control-mini-v1 --rerun 2          and two runs drawn by lot, bit for bit
  pgbench verify control-mini-v1 --rerun 2 --stamp "A. Name"
  pgbench verify control-mini-v1 --sample --stamp "A. Name"   one run a row, one in ten of all
"""
REPRODUCE_EXAMPLES = """\b
Examples:
  pgbench reproduce 512df6982358 --board control-mini-v1
  pgbench reproduce 512df6982358 --board control-mini-v1 --stamp "A. Name"
"""
COMPARE_EXAMPLES = """\b
Examples:
  pgbench compare mdpo ppo --board control-mini-v1
  pgbench compare ./mine.py mdpo --board control-mini-v1 --jobs 2
  pgbench compare ./mine.py mdpo --board control-mini-v1 --dry-run
  pgbench compare ppo ppo --set clip=0.1 --board control-mini-v1
"""
SUBMIT_EXAMPLES = """\b
Examples:
  pgbench submit runs/mine --board control-mini-v1
  pgbench submit mine.jsonl --board control-mini-v1 --dry-run
  pgbench submit runs/mine --board control-mini-v1 --stamp "A. Name" --limit-minutes 120

One record in ten, and one a row at least, is run again before anything is written; a hash over all
of them draws which. --no-rerun leaves that out: the records then stand as claimed.
"""
BoardName = Annotated[str, typer.Option("--board", help="The board, for example control-mini-v1.")]
Root = Annotated[Path, typer.Option(help="Folder of the boards.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of the run folders.")]
Stamp = Annotated[
    str | None, typer.Option(help="Your name: write the outcome beside the record, for all to see.")
]
Limit = Annotated[
    float, typer.Option(help="Most minutes of runs to do again, by what they took.", min=0)
]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(epilog=VERIFY_EXAMPLES)(verify)
    app.command(epilog=REPRODUCE_EXAMPLES)(reproduce)
    app.command(epilog=COMPARE_EXAMPLES)(compare)
    app.command(epilog=SUBMIT_EXAMPLES)(submit)


def verify(
    name: Annotated[str, typer.Argument(help="The board, for example control-mini-v1.")],
    rerun: Annotated[int, typer.Option(help="Runs to do again, drawn by lot.", min=0)] = 0,
    sample: Annotated[
        bool, typer.Option("--sample", help="Do again one run a row, and one in ten of all.")
    ] = False,
    limit_minutes: Limit = 60,
    stamp: Stamp = None,
    runs: Runs = Path("runs/again"),
    root: Root = Path("leaderboards"),
) -> None:
    """Recompute a board from its records; run a sample again; exit code 1 if anything differs."""
    import random

    from pgbench.boards import evidence, lot, store
    from pgbench.records import ledger

    board = store.open_board(name, root)
    chains = len({entry.where.rpartition(":")[0] for entry in board.entries})
    typer.echo(f"records: {len(board.entries)} in {chains} files; ids, chains and rules hold")
    files = store.outputs(board.model(), root)
    late = [path for path, data in files.items() if store.stale(path, data)]
    for path in files:
        typer.echo(f"{path}: {'DIFFERS from' if path in late else 'is'} what the records give")
    gone = ledger.withdrawn(board.folder)
    pool = [entry for entry in board.entries if entry.id not in gone]
    findings = evidence.hold(pool, old=True)
    _tell(findings)
    rows, checked = lot.rows_of(pool, board), lot.checked(board.stamps)
    for name, found in sorted(rows.items()):
        count = sum(entry.id in checked for entry in found)
        typer.echo(f"run again: {count} of {len(found)} of {name}")
    count = sum(entry.id in checked for entry in pool)
    typer.echo(f"run again: {count} of {len(pool)} records in all")
    # Drawn by lot on purpose: a sample that can be foretold checks nothing.
    drawn = random.SystemRandom().sample(pool, min(rerun, len(pool)))
    if sample:
        own = lot.draw(rows, limit_minutes * 60, checked=checked)
        drawn += [entry for entry in own.drawn if entry not in drawn]
        for name in own.left:
            typer.echo(f"left out {name}: its runs are over the limit", err=True)
    bad = [entry for entry in drawn if not _again(entry, board, runs, stamp)]
    if late or bad or any(finding.status == "refused" for finding in findings):
        raise typer.Exit(1)


def _tell(findings: Sequence[Finding]) -> None:
    for finding in findings:
        typer.echo(f"{finding.status:<8}{finding.what}: {finding.detail}")


def reproduce(
    record: Annotated[str, typer.Argument(help="A record's id, or the beginning of it.")],
    board: BoardName,
    stamp: Stamp = None,
    runs: Runs = Path("runs/again"),
    root: Root = Path("leaderboards"),
) -> None:
    """Do one record's run again and compare it bit for bit; exit code 1 if it differs."""
    from pgbench.boards import store

    opened = store.open_board(board, root)
    if not _again(opened.find(record), opened, runs, stamp):
        raise typer.Exit(1)


def _again(entry: Entry, board: Board, runs: Path, by: str | None) -> bool:
    """Whether a re-run of the entry bears its record out; says what happened."""
    from pgbench.boards import lot
    from pgbench.records import ledger

    typer.echo(f"{entry.id[:12]}: {lot.title(entry)}, again ...")
    found = lot.again(entry, board.entries, runs)
    typer.echo(f"{entry.id[:12]}: {found.kind}: {found.text()}")
    if by is not None:
        ledger.add_stamp(board.folder, found.stamp(by))
    return found.kind in ("verified", "reproduced")


def compare(
    a: Annotated[str, typer.Argument(help="An algorithm, a row of the board, or a .py file.")],
    b: Annotated[str, typer.Argument(help="What to compare it with.")],
    board: BoardName,
    track: Annotated[
        str | None, typer.Option(help="Track (default: the first with A and B, or else with B).")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="A config key of A (key=value).")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Runs at once.", min=1)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Run nothing, list what is missing and its cost.")
    ] = False,
    runs: Runs = Path("runs"),
    root: Root = Path("leaderboards"),
) -> None:
    """Two algorithms under a board's rules: runs what is missing, then says who is better."""
    from pgbench.bench.launchers import make_launcher
    from pgbench.bench.schedule import Bench
    from pgbench.bench.view import Lines
    from pgbench.boards import store, versus
    from pgbench.boards.model import build_model
    from pgbench.boards.rows import row_name
    from pgbench.errors import PgbenchError
    from pgbench.records.ledger import read_board
    from pgbench.records.suite import find_suite
    from pgbench.settings.config import parse_settings
    from pgbench.support.signals import on_stop

    suite = find_suite(board, root)
    chosen = versus.choose_track(suite, track, (b, a))
    one = versus.entry_of(a, parse_settings(set_ or []), chosen)
    other = versus.entry_of(b, {}, chosen)
    if one == other:
        raise PgbenchError(f"'{a}' and '{b}' are the same row; there is nothing to compare")
    small = versus.narrowed(suite, chosen, (one, other))
    folder = root / "records" / suite.name
    entries = store.open_board(board, root).entries if folder.is_dir() else []

    def say(text: str) -> None:
        typer.echo(text, err=True)

    own = runs / "compare" / suite.name
    work = Bench(small, None, runs, own, say=say, also=entries, view=Lines(say))
    tasks = work.plan()
    if dry_run:
        from pgbench.cli.suites import cost_of, known_times

        cells = [task.cell for task in tasks if not task.ended]
        typer.echo(f"track {chosen.name}: {chosen.title}")
        for cell in cells:
            typer.echo(f"{cell.entry.label} on {cell.env.id}, seed {cell.seed}")
        cost = f": {cost_of(known_times(suite, root), cells)}" if cells else ""
        typer.echo(f"{len(cells)} of {len(tasks)} runs are missing{cost}")
        return
    if missing := sum(not task.ended for task in tasks):
        say(f"{missing} of {len(tasks)} runs are missing; they come first")
        work.launcher = make_launcher("local", jobs=jobs)
        with on_stop(work.stop):
            work.go()
        if work.stopping:
            say("stopped; what ran is saved; the same command goes on")
            raise typer.Exit(130)
    if refused := [task for task in tasks if task.state == "refused"]:
        raise PgbenchError(f"a run was refused: {refused[0].note}")
    if own.is_dir():
        entries = [*entries, *read_board(own)]
    wanted = {task.run for task in tasks}
    records: dict[Any, Any] = {e.run: e.record for e in entries if e.run in wanted}
    model = build_model(suite.name, records.values(), small)
    names = []
    for entry in (one, other):
        task = next(task for task in tasks if task.cell.entry == entry)
        names.append(row_name(records[task.run], small.tracks[0], task.cell.env))
    typer.echo(versus.paragraph(model, names[0], names[1]))


def submit(
    path: Annotated[Path, typer.Argument(help="A .jsonl file of records, or a folder of runs.")],
    board: BoardName,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check only: run nothing again, write nothing.")
    ] = False,
    no_rerun: Annotated[
        bool, typer.Option("--no-rerun", help="Run nothing again; the records stand as claimed.")
    ] = False,
    limit_minutes: Limit = 30,
    stamp: Stamp = None,
    root: Root = Path("leaderboards"),
) -> None:
    """Check records for a board; if all is well add them and say what to send; else exit code 2.

    Some are run again first, drawn by a hash over all of them; with --stamp NAME that is written
    beside them.
    """
    from pgbench.boards import lot, store
    from pgbench.boards.evidence import Finding, suspects
    from pgbench.boards.rerun import Comparison
    from pgbench.boards.submit import examine, plugins, pull_request, read_submission
    from pgbench.records import ledger
    from pgbench.support.names import unknown

    opened = store.empty_board(board, root)
    if opened.folder.is_dir():
        opened = store.open_board(board, root)
    if opened.suite is None:
        known = sorted(file.stem for file in (root / "suites").glob("*.toml"))
        raise unknown("board", board, known, f"{root}/suites has no suite of that name")
    entries = read_submission(path)
    findings = examine(entries, opened)
    _tell(findings)
    _unless_refused(findings)
    rows = lot.rows_of(entries, opened)
    odd = {a.id for a, _, _ in suspects(entries, opened.entries)}
    odd |= {entry.id for entry in entries if entry.record["status"] == "failed"}
    drawn = lot.draw(rows, limit_minutes * 60, odd)
    plan = f"{len(drawn.drawn)} of {len(entries)} records, {drawn.seconds / 60:,.1f} minutes"
    if dry_run:
        typer.echo(f"not done: to run again {plan}")
        return
    found, good = Finding("run again", "held", f"none of {len(entries)} (--no-rerun): they stand "
                          "as claimed, which the board says"), list[Comparison]()  # fmt: skip
    if not no_rerun:
        typer.echo(f"to run again, by what they took: {plan}")
        found, good = lot.hold_again(rows, drawn, typer.echo)
    stamps = [comparison.stamp(stamp) for comparison in good] if stamp else []
    _tell([found])
    _unless_refused([found])
    before = opened.model()
    ledger.add_entries(opened.folder, entries, opened.rule)
    for said in stamps:
        ledger.add_stamp(opened.folder, said)
    after = store.open_board(board, root).model()
    changed = store.publish(after, root)
    files = [opened.folder, *changed]
    typer.echo("\n" + pull_request(before, after, files, found.detail))
    for line in plugins(entries):
        typer.echo(f"\n{line}")


def _unless_refused(findings: Sequence[Finding]) -> None:
    if any(finding.status == "refused" for finding in findings):
        typer.echo("refused; nothing was written", err=True)
        raise typer.Exit(2)
