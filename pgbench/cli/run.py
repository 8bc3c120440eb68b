"""`pgbench run`, `show`, `eval`: make runs and look at them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

RUN_EXAMPLES = """\b
Examples:
  pgbench run --algo mdpo --env hopper
  pgbench run --algo mdpo --env hopper --seeds 3 --budget 500k
  pgbench run --algo ppo --env pendulum --seeds 10 --stack
  pgbench run --algo ppo --env walker2d --set lr=1e-4 --set clip=0.1
  pgbench run --algo ppo --env gym:CartPole-v1     (docs/environments.md)
  pgbench run --algo sac --env pendulum --config sac.toml --device cuda
  pgbench run --algo ppo --env hopper --log tensorboard,wandb
  pgbench run --algo ./mine.py --env hopper        (pgbench new algo mine)

The same command again continues an interrupted run to the same numbers.
"""

SHOW_EXAMPLES = """\b
Examples:
  pgbench show                                      a line for each run in ./runs
  pgbench show runs/mdpo                            those of one algorithm
  pgbench show runs/mdpo/hopper/0-1a2b3c4d          one run in full; --json: its record
  pgbench show runs/grpo/math-nano/0-1a2b3c4d --completions 4
"""
EVAL_EXAMPLES = """\b
Examples:
  pgbench eval runs/mdpo/hopper/0-1a2b3c4d --episodes 100
  pgbench eval runs/mdpo/hopper/0-1a2b3c4d --video hopper.mp4
  pgbench eval runs/grpo/math-nano/0-1a2b3c4d --samples 16
  pgbench eval runs/grpo/math-nano/0-1a2b3c4d --save model

--video needs the extra video: pip install -e ".[video]" --samples 16 gives pass@1 to pass@16.
`pgbench show` lists your runs.
"""

Algo = Annotated[
    str, typer.Option("--algo", "-a", help="A name from `pgbench list algos`, or a .py file.")
]
Env = Annotated[
    str,
    typer.Option("--env", "-e", help="A name from `pgbench list envs`, gym:ID, or a .py file."),
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of the run folders.")]
Log = Annotated[
    str, typer.Option("--log", help="Metrics also to tensorboard, wandb, mlflow, trackio; or none.")
]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(epilog=RUN_EXAMPLES)(run)
    app.command(epilog=SHOW_EXAMPLES)(show)
    app.command("eval", epilog=EVAL_EXAMPLES)(evaluate)


def run(
    algo: Algo,
    env: Env,
    budget: Annotated[
        str | None, typer.Option(help="Environment steps: 200k, 1M, or smoke, small, paper.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of a single run.")] = 0,
    seeds: Annotated[
        int | None, typer.Option(help="Run seeds 0 to N-1, one after the other.", min=1)
    ] = None,
    stack: Annotated[
        bool, typer.Option("--stack", help="The --seeds together, as one computation.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Language model: short for --set model=...")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="A config key (key=value) or env.<keyword>=value."),
    ] = None,
    config: Annotated[str | None, typer.Option(help="TOML file of config keys.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    compile: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Compile updates (default: where it repays)."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Torch threads (default: what the loop likes).", min=1)
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(help="Final evaluation episodes (default: the environment's).", min=1),
    ] = None,
    save_every: Annotated[
        float | None,
        typer.Option(
            help="Seconds between checkpoints (default: 10 or more, 2% of the time).", min=0
        ),
    ] = None,
    log: Log = "tensorboard",
    runs: Runs = Path("runs"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; an old run is kept as <name>.oldN.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Train, evaluate and record; resumes what was interrupted."""
    from pgbench.errors import PgbenchError
    from pgbench.runs.plan import make_plan, shortfall
    from pgbench.runs.progress import Progress
    from pgbench.runs.runner import Interrupted, Run
    from pgbench.runs.stack import StackedRuns
    from pgbench.runs.trackers import parse_log
    from pgbench.settings.config import parse_settings, read_toml, read_tuning

    trackers = parse_log(log)
    if seeds is not None and seed:
        raise PgbenchError("give --seed for one run or --seeds for several, not both")
    if stack and seeds is None:
        raise PgbenchError("--stack runs several seeds together: say how many with --seeds")
    settings: dict[str, Any] = read_toml(config) if config else {}
    # Tuned settings that somebody changed are not what was tuned.
    tuning = read_tuning(config) if config and not set_ else None
    settings.update(parse_settings(set_ or []))
    if model is not None:
        settings["model"] = model
    plans = [
        make_plan(
            algo, env, seed=s, budget=budget, settings=settings, device=device, compile=compile,
            threads=threads, episodes=episodes, tuning=tuning,
            stack=seeds or 0 if stack else 0,
        )
        for s in ([seed] if seeds is None else range(seeds))
    ]  # fmt: skip
    if (words := shortfall(plans[0])) and not quiet:
        typer.echo(f"note: {words}", err=True)
    works: list[Run | StackedRuns] = (
        [StackedRuns(plans, runs, Progress(quiet or as_json), save_every, trackers)] if stack
        else [Run(plan, runs, Progress(quiet or as_json), save_every, trackers) for plan in plans]
    )  # fmt: skip
    done: list[tuple[Path, dict[str, Any]]] = []
    for work in works:
        members = work.runs if isinstance(work, StackedRuns) else [work]
        try:
            found = work.go(fresh)
            records = found if isinstance(found, list) else [found]
        except Interrupted:
            typer.echo(f"stopped; saved in {work.folder}; the same command continues it", err=True)
            raise typer.Exit(130) from None
        except PgbenchError:
            raise
        except Exception as error:
            if not all((one.folder / "run.json").exists() for one in members):
                raise
            typer.echo(f"pgbench: the run failed: {type(error).__name__}: {error}", err=True)
            records = [json.loads((one.folder / "run.json").read_text()) for one in members]
        done += zip([one.folder for one in members], records, strict=True)
    if as_json:
        typer.echo(json.dumps([r for _, r in done] if seeds is not None else done[0][1], indent=1))
    else:
        from pgbench.runs.report import runs_table

        typer.echo(runs_table(done))
        if not quiet and (finished := [f for f, r in done if r["status"] == "finished"]):
            typer.echo(
                f"\nnext:\n  pgbench show {finished[0]}\n  pgbench eval {finished[0]}\n"
                f"  pgbench explain {algo}          its equations, and what --set changes"
            )
    if any(record["status"] == "failed" for _, record in done):
        raise typer.Exit(1)


