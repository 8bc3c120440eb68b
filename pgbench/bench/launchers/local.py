"""Jobs as processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pgbench.errors import PgbenchError

from .worker import SINGLE_THREADED, ended


class LocalLauncher:
    """One process a job; the jobs outlive a bench that is killed."""

    def __init__(self, jobs: int | None = None) -> None:
        self.slots = jobs or os.cpu_count() or 1

    def submit(self, command: Sequence[str], log: Path) -> LocalHandle:
        """Start `command` in a session of its own: Ctrl-C in the terminal reaches the bench only.

        Raises: PgbenchError if the command cannot be started.
        """
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with open(log, "ab") as file:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=SINGLE_THREADED | os.environ,
                    start_new_session=True,
                )
        except OSError as error:
            raise PgbenchError(f"cannot start a job: {error}") from error
        return LocalHandle(process)

    def close(self) -> None:
        """Nothing to release."""


class LocalHandle:
    """A process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process, self.asked = process, False
        self.where = f"pid {process.pid}"

    def poll(self) -> int | None:
        """See `Handle`."""
        code = self.process.poll()
        return None if code is None else ended(code, self.asked)

    def stop(self) -> None:
        """See `Handle`."""
        if not self.asked:  # a second request would mean: at once
            self.asked = True
            self.process.terminate()

    def kill(self) -> None:
        """See `Handle`; its children, which are in its session, end with it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
