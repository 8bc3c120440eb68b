"""Train, evaluate, record: drives a loop's phases, saves between them, resumes to the same bits."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pgbench.catalogue.capabilities import make, promises
from pgbench.catalogue.fingerprint import golden
from pgbench.catalogue.registry import resolve
from pgbench.errors import Breach, Diverged, PgbenchError
from pgbench.learning.algorithm import Algorithm, Setup, same_origin
from pgbench.loops.base import Loop, Phase, check_made
from pgbench.records.record import read_run, save_run, tidy
from pgbench.runs import provenance, responses
from pgbench.runs.evaluation import Evaluation, evaluate
from pgbench.runs.log import Log, catch_up
from pgbench.runs.plan import Plan, choose_device, load_loop
from pgbench.runs.progress import Progress
from pgbench.runs.recording import make_record
from pgbench.runs.trackers import DEFAULT
from pgbench.support.files import load_tensors, only_process, save_tensors, whole, write_bytes
from pgbench.support.seeding import train_seed
from pgbench.support.signals import on_stop
from pgbench.support.ticker import hush
from pgbench.worlds.checks import check_env

SAVE_AT_MOST = 0.02  # share of the run's time that checkpoints may take
SAVE_AT_LEAST_S = 10.0  # but not more often than this


def due_to_save(every: float | None, cost: float, saved_at: float) -> bool:
    """Whether a checkpoint is due: every so many seconds, or as often as its cost (s) allows."""
    if every is None:
        every = max(SAVE_AT_LEAST_S, cost / SAVE_AT_MOST)
    return time.monotonic() - saved_at >= every


class Interrupted(Exception):
    """The user asked to stop; the run was saved and continues with the same command."""


def build(plan: Plan) -> tuple[Algorithm, Any, Loop]:
    """The algorithm, its environment and the loop between them.

    Raises: PgbenchError if the config does not fit the environment.
    """
    torch.set_num_threads(plan.threads)
    num_envs = getattr(plan.config, "num_envs", 1)
    env = make(plan.env, num_envs=num_envs, **plan.env_kwargs)
    check_env(env, plan.env.id, num_envs, promises(plan.env))
    setup = Setup(
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        budget=plan.budget,
        seed=train_seed(plan.env.name, plan.seed, "algorithm", purpose=plan.purpose),
        device=torch.device(plan.device),
        compile=plan.compile,
        env=env,
    )
    algorithm: Algorithm = resolve(plan.algo)(plan.config, setup)
    loop = load_loop(plan.loop)(
        algorithm,
        env,
        plan.budget,
        train_seed(plan.env.name, plan.seed, "loop", purpose=plan.purpose),
    )
    check_made(loop, plan.loop.name)
    return algorithm, env, loop


class Run:
    """One run in its folder; `go` brings it to its end from wherever it stands."""

    def __init__(
        self,
        plan: Plan,
        runs: Path,
        progress: Progress | None = None,
        save_every: float | None = None,
        trackers: Sequence[str] = (DEFAULT,),
    ) -> None:
        self.plan, self.folder = plan, plan.folder(runs)
        self.progress = progress or Progress(quiet=True)
        self.trackers = trackers  # where metrics go, too; no part of what the run is
        self.save_every = save_every  # seconds; None: as often as SAVE_AT_MOST allows
        self.curve: list[dict[str, Any]] = []
        self.spent = {"wall_s": 0.0, "cpu_s": 0.0, "evaluate_s": 0.0, "checkpoint_s": 0.0}
        self.created = provenance.utc_now()
        self.golden = ""
        self.resumed = 0
        self.before: dict[str, Any] | None = None  # the record of the start before this one
        self.stop = False
        self.evaluating = False
        self.due = False  # whether an evaluation was interrupted, which a resumed run makes first

    @property
    def checkpoint(self) -> Path:
        """The one file that a resumed run starts from."""
        return self.folder / "checkpoint" / "state.pt"

    def go(self, fresh: bool = False) -> dict[str, Any]:
        """Run to the end and return the record; a finished run returns at once.

        Raises: PgbenchError for bad input (nothing is written), Interrupted after a stop signal.
        Any other failure becomes a record of status `failed`.
        """
        ended = self.opened(fresh)
        if ended is not None:
            return ended
        with hush(self.progress.quiet):
            self.algorithm, self.env, self.loop = build(self.plan)
        try:
            self.same_environment()
            with only_process(self.folder), on_stop(self._stop):
                return self._train()
        finally:
            self.env.close()

    def opened(self, fresh: bool) -> dict[str, Any] | None:
        """Look into the folder: the record of a finished run, None where there is work left."""
        if fresh and self.folder.exists():
            self._set_aside()
        if (self.folder / "run.json").exists():
            record = read_run(self.folder)
            self.golden = record["environment"]["golden"]
            if record["status"] == "finished":
                self.same_environment()
                tidy(self.folder)
                catch_up(self.folder, record, self.trackers, self.progress)
                return record
            self._same_execution(record)
            self.before = record
        elif self.folder.exists() and any(p.name[0] != "." for p in self.folder.iterdir()):
            raise PgbenchError(
                f"{self.folder} has files but no run.json, so it cannot be trusted; "
                "move it away or give --fresh"
            )
        return None

    def _set_aside(self) -> None:
        with only_process(self.folder):  # never from under a process that works there
            number = 1
            while (aside := self.folder.with_name(f"{self.folder.name}.old{number}")).exists():
                number += 1
            self.folder.rename(aside)

    def _same_execution(self, record: dict[str, Any]) -> None:
        """Continue on the device and with the threads that the run began with: same bits."""
        how = record["execution"]
        choose_device(how["device"])
        self.plan = replace(self.plan, **{k: how[k] for k in ("device", "compile", "threads")})

    def same_environment(self) -> None:
        """Take the environment's fingerprint; a run cannot continue on another one."""
        found = golden(self.plan.env, self.plan.env_kwargs)
        if self.golden not in ("", found):
            raise PgbenchError(
                f"{self.plan.env.name} is not the environment that {self.folder} began with (its "
                "fingerprint differs: another version of the simulator?); restore the packages "
                "that run.json names, or start over with --fresh"
            )
        self.golden = found

    def _train(self) -> dict[str, Any]:
        lived = self.lived()
        offset = self._resume() if self.checkpoint.exists() else 0
        self.started(lived, offset)
        self.saved_at, self.save_cost = self.began, 0.0
        self.progress.start(self.plan, self.loop.steps, self.loop.budget, offset > 0)
        if note := getattr(self.env, "note", ""):
            self.progress.note(note)
        try:
            if self.due:
                self.evaluate_if_due()
            for phase in self.loop.phases():
                self._after(phase)
            return self.finish()
        except Interrupted:
            self._save()
            self.write("interrupted")
            raise
        except Exception as error:
            if isinstance(error, PgbenchError) and not isinstance(error, Breach | Diverged):
                raise
            record = self.write("failed", error=error)
            if isinstance(error, Diverged):
                return record
            raise
        finally:
            self.progress.stop()
            self.log.close()

    def started(self, lived: float, offset: int) -> None:
        """Count this start, after `lived` seconds of earlier ones; the log goes on at `offset`."""
        # What a kill undid was spent all the same, and it was a start, whether or not it saved.
        if self.before is not None:
            self.created = self.before["created"]
            self.resumed = int(self.before["provenance"]["resumed"]) + 1
            self.spent["wall_s"] = max(self.spent["wall_s"], lived)
        self.began, self.cpu_began = time.monotonic(), time.process_time()
        self.write("running")  # first of all: without it a killed run's folder is not trusted
        self.log = Log(self.folder, self.loop.steps, offset, self.trackers, self.progress)

    def lived(self) -> float:
        """Seconds of wall time until the last sign of life of the starts before this one.

        The record is written at every start; log and checkpoint grow after it until the end,
        however sudden.
        """
        if self.before is None:
            return 0.0
        start = (self.folder / "run.json").stat().st_mtime
        signs = [file for file in (self.folder / "events.jsonl", self.checkpoint) if file.exists()]
        last = max([start, *(file.stat().st_mtime for file in signs)])
        return float(self.before["cost"]["wall_s"]) + last - start

    def _after(self, phase: Phase) -> None:
        """Log, evaluate and save after a phase; leave if the user asked for it."""
        self.note(phase)
        self.evaluate_if_due()
        if self.stop:
            raise Interrupted
        if due_to_save(self.save_every, self.save_cost, self.saved_at):
            self._save()

    def note(self, phase: Phase) -> None:
        """Log what a phase gave, and show where the run stands."""
        loop = self.loop
        if phase.metrics:
            values = torch.stack([v.float().reshape(()) for v in phase.metrics.values()]).tolist()
            metrics = dict(zip(phase.metrics, values, strict=True))
            bad = [name for name, value in metrics.items() if not math.isfinite(value)]
            if bad:
                raise Diverged(
                    f"{', '.join(bad)} not finite after {loop.steps} {self.plan.loop.unit}"
                )
            if loop.episodes.mean is not None:
                metrics["train_return"] = loop.episodes.mean
            self.log.write("train", loop.steps, metrics)
        self.progress.update(loop.steps, loop.episodes.mean, phase.metrics)

    def evaluate_if_due(self) -> None:
        """Add a point to the curve, whose last one is the final evaluation."""
        loop, points = self.loop, self.plan.protocol.curve_points
        if (
            loop.steps * points >= loop.budget * (len(self.curve) + 1)
            and len(self.curve) < points - 1
        ):
            self.due = True
            result = self._evaluate(self.plan.protocol.curve_episodes)
            self.due = False
            self.curve.append({"step": loop.steps, "mean": result.mean, "n": len(result.returns)})
            self.log.write("evaluate", loop.steps, {"return": result.mean})
            self.progress.evaluated(result.mean)

    def _evaluate(self, episodes: int) -> Evaluation:
        began = time.monotonic()
        self.evaluating = True
        if self.stop:  # asked for just now
            raise Interrupted
        result = evaluate(
            self.loop.policy, self.plan.env, episodes, env_kwargs=dict(self.plan.env_kwargs),
            purpose=self.plan.purpose,
        )  # fmt: skip
        self.evaluating = False
        self.spent["evaluate_s"] += time.monotonic() - began
        if result.cut:
            self.progress.note(
                f"{result.cut} of {episodes} evaluation episodes had not ended after "
                f"{max(result.lengths):,} steps and were cut off there"
            )
        if not math.isfinite(result.mean):
            raise Diverged(
                f"evaluation gave {result.mean} after {self.loop.steps} {self.plan.loop.unit}"
            )
        return result

    def costs(self) -> dict[str, float]:
        """Seconds spent so far, by what they were spent on; of a stack's CPU time its share."""
        now = {
            "wall_s": time.monotonic() - self.began,
            "cpu_s": (time.process_time() - self.cpu_began) / max(self.plan.stack, 1),
        }
        return {key: value + now.get(key, 0.0) for key, value in self.spent.items()}

    def _save(self) -> None:
        began = time.monotonic()
        save_tensors(self.checkpoint, {**self.state(), "loop": self.loop.state_dict()})
        self.saved_at = time.monotonic()
        self.save_cost = self.saved_at - began
        self.spent["checkpoint_s"] += self.save_cost

    def state(self) -> dict[str, Any]:
        """What is to be saved beside the loop."""
        return {
            "algorithm": self.algorithm.state_dict(),
            "curve": self.curve,
            "spent": self.costs(),
            "created": self.created,
            "due": self.due,
            "events": self.log.sync(),
        }

    def _resume(self) -> int:
        """Load the checkpoint; returns the length of the event log that belongs to it."""
        same_origin(self.algorithm, read_run(self.folder)["algorithm"], self.folder)
        state = load_tensors(self.checkpoint)
        with whole(self.checkpoint):
            offset = self.restore(state)
            self.loop.load_state_dict(state["loop"])
        return offset

    def restore(self, state: dict[str, Any]) -> int:
        """Put back what `state` gave; returns the length of the event log."""
        self.algorithm.load_state_dict(state["algorithm"])
        self.curve, self.created = list(state["curve"]), str(state["created"])
        self.spent = {key: float(state["spent"][key]) for key in self.spent}
        self.due = bool(state.get("due", False))
        return int(state["events"])

    def finish(self) -> dict[str, Any]:
        """Evaluate the final policy, save it and record it."""
        state = self.algorithm.state
        bad = [name for name in self.algorithm.trained if not bool(state[name].isfinite().all())]
        if bad:
            raise Diverged(f"the parameters {', '.join(bad)} are not finite at the end")
        final = self._evaluate(self.plan.protocol.episodes)
        point = {"step": self.loop.steps, "mean": final.mean, "n": len(final.returns)}
        self.curve.append(point)
        self.log.write("evaluate", self.loop.steps, {"return": final.mean})
        self.log.sync()
        if judged := getattr(self.loop.policy, "judged", None):
            write_bytes(self.folder / responses.FILE, responses.to_lines(judged))
        moments = self.loop.policy.moments
        save_tensors(
            self.folder / "policy.pt",
            {
                "algorithm": self.algorithm.policy_state(),
                "moments": moments.state if moments else None,
            },
        )
        record = self.write("finished", final=final)
        shutil.rmtree(self.checkpoint.parent, ignore_errors=True)  # else `tidy` does, next time
        return record

    def write(
        self, status: str, final: Evaluation | None = None, error: Exception | None = None
    ) -> dict[str, Any]:
        """The record as the run stands, written to its folder."""
        record = make_record(self, status, final, error)
        save_run(self.folder, record)
        return record

    def _stop(self) -> None:
        self.stop = True
        if self.evaluating:  # changes nothing of the run: given up here, made again on resume
            raise Interrupted
        self.progress.note("stopping after this phase; press Ctrl-C again to stop at once")
