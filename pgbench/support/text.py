"""Plain text for the terminal; light enough for commands that must answer at once."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence


def width() -> int:
    """Columns to fill: the terminal's, within 80 and 120; 100 where there is no terminal."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], fit: int | None = None, every: bool = False
) -> str:
    """Aligned columns: texts to the left, numbers to the right.

    With `fit` the last column is text that wraps within so many columns in all; with `every`, too,
    each column wraps where it must, the widest first.
    """
    count = len(head)
    lines = [head, *rows]
    widths = [max(len(row[i]) for row in lines) for i in range(count)]
    right = [all(row[i][:1] in "-0123456789[" for row in rows) for i in range(count)]
    if fit is not None and every:
        widths = _shrunk(lines, widths, fit)
    elif fit is not None:
        widths[-1] = min(widths[-1], max(fit - sum(widths[:-1]) - 2 * (count - 1), 16))
        right[-1] = False

    def line(row: Sequence[str]) -> str:
        cells = [
            _wrapped(cell, w) if every and fit is not None else [cell]
            for cell, w in zip(row, widths, strict=True)
        ]
        if fit is not None and not every:
            cells[-1] = textwrap.wrap(row[-1], widths[-1])
        height = max(1, *map(len, cells))
        return "\n".join(
            "  ".join(
                text.rjust(w) if r else text.ljust(w)
                for text, w, r in zip(texts, widths, right, strict=True)
            ).rstrip()
            for texts in zip(*(c + [""] * (height - len(c)) for c in cells), strict=True)
        )

    return "\n".join([line(head), line(["-" * w for w in widths]), *map(line, rows)])


INSIDE = re.compile(r" (?=[^][()]*[])])")  # the blanks in [low, high] and (margin 1 %)


def _wrapped(cell: str, columns: int) -> list[str]:
    """A cell's lines: what is in brackets stays in one piece if it fits."""
    whole = INSIDE.sub("\0", cell)
    if max(map(len, whole.split()), default=0) > columns:
        whole = cell
    lines = textwrap.wrap(whole, columns, break_on_hyphens=False, break_long_words=False)
    return [line.replace("\0", " ") for line in lines]


def _shrunk(lines: Sequence[Sequence[str]], widths: Sequence[int], fit: int) -> list[int]:
    """Widths of the columns that make so many in all, if words leave so much; the widest give."""
    out, room = list(widths), fit - 2 * (len(widths) - 1)
    for cells in (lambda text: INSIDE.sub("\0", text), str):
        least = [
            max(len(word) for row in lines for word in cells(row[i]).split() or [""])
            for i in range(len(out))
        ]
        while sum(out) > room and (wide := [i for i, w in enumerate(out) if w > least[i]]):
            out[max(wide, key=out.__getitem__)] -= 1
    return out


def fitted(doc: str, columns: int) -> str:
    """A docstring whose lines are broken only where they are too long."""
    out = []
    for line in doc.strip("\n").splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 2 * line.lstrip().startswith("- "))
        out += textwrap.wrap(line, columns, subsequent_indent=indent, break_on_hyphens=False) or [
            ""
        ]
    return "\n".join(out)
