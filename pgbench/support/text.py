"""Plain text for the terminal; light enough for commands that must answer at once."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence


def width() -> int:
    """Columns to fill: the terminal's, within 80 and 120; 100 where there is no terminal."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], fit: int | None = None) -> str:
    """Aligned columns: texts to the left, numbers to the right.

    With `fit` the last column is text that wraps within so many columns in all.
    """
    count = len(head)
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(count)]
    right = [all(row[i][:1] in "-0123456789[" for row in rows) for i in range(count)]
    if fit is not None:
        widths[-1] = min(widths[-1], max(fit - sum(widths[:-1]) - 2 * (count - 1), 16))
        right[-1] = False

    def line(row: Sequence[str]) -> str:
        last = textwrap.wrap(row[-1], widths[-1]) if fit is not None else [row[-1]]
        lines = [
            (*row[:-1], last[0] if last else ""),
            *(("",) * (count - 1) + (x,) for x in last[1:]),
        ]
        return "\n".join(
            "  ".join(
                cell.rjust(w) if r else cell.ljust(w)
                for cell, w, r in zip(cells, widths, right, strict=True)
            ).rstrip()
            for cells in lines
        )

    return "\n".join([line(head), line(["-" * w for w in widths]), *map(line, rows)])


def fitted(doc: str, columns: int) -> str:
    """A docstring whose lines are broken only where they are too long."""
    out = []
    for line in doc.strip("\n").splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 2 * line.lstrip().startswith("- "))
        out += textwrap.wrap(line, columns, subsequent_indent=indent, break_on_hyphens=False) or [
            ""
        ]
    return "\n".join(out)
