"""A control group of one's own, where the machine lets us make one: a hard limit of memory.

Version 2 needs a delegated subtree (root, or systemd's user session); version 1 needs root.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path

PREFIX = "pgbench-code-"


def _places() -> list[tuple[Path, str]]:
    """(a group in which ours might be made, the name of its limit), the likeliest first."""
    try:
        rows = [
            row.split(":", 2) for row in Path("/proc/self/cgroup").read_text().split("\n") if row
        ]
        mounts = [row.split() for row in Path("/proc/self/mounts").read_text().split("\n") if row]
    except OSError:
        return []
    found = []
    for _, controllers, own in rows:
        old = "memory" in controllers.split(",")
        if controllers and not old:
            continue
        for _, point, kind, options, *_ in mounts:
            if old and kind == "cgroup" and "memory" in options.split(","):
                found.append((Path(point + own), "memory.limit_in_bytes"))
                found.append((Path(point), "memory.limit_in_bytes"))
            elif not old and kind == "cgroup2":
                # A group with processes cannot have a limited child, so the one above, too.
                group = Path(point + own)
                found += [(group, "memory.max"), (group.parent, "memory.max")]
    return found


class Group:
    """A control group that holds one sandbox; `procs` is the file that takes process ids."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.procs = path / "cgroup.procs"

    def close(self) -> None:
        """Remove the group once its processes are gone; an empty one costs nothing."""
        for _ in range(50):
            try:
                self.path.rmdir()
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.01)


def make(memory: int) -> Group | None:
    """A group limited to `memory` bytes (and no swap), or None where none can be made."""
    for parent, name in _places():
        # Process ids repeat, in other containers at the same time: a random part keeps names apart.
        mine = f"{os.getpid()}-{_born(os.getpid())}"
        path = parent / f"{PREFIX}{mine}-{secrets.token_hex(8)}"
        try:
            _sweep(parent)
            path.mkdir()
        except OSError:
            continue
        try:
            (path / name).write_text(str(memory))
            (path / "cgroup.procs").read_text()
        except OSError:
            with contextlib.suppress(OSError):
                path.rmdir()
            continue
        swap = "memory.swap.max" if name == "memory.max" else "memory.memsw.limit_in_bytes"
        with contextlib.suppress(OSError):
            (path / swap).write_text("0" if name == "memory.max" else str(memory))
        return Group(path)
    return None


def _born(pid: int) -> str:
    """When a process started, in the kernel's ticks since boot; empty if there is none."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _sweep(parent: Path) -> None:
    """Remove the groups of processes that were killed before they could, also if one came after
    them that has the same process id.
    """
    for path in parent.glob(f"{PREFIX}*"):
        owner, _, rest = path.name.removeprefix(PREFIX).partition("-")
        if owner.isdigit() and _born(int(owner)) != rest.partition("-")[0]:
            with contextlib.suppress(OSError):
                path.rmdir()