def show(
    folder: Annotated[Path, typer.Argument(help="A run folder, or a folder of runs.")] = Path(
        "runs"
    ),
    completions: Annotated[
        int | None,
        typer.Option(help="Show so many responses of a language model, right and wrong.", min=1),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Show one run in full, or a line for each in a folder."""
    from pgbench.records.record import read_run, read_runs
    from pgbench.runs.report import is_run, run_page, runs_table

    if completions is not None:
        typer.echo(_completions(folder, completions))
        return
    if not folder.is_dir() or is_run(folder):
        record = read_run(folder)
        typer.echo(json.dumps(record, indent=1) if as_json else run_page(folder, record))
        return
    found, damaged = read_runs(folder)
    for line in damaged:
        typer.echo(f"left out {line}", err=True)
    typer.echo(json.dumps([r for _, r in found], indent=1) if as_json else runs_table(found))


def _completions(folder: Path, count: int) -> str:
    from pgbench.errors import PgbenchError
    from pgbench.runs.result import load

    loaded = load(folder)
    policy = loaded.policy
    if not hasattr(policy, "answer"):
        raise PgbenchError(f"--completions is for language models; {folder} holds none")
    from pgbench.lm.evaluation import completions

    return completions(policy, loaded.env, count)


def evaluate(
    folder: Annotated[
        Path | None, typer.Argument(help="A finished run; of a folder of runs the newest.")
    ] = None,
    algo: Annotated[
        str | None, typer.Option("--algo", "-a", help="The newest run of this algorithm.")
    ] = None,
    env: Annotated[
        str | None, typer.Option("--env", "-e", help="The newest run on this environment.")
    ] = None,
    runs: Runs = Path("runs"),
    episodes: Annotated[
        int | None,
        typer.Option(help="Episodes, or held-out tasks (default: 20, or the run's).", min=1),
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Responses to each task of a language model, for pass@k.", min=1)
    ] = 8,
    temperature: Annotated[
        float | None, typer.Option(help="Of a language model (default: training's).", min=0)
    ] = None,
    seed: Annotated[int, typer.Option(help="Another value gives other evaluation episodes.")] = 0,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Of a set of policies, the one of this name.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Or the one whose weights are nearest: 0.3,0.7")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Also write the first episode as .mp4 or .gif.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Also write a language model as a Hugging Face folder.")
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Though code or data of the run have changed since.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Evaluate a trained policy again; film it; save it."""
    from pgbench.errors import PgbenchError
    from pgbench.records.details import show as show_details
    from pgbench.runs.evaluation import evaluate as run_episodes
    from pgbench.runs.report import is_run, newest
    from pgbench.runs.result import load
    from pgbench.runs.video import film, writers
    from pgbench.statistics.intervals import mean_interval

    if folder is None or (folder.is_dir() and not is_run(folder)):
        folder = newest(folder or runs, algo, env)
        typer.echo(f"the newest finished run: {folder}", err=True)
    elif algo or env:
        raise PgbenchError("give a run, or --algo and --env for the newest one, not both")
    loaded = load(folder, anyway, policy, _numbers(weights) if weights is not None else None)
    if loaded.member:
        typer.echo(f"policy {loaded.member}", err=True)
    acting: Any = loaded.policy
    if video:
        writers(video)  # what is missing is said before the work, not after it
    if hasattr(acting, "answer"):
        from pgbench.lm.evaluation import report

        if video:
            raise PgbenchError("a language model cannot be filmed; leave out --video")
        count = episodes or len(loaded.record["result"]["final"])
        text, data = report(acting, loaded.env, count, seed, samples, temperature)
        typer.echo(json.dumps(data) if as_json else text)
        if save:
            acting.save(save)
            typer.echo(f"{save}: the model, for transformers and vLLM", err=as_json)
        return
    if save:
        raise PgbenchError(f"--save is for language models; {folder}/policy.pt holds this policy")
    result = run_episodes(acting, loaded.env, episodes or 20, seed, loaded.env_kwargs)
    limits = mean_interval(result.returns, *loaded.env.metrics[0].bounds(result.returns))
    within = f", 95% interval [{limits[0]:,.1f}, {limits[1]:,.1f}]" if limits else ""
    if as_json:
        data = {"returns": result.returns, "lengths": result.lengths}
        typer.echo(json.dumps({**data, **({"details": result.details} if result.details else {})}))
    else:
        typer.echo(
            f"{loaded.env.id} return {result.mean:,.1f}{within} over {len(result.returns)} episodes"
        )
        typer.echo("".join(f"  {line}\n" for line in show_details(result.details)), nl=False)
    if video:
        frames = film(acting, loaded.env, video, seed, loaded.env_kwargs)
        typer.echo(f"{video}: {frames} frames", err=as_json)


def _numbers(text: str) -> list[float]:
    from pgbench.errors import PgbenchError

    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise PgbenchError(f"--weights takes numbers such as 0.3,0.7, not '{text}'") from None
