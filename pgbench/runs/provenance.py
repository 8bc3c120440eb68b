"""Where a run came from: code, packages, machine; and what it cost."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pgbench.errors import ROOT

PACKAGES = ("pgbench", "torch", "numpy", "scipy", "gymnasium", "mujoco")


def packages() -> dict[str, str]:
    """Installed versions of the packages that can change a score."""
    out = {}
    for name in PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


@functools.cache
def lock() -> str:
    """SHA-256 over name and version of every installed distribution."""
    found = {
        f"{d.metadata['Name'].lower()}=={d.version}" for d in importlib.metadata.distributions()
    }
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def ask_git(*words: str) -> str | None:
    """What git says of this package's checkout; None where it is none, or git fails."""
    if not (ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def git() -> dict[str, Any]:
    """Commit of this package's checkout and whether it has local changes; None where not in git."""
    # Records are data, not code: adding some does not make the code another.
    status = ask_git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!leaderboards")
    return {
        "commit": ask_git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
    }


def machine() -> dict[str, Any]:
    """Processor, cores, operating system, accelerator."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    gpu = None
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            gpu = torch.cuda.get_device_name()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "gpu": gpu,
    }


def peak_memory_mib() -> int:
    """Largest resident set of this process so far, MiB."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024) if sys.platform == "darwin" else peak // 1024


def utc_now() -> str:
    """The time as records carry it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
