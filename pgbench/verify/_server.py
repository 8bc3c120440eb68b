"""The warm fork server inside a sandbox: one fresh, fenced process for every request.

    python -S -s -P -B -c "...; main(CONTROL_FD, ISOLATE)"

The server itself never reads a submission or a test: their files go unread to the forked child, so
the next child, a copy of the server, cannot find them in its memory. Two such servers make a
worker: one forks the processes that hold submissions, the other those that hold tests.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import random
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
import types
from typing import Any, NamedTuple

from pgbench.verify import _judge, _kernel, _subject

WARM = """abc array ast base64 bisect calendar cmath collections contextlib copy csv
dataclasses datetime decimal enum fractions functools hashlib heapq io itertools json keyword math
numbers operator queue random re statistics string textwrap threading time traceback types typing
unicodedata""".split()
REHEARSALS = 20
FD_LINE, FD_RESULT = 3, 4
FIRST_LOOK, LOOK = 0.02, 0.01  # seconds until and between two looks at a case's memory
GOING = 0.1  # seconds for a process that closed its line to end by itself
UID = 1000  # inside the user namespace
OUTER_UID = 0x70000000  # outside, for root: an account that owns nothing and runs nothing else
SERVERS = 2  # own tasks under the same uid, counted with those of a case


class Facts(NamedTuple):
    """What the kernel offers to fence a child in, found once at the start."""

    isolate: bool
    own_pids: int  # file descriptor of the server's process namespace, -1 without one
    seccomp: bytes | None
    landlock: int
    base_memory: int  # bytes of address space of the bare server
    own: frozenset[str]  # processes of the sandbox that are there without a case


def enter_namespaces() -> None:
    """Go on as an unprivileged uid with power over its own namespaces alone; the caller waits.

    Raises: OSError: the kernel or its settings refuse.
    """
    started, go = os.pipe(), os.pipe()
    me, group = os.getuid(), os.getgid()
    child = os.fork()
    if child:
        os.read(started[0], 1)
        with contextlib.suppress(OSError):
            _write(f"/proc/{child}/setgroups", "deny")
        # Root maps to a uid that is nobody: the kernel does not count the processes of uid 0.
        for outer in ([OUTER_UID, 65534] if me == 0 else []) + [-1]:
            with contextlib.suppress(OSError):
                _write(f"/proc/{child}/uid_map", f"{UID} {me if outer < 0 else outer} 1")
                _write(f"/proc/{child}/gid_map", f"{UID} {group if outer < 0 else outer} 1")
                break
        os.write(go[1], b"x")
        _kernel.drop_capabilities()
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    _kernel.die_with_parent()
    _kernel.unshare(_kernel.NEWUSER | _kernel.NEWPID | _kernel.NEWNS)
    os.write(started[1], b"x")
    os.read(go[0], 1)
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    _kernel.dumpable(True)  # a change of uid forgets both; without it /proc/self is not ours
    _kernel.die_with_parent()
    child = os.fork()
    if child:  # the first process in a namespace is its `init`
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    _kernel.die_with_parent()
    for fd in (*started, *go):
        os.close(fd)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def rehearse() -> None:
    """Judge a case of our own a few times, in here.

    The interpreter rewrites code that it runs often; a child would pay for that, page by page.
    """
    module = types.ModuleType("rehearsal")
    module.__dict__["f"] = lambda xs: ["a", {2: len(xs)}]
    problem = {"tests": "assert f([1, [2.5]]) == ['a', {2: 2}]", "setup": "", "entry": ""}
    for _ in range(REHEARSALS):
        _judge.judge(problem, _subject.Rehearsal(module), 1 << 10)


def find_facts(isolate: bool) -> Facts:
    """Import what submissions import, look at the kernel."""
    for name in WARM:
        importlib.import_module(name)
    _subject.like_a_terminal_session()
    _subject.quiet()
    rehearse()
    seccomp = _kernel.seccomp_filter() if isolate else None
    landlock = _kernel.landlock_version() if isolate else 0
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if isolate else -1
    base = 1 << 27
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        base = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    sys.path.pop(0)  # where this file lies
    gc.collect()
    gc.freeze()  # or the children's collections would copy the server's pages
    own = frozenset(_pids()) if isolate else frozenset[str]()
    return Facts(isolate, own_pids, seccomp, landlock, base, own)


def fence(facts: Facts, order: dict[str, Any]) -> None:
    """Close the fence around this process, for good: files, limits, privileges, system calls.

    A judge, whose code is ours, stays in the namespaces of its server and has nothing to write to.
    """
    disk = order["disk_mib"] << 20
    own = facts.isolate and order["mode"] != "judge"
    if own:
        _kernel.unshare(_kernel.NEWNS)
        flags = _kernel.MS_NOSUID | _kernel.MS_NODEV
        options = f"size={disk},nr_inodes=1024,mode=700,uid={UID},gid={UID}"
        _kernel.mount("tmpfs", "/tmp", "tmpfs", flags, options)
        with contextlib.suppress(OSError):  # the first to go where memory is short
            _write("/proc/self/oom_score_adj", "1000")
        _kernel.mount("tmpfs", "/proc", "tmpfs", flags | _kernel.MS_RDONLY, "size=4k,mode=555")
        os.chdir("/tmp")
    memory = facts.base_memory + (order["memory_mib"] << 20)
    tasks = order["processes"] + (SERVERS if facts.isolate else 1 << 20)
    _kernel.limit(order["seconds"], memory, tasks, disk)
    if facts.isolate:
        _kernel.dumpable(False)
        _kernel.drop_capabilities()
        if facts.landlock and own:
            null = {os.devnull: 1 << 1 | 1 << 14}
            _kernel.apply_landlock(facts.landlock, {"/tmp": None, **null})
        if facts.seccomp:
            _kernel.apply_seccomp(facts.seccomp)


def _place(fds: list[int], targets: list[int]) -> None:
    """Move file descriptors to their numbers, close all others."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
    for fd, target in zip(high, targets, strict=True):
        os.dup2(fd, target)
    os.closerange(max(targets) + 1, max([*high, 4096]))


