"""Inside the sandbox: loads a submission and answers the judge's calls, or runs it as a script.

Nothing here is trusted by anyone: the submission shares this process and may change all of it. What
protects the verdict is that only plain data leave the process, that no test and no expected output
ever enters it, and that the process is thrown away afterwards.
"""

from __future__ import annotations

import atexit
import builtins
import itertools
import os
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from pgbench.verify import _plain
from pgbench.verify._shared import Shared

MESSAGE = 200  # characters of an error's text
ITEMS = 1_000_000  # of an iterator; the frame's limit comes first


def failure(error: BaseException) -> tuple[str, list[str], str]:
    """("raise", the names of the error's class and its bases, its text)."""
    try:
        text = str(error)[:MESSAGE]
    except Exception:
        text = ""
    return "raise", [kind.__name__ for kind in type(error).__mro__], text


def load(source: bytes, name: str) -> types.ModuleType | tuple[str, list[str], str]:
    """The submission as an imported module, or the ("syntax" | "raise", ...) that stopped it."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        program = compile(source.decode("utf-8", "surrogatepass"), "submission.py", "exec")
    except (SyntaxError, ValueError, OverflowError, RecursionError) as error:
        return "syntax", *failure(error)[1:]
    except MemoryError as error:  # also what the parser says of too many nested brackets
        return failure(error)
    try:
        exec(program, module.__dict__)
    except BaseException as error:
        return failure(error)
    return module


class Objects:
    """The submission's objects that the judge knows by number only: one number for one object."""

    def __init__(self) -> None:
        self.known: list[object] = []
        self.numbers: dict[int, int] = {}  # by id(), which stays taken

    def number(self, thing: object) -> int:
        """The number of `thing`."""
        number = self.numbers.setdefault(id(thing), len(self.known))
        if number == len(self.known):
            self.known.append(thing)
        return number

    def get(self, number: int, _: bool) -> object:
        """What a number stands for."""
        return self.known[number]


APPLIED: dict[str, Callable[..., object]] = {
    "bool": bool,
    "len": len,
    "str": str,
    "repr": repr,
    "list": lambda thing: list(itertools.islice(iter(thing), ITEMS)),
    "item": lambda thing, key: thing[key],
    "next": next,
    "instance": isinstance,
}


def _answer(module: types.ModuleType, message: Any) -> object:
    word, *rest = message
    if word == "name":
        return module.__dict__[rest[0]]
    if word == "call":
        function, arguments, named = rest
        return function(*arguments, **named)
    if word == "get":
        return getattr(rest[0], rest[1])
    if word == "set":
        setattr(*rest)
        return None
    return APPLIED[word](*rest)


class Session:
    """A loaded submission that answers the judge's messages."""

    def __init__(self, module: types.ModuleType, limit: int) -> None:
        self.module, self.limit = module, limit
        self.objects, self.shared = Objects(), Shared(1)

    def answer(self, frame: bytes) -> bytes:
        """The frame that answers a frame."""
        answer: object
        try:
            message = _plain.Decoder(frame, self.objects.get, self.shared).value()
            answer = "ok", _answer(self.module, message)
        except BaseException as error:
            answer = failure(error)
        try:
            return _plain.encode(answer, self.objects.number, self.limit, self.shared)
        except _plain.TooLarge:
            return _alone(("large",))
        except _plain.Unsendable:
            return _alone(("unsendable",))
        except BaseException as error:
            return _alone(failure(error))


def _alone(message: object) -> bytes:
    """A message that shares nothing."""
    return _plain.encode(message, shared=Shared(1))


def serve(source: bytes, line: Any, limit: int) -> None:
    """Load the submission, then answer one message after the other until the judge hangs up."""
    module = load(source, "submission")
    if isinstance(module, tuple):
        _plain.send_frame(line, _alone(module))
        return
    session = Session(module, limit)
    _plain.send_frame(line, _alone(("loaded",)))
    while True:
        try:
            frame = _plain.receive_frame(line, _plain.ARGUMENT_BYTES)
        except EOFError:
            return
        _plain.send_frame(line, session.answer(frame))


class Rehearsal:
    """Both ends of a line at once, for code of our own: what is sent is answered at once."""

    def __init__(self, module: types.ModuleType) -> None:
        self.session = Session(module, 1 << 10)
        self.waiting = bytearray()
        self._put(_alone(("loaded",)))

    def _put(self, frame: bytes) -> None:
        self.waiting += len(frame).to_bytes(4, "little") + frame

    def sendall(self, data: bytes) -> None:
        """Take a frame, have its answer wait."""
        self._put(self.session.answer(data[4:]))

    def recv(self, count: int) -> bytes:
        """Bytes of the answer."""
        piece = bytes(self.waiting[:count])
        del self.waiting[:count]
        return piece


def run_script(source: bytes, line: Any) -> int:
    """Run the submission as a program; its exit status, and word of what stopped it to `line`."""
    sys.argv = ["submission.py"]
    status = 0
    module = load(source, "__main__")
    if isinstance(module, tuple):
        names, text = module[1], module[2]
        if module[0] == "raise" and names[0] == "SystemExit":
            status = 0 if text in ("", "0", "None") else 1
        else:
            status = 1
            _plain.send_frame(line, _plain.encode(module))
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        status = 1
    return status


def like_a_terminal_session() -> None:
    """Give the names that `site` adds, and no more: exit, quit."""
    for name in ("exit", "quit"):
        setattr(builtins, name, sys.exit)


def quiet() -> None:
    """Standard streams that lead nowhere, made once by the server.

    Functions print into them; for scripts other descriptors take the places of 0 and 1.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    text: dict[str, Any] = {"encoding": "utf-8", "errors": "replace", "closefd": False}
    sys.stdin, sys.stdout = open(0, **text), open(1, "w", **text)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, **text)  # noqa: SIM115
