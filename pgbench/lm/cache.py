"""Where made and converted models are kept, each made once."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pgbench.support.files import lock as wait_for


def cache_folder() -> Path:
    """Where made and converted models are kept: $PGBENCH_CACHE, or ~/.cache/pgbench."""
    return Path(os.environ.get("PGBENCH_CACHE") or Path.home() / ".cache" / "pgbench")


@contextlib.contextmanager
def making(target: Path) -> Iterator[Path | None]:
    """A temporary folder that becomes `target` if all goes well; None if it is there already.

    Processes that want the same folder wait for the one that makes it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_name(f".{target.name}.lock"), "w") as lock:
        wait_for(lock)
        if target.is_dir():
            yield None
            return
        for dead in target.parent.glob(f".{target.name}.[0-9]*"):  # the lock is ours: nobody's now
            shutil.rmtree(dead)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        temporary.mkdir()
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
