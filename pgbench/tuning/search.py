"""Run the trials of a tuning: every seed a job, in parallel, resumable, nothing started is lost.

All trials are planned before the first run. What was done is in the journal (trials whose seeds
have all ended) and in the run folders (the rest), so after a kill the same command goes on: runs
continue from their checkpoints, and one that an orphaned job still works on is waited for.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgbench.bench.job import Job
from pgbench.bench.launchers import Handle, Launcher
from pgbench.errors import PgbenchError
from pgbench.records.record import read_run
from pgbench.statistics.intervals import mean
from pgbench.support.files import is_held, only_process
from pgbench.tuning import Tuning, counted, floor_of, same_study
from pgbench.tuning.journal import Journal, Seed

if TYPE_CHECKING:
    from pgbench.runs.plan import Plan

ATTEMPTS = 3  # starts of a run whose process dies (not of one that fails by itself)
PATIENCE_S = 60.0  # for a run to save itself when it is asked to stop
POLL_S = 0.1
HELD = "another process is working"  # a job's last line when the folder is taken


@dataclass
class Work:
    """One run: a trial with one seed."""

    study: int
    trial: int
    job: Job
    folder: Path
    state: str = "queued"  # queued, running, elsewhere, stopped, ended
    starts: int = 0
    handle: Handle | None = None
    result: Seed | None = None

    @property
    def name(self) -> str:
        """As messages name it."""
        return f"study {self.study}, trial {self.trial}, seed {self.job.seed}"

    @property
    def log(self) -> Path:
        """The output of its processes."""
        return self.folder.parent / f"{self.folder.name}.log"

    def progress(self) -> float:
        """Share of the budget that is spent, from the run's own log."""
        if self.state not in ("running", "elsewhere"):
            return 0.0
        return self.job.spent(self.folder)


