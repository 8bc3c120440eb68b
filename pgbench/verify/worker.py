"""One worker of the pool: reads requests from standard input, a JSON line each, and answers them.

    {"gold": "\\\\sqrt{8}", "answer": "2\\\\sqrt{2}", "lenient": false}  ->  [true, "symbolic"]
    {"gold": "\\\\sqrt{8}"}                                           ->  null, or why not

Limits what it may use, dies with its parent, and starts with one line, `ready`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys

MEMORY = 1 << 30  # bytes of address space
PR_SET_PDEATHSIG = 1


def _limits(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before this line
            os._exit(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main() -> None:
    """Serve until standard input ends."""
    _limits(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a library prints may reach the answers

    from pgbench.verify import symbolic

    # The first pair pays for the parser's tables: 0.1 s and more.
    symbolic.judge(r"\frac{\sqrt{8}}{2}", r"\sqrt{2}", False)
    symbolic.judge(r"x^2 - 1", r"(x-1)(x+1)", False)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        result: tuple[bool, str] | str | None
        over = False
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
        print(json.dumps(result), file=answers, flush=True)
        if over:
            os._exit(0)  # what is left of the memory is not to be trusted


if __name__ == "__main__":
    main()
