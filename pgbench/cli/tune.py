"""`pgbench tune`: choose settings by a declared number of trials on seeds that no board uses."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgbench.cli.run import Log
from pgbench.errors import install

if TYPE_CHECKING:
    from pgbench.tuning import Tuning
    from pgbench.tuning.search import Search

EXAMPLES = f"""\b
Examples:
  pgbench tune --algo mdpo --env hopper --trials 20
  pgbench tune --algo mdpo --env hopper --show-space > space.toml
  pgbench tune --algo mdpo --env hopper --space space.toml --jobs 8
  pgbench tune --algo ppo --env hopper --only lr,clip --studies 3
  pgbench run --algo mdpo --env hopper --config runs/tune/mdpo/hopper/.../best.toml

Trial 0 is the algorithm's defaults, the others a scrambled Sobol sequence over the space. Kill it
at any moment: the same command goes on where it was. Needs: {install("tune")}
"""


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(tune)


def tune(
    algo: Annotated[
        str, typer.Option("--algo", "-a", help="A name from `pgbench list algos`, or a .py file.")
    ],
    env: Annotated[
        str, typer.Option("--env", "-e", help="A name from `pgbench list envs`, or a .py file.")
    ],
    trials: Annotated[int, typer.Option(help="Settings tried, the defaults included.")] = 20,
    tune_seeds: Annotated[
        int, typer.Option("--tune-seeds", help="Runs of each trial, on tuning seeds.")
    ] = 3,
    studies: Annotated[
        int,
        typer.Option(help="Independent studies; the one with the median best gives the result."),
    ] = 1,
    budget: Annotated[
        str | None, typer.Option(help="Environment steps a run: 200k, 1M, or smoke, small, paper.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="Fixed in every trial: key=value or env.<keyword>=value."),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(help="TOML file of the space (default: by rule, see --show-space)."),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Only these keys of the space: lr,gamma.")
    ] = None,
    show_space: Annotated[
        bool, typer.Option("--show-space", help="Print the space as TOML and run nothing.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Runs at once (default: cores).", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    episodes: Annotated[int, typer.Option(help="Final evaluation episodes.", min=1)] = 20,
    log: Log = "tensorboard",
    runs: Annotated[Path, typer.Option("--runs", help="Folder of the run folders.")] = Path("runs"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print study.json.")] = False,
) -> None:
    """Tune an algorithm's settings on seeds that no board uses; resumes what was interrupted."""
    from pgbench.bench.launchers import make_launcher
    from pgbench.errors import PgbenchError
    from pgbench.runs.plan import Protocol
    from pgbench.runs.trackers import parse_log
    from pgbench.settings.config import parse_settings
    from pgbench.support.signals import on_stop
    from pgbench.tuning import make_tuning, summary, write
    from pgbench.tuning.journal import need_optuna
    from pgbench.tuning.search import Search

    parse_log(log)
    if not show_space:
        need_optuna()
    keys = [word.strip() for word in (only or "").split(",") if word.strip()]
    if only is not None and not keys:
        raise PgbenchError("--only takes keys of the space, as in --only lr,gamma")
    tuning = make_tuning(
        algo, env, trials=trials, seeds=tune_seeds, studies=studies, budget=budget,
        settings=parse_settings(set_ or []), space=space, only=keys,
        protocol=Protocol(episodes=episodes), device=device,
    )  # fmt: skip
    if show_space:
        from pgbench.tuning.space import show

        head = f"The space of {tuning.base.algo.name}, {tuning.space_hash[:12]}; for --space"
        typer.echo(show(tuning.space, tuning.base.config, head))
        return
    search = Search(tuning, runs, lambda: make_launcher("local", jobs=jobs), log=log)
    with _progress(search, quiet or as_json), on_stop(search.stop):
        done = search.go()
    if not done:
        typer.echo(f"stopped; saved in {search.folder}; the same command continues it", err=True)
        raise typer.Exit(130)
    study = summary(tuning, search.ended)
    write(study, search.folder)
    if as_json:
        typer.echo(json.dumps(study, indent=1))
    else:
        typer.echo(_report(tuning, study, search.folder))


