"""A small bubblewrap for machines without one: a read-only root in namespaces of its own.

Runs in a process of its own, started by `sandbox.py` with a plan as JSON; ends by executing the
server. Needs root, or a kernel that lets its users make user namespaces.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pgbench.verify import _kernel


def main(text: str) -> None:
    """Build the root of the plan, become it, execute the plan's command. Raises: OSError."""
    plan = json.loads(text)
    _kernel.die_with_parent()
    me, group = os.getuid(), os.getgid()
    flags = _kernel.NEWNS | _kernel.NEWPID | _kernel.NEWNET | _kernel.NEWIPC | _kernel.NEWUTS
    _kernel.unshare(flags | (_kernel.NEWUSER if me else 0))
    if me:
        for name, line in (("setgroups", "deny"), ("uid_map", f"{me} {me} 1"),
                           ("gid_map", f"{group} {group} 1")):  # fmt: skip
            Path("/proc/self", name).write_text(line)
    child = os.fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    _kernel.die_with_parent()
    _build(plan)
    os.chdir("/")
    os.execve(plan["command"][0], plan["command"], plan["environment"])


def _build(plan: dict[str, Any]) -> None:
    """Mount everything under a new tmpfs, which becomes the root; the old one disappears."""
    quiet = _kernel.MS_NOSUID | _kernel.MS_NODEV
    _kernel.mount("none", "/", "", _kernel.MS_REC | _kernel.MS_PRIVATE)
    # Over /tmp, which exists everywhere; what a plan takes from there is found below /old.
    _kernel.mount("tmpfs", "/tmp", "tmpfs", quiet, "mode=755")
    os.makedirs("/tmp/new")
    os.makedirs("/tmp/old")
    _kernel.pivot_root("/tmp", "/tmp/old")
    os.chdir("/")
    _kernel.mount("tmpfs", "/new", "tmpfs", quiet, "mode=755")
    for source, target in plan["read_only"] + plan["devices"]:
        _bind(f"/old{source}", f"/new{target}")
    for _, target in plan["read_only"]:
        _kernel.make_read_only(f"/new{target}")
    for text, target in plan["links"]:
        Path(f"/new{target}").parent.mkdir(parents=True, exist_ok=True)
        os.symlink(text, f"/new{target}")
    for target in ["/tmp", *plan["empty"]]:
        os.makedirs(f"/new{target}", exist_ok=True)
        # Read-only: where the kernel has no Landlock, a file in here would await the next case.
        _kernel.mount(
            "tmpfs", f"/new{target}", "tmpfs", quiet | _kernel.MS_RDONLY, "size=4k,mode=755"
        )
    os.makedirs("/new/proc")
    _kernel.mount("proc", "/new/proc", "proc", quiet | _kernel.MS_NOEXEC)
    _kernel.pivot_root("/new", "/new/tmp")
    os.chdir("/")
    _kernel.unmount("/tmp")
    attributes = _kernel.MS_BIND | _kernel.MS_REMOUNT  # the root itself alone
    _kernel.mount("none", "/", "", attributes | _kernel.MS_RDONLY | quiet)


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    _kernel.mount(source, target, "", _kernel.MS_BIND | _kernel.MS_REC)


if __name__ == "__main__":
    main(sys.argv[1])
