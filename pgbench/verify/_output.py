"""Compares what a script printed with what it should have."""

from __future__ import annotations


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
