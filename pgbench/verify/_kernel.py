"""Linux's own fences, called without a helper: namespaces, capabilities, seccomp, Landlock.

Used by the server that runs inside the sandbox and by `doctor` outside; the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Iterator

NEWNS, NEWUTS, NEWIPC, NEWUSER = 0x00020000, 0x04000000, 0x08000000, 0x10000000
NEWPID, NEWNET, NEWCGROUP, NEWTIME = 0x20000000, 0x40000000, 0x02000000, 0x00000080
ANY_NAMESPACE = NEWNS | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | NEWCGROUP | NEWTIME
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38

# (x86_64, aarch64). All of these answer EPERM.
DENIED: dict[str, tuple[int, int]] = {
    # Other machines, and other processes of this one. socketpair stays: asyncio needs it.
    "socket": (41, 198), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438), "kcmp": (312, 272),
    # Namespaces and mounts: a second line of defence, as the capabilities are gone already.
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428), "fsopen": (430, 430),
    "move_mount": (429, 429), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265),
    # Memory that belongs to no process, so that nobody would count it.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    # Large corners of the kernel that no answer to a programming task needs.
    "bpf": (321, 280), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "personality": (135, 92),
    "kexec_load": (246, 104), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "syslog": (103, 116), "quotactl": (179, 60), "acct": (163, 89),
    "settimeofday": (164, 170),
    # Counted for the host's user as well, whom one case could leave without; and eyes on files
    # that others read. AArch64 has no inotify_init; the one after it stands twice.
    "inotify_init": (253, 26), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "timer_create": (222, 107),
}  # fmt: skip
CLONE, CLONE3, MMAP, FCNTL = (56, 220), (435, 435), (9, 222), (72, 25)
# F_SETLEASE and F_NOTIFY watch files that others use; F_SETPIPE_SZ takes the host user's share.
DENIED_FCNTL = (1024, 1026, 1031)
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_SHARED_ANONYMOUS = 0x21

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags`. Raises: OSError."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Enter the namespace that `fd` stands for. Raises: OSError."""
    _check(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system. Raises: OSError."""
    words = (source.encode(), target.encode(), kind.encode() or None)
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def unmount(target: str) -> None:
    """Detach a mount. Raises: OSError."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root and hang the former one into `old`. Raises: OSError."""
    number = 155 if platform.machine() == "x86_64" else 41
    _check(_libc.syscall(number, new.encode(), old.encode()), "pivot_root")


def make_read_only(path: str) -> None:
    """Make a mount and all below it read-only, without set-user-id and devices. Raises: OSError."""
    attributes = struct.pack("=QQQQ", 1 | 2 | 4, 0, 0, 0)
    at_fdcwd, at_recursive = -100, 0x8000
    result = _libc.syscall(442, at_fdcwd, path.encode(), at_recursive, attributes, len(attributes))
    _check(result, f"mount_setattr {path}")


def die_with_parent() -> None:
    """Ask for SIGKILL at the death of the thread that started this process. Raises: OSError."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl")


def dumpable(yes: bool) -> None:
    """Whether core dumps, and looks into this process by /proc, are allowed. Raises: OSError."""
    _check(_libc.prctl(PR_SET_DUMPABLE, int(yes), 0, 0, 0), "prctl")


def drop_capabilities() -> None:
    """Give up every capability, for good: nothing that is executed regains one. Raises: OSError."""
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    version_3 = struct.pack("=Ii", 0x20080522, 0)
    _check(_libc.capset(version_3, bytes(24)), "capset")


def _step(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _filter(column: int, arch: int) -> Iterator[bytes]:
    load, equal, at_least, both, answer = 0x20, 0x15, 0x35, 0x54, 0x06
    yield _step(load, 0, 0, 4)
    yield _step(equal, 1, 0, arch)
    yield _step(answer, 0, 0, _KILL)
    yield _step(load, 0, 0, 0)
    if column == 0:  # the x32 interface would offer every call under another number
        yield _step(at_least, 0, 1, 0x40000000)
        yield _step(answer, 0, 0, _ERRNO | _EPERM)
    for numbers in DENIED.values():
        yield _step(equal, 0, 1, numbers[column])
        yield _step(answer, 0, 0, _ERRNO | _EPERM)
    # clone3 hides its flags behind a pointer; without it the C library falls back to clone.
    yield _step(equal, 0, 1, CLONE3[column])
    yield _step(answer, 0, 0, _ERRNO | _ENOSYS)
    yield _step(equal, 0, 5, CLONE[column])
    yield _step(load, 0, 0, 16)  # its first argument, the flags
    yield _step(both, 0, 0, ANY_NAMESPACE)
    yield _step(equal, 0, 1, 0)
    yield _step(answer, 0, 0, _ALLOW)
    yield _step(answer, 0, 0, _ERRNO | _EPERM)
    yield _step(equal, 0, 3 + len(DENIED_FCNTL), FCNTL[column])
    yield _step(load, 0, 0, 16 + 8)  # its second argument, the command
    for k, command in enumerate(DENIED_FCNTL):
        yield _step(equal, len(DENIED_FCNTL) - k, 0, command)
    yield _step(answer, 0, 0, _ALLOW)
    yield _step(answer, 0, 0, _ERRNO | _EPERM)
    yield _step(equal, 0, 4, MMAP[column])
    yield _step(load, 0, 0, 16 + 8 * 3)  # its fourth, the flags; such memory has no owner either
    yield _step(both, 0, 0, _SHARED_ANONYMOUS)
    yield _step(equal, 0, 1, _SHARED_ANONYMOUS)
    yield _step(answer, 0, 0, _ERRNO | _EPERM)
    yield _step(answer, 0, 0, _ALLOW)


def seccomp_filter() -> bytes | None:
    """The filter's program for this machine; None where the numbers of its calls are unknown."""
    arch = platform.machine()
    if arch not in AUDIT_ARCH:
        return None
    return b"".join(_filter(0 if arch == "x86_64" else 1, AUDIT_ARCH[arch]))


def apply_seccomp(program: bytes) -> None:
    """Filter the system calls of this process and its children, for good. Raises: OSError."""
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    _check(_libc.prctl(PR_SET_SECCOMP, 2, fprog, 0, 0), "seccomp")


def landlock_version() -> int:
    """Landlock's interface version, 0 where the kernel has none or has it switched off."""
    return max(int(_libc.syscall(444, None, 0, 1)), 0)


def apply_landlock(version: int, writable: dict[str, int | None]) -> None:
    """Forbid writing outside `writable` (path -> rights, None for all), TCP, foreign signals.

    Raises: OSError.
    """
    write_file, truncate = 1 << 1, 1 << 14
    rights = write_file | sum(1 << bit for bit in range(4, 13))  # remove and make of every kind
    rights |= (1 << 13 if version >= 2 else 0) | (truncate if version >= 3 else 0)
    network = 3 if version >= 4 else 0  # bind and connect by TCP
    scope = 3 if version >= 6 else 0  # abstract UNIX sockets and signals
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("=QQQ", rights, network, scope)[:size]
    ruleset = _check(_libc.syscall(444, attributes, size, 0), "landlock")
    for path, allowed in writable.items():
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", (rights if allowed is None else allowed) & rights, fd)
        _check(_libc.syscall(445, ruleset, 1, rule, 0), "landlock")
        os.close(fd)
    _check(_libc.syscall(446, ruleset, 0), "landlock")
    os.close(ruleset)


def limit(seconds: float, memory: int, tasks: int, disk: int) -> None:
    """Set the limits of ONE process: CPU seconds, bytes of address space and of a file, tasks."""
    cpu = int(seconds) + 2
    wanted = {
        "RLIMIT_CPU": cpu, "RLIMIT_AS": memory, "RLIMIT_NPROC": tasks, "RLIMIT_FSIZE": disk,
        "RLIMIT_NOFILE": 64, "RLIMIT_CORE": 0, "RLIMIT_MSGQUEUE": 0, "RLIMIT_MEMLOCK": 0,
        "RLIMIT_SIGPENDING": 64, "RLIMIT_NICE": 0, "RLIMIT_RTPRIO": 0,
    }  # fmt: skip
    for name, value in wanted.items():
        number = getattr(resource, name, None)
        if number is None:  # not on this system
            continue
        hard = resource.getrlimit(number)[1]
        top = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (top, top))
