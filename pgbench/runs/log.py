"""Training metrics: JSON lines first; trackers have them from there (`trackers.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.runs.follow import FAILED, behind
from pgbench.runs.progress import Progress
from pgbench.runs.trackers import DEFAULT, Row, TensorBoard, error_line, read_rows
from pgbench.support.files import cannot_write

WAIT_S = 30.0  # for trackers, at a run's end
SOON_S = 2.0  # before the wait is explained


class Log:
    """`events.jsonl` of a run, cut back to a checkpoint when it resumes, and its trackers.

    A tracker never ends or changes a run: whatever it fails with is one line of warning.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        offset: int,
        trackers: Sequence[str] = (DEFAULT,),
        progress: Progress | None = None,
    ) -> None:
        self.path, self.progress = folder / "events.jsonl", progress or Progress(quiet=True)
        try:
            # Unbuffered: a bench reads it as it grows.
            self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115
            size = self.path.stat().st_size
            if offset > size:  # a checkpoint is written after the log is on the disk
                self.file.close()
                raise PgbenchError(
                    f"{self.path} is shorter ({size} bytes) than when the run was saved "
                    f"({offset}); restore it, or start this run again with --fresh"
                )
            # What was logged after the checkpoint will be logged again.
            self.file.truncate(offset)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.board: TensorBoard | None = None
        if DEFAULT in trackers:
            self._board(lambda: self._open_board(folder, steps))
        others = [name for name in trackers if name != DEFAULT]
        self.beside = Followers(folder, others, self.progress)

    def _open_board(self, folder: Path, steps: int) -> None:
        """Take back what will be logged again, and what has the same step and will not."""
        since = steps if (folder / "tensorboard").exists() else 0
        self.board = TensorBoard(folder, since)
        with open(self.path, "rb") as file:
            self.board.log(row for row in read_rows(file) if row.step >= since)

    def _board(self, do: Callable[[], Any]) -> None:
        try:
            do()
        except Exception as error:
            self.board = None
            self.progress.warn(f"{DEFAULT}: {error_line(error)}; the run goes on without it")

    def write(self, kind: str, step: int, metrics: dict[str, float]) -> None:
        """Log scalars at an environment step."""
        line = json.dumps({"kind": kind, "step": step, **metrics})
        try:
            self.file.write((line + "\n").encode())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        if board := self.board:
            row = Row(0, step, {f"{kind}/{name}": value for name, value in metrics.items()})
            self._board(lambda: board.log([row]))
        self.beside.look()

    def sync(self) -> int:
        """Bring everything to the disk; returns the length of `events.jsonl`."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        if board := self.board:
            self._board(board.flush)
        return self.file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """The record is written: let the trackers end, and wait for them for a while."""
        self.file.close()
        if board := self.board:
            self._board(lambda: board.close("", {}))
        self.beside.end()


def catch_up(
    folder: Path, record: dict[str, Any], trackers: Sequence[str], progress: Progress
) -> None:
    """Hand an ended run to those of the trackers that have not had all of it."""
    names = [name for name in trackers if name != DEFAULT and behind(folder, name, record)]
    if names and (folder / "events.jsonl").exists():
        Followers(folder, names, progress).end()


class Followers:
    """The processes in which a run's trackers live (`follow.py`)."""

    def __init__(self, folder: Path, names: Sequence[str], progress: Progress) -> None:
        self.folder, self.progress = folder, progress
        self.why: dict[str, str] = {}  # it failed
        self.living: dict[str, subprocess.Popen[bytes]] = {}
        for name in names:
            try:
                self.living[name] = self._start(name)
            except OSError as error:
                self._gone(name, error_line(error))

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        (self.folder / "trackers").mkdir(exist_ok=True)
        with open(self.folder / "trackers" / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                # -P: a file in the working folder that is called as a package is not it.
                [sys.executable, "-P", "-m", "pgbench.runs.follow", name, str(self.folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return process

    def _gone(self, name: str, why: str) -> None:
        self.progress.warn(
            f"{name}: {why}; the run goes on without it, and the same command sends the rest "
            "another time"
        )

    def look(self) -> None:
        """Pass on what the trackers have to say, and which of them have ended."""
        for name, process in list(self.living.items()):
            code = process.poll()
            assert process.stdout is not None
            lines = (process.stdout.read() or b"").decode(errors="replace").splitlines()
            for line in lines:
                if line.startswith(FAILED):
                    self.why[name] = line.removeprefix(FAILED)
                else:
                    self.progress.note(f"{name}: {line}")
            if code is not None:
                del self.living[name]
            if code:
                self._gone(name, self.why.get(name, f"its process ended with code {code}"))

    def end(self) -> None:
        """Let them finish, and leave those that take too long to themselves."""
        for process in self.living.values():
            with contextlib.suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
        began, said = time.monotonic(), False
        self.look()
        while self.living and time.monotonic() - began < WAIT_S:
            time.sleep(0.05)
            self.look()
            if self.living and not said and time.monotonic() - began > SOON_S:
                said = True
                self.progress.note(
                    f"{', '.join(self.living)}: taking the last of the run, a moment"
                )
        for name in self.living:
            self.progress.warn(
                f"{name}: not done after {WAIT_S:.0f} s, it goes on in the background; see "
                f"{self.folder}/trackers/{name}.log"
            )
        self.living.clear()
