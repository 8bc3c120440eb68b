"""Starts the sandboxed fork servers and talks to them: bubblewrap, namespaces, or a bare process.

What each backend enforces, and what it does not, stands in docs/verifiers.md.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.verify import _cgroup

BACKENDS = ("bubblewrap", "namespaces", "subprocess")
START = 60.0  # seconds for a server to come up on a busy machine
SERVER_MIB = 64  # what the server itself may take of its control group
HOME = Path(__file__).resolve().parent
INSIDE = (
    "_kernel.py",
    "_plain.py",
    "_shared.py",
    "_values.py",
    "_judge.py",
    "_subject.py",
    "_server.py",
)
BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from pgbench.verify._server import main; "
    "main(int(sys.argv[2]), sys.argv[3] == 'fenced')"
)
BUILD = (
    "import sys; sys.path.insert(0, sys.argv[1]); from pgbench.verify._namespaces import main; "
    "main(sys.argv[2])"
)
OPTIONS = ("-S", "-s", "-P", "-B")  # no site, no user site, no script folder, no .pyc
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # the order of a set of strings is the same in every run
    "OMP_NUM_THREADS": "1",
}
INSTALL = "run: apt-get install bubblewrap"
# (a setting of the kernel, the value that refuses user namespaces, the one that allows them)
REFUSALS = (
    ("kernel/apparmor_restrict_unprivileged_userns", 1, "0"),
    ("kernel/unprivileged_userns_clone", 0, "1"),
    ("user/max_user_namespaces", 0, "15000"),
)


class ServerDied(Exception):
    """A server is gone or does not answer."""


def advice(backend: str) -> str:
    """What to do so that a backend works here: install it, or let it make namespaces."""
    if backend == "bubblewrap" and not shutil.which("bwrap"):
        return INSTALL
    wanted = []
    for name, refusing, allowing in REFUSALS:
        with contextlib.suppress(OSError, ValueError):
            if int(Path("/proc/sys", name).read_text()) == refusing:
                wanted.append(f"sysctl -w {name.replace('/', '.')}={allowing}")
    if wanted:
        return f"the kernel refuses user namespaces; as root: {', '.join(wanted)}"
    if os.geteuid():
        return "it may not make user namespaces here; run as root, or ask who runs this machine"
    return (
        "it may not make namespaces here, as in most containers; start the container with "
        "--privileged, or with --cap-add SYS_ADMIN and without its seccomp and AppArmor profiles"
    )


def python() -> str:
    """The interpreter that runs submissions: the one of this process, outside any venv."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@functools.cache
def plan() -> dict[str, Any]:
    """What a sandbox sees: (source, target) read-only and devices, symbolic links, empty folders.

    System libraries, Python and its standard library, and our seven modules; no package, no home.
    """
    folders = ["/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/share/zoneinfo"]
    prefix = Path(python()).parent.parent
    if prefix != Path("/usr"):
        folders += [str(prefix / "lib"), str(prefix / "lib64")]
    links, shown = [["/tmp", "/dev/shm"]], list[list[str]]()
    for name in ("/lib", "/lib64", "/lib32"):
        if os.path.islink(name):
            links.append([os.readlink(name), name])
        else:
            folders.append(name)
    files = ["/etc/ld.so.cache", "/etc/localtime", python()]
    real = [x for x in [*folders, *files] if os.path.exists(x) and not os.path.islink(x)]
    shown += [[name, name] for name in real]
    shown += [[str(HOME / name), f"/server/pgbench/verify/{name}"] for name in INSIDE]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    roots = [Path(name) for name in folders if os.path.isdir(name)]
    # Not needed by a program: installed packages, and CPython's own tests with their data.
    masked = [f"{version}/site-packages", f"{version}/dist-packages", f"{version}/test"]
    packages = [root / place for root in roots for place in [*masked, "python3/dist-packages"]]
    return {
        "read_only": shown,
        "devices": [[f"/dev/{name}"] * 2 for name in ("null", "urandom", "random")],
        "links": links,
        "empty": [str(path) for path in packages if path.is_dir()],
        "environment": ENVIRONMENT,
    }


