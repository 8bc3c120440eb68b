"""`pgbench bench`: run a suite, or what it still lacks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from pgbench.cli.run import Log

EXAMPLES = """\b
Examples:
  pgbench bench control-mini-v1                     run what is missing, then rebuild the board
  pgbench bench control-mini-v1 --jobs 8
  pgbench bench control-mini-v1 --algo mdpo --env hopper --seeds 3
  pgbench bench control-mini-v1 --dry-run           what it would run
  pgbench bench control-mini-v1 --collect           rebuild the board while another bench runs
  pgbench bench control-mini-v1 --launcher ray --address auto
  pgbench bench control-mini-v1 --launcher slurm --option partition=cpu --option time=60

Kill it at any moment: the same command goes on where it was. With ray and slurm the folder of the
runs must be on a disk that every worker sees.
"""


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(bench)


def bench(
    suite: Annotated[str, typer.Argument(help="A name from `pgbench list suites`.")],
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Runs at once (default: cores).", min=1)
    ] = None,
    launcher: Annotated[str, typer.Option(help="local, ray or slurm.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster (default: one is started for the suite).")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="For the launcher: key=value.")
    ] = None,
    track: Annotated[list[str] | None, typer.Option(help="Only this track.")] = None,
    algo: Annotated[list[str] | None, typer.Option(help="Only this algorithm or label.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="Only this environment.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Only the first N seeds.", min=1)] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Run nothing, record the runs that have ended.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Run nothing, list what is missing.")]
    = False,
    log: Log = "tensorboard",
    runs: Annotated[Path, typer.Option("--runs", help="Folder of the run folders.")] = Path("runs"),
    root: Annotated[Path, typer.Option(help="Folder of the boards.")] = Path("leaderboards"),
) -> None:  # fmt: skip
    """Run what a suite still lacks, in parallel; then rebuild its board."""
    from rich.console import Console

    from pgbench.bench.launchers import make_launcher
    from pgbench.bench.schedule import Bench
    from pgbench.bench.view import Lines, Table
    from pgbench.boards import store
    from pgbench.records.suite import find_suite, selection
    from pgbench.runs.trackers import parse_log
    from pgbench.settings.config import parse_settings
    from pgbench.support.signals import on_stop

    parse_log(log)
    found = find_suite(suite, root)
    select = selection(found, track, algo, env, seeds)
    options = parse_settings(option or [], "--option")
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    work = Bench(found, None, runs, root / "records" / found.name, select, say=say, log=log)
    tasks = work.plan()
    missing = [task for task in tasks if not task.ended]
    if dry_run:
        for task in missing:
            cell = task.cell
            typer.echo(f"{cell.track.name}  {cell.entry.label} on {cell.env.id}, seed {cell.seed}")
        from pgbench.cli.suites import cost_of, known_times

        cells = [task.cell for task in missing]
        cost = f": {cost_of(known_times(found, root), cells)}" if cells else ""
        typer.echo(f"{len(missing)} of {len(tasks)} runs are missing{cost}")
        return
    if collect:
        work.collect()
    elif missing:
        work.launcher = make_launcher(launcher, jobs=jobs, address=address, options=options)
        view = Table(found.title, console) if console.is_terminal else Lines(say)
        work.view = view
        try:
            with on_stop(work.stop), view:
                work.go()
        finally:
            work.launcher.close()
    states = Counter(task.state for task in tasks)
    if (root / "records" / found.name).is_dir():
        board = store.open_board(found.name, root)
        model = board.model()
        store.publish(model, root)
        counts = model["counts"]
        asked = f"{counts['records']} of {counts['expected']} runs recorded"
        if counts["records"] > counts["expected"]:  # submitted ones are recorded, too
            asked = f"{counts['records']} runs recorded ({counts['expected']} are asked for)"
        typer.echo(
            f"{found.name}: {asked}, {counts['failed']} failed; {root / found.name}.html is rebuilt"
        )
    for task in tasks:
        if task.state == "refused":
            typer.echo(
                f"{task.cell.entry.label} on {task.cell.env.id}, seed {task.cell.seed} did not "
                f"run: {task.note}",
                err=True,
            )
    if states["stopped"] or work.stopping:
        typer.echo("stopped; what ran is saved; the same command goes on", err=True)
        raise typer.Exit(130)
    if states["refused"]:
        raise typer.Exit(2)
