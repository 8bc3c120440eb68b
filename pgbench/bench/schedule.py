"""Run what a suite still lacks: in parallel, resumable, every started run counted.

The state of a bench is the run folders and the board's records, nothing else: killed at any moment,
the same command goes on. A run that another process works on (an earlier bench that was killed, or
another machine on the same disk) is waited for, not started again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgbench.bench.job import Job
from pgbench.bench.launchers import Handle, Launcher
from pgbench.catalogue.fingerprint import golden
from pgbench.catalogue.registry import find_env
from pgbench.errors import PgbenchError
from pgbench.records import ledger
from pgbench.records.record import Entry, read_run, record_id, save_run
from pgbench.records.rules import ENDED, obey
from pgbench.records.suite import Cell, Suite
from pgbench.settings.config import digest
from pgbench.support.files import HELD, is_held, only_process

ATTEMPTS = 3  # starts of a run whose process dies (not of one that fails by itself)
PATIENCE_S = 60.0  # for a run to save itself when it is asked to stop
POLL_S = 0.2


@dataclass
class Task:
    """A cell of the suite and where its run stands."""

    cell: Cell
    job: Job
    folder: Path
    run: tuple[str, int]  # identity's digest and seed, as the board knows it
    state: str = "queued"  # queued, running, elsewhere, finished, failed, refused, stopped
    score: float | None = None
    note: str = ""
    starts: int = 0
    began: float | None = None  # when its own record was first seen
    handle: Handle | None = None
    asked: bool = False  # to stop; a second time would mean "at once"
    late: float | None = None  # when it had had the suite's time
    killed: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it here."""
        return self.state in ("finished", "failed", "refused", "stopped")

    def progress(self) -> float:
        """Share of the budget that is spent, from the run's own log."""
        return self.job.spent(self.folder)


View = Callable[[Sequence[Task]], None]