def command(backend: str, control: int) -> list[str]:
    """The command line that starts a server whose control socket is descriptor `control`."""
    fenced = backend != "subprocess"
    place = "/server" if fenced else str(HOME.parent.parent)
    words = [python(), *OPTIONS, "-c", BOOT, place, str(control), "fenced" if fenced else "bare"]
    if backend == "bubblewrap":
        return [shutil.which("bwrap") or "bwrap", *_bubblewrap(), *words]
    if backend == "namespaces":
        text = json.dumps({**plan(), "command": words})
        return [python(), *OPTIONS, "-c", BUILD, str(HOME.parent.parent), text]
    return words


def _bubblewrap() -> list[str]:
    words = "--unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup-try".split()
    words += "--die-with-parent --clearenv --cap-drop ALL".split()
    if os.geteuid() == 0:  # to hand over to a uid that is nobody; given up right afterwards
        words += "--cap-add CAP_SETUID --cap-add CAP_SETGID".split()
    else:
        words += ["--unshare-user"]
    shown = plan()["read_only"] + plan()["devices"]
    above = {str(up) for _, target in shown for up in Path(target).parents}
    for folder in sorted(above - {"/"}):  # by itself bwrap copies modes such as that of /root
        words += ["--perms", "0755", "--dir", folder]
    for source, target in plan()["read_only"]:
        words += ["--ro-bind", source, target]
    for source, target in plan()["devices"]:
        words += ["--dev-bind", source, target]
    for text, target in plan()["links"]:
        words += ["--symlink", text, target]
    for target in plan()["empty"]:
        words += ["--tmpfs", target, "--remount-ro", target]
    for name, value in ENVIRONMENT.items():
        words += ["--setenv", name, value]
    return [*words, "--proc", "/proc", "--dir", "/tmp", "--remount-ro", "/", "--chdir", "/"]


class Server:
    """One warm fork server in its sandbox. Belongs to the thread that made it and dies with it."""

    def __init__(self, backend: str, memory_mib: int, limited: bool = True) -> None:
        self.control, theirs = socket.socketpair()
        self.group: _cgroup.Group | None = None
        words = command(backend, theirs.fileno())
        if limited and backend != "subprocess":
            self.group = _cgroup.make((memory_mib + SERVER_MIB) << 20)
        if self.group:  # joins first, so that everything it starts is inside
            join = 'echo $$ > "$0" && exec "$@"'
            words = ["/bin/sh", "-c", join, str(self.group.procs), *words]
        try:
            self.process = subprocess.Popen(
                words, pass_fds=[theirs.fileno()], env=ENVIRONMENT, process_group=0,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                cwd="/",
            )  # fmt: skip
        except OSError as error:
            self.control.close()
            raise ServerDied(str(error)) from None
        finally:
            theirs.close()
        try:
            self.facts = json.loads(self.line(START))
        except (ServerDied, ValueError):
            self.close()
            raise ServerDied(self._said()) from None

    def _said(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            assert self.process.stderr
            lines = self.process.stderr.read().decode(errors="replace").strip().splitlines()
            return lines[-1][:300] if lines else "it said nothing"
        return "it said nothing"

    def send(self, order: dict[str, Any], fds: list[int]) -> None:
        """Order one case; the server owns copies of `fds` from here on. Raises: ServerDied."""
        body = json.dumps(order).encode()
        try:
            self.control.settimeout(START)
            socket.send_fds(self.control, [struct.pack("<I", len(body))], fds)
            self.control.sendall(body)
        except OSError as error:
            raise ServerDied(str(error)) from None

    def tell(self, word: bytes) -> None:
        """Ask for the end of the case: b"S" stops it, b"G" soon, b"W" waits. Raises: ServerDied."""
        try:
            self.control.sendall(word)
        except OSError as error:
            raise ServerDied(str(error)) from None

    def ended(self, seconds: float) -> tuple[str, int]:
        """How the case ended: (cause, exit status or minus the signal). Raises: ServerDied.

        The cause is "timeout", "memory", "stopped" (we did) or "" (by itself).
        """
        try:
            found = json.loads(self.line(seconds))
            return str(found["cause"]), int(found["code"])
        except (ValueError, KeyError) as error:
            raise ServerDied(str(error)) from None

    def line(self, seconds: float) -> bytes:
        """The server's next line, within so many seconds. Raises: ServerDied."""
        data, deadline = b"", time.monotonic() + seconds
        while not data.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.control], [], [], left)[0]:
                raise ServerDied("no answer")
            try:
                piece = self.control.recv(65536)
            except OSError as error:
                raise ServerDied(str(error)) from None
            if not piece:
                raise ServerDied("it hung up")
            data += piece
        return data

    def close(self) -> None:
        """End the server and all below it."""
        self.control.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        if self.group:
            self.group.close()


