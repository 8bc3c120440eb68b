"""What comes out of a case: its output, compared with the one expected, and how it ended."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time

from pgbench.verify import _plain


def same_output(output: str, expected: str) -> bool:
    """Whether a script's output is the one expected.

    Blanks at a line's end and blank lines at the end do not count. Blanks at a line's beginning
    do; a run of blanks inside counts as one, but for lines of signs alone, which are pictures.
    """
    said, wanted = (t.replace("\r\n", "\n").rstrip().split("\n") for t in (output, expected))
    return len(said) == len(wanted) and all(map(_same_line, said, wanted))


def _same_line(said: str, wanted: str) -> bool:
    said, wanted = said.rstrip(), wanted.rstrip()
    if said == wanted:
        return True
    if not any(map(str.isalnum, wanted)):
        return False
    heads = [line[: len(line) - len(line.lstrip())] for line in (said, wanted)]
    return heads[0] == heads[1] and said.split() == wanted.split()


def read(fd: int, limit: int, seconds: float) -> tuple[bytes, bool]:
    """What comes out of a pipe to its end or for so many seconds, and whether it is too much."""
    pieces, size, deadline = [], 0, time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and select.select([fd], [], [], left)[0]:
        piece = os.read(fd, 1 << 16)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            return b"", True
    return b"".join(pieces), False


def end_of(ended: tuple[str, int]) -> str:
    """The verdict on a case that ended so before its answer."""
    cause, code = ended
    if cause in ("timeout", "memory"):
        return cause
    if cause == "stopped":  # it hung up before we did
        return "exit"
    if code in (-24, -9):  # the limit of processor time; the kernel's killer where memory is short
        return "timeout" if code == -24 else "memory"
    return "crash" if code < 0 else "exit"


def said(line: socket.socket) -> tuple[str, str, bool]:
    """(the error's name, its text, whether it is one of syntax) as a script's process tells it."""
    line.setblocking(False)
    with contextlib.suppress(OSError, EOFError, _plain.TooLarge, _plain.Malformed):
        match _plain.Decoder(_plain.receive_frame(line, 1 << 14)).value():
            case (kind, [str(name), *_], str(text)):
                return name[:80], text, kind == "syntax"
    return "", "", False
