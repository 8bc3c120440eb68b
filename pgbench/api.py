"""The Python interface to one run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pgbench.runs.plan import Plan, Protocol, make_plan
from pgbench.runs.result import Result


def run(
    algo: str,
    env: str,
    *,
    seed: int = 0,
    budget: str | int | None = None,
    settings: Mapping[str, Any] | None = None,
    protocol: Protocol | None = None,
    device: str = "auto",
    compile: bool | None = None,
    threads: int | None = None,
    runs: str | Path = "runs",
    fresh: bool = False,
    quiet: bool | None = None,
    log: str = "tensorboard",
) -> Result:
    """Train `algo` on `env`, evaluate, record; continues or returns a run that exists already.

    Arguments are those of `pgbench run`; `settings` are config keys (and `env.<keyword>`); `quiet`
    shows no progress (default: only a notebook does, as lines of text). `log` names where the
    metrics go, too (`tensorboard,wandb,mlflow,trackio`, or `none`); it changes nothing of the run.

    Raises: PgbenchError for bad input.
    """
    from pgbench.runs.progress import Progress
    from pgbench.runs.runner import Run
    from pgbench.runs.trackers import parse_log

    trackers = parse_log(log)
    plan: Plan = make_plan(
        algo, env, seed=seed, budget=budget, settings=settings, protocol=protocol, device=device,
        compile=compile, threads=threads,
    )  # fmt: skip
    silent = "ipykernel" not in sys.modules if quiet is None else quiet
    work = Run(plan, Path(runs), Progress(silent), trackers=trackers)
    record = work.go(fresh)
    return Result(work.folder, record)