@functools.cache
def reason_against(backend: str) -> str:
    """Why a backend cannot be used here, in a few words; empty if it can. Starts it once."""
    if backend == "subprocess":
        return ""
    if not sys.platform.startswith("linux"):
        return "it needs Linux"
    if backend == "bubblewrap" and not shutil.which("bwrap"):
        return "bwrap is not installed"
    try:
        server = Server(backend, 256, limited=False)
    except ServerDied as error:
        return str(error)
    try:
        return "" if _can_run(server) else "a case cannot be fenced in"
    except ServerDied as error:
        return str(error)
    finally:
        server.close()


def _can_run(server: Server) -> bool:
    """Whether a program that prints a word runs to its end."""
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    order = {"mode": "script", "seconds": 5.0, "memory_mib": 64, "processes": 2, "output_kib": 1,
             "disk_mib": 1}  # fmt: skip
    fds = [file_of(b"print('fine')"), theirs.fileno(), file_of(b""), writer]
    try:
        server.send(order, fds)
        server.tell(b"W")
        ended = server.ended(START)
        return ended == ("", 0) and os.read(reader, 9) == b"fine\n"
    finally:
        for end in (ours, theirs):
            end.close()
        for fd in (reader, fds[0], *fds[2:]):
            os.close(fd)


def choose(backend: str) -> str:
    """The backend to use: the one asked for, or for `auto` the best that works here.

    Raises: PgbenchError: it does not work here, or there is none of that name.
    """
    if backend == "auto":
        return next(name for name in BACKENDS if not reason_against(name))
    if backend not in BACKENDS:
        raise PgbenchError(
            f"sandbox backend {backend!r}: choose one of auto, {', '.join(BACKENDS)}"
        )
    reason = reason_against(backend)
    if reason:
        raise PgbenchError(f"sandbox backend {backend}: {reason}; {advice(backend)}")
    return backend


def file_of(data: bytes) -> int:
    """A read-only descriptor of a file without a name that holds `data`."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            file.seek(0)
            return os.dup(file.fileno())
    writable = os.memfd_create("case", os.MFD_CLOEXEC)
    try:
        with open(writable, "wb", closefd=False) as stream:
            stream.write(data)
        return os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writable)


def doctor() -> list[tuple[str, bool, str]]:
    """What this machine offers to fence code in: (what, whether it is there, a few words)."""
    linux = sys.platform.startswith("linux")
    bwrap = shutil.which("bwrap")
    said = ""
    if bwrap:
        done = subprocess.run([bwrap, "--version"], capture_output=True, text=True, check=False)
        said = done.stdout.strip()
    found = [("bwrap", bool(bwrap), said or INSTALL)]
    for name in BACKENDS[:2]:
        reason = reason_against(name)
        words = f"{reason}; {advice(name)}" if reason else "starts and runs a case"
        found.append((f"sandbox {name}", not reason, words))
    if linux:
        from pgbench.verify import _kernel

        landlock, seccomp = _kernel.landlock_version(), _kernel.seccomp_filter()
        words = f"interface {landlock}" if landlock else "not in this kernel, or switched off"
        found.append(("Landlock", landlock > 0, words))
        words = f"{len(_kernel.DENIED)} calls denied" if seccomp else "unknown architecture"
        found.append(("seccomp", seccomp is not None, words))
    group = _cgroup.make(1 << 28)
    if group:
        group.close()
    without = "none can be made here; memory is watched instead, every 10 ms"
    found.append(("memory control group", group is not None, "can be made" if group else without))
    return found