@contextlib.contextmanager
def _progress(search: Search, quiet: bool) -> Iterator[None]:
    """On a terminal a live bar, elsewhere a line for each ended trial."""
    from rich.console import Console

    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=not console.is_terminal)

    tuning, best = search.tuning, dict[int, float]()
    search.say = say
    if quiet:
        yield
        return

    def committed(study: int, trial: int, score: float) -> None:
        better = max if tuning.direction == "max" else min
        best[study] = better(score, best.get(study, score))
        say(
            f"study {study}, trial {trial}: {score:,.1f} (best so far {best[study]:,.1f})  "
            + _settings(search.points[study][trial], trial)
        )

    search.committed = committed
    if not console.is_terminal:
        yield
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed:,.1f}/{task.total:,.0f} runs, {task.fields[running]} running"),
        TextColumn("best {task.fields[best]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        refresh_per_second=4,
    )
    name = f"tuning {tuning.base.algo.name} on {tuning.base.env.id}"
    task = bar.add_task(name, total=search.total, running=0, best="-", start=False)

    def view(now: Search) -> None:
        if not bar.tasks[0].started:
            bar.update(task, completed=now.spent())
            bar.start_task(task)
        bar.update(
            task,
            completed=now.spent(),
            running=sum(work.handle is not None for work in now.works),
            best=", ".join(f"{best[k]:,.1f}" for k in sorted(best)) or "-",
        )

    search.view = view
    with bar:
        yield


def _settings(params: Mapping[str, Any], trial: int) -> str:
    words = ", ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in params.items()
    )
    return words if trial else f"the defaults: {words}"


def _report(tuning: Tuning, study: Mapping[str, Any], folder: Path) -> str:
    """The trials of each study, best first, and what to do with the best."""
    from pgbench.runs.report import number
    from pgbench.support.text import table, width
    from pgbench.tuning import span

    sign = -1.0 if tuning.direction == "max" else 1.0
    head = ("trial", study["metric"]["name"], "95% interval", "seeds ok", "settings")
    parts = []
    for one in study["studies"]:
        rows = []
        for trial in sorted(one["trials"], key=lambda t: (sign * t["score"], t["trial"])):
            low, high = trial["interval"] or (None, None)
            ok = sum(seed["status"] == "finished" for seed in trial["seeds"])
            rows.append(
                (
                    str(trial["trial"]),
                    number(trial["score"]),
                    "-" if low is None else f"[{number(low)}, {number(high)}]",
                    f"{ok}/{len(trial['seeds'])}",
                    _settings(trial["params"], trial["trial"]),
                )
            )
        parts.append(f"study {one['index']}, tuning seeds {span(one['seeds'])}\n")
        parts.append(table(head, rows, width()) + "\n")
    if study["failed_runs"]:
        origin = study["studies"][0]["failed_run"]["origin"]
        parts.append(f"{study['failed_runs']} runs failed; each counts as {origin}\n")
    best = study["best"]
    if len(study["studies"]) > 1:
        bests = [number(s["trials"][s["best"]]["score"]) for s in study["studies"]]
        parts.append(
            f"bests of the studies: {', '.join(bests)}; study {best['study']} is the median"
        )
    gain = "" if best["trial"] == 0 else f" (the defaults: {number(best['defaults_score'])})"
    words, file = tuning.base.words, folder / "best.toml"
    parts.append(
        f"best: trial {best['trial']} of study {best['study']}, {number(best['score'])}{gain}; "
        "a best of several flatters itself,\njudge it on seeds that did not choose it:\n\n"
        f"  pgbench run --algo {words['algo']} --env {words['env']} --budget {study['budget']} "
        f"--config {file}\n\nevery trial: {folder / 'study.json'}"
    )
    return "\n".join(parts)