@dataclass
class Bench:
    """One suite on one launcher; `go` returns when every selected run has ended."""

    suite: Suite
    launcher: Launcher | None  # None until there is something to run
    runs: Path
    records: Path  # the board's folder
    select: Callable[[Cell], bool] = lambda cell: True
    view: View = lambda tasks: None
    say: Callable[[str], None] = print
    also: Sequence[Entry] = ()  # records elsewhere that need no run here
    log: str = "tensorboard"  # where the runs' metrics go, too
    tasks: list[Task] = field(default_factory=list)
    stopping: bool = False

    def plan(self) -> list[Task]:
        """Every selected cell as a task; what is recorded already, and not withdrawn, has ended.

        Raises: PgbenchError if an environment here is not the suite's, or a cell does not resolve.
        """
        self._same_environments()
        for line in ledger.repair(self.records):
            self.say(line)
        old = ledger.read_board(self.records, self.rule) if self.records.is_dir() else []
        gone = ledger.withdrawn(self.records)
        recorded = {e.run: e.record for e in [*self.also, *old] if e.id not in gone}
        for cell in self.suite.cells():
            if not self.select(cell):
                continue
            job = self._job(cell)
            plan = job.plan()
            run = digest(plan.identity), cell.seed
            task = Task(cell, job, plan.folder(self.runs), run)
            if run in recorded:
                _ended(task, recorded[run])
            self.tasks.append(task)
        if not self.tasks:
            raise PgbenchError(f"nothing of {self.suite.name} is selected; loosen the filters")
        return self.tasks

    def rule(self, record: Any, where: str) -> None:
        """The suite's own rules, as the ledger asks for them."""
        obey(record, self.suite, where)

    def _job(self, cell: Cell) -> Job:
        settings = cell.settings
        given = {"class": "declared" if settings else "paper", "trials": 0}
        return Job(
            algo=cell.entry.algo,
            env=cell.env.id,
            seed=cell.seed,
            budget=cell.track.budget,
            runs=str(self.runs.resolve()),
            settings=settings,
            protocol=self.suite.protocol,
            tuning=given if cell.entry.declared else None,
            log=self.log,
        )

    def _same_environments(self) -> None:
        for env in self.suite.environments.values():
            spec = find_env(env.id)
            if spec.name != env.version:
                raise PgbenchError(
                    f"{self.suite.name} is for {env.version}, this pgbench has {spec.name}; "
                    "take the pgbench that the suite was made with, or a newer suite"
                )
            if golden(spec, env.kwargs) != env.golden:
                raise PgbenchError(
                    f"{env.version} is not what {self.suite.name} was made with: its fingerprint "
                    f"differs here; install {env.simulator or 'the versions of constraints.txt'} "
                    "(`pgbench doctor` shows what is installed)"
                )

    def go(self) -> list[Task]:
        """Run until every task has ended, or until `stopping` is set and the runs have saved."""
        if not self.tasks:
            self.plan()
        deadline: float | None = None
        while True:
            for task in self.tasks:
                self._look(task)
            if self.stopping:
                now = time.monotonic()
                deadline = deadline or now + PATIENCE_S
                for task in self._running():
                    self._ask_to_stop(task)
                if now > deadline or not self._running():
                    return self.tasks
            else:
                self._start()
            self.view(self.tasks)
            if all(task.ended for task in self.tasks):
                return self.tasks
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Let the runs save themselves and stop; `go` returns when they have."""
        self.stopping = True
        self.say("stopping: the runs save themselves; press Ctrl-C again to leave them behind")

    def collect(self) -> None:
        """Record every run that has ended, and start none."""
        for task in self.tasks or self.plan():
            if not task.ended and (record := self._ended_record(task)) is not None:
                self._record(task, record)

    def _running(self) -> list[Task]:
        return [task for task in self.tasks if task.handle is not None]

    def _start(self) -> None:
        assert self.launcher is not None
        free = self.launcher.slots - len(self._running())
        for task in self.tasks:
            if free <= 0:
                return
            if task.state != "queued":
                continue
            record = self._ended_record(task)
            if record is not None:  # an earlier bench ended before it could record it
                self._record(task, record)
            elif task.folder.exists() and is_held(task.folder):
                task.state = "elsewhere"
            else:
                task.folder.mkdir(parents=True, exist_ok=True)
                log = task.folder.parent / f"{task.folder.name}.log"
                task.handle = self.launcher.submit(task.job.command(), log)
                task.state, task.began = "running", None
                task.starts += 1
                free -= 1

    def _look(self, task: Task) -> None:
        """Move a task on by what its process, or its folder, says."""
        if task.state == "elsewhere" and not is_held(task.folder):
            task.state = "queued"  # it ended, or died: `_start` finds out which
        if task.handle is None:
            return
        code = task.handle.poll()
        if code is None:
            if task.began is None and (task.folder / "run.json").exists():
                task.began = time.monotonic()  # waiting for a slot or an import is not running
            if task.began and time.monotonic() - task.began > self.suite.limit_s:
                self._over_time(task)
            return
        task.handle = None
        if task.late:
            self._give_up(task, "timeout", f"not finished after {self.suite.limit_s:,.0f} s")
            return
        record = self._ended_record(task)
        if record is not None:
            self._record(task, record)
        elif code == 130:
            task.state = "stopped" if self.stopping else "queued"
        elif code == 2 and HELD in _last_line(task):
            # A run that an earlier bench had just started took its folder first: wait for it.
            task.state, task.starts = "queued", task.starts - 1
        elif code == 2:
            task.state, task.note = "refused", _last_line(task)
        elif self.stopping:
            task.state = "stopped"
        elif task.starts < ATTEMPTS:
            task.state = "queued"
            task.note = f"its process ended with code {code}; started again"
            self.say(f"{_name(task)}: {task.note} ({_last_line(task)})")
        else:
            why = f"its process ended {ATTEMPTS} times, at last with code {code}"
            self._give_up(task, "killed", why)

    def _ask_to_stop(self, task: Task) -> None:
        if task.handle is not None and not task.asked:
            task.asked = True
            task.handle.stop()

    def _over_time(self, task: Task) -> None:
        """End a run that has had its time: it may save itself, and is killed if it does not.

        It keeps its slot until its process has ended (`_look` makes the record then), so that
        nothing goes on where nobody counts it.
        """
        assert task.handle is not None
        task.late = task.late or time.monotonic()
        self._ask_to_stop(task)
        if time.monotonic() - task.late > PATIENCE_S and not task.killed:
            task.killed = True
            task.handle.kill()

    def _give_up(self, task: Task, failure: str, why: str) -> None:
        """Make a failed record of a started run: everything that was started counts."""
        try:
            record = read_run(task.folder)
            with only_process(task.folder):
                record = {
                    **record,
                    "status": "failed",
                    "result": {
                        **record["result"],
                        "failure": failure,
                        "error": f"{failure}: {why}",
                    },
                }
                record["id"] = record_id(record)
                save_run(task.folder, record)
        except PgbenchError as error:
            task.state, task.note = "refused", f"{why}; no record: {error}"
            return
        self._record(task, record)

    def _ended_record(self, task: Task) -> dict[str, Any] | None:
        if not (task.folder / "run.json").exists():
            return None
        with contextlib.suppress(PgbenchError):
            record = read_run(task.folder)
            if record["status"] in ENDED:
                return record
        return None

    def _record(self, task: Task, record: dict[str, Any]) -> None:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                ledger.add(self.records, [task.folder], self.rule)
                break
            except PgbenchError as error:  # another bench of this suite may be recording too
                if HELD not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(POLL_S)
        _ended(task, record)


def _ended(task: Task, record: Any) -> None:
    task.state = record["status"]
    task.score = record["result"]["score"]
    task.note = record["result"]["error"] or ""


def _name(task: Task) -> str:
    return f"{task.cell.entry.label} on {task.cell.env.id}, seed {task.cell.seed}"


def _last_line(task: Task) -> str:
    log = task.folder.parent / f"{task.folder.name}.log"
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        if lines:
            return lines[-1].removeprefix("pgbench: ")[:300]
    return f"see {log}"
