"""Where the jobs of a bench run: on this machine, on a Ray cluster, under SLURM.

Imports `support`. Start with `Launcher`, what the three have in common, then `local`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pgbench.errors import PgbenchError, install
from pgbench.support.names import unknown

LAUNCHERS = ("local", "ray", "slurm")


class Handle(Protocol):
    """One submitted job."""

    @property
    def where(self) -> str:
        """The place of the job, for the live table: `pid 123`, `node 10.0.0.2`, `slurm 4711`."""

    def poll(self) -> int | None:
        """The exit code, None while queued or running.

        Negative: the number of the signal that ended it; `worker.LOST` if its machine vanished,
        130 if it was stopped before it began, or before it could listen to the request.
        """

    def stop(self) -> None:
        """Ask the job to save and stop (SIGTERM to its process); harmless when it has ended."""

    def kill(self) -> None:
        """End a job that did not stop when it was asked; harmless when it has ended.

        Local and Ray: SIGKILL to its processes. SLURM: `scancel`, which kills after its KillWait.
        """


class Launcher(Protocol):
    """Starts jobs and says how they end."""

    slots: int  # jobs that may be in flight

    def submit(self, command: Sequence[str], log: Path) -> Handle:
        """Start `command` here or on a worker with the same file system; its output goes to `log`.

        Raises: PgbenchError if the job is refused.
        """

    def close(self) -> None:
        """Release what was started for this bench; the jobs of others go on."""


def make_launcher(
    name: str,
    *,
    jobs: int | None = None,
    address: str | None = None,
    options: Mapping[str, str] | None = None,
) -> Launcher:
    """The launcher of that name with room for `jobs` jobs (default: what the place has).

    Raises: PgbenchError for an unknown name or option, a missing package, a Ray cluster that does
    not answer, or a machine without SLURM.
    """
    if name not in LAUNCHERS:
        raise unknown("launcher", name, LAUNCHERS, f"there are {', '.join(LAUNCHERS)}")
    if jobs is not None and jobs < 1:
        raise PgbenchError(f"jobs is at least 1, not {jobs}")
    if address is not None and name != "ray":
        raise PgbenchError(f"an address is for the launcher ray; {name} has none")
    options = dict(options or {})
    if name == "local":
        from .local import LocalLauncher

        _only_known(name, options, ())
        return LocalLauncher(jobs)
    try:
        if name == "ray":
            from .ray import OPTIONS, RayLauncher

            _only_known(name, options, OPTIONS)
            return RayLauncher(jobs, address, options)
        from .slurm import OPTIONS as SLURM_OPTIONS
        from .slurm import SlurmLauncher

        _only_known(name, options, SLURM_OPTIONS)
        return SlurmLauncher(jobs, options)
    except ModuleNotFoundError as error:
        raise PgbenchError(f"{error.name} is not installed; run: {install(name)}") from error


def _only_known(launcher: str, options: Mapping[str, str], known: Sequence[str]) -> None:
    for option in options:
        if option not in known:
            see = f"there are {', '.join(known)}" if known else "it takes none"
            raise unknown(f"option of the launcher {launcher}", option, known, see)