def _whole(fd: int) -> bytes:
    data = b"".join(iter(lambda: os.read(fd, 1 << 20), b""))
    os.close(fd)
    return data


def child(facts: Facts, order: dict[str, Any], fds: list[int]) -> int:
    """What a forked process does: close the fence, read its order, run. Its exit status."""
    os.setpgid(0, 0)  # else `kill(0)` would reach the server, whose process group it shares
    mode, limit = order["mode"], order["output_kib"] << 10
    if mode == "judge":
        gc.disable()  # it does not live long enough
        _place(fds, [5, FD_LINE, FD_RESULT])
    else:
        _place(fds, [4, FD_LINE] if mode == "serve" else [4, FD_LINE, 0, 1])
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=FD_LINE)
    if not facts.isolate:
        os.chdir(order["folder"])
    fence(facts, order)
    random.seed(0)
    if mode == "judge":
        found = _judge.judge(json.loads(_whole(5)), line, limit)
        with contextlib.suppress(OSError):
            os.write(FD_RESULT, _judge.report(found))
        return 0
    source = _whole(4)
    if mode == "serve":
        _subject.serve(source, line, limit)
        return 0
    return _subject.run_script(source, line)


def _anonymous_memory(pids: list[str]) -> int:
    """Bytes that belong to these processes: anonymous, shared and swapped pages."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/status") as f:
            for row in f:
                if row.startswith(("RssAnon", "RssShmem", "VmSwap")):
                    total += int(row.split()[1]) << 10
    return total


def _pids() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


def watch(facts: Facts, order: dict[str, Any], pid: int, control: socket.socket) -> dict[str, Any]:
    """Wait for a child's end, and bring it about at its deadline or over its limits."""
    begun = time.monotonic()
    deadline, look = begun + order["seconds"], begun + FIRST_LOOK
    cause, late, status, told = "", "timeout", 0, b""
    handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    poller = select.poll()
    poller.register(control, select.POLLIN)
    if handle >= 0:
        poller.register(handle, select.POLLIN)
    alive = True
    while alive or not told:
        now = time.monotonic()
        if alive and now >= look and facts.isolate:
            mine = [name for name in _pids() if name not in facts.own]
            if _anonymous_memory(mine) > order["memory_mib"] << 20:
                cause = cause or "memory"
            look = now + LOOK
        if alive and now >= deadline:
            cause = cause or late
        if alive and (cause or told == b"S"):
            cause = cause or "stopped"
            _kill(pid)
            status, alive = os.waitpid(pid, 0)[1], False
            if handle >= 0:
                poller.unregister(handle)
            continue
        pause = min(deadline, look if facts.isolate else now + 0.005) - now if alive else 5.0
        for fd, _ in poller.poll(max(pause, 0.0) * 1000 + 0.5):
            if fd == control.fileno():
                told = control.recv(1)
                if not told:  # whoever wanted the answer is gone
                    _kill(pid)
                    os._exit(0)
                if told == b"W":
                    poller.unregister(control)
                elif told == b"G" and alive:  # a line closes a moment before its process is gone
                    poller.unregister(control)
                    late, deadline = "stopped", min(deadline, time.monotonic() + GOING)
        if alive and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            _kill(pid)  # without a namespace its children would live on
            status, alive = os.waitpid(pid, 0)[1], False
            if handle >= 0:
                poller.unregister(handle)
    if handle >= 0:
        os.close(handle)
    return {"cause": cause, "code": os.waitstatus_to_exitcode(status)}


def _kill(pid: int) -> None:
    """End a child and, being `init` of a namespace, all that it started; else its group."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def case(facts: Facts, order: dict[str, Any], fds: list[int], control: socket.socket) -> None:
    """Fork a child for one order, watch it, say how it ended."""
    own = facts.isolate and order["mode"] != "judge"
    if own:
        _kernel.unshare(_kernel.NEWPID)
    elif not facts.isolate:
        order["folder"] = tempfile.mkdtemp(prefix="pgbench-case-")
    pid = os.fork()
    if pid == 0:
        status = 97
        try:
            control.close()
            status = child(facts, order, fds)
        except BaseException:
            status = 1
        finally:
            os._exit(status)
    if own:
        _kernel.setns(facts.own_pids, _kernel.NEWPID)
    for fd in fds:
        os.close(fd)
    end = watch(facts, order, pid, control)
    if not facts.isolate:
        shutil.rmtree(order["folder"], ignore_errors=True)
    control.sendall(json.dumps(end).encode() + b"\n")


def main(control_fd: int, isolate: bool) -> None:
    """Say that the server is ready, then serve until the other end of `control_fd` closes."""
    control = socket.socket(fileno=control_fd)
    if isolate:
        enter_namespaces()
    facts = find_facts(isolate)
    hello = {"seccomp": bool(facts.seccomp), "landlock": facts.landlock}
    control.sendall(json.dumps(hello).encode() + b"\n")
    while True:
        data, fds, *_ = socket.recv_fds(control, 4, 8)
        if not data:
            return
        size = struct.unpack("<I", data)[0]
        case(facts, json.loads(control.recv(size, socket.MSG_WAITALL)), list(fds), control)
