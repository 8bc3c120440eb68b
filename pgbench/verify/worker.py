"""One worker of the pool: reads requests from standard input, a JSON line each, and answers them.

    {"id": 1, "gold": "\\\\sqrt{8}", "answer": "2\\\\sqrt{2}", "lenient": false}
                                      ->  [1, [true, "symbolic"]], or "timeout", or "died"
    {"id": 2, "gold": "\\\\sqrt{8}"}  ->  [2, null], or [2, why not]

Its arguments are its parent's process id and the deadline of a request in seconds of processor
time. It limits what it may use, dies with its parent, and starts with one line, `"ready"`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from typing import NoReturn

MEMORY = 1 << 30  # bytes of address space
PR_SET_PDEATHSIG = 1
RENEW = 20_000  # requests after which a copy is replaced, so that what it caches stays bounded
RENEWED = 3  # exit status of a copy that has answered and wants to be replaced


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before this line
            os._exit(0)


def _limits(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _die_with(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main() -> None:
    """Load the libraries, then serve from a copy of this process, and another after its end.

    A copy that a pair ended is replaced by a fork, which takes milliseconds and no import; this
    process never reads a request.
    """
    parent, deadline = int(sys.argv[1]), float(sys.argv[2])
    _limits(parent)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the end of a pair that overruns its deadline
    answers = os.dup(1)
    os.dup2(2, 1)  # nothing that a library prints may reach the answers

    from pgbench.verify import symbolic

    # The first pair pays for the parser's tables: 0.1 s and more.
    symbolic.judge(r"\frac{\sqrt{8}}{2}", r"\sqrt{2}", False)
    symbolic.judge(r"x^2 - 1", r"(x-1)(x+1)", False)
    os.write(answers, b'"ready"\n')
    while True:
        own = os.getpid()
        if (child := os.fork()) == 0:
            _die_with(own)
            _serve(answers, deadline)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:  # nobody asks any more
            return
        if status == -signal.SIGPROF:
            os.write(answers, b'"timeout"\n')
        elif status != RENEWED:
            os.write(answers, b'"died"\n')


def _serve(answers: int, deadline: float) -> NoReturn:
    """Answer requests until standard input ends, or a new process is due."""
    from pgbench.verify import symbolic

    for _ in range(RENEW):
        line = _line()
        if not line:
            os._exit(0)
        request = json.loads(line)
        result: tuple[bool, str] | str | None
        over = False
        # Processor time, so that a busy machine changes no verdict; the kernel ends the process,
        # whatever a library is doing.
        signal.setitimer(signal.ITIMER_PROF, deadline)
        try:
            if "answer" in request:
                result = symbolic.judge(request["gold"], request["answer"], request["lenient"])
            else:
                result = symbolic.problem(request["gold"])
        except (MemoryError, RecursionError):
            over = True
            result = (False, "too large") if "answer" in request else "too large"
        except Exception as error:
            reason = f"{type(error).__name__} in SymPy"
            result = (False, "unreadable") if "answer" in request else reason
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.write(answers, json.dumps([request["id"], result]).encode() + b"\n")
        if over:
            break  # what is left of the memory is not to be trusted
    os._exit(RENEWED)


def _line() -> bytes:
    """The last line that waits at standard input: a request before it was given up."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            return b""
        line += part
    return line.splitlines()[-1]


if __name__ == "__main__":
    main()
