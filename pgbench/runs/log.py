"""Training metrics: JSON lines first, TensorBoard beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pgbench.errors import PgbenchError
from pgbench.support.files import cannot_write


class Log:
    """`events.jsonl` and `tensorboard/` of a run, cut back to a checkpoint when it resumes."""

    def __init__(self, folder: Path, steps: int, offset: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "events.jsonl"
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
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=steps)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def write(self, kind: str, step: int, metrics: dict[str, float]) -> None:
        """Log scalars at an environment step."""
        line = json.dumps({"kind": kind, "step": step, **metrics})
        try:
            self.file.write((line + "\n").encode())
            for name, value in metrics.items():
                self.board.add_scalar(f"{kind}/{name}", value, step)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def sync(self) -> int:
        """Bring everything to the disk; returns the length of `events.jsonl`."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return self.file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Flush and close both."""
        self.file.close()
        self.board.close()
