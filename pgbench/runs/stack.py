"""Several seeds of one run together: each has its folder and its record, one process drives all.

What seeds, streams, evaluation and records are is the runner's (`Run`, one a seed); what is shared
is the loop, the checkpoint and the moment of every save. Numbers differ from those of seeds that
run alone by rounding: that a run was stacked, and of how many, is part of its identity.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pgbench.catalogue.capabilities import make, promises
from pgbench.catalogue.registry import resolve
from pgbench.errors import Breach, Diverged, PgbenchError
from pgbench.learning.algorithm import Setup
from pgbench.learning.stacking import Together
from pgbench.loops.base import Phase, lane_seeds
from pgbench.loops.stack import Share, Stack, stack_of
from pgbench.records.record import read_run
from pgbench.runs.plan import Plan, load_loop
from pgbench.runs.progress import Progress
from pgbench.runs.runner import Interrupted, Run, due_to_save
from pgbench.runs.trackers import DEFAULT
from pgbench.support.files import load_tensors, only_process, save_tensors, whole
from pgbench.support.seeding import train_seed
from pgbench.support.signals import on_stop
from pgbench.support.ticker import hush
from pgbench.worlds import checks


def build_stack(plans: Sequence[Plan]) -> tuple[Stack, Any]:
    """The loops of all seeds as one, and their environment.

    Raises: PgbenchError if the config does not fit the environment.
    """
    plan = plans[0]
    torch.set_num_threads(plan.threads)
    kind, loop_class = resolve(plan.algo), load_loop(plan.loop)
    stack = stack_of(plan.algo.name, kind, loop_class)
    n = plan.config.num_envs
    env = make(plan.env, num_envs=n * len(plans), **plan.env_kwargs)
    checks.check_env(env, plan.env.id, n * len(plans), promises(plan.env))

    def seed(plan: Plan, stream: str) -> int:
        return train_seed(plan.env.name, plan.seed, stream, purpose=plan.purpose)

    setups = [
        Setup(
            observation_space=env.single_observation_space,
            action_space=env.single_action_space,
            budget=plan.budget,
            seed=seed(plan, "algorithm"),
            device=torch.device(plan.device),
            env=env,
        )
        for plan in plans
    ]
    algorithms = [kind(plan.config, setup) for setup in setups]
    lead = kind(plan.config, replace(setups[0], compile=plan.compile, stacked=True))
    seeds = [seed(plan, "loop") for plan in plans]
    obs = checks.reset(env, [s for first in seeds for s in lane_seeds(first, n)])
    loops = [
        loop_class(algorithms[i], Share(env, obs[i * n : (i + 1) * n]), plan.budget, seeds[i])
        for i in range(len(plans))
    ]
    return stack(loops, Together(algorithms, lead), env, obs), env


class StackedRuns:
    """The runs of a stack; `go` brings them to their ends from wherever they stand."""

    def __init__(
        self,
        plans: Sequence[Plan],
        runs: Path,
        progress: Progress | None = None,
        save_every: float | None = None,
        trackers: Sequence[str] = (DEFAULT,),
    ) -> None:
        self.runs = [Run(plan, runs, trackers=trackers) for plan in plans]
        self.records: dict[int, dict[str, Any]] = {}  # of seeds that have ended
        first = self.runs[0].folder
        self.folder = first.with_name(f"stack-{first.name.partition('-')[2]}")
        self.progress = progress or Progress(quiet=True)
        self.save_every = save_every
        self.stop = False
        self.due: set[int] = set()  # seeds whose point of the curve is not there yet

    @property
    def checkpoint(self) -> Path:
        """The one file that a resumed stack starts from."""
        return self.folder / "state.pt"

    def go(self, fresh: bool = False) -> list[dict[str, Any]]:
        """Run to the end and return the records; runs that have all ended return at once.

        A seed that diverges is recorded as failed, and the others go on.

        Raises: PgbenchError for bad input, Interrupted after a stop signal. Any other failure
        becomes a record of status `failed` for every seed that was still running.
        """
        if fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        for i, run in enumerate(self.runs):
            if (record := run.opened(fresh)) is not None:
                self.records[i] = record
        before = {i: run.before for i, run in enumerate(self.runs) if run.before is not None}
        failed = {i: record for i, record in before.items() if record["status"] == "failed"}
        if self.records and len(self.records) + len(failed) == len(self.runs):
            return [{**self.records, **failed}[i] for i in range(len(self.runs))]
        with hush(self.progress.quiet):
            self.loop, env = build_stack([run.plan for run in self.runs])
        try:
            for run, loop in zip(self.runs, self.loop.loops, strict=True):
                run.algorithm, run.env, run.loop = loop.algorithm, env, loop
            self.runs[0].same_environment()
            for run in self.runs[1:]:
                if run.golden not in ("", self.runs[0].golden):
                    run.same_environment()  # says what is wrong
                run.golden = self.runs[0].golden
            with contextlib.ExitStack() as held:
                for folder in (self.folder, *(run.folder for run in self.runs)):
                    held.enter_context(only_process(folder))
                held.enter_context(on_stop(self._stop))
                return self._train()
        finally:
            env.close()

    def _train(self) -> list[dict[str, Any]]:
        lived = [run.lived() for run in self.runs]
        offsets = self._resume() if self.checkpoint.exists() else [0] * len(self.runs)
        going = [i for i in range(len(self.runs)) if i not in self.records]
        for i in going:
            self.runs[i].started(lived[i], offsets[i])
        self.saved_at, self.save_cost = time.monotonic(), 0.0
        plan, loop = self.runs[0].plan, self.loop
        self.progress.start(plan, loop.steps, loop.budget, self.checkpoint.exists())
        if note := getattr(loop.env, "note", ""):
            self.progress.note(note)
        try:
            self._evaluate()  # what a stop cut off
            for phases in loop.phases():
                self._after(phases)
                if not self._living():
                    break
            for i in self._living():
                try:
                    self.records[i] = self.runs[i].finish()
                except Diverged as error:
                    self._fail(i, error)
        except Interrupted:
            self._save()
            for i in self._living():
                self.runs[i].write("interrupted")
            raise
        except Exception as error:
            if isinstance(error, PgbenchError) and not isinstance(error, Breach | Diverged):
                raise
            for i in self._living():
                self.runs[i].write("failed", error=error)
            raise
        finally:
            self.progress.stop()
            for i in going:
                self.runs[i].log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return [self.records[i] for i in range(len(self.runs))]

    def _living(self) -> list[int]:
        return [i for i in range(len(self.runs)) if i not in self.records]

    def _fail(self, i: int, error: Exception) -> None:
        self.loop.failed.setdefault(i, error)
        self.records[i] = self.runs[i].write("failed", error=error)
        self.progress.note(f"seed {self.runs[i].plan.seed} failed: {error}")

    def _after(self, phases: Sequence[Phase]) -> None:
        """Log, evaluate and save after a phase of every seed; leave if the user asked for it."""
        for i in self._living():
            try:
                if i in self.loop.failed:
                    raise self.loop.failed[i]
                self.runs[i].note(phases[i])
            except Diverged as error:
                self._fail(i, error)
        if living := self._living():
            means = [m for i in living if (m := self.loop.loops[i].episodes.mean) is not None]
            mean = sum(means) / len(means) if means else None
            self.progress.update(self.loop.steps, mean, phases[living[0]].metrics)
        self.due = set(self._living())
        self._evaluate()
        if self.stop:
            raise Interrupted
        if due_to_save(self.save_every, self.save_cost, self.saved_at):
            self._save()

    def _evaluate(self) -> None:
        for i in sorted(self.due):
            try:
                self.runs[i].evaluate_if_due()
            except Diverged as error:
                self._fail(i, error)
            self.due.discard(i)

    def _save(self) -> None:
        began = time.monotonic()
        living = self._living()
        state = {
            "loop": self.loop.state_dict(),
            "runs": {i: self.runs[i].state() for i in living},
            # Of seeds that have ended: the others' bits depend on what stands in their rows.
            "algorithms": {i: self.runs[i].algorithm.state_dict() for i in self.records},
            "due": sorted(self.due),
        }
        save_tensors(self.checkpoint, state)
        self.saved_at = time.monotonic()
        self.save_cost = self.saved_at - began
        for i in living:
            self.runs[i].spent["checkpoint_s"] += self.save_cost

    def _resume(self) -> list[int]:
        """Load the checkpoint; returns the lengths of the event logs that belong to it."""
        state = load_tensors(self.checkpoint)
        offsets = [0] * len(self.runs)
        with whole(self.checkpoint):
            self.loop.load_state_dict(state["loop"])
            for i in self.loop.failed:
                self.records[i] = read_run(self.runs[i].folder)
            for i, saved in state["algorithms"].items():
                self.runs[i].algorithm.load_state_dict(saved)
            for i, saved in state["runs"].items():
                offsets[i] = self.runs[i].restore(saved)
            self.due = set(state["due"])
        return offsets

    def _stop(self) -> None:
        self.stop = True
        for run in self.runs:
            run.stop = True
        if any(run.evaluating for run in self.runs):
            raise Interrupted
        self.progress.note("stopping after this phase; press Ctrl-C again to stop at once")
