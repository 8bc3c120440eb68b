"""One run of a suite as a command of its own: `python -m pgbench.bench.job '<json>'`.

Exit codes are the command line's: 0 finished, 1 failed (and recorded), 2 bad input, 130 stopped.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgbench.errors import PgbenchError
from pgbench.support.strict import plain

if TYPE_CHECKING:
    from pgbench.runs.plan import Plan


@dataclass(frozen=True)
class Job:
    """The words that a run is resolved from, and the folder of all runs."""

    algo: str
    env: str
    seed: int
    budget: int
    runs: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, int] = field(default_factory=dict)
    purpose: str = "board"
    tuning: Mapping[str, Any] | None = None
    device: str = "cpu"
    threads: int = 1
    log: str = "tensorboard"  # where metrics go, too

    def command(self) -> list[str]:
        """The command line that does it."""
        return [sys.executable, "-m", "pgbench.bench.job", json.dumps(asdict(self))]

    def spent(self, folder: Path) -> float:
        """Share of the budget that the run in `folder` has spent, from its own log; 0 without one.

        The log grows meanwhile, so a last line may be torn: whatever cannot be read counts as 0.
        """
        try:
            with open(folder / "events.jsonl", "rb") as file:
                file.seek(max(0, file.seek(0, 2) - 2000))
                last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
            return float(plain(last, "events.jsonl")["step"] / self.budget)
        except (OSError, PgbenchError, KeyError, TypeError):
            return 0.0

    def plan(self) -> Plan:
        """The run, resolved.

        Raises: PgbenchError for anything unknown or incompatible.
        """
        from pgbench.runs.plan import Protocol, make_plan

        return make_plan(
            self.algo, self.env, seed=self.seed, budget=self.budget, settings=self.settings,
            protocol=Protocol(**self.protocol), device=self.device, threads=self.threads,
            purpose=self.purpose, tuning=self.tuning,
        )  # fmt: skip


def do(job: Job) -> int:
    """Bring the job's run to its end from wherever it stands; returns the exit code."""
    from pgbench.runs.runner import Interrupted, Run
    from pgbench.runs.trackers import parse_log

    # Runs in parallel share the machine: each steps its environments on its own threads alone.
    os.environ.setdefault("PGBENCH_ENV_THREADS", str(job.threads))
    plan = job.plan()
    try:
        record = Run(plan, Path(job.runs), trackers=parse_log(job.log)).go()
    except Interrupted:
        return 130
    return 0 if record["status"] == "finished" else 1


if __name__ == "__main__":
    from pgbench.support.reporting import report_errors

    report_errors(lambda words: sys.exit(do(Job(**json.loads(words[0])))))
