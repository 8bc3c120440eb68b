"""What the Ray and SLURM launchers run on a worker.

Between worker and job stands a guard, which is this file run as a script: a process with one
thread that turns every way of being asked to stop into one SIGTERM for the job (a second one means
"at once" to a run), and that takes the job along when the worker dies, so that no job goes on
where nobody counts it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

STOPPED = 130  # the exit code of a job that saved and stopped
LOST = -signal.SIGKILL  # the worker vanished: what is left is what a kill leaves
CANNOT_START = 127  # as a shell's
SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # where not set
ASKS_TO_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)  # USR2: SLURM, before a time limit


def start(command: Sequence[str], log: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start `command` under a guard in `folder`; its output is added to `log`."""
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=SINGLE_THREADED | os.environ,
            start_new_session=True,
        )


def run(command: Sequence[str], log: Path, folder: Path) -> int:
    """Run `command` to its end, passing on the signals that ask to stop; returns its exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKS_TO_STOP)  # a signal waits for the handlers
    process = start(command, log, folder)
    for number in ASKS_TO_STOP:
        signal.signal(number, lambda *_: process.terminate())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKS_TO_STOP)
    return process.wait()


def ended(code: int, asked: bool) -> int:
    """The exit code of a job: a request to stop may come before the job can listen, and ends it."""
    return STOPPED if asked and code == -signal.SIGTERM else code


def lost(log: Path, reason: str) -> int:
    """Say in `log` why a job ended with its worker; returns LOST."""
    with open(log, "a") as file:
        file.write(f"pgbench: the worker was lost: {reason}\n")
    return LOST


def _end_with(parent: int) -> None:
    """Let the kernel send this process SIGTERM when `parent` dies."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel was told
            os._exit(STOPPED)


def _become(command: list[str], guard: int) -> None:
    _end_with(guard)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM may signal every process of a job
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"pgbench: cannot start {command[0]} on {os.uname().nodename}: {error}", flush=True)
    os._exit(CANNOT_START)


def _guard(worker: int, command: list[str]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKS_TO_STOP)
    _end_with(worker)
    guard = os.getpid()
    job = os.fork()
    if job == 0:
        _become(command, guard)
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        if not asked:
            asked = True
            os.kill(job, signal.SIGTERM)

    for number in ASKS_TO_STOP:
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # The job stays a zombie until its end is noted, so its number is nobody else's.
    os.waitid(os.P_PID, job, os.WEXITED | os.WNOWAIT)
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKS_TO_STOP)
    code = ended(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]), asked)
    if code < 0:  # end as the job did
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(guard, -code)
    os._exit(code)


if __name__ == "__main__":
    _guard(int(sys.argv[1]), sys.argv[2:])
