"""Jobs under SLURM, through submitit; the cluster `local` tries the same path on this machine."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError

from .worker import STOPPED, lost, run

PASSED_ON = ("partition", "account", "qos", "constraint", "nodelist", "exclude", "gres", "mem")
COUNTS = {"time": "timeout_min", "cpus_per_task": "cpus_per_task", "gpus": "gpus_per_node"}
OPTIONS = ("cluster", *COUNTS, *PASSED_ON)  # as sbatch reads them; time in minutes
IN_FLIGHT = 64
DAY_MIN = 24 * 60  # submitit always sets a limit: 5 minutes if nobody says
LIST_EVERY_S, STOPPING_EVERY_S = 30.0, 2.0  # squeue is asked so often
GRACE_S = 60.0  # for the result of a job that left the queue to appear on a network file system
REPEAT_EVERY_S = 5.0  # the request to stop


class SlurmLauncher:
    """One SLURM job a job; submitit keeps its files in `.submitit` beside the logs."""

    def __init__(self, jobs: int | None, options: Mapping[str, str]) -> None:
        import submitit

        self.submitit = submitit
        self.cluster = options.get("cluster", "slurm")
        if self.cluster not in ("slurm", "local"):
            raise PgbenchError(f"option cluster is slurm or local, not '{self.cluster}'")
        missing = [tool for tool in ("sbatch", "srun") if shutil.which(tool) is None]
        if self.cluster == "slurm" and missing:
            raise PgbenchError(
                f"SLURM is not here: no {missing[0]} on the PATH; run this on a login node, "
                "or give the option cluster=local to try the launcher on this machine"
            )
        self.slots = jobs or IN_FLIGHT
        self.parameters: dict[str, Any] = {"name": "pgbench", "timeout_min": DAY_MIN}
        self.parameters |= {f"slurm_{k}": options[k] for k in PASSED_ON if k in options}
        for option in COUNTS.keys() & options.keys():
            if not options[option].isdecimal():
                raise PgbenchError(
                    f"option {option} of the launcher slurm is a whole number, "
                    f"not '{options[option]}'"
                )
            self.parameters[COUNTS[option]] = int(options[option])
        if "cpus_per_task" in options:  # srun does not take it over from sbatch
            self.parameters["slurm_srun_args"] = [f"--cpus-per-task={options['cpus_per_task']}"]
        self.executors: dict[Path, Any] = {}
        self.states: dict[str, str] = {}
        self.listed = -LIST_EVERY_S

    def submit(self, command: Sequence[str], log: Path) -> SlurmHandle:
        """Queue `command`; it runs in this process's working folder.

        Raises: PgbenchError if sbatch refuses the job.
        """
        log = log.absolute()
        folder = log.parent / ".submitit"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if folder not in self.executors:
                executor = self.submitit.AutoExecutor(folder, cluster=self.cluster)
                executor.update_parameters(**self.parameters)
                self.executors[folder] = executor
            with _outside_allocation():
                job = self.executors[folder].submit(run, list(command), log, Path.cwd())
        except (RuntimeError, OSError) as error:
            raise PgbenchError(f"SLURM refused the job: {' '.join(str(error).split())}") from error
        return SlurmHandle(self, job, log)

    def close(self) -> None:
        """Nothing to release."""

    def state(self, job: Any, within_s: float = LIST_EVERY_S) -> str:
        """The job's state as squeue shows it, at most `within_s` seconds old; empty when gone.

        One call for all jobs, and no need of SLURM's accounting.
        """
        now = time.monotonic()
        if self.cluster == "local":
            self.listed = now
            return "" if job.done() else "RUNNING"
        if now - self.listed >= within_s:
            words = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%A %T"]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode == 0:  # else the controller is away: nothing new is known
                self.states = dict(line.split()[:2] for line in done.stdout.splitlines())
                self.listed = now
        return str(self.states.get(job.job_id, ""))


class SlurmHandle:
    """A submitit job, whose result is the exit code."""

    def __init__(self, launcher: SlurmLauncher, job: Any, log: Path) -> None:
        self.launcher, self.job, self.log = launcher, job, log
        self.where = f"{launcher.cluster} {job.job_id}"
        self.ended: int | None = None
        self.seen = time.monotonic()
        self.asked: float | None = None  # when it was last asked to stop

    def poll(self) -> int | None:
        """See `Handle`."""
        if self.ended is not None:
            return self.ended
        local, asked = self.launcher.cluster == "local", self.asked is not None
        there = self.launcher.state(self.job, STOPPING_EVERY_S if asked else LIST_EVERY_S)
        if there:
            self.seen = self.launcher.listed
        if self.job.paths.result_pickle.exists() and not (local and there):
            self.ended = self._result()
        elif not there and self.launcher.listed - self.seen >= (0 if local or asked else GRACE_S):
            self.ended = STOPPED if asked else lost(self.log, f"{self.where} left no exit code")
        elif self.asked is not None and time.monotonic() - self.asked >= REPEAT_EVERY_S:
            self._ask()  # a signal to a job that was about to begin may be lost
        return self.ended

    def stop(self) -> None:
        """See `Handle`; a job that waits in the queue is withdrawn."""
        if self.poll() is None and self.asked is None:
            self._ask()

    def kill(self) -> None:
        """See `Handle`."""
        if self.poll() is not None:
            return
        if self.launcher.cluster == "local":
            # The job before its guard, whose death would ask it to stop.
            for process in reversed(_with_descendants(int(self.job.job_id))):
                with contextlib.suppress(ProcessLookupError):  # it ended just now
                    os.kill(process, signal.SIGKILL)
        else:
            subprocess.run(["scancel", self.job.job_id], capture_output=True)

    def _ask(self) -> None:
        self.asked = time.monotonic()
        if self.launcher.cluster == "local":
            os.kill(int(self.job.job_id), signal.SIGTERM)
        elif self.launcher.state(self.job, STOPPING_EVERY_S) == "PENDING":
            subprocess.run(["scancel", self.job.job_id], capture_output=True)
        else:  # not SIGTERM: depending on the cluster SLURM gives that to every process, or to one
            subprocess.run(["scancel", "--signal=USR2", self.job.job_id], capture_output=True)

    def _result(self) -> int:
        from submitit.core.utils import UncompletedJobError

        try:
            return int(self.job.result())
        except UncompletedJobError as error:
            return lost(self.log, " ".join(str(error).split()))


def _with_descendants(process: int) -> list[int]:
    """The process and all that it started, which submitit leaves alone; Linux alone tells."""
    try:
        words = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        words = []
    return [process, *(other for word in words for other in _with_descendants(int(word)))]


@contextlib.contextmanager
def _outside_allocation() -> Iterator[None]:
    """Where the bench itself is a SLURM job, hide the settings of that job from sbatch."""
    inside = {
        name: value
        for name, value in os.environ.items()
        if "SLURM_JOB_ID" in os.environ
        and name.startswith(("SLURM_", "SRUN_"))
        and name != "SLURM_CONF"  # submitit's clean_env takes that away too
    }
    for name in inside:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(inside)