@dataclass
class Search:
    """The studies of one tuning on one launcher; `go` returns when every run has ended."""

    tuning: Tuning
    runs: Path
    launcher: Callable[[], Launcher]  # called when there is something to run
    say: Callable[[str], None] = print
    view: Callable[[Search], None] = lambda search: None
    committed: Callable[[int, int, float], None] = lambda study, trial, score: None
    points: list[list[dict[str, Any]]] = field(default_factory=list)
    ended: list[list[list[Seed]]] = field(default_factory=list)  # study, trial, seed: the journal's
    works: list[Work] = field(default_factory=list)
    plans: dict[tuple[int, int], Plan] = field(default_factory=dict)  # of study and trial
    stopping: bool = False
    refused: str = ""
    log: str = "tensorboard"  # where the runs' metrics go, too

    @property
    def folder(self) -> Path:
        """Where everything of the studies is."""
        return self.tuning.folder(self.runs)

    @property
    def total(self) -> int:
        """Runs in all."""
        return self.tuning.studies * self.tuning.trials * self.tuning.seeds

    def spent(self) -> float:
        """Runs that have ended, and the share of those under way."""
        share = sum(1.0 if work.result else work.progress() for work in self.works)
        return self.total - len(self.works) + share

    def go(self) -> bool:
        """Run until every run has ended (True), or `stopping` is set and the runs have saved.

        Raises: PgbenchError if another process works on the same studies, the journal is damaged,
        or a job refuses its settings (the others save first).
        """
        folder, tuning = self.folder, self.tuning
        self.points = [tuning.points(k) for k in range(tuning.studies)]
        if not folder.exists():  # bad input leaves nothing behind
            for k in range(tuning.studies):
                for i in range(tuning.trials):
                    self._plan(k, i)
        with only_process(folder / "optuna"):  # not the whole: orphaned jobs may still write
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            same_study(folder / "study.json", tuning.digest)
            path = folder / "optuna" / "journal.log"
            self.journal = Journal(path, tuning.space, tuning.direction)
            self._queue()
            if self.works:
                launcher = self.launcher()
                try:
                    self._run(launcher)
                finally:
                    launcher.close()
        if self.refused:
            raise PgbenchError(self.refused)
        if self.stopping:
            return False
        for k, study in enumerate(self.ended):
            if len(study) < self.tuning.trials:
                raise PgbenchError(
                    f"all runs of study {k} failed and {self.tuning.base.env.id} has no random "
                    f"anchor to score them by (logs: {self.folder / 'runs'}); check the settings "
                    "with `pgbench run` first"
                )
        return True

    def _queue(self) -> None:
        """Read which trials have ended; make the runs of the others."""
        tuning, runs = self.tuning, self.folder / "runs"
        for k, points in enumerate(self.points):
            self.ended.append(self.journal.read(self._study_name(k), points))
            for i in range(len(self.ended[k]), tuning.trials):
                plan = self._plan(k, i)
                for seed in tuning.run_seeds(k):
                    job = replace(tuning.job(points[i], seed, runs), log=self.log)
                    self.works.append(Work(k, i, job, replace(plan, seed=seed).folder(runs)))

    def _plan(self, study: int, trial: int) -> Plan:
        """The plan of a trial, whose algorithm, environment and loop can be built.

        Raises: PgbenchError naming the trial if one of them refuses its settings.
        """
        if (study, trial) in self.plans:
            return self.plans[study, trial]
        from pgbench.runs.runner import build

        params = self.points[study][trial]
        try:
            plan = self.tuning.plan(params)
            config = plan.config
            if hasattr(config, "buffer"):  # its size is no reason to refuse, and costs memory
                config = replace(config, buffer=min(config.buffer, 1000))
            build(replace(plan, config=config, device="cpu", compile=False))[1].close()
        except PgbenchError as error:
            words = ", ".join(f"{key}={value}" for key, value in params.items())
            what = f"trial {trial} ({words})" if trial else "the defaults"
            raise PgbenchError(f"{what} cannot run: {error}") from error
        self.plans[study, trial] = plan
        return plan

    def _study_name(self, study: int) -> str:
        return f"{self.tuning.digest[:12]}-{study}"

    def _run(self, launcher: Launcher) -> None:
        deadline: float | None = None
        while True:
            for work in self.works:
                self._look(work)
            self._commit()
            self.view(self)
            running = [work for work in self.works if work.handle is not None]
            if self.stopping:
                if deadline is None:
                    deadline = time.monotonic() + PATIENCE_S
                    for work in running:  # once: a second signal means "at once" to a run
                        assert work.handle is not None
                        work.handle.stop()
                if not running or time.monotonic() > deadline:
                    return
            elif all(work.state == "ended" for work in self.works):
                return
            else:
                self._start(launcher, launcher.slots - len(running))
            time.sleep(POLL_S)

    def _start(self, launcher: Launcher, free: int) -> None:
        # Two trials may have drawn the same settings: one run serves both.
        busy = {work.folder for work in self.works if work.handle is not None}
        for work in self.works:
            if free <= 0 or self.stopping:
                return
            if work.folder in busy:
                continue
            if work.state == "elsewhere" and not is_held(work.folder):
                work.state = "queued"  # it ended, or died
            if work.state != "queued" or self._take(work):
                continue
            if work.folder.exists() and is_held(work.folder):
                work.state = "elsewhere"
                continue
            self._clear(work.folder)
            work.handle = launcher.submit(work.job.command(), work.log)
            work.state = "running"
            work.starts += 1
            busy.add(work.folder)
            free -= 1

    def _clear(self, folder: Path) -> None:
        """Empty the folder of a run that was killed before its first record: `Run` refuses it."""
        if not folder.exists():
            return
        with contextlib.suppress(PgbenchError), only_process(folder):
            if (folder / "run.json").exists():
                return
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != ".lock":  # the lock stays: another process may be opening it
                    path.unlink()

    def _take(self, work: Work) -> bool:
        """Take the result of a run that has ended; whether it has."""
        if not (work.folder / "run.json").exists():
            return False
        try:
            record = read_run(work.folder)
        except PgbenchError as error:
            self._refuse(work, str(error))
            return True
        if record["status"] not in ("finished", "failed"):
            return False
        result = record["result"]
        self._end(
            work, record["status"], result["score"], result["failure"], result["error"],
            record["id"], result["checksum"],
        )  # fmt: skip
        return True

    def _end(
        self, work: Work, status: str, score: float | None, failure: str | None = None,
        error: str | None = None, record: str | None = None, checksum: str | None = None,
    ) -> None:  # fmt: skip
        work.state = "ended"
        work.result = {
            "seed": work.job.seed,
            "status": status,
            "score": score,
            "failure": failure,
            "error": error,
            "record": record,
            "checksum": checksum,
        }

    def _look(self, work: Work) -> None:
        """Move a run on by how its process ended."""
        code = None if work.handle is None else work.handle.poll()
        if code is None:
            return
        work.handle = None
        if self._take(work):
            return
        if self.stopping:
            work.state = "stopped"
        elif code == 130 or (code == 2 and HELD in self._last_line(work)):
            work.state = "queued"  # stopped by hand, or an orphan was faster: begin or wait again
        elif code == 2:
            self._refuse(work, self._last_line(work))
        elif work.starts < ATTEMPTS:
            work.state = "queued"
            self.say(f"{work.name}: its process ended with code {code}; started again")
        else:
            why = f"killed: its process ended {ATTEMPTS} times, at last with code {code}"
            self._end(work, "failed", None, "killed", why)
            self.say(f"{work.name}: {why} (log: {work.log})")

    def _refuse(self, work: Work, why: str) -> None:
        """Stop everything: what a job refuses is wrong with the study or with the machine."""
        self.refused = self.refused or (
            f"{work.name} cannot go on: {why} (log: {work.log}); "
            "mend that, then the same command goes on"
        )
        work.state, self.stopping = "stopped", True

    def _last_line(self, work: Work) -> str:
        with contextlib.suppress(OSError):
            lines = work.log.read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1].removeprefix("pgbench: ")
        return "it said nothing"

    def _commit(self) -> None:
        """Write ended trials to the journal, in their order: a trial's number is its place."""
        for k, done in enumerate(self.ended):
            while len(done) < self.tuning.trials:
                seeds = self._results(k, len(done))
                if seeds is None:
                    break
                values = counted(seeds, self._floor(k))
                if values is None:  # a failed run, and the worst score is not known yet
                    break
                score = mean(values)
                self.journal.add(self._study_name(k), self.points[k][len(done)], score, seeds)
                done.append(seeds)
                self.committed(k, len(done) - 1, score)

    def _results(self, study: int, trial: int) -> list[Seed] | None:
        mine = [w.result for w in self.works if (w.study, w.trial) == (study, trial)]
        return None if None in mine else [result for result in mine if result is not None]

    def _floor(self, study: int) -> float | None:
        """What a failed run scores, once that is certain."""
        if not self.tuning.base.env.anchors.get("random") and any(
            work.result is None for work in self.works if work.study == study
        ):
            return None
        done = self.ended[study]
        rest = range(len(done), self.tuning.trials)
        known = [*done, *(self._results(study, trial) or [] for trial in rest)]
        return floor_of(self.tuning, known).score

    def stop(self) -> None:
        """Let the runs save themselves and stop; `go` returns when they have."""
        self.stopping = True
        self.say("stopping: the runs save themselves; press Ctrl-C again to leave them behind")
