"""What an evaluator measured beside its scores: a few numbers, rows or tables, by name.

A front of (n, 2) points, pass@k by k, exploitability by iterate. Small on purpose: they travel with
the record, stand on the board's page, and are no place for data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pgbench.errors import Breach, Diverged
from pgbench.records.schema import Detail
from pgbench.support.names import NAME
from pgbench.support.text import table

MOST = 16  # details of an evaluation
NUMBERS = 4096  # in all of them together
WIDEST = 8  # columns of a table
SHOWN = 12  # numbers, or rows of a table, that the terminal shows; the record has all


def checked(details: Any, whose: str) -> dict[str, Detail]:
    """Details as plain numbers and lists; `whose` they are is said in errors.

    Arrays and tensors of shape (), (n,) and (n, m) are taken, lists of such shapes as well.

    Raises: Breach for a name, a shape or a size that a record does not hold; Diverged for a number
    that is not finite.
    """
    if not isinstance(details, Mapping):
        raise Breach(f"the details of {whose} must be a dict by name, not {type(details).__name__}")
    if len(details) > MOST:
        raise Breach(f"{whose} gave {len(details)} details; a record holds {MOST} at most")
    out = {}
    for name, value in details.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise Breach(
                f"{name!r} cannot name a detail of {whose}; take at most 64 letters (a-z), digits "
                "and - _ . +, beginning with a letter or a digit"
            )
        out[name] = _plain(value, f"detail {name} of {whose}")
    count = sum(len(_numbers(value)) for value in out.values())
    if count > NUMBERS:
        raise Breach(f"the details of {whose} are {count:,} numbers; a record holds {NUMBERS:,}")
    return out


def _plain(value: Any, what: str) -> Detail:
    value = value.tolist() if hasattr(value, "tolist") else value
    rows = value if isinstance(value, list | tuple) else None
    if rows is None:
        return _number(value, what)
    if not any(isinstance(row, list | tuple) or hasattr(row, "__len__") for row in rows):
        return [_number(item, what) for item in rows]
    plain = [row.tolist() if hasattr(row, "tolist") else row for row in rows]
    widths = {len(row) if isinstance(row, list | tuple) else 0 for row in plain}
    if len(widths) != 1 or not 1 <= max(widths) <= WIDEST:
        raise Breach(f"{what} must be a number, a row, or a table (n, m) with m up to {WIDEST}")
    return [[_number(item, what) for item in row] for row in plain]


def _number(value: Any, what: str) -> float:
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, int | float):
        raise Breach(f"{what} must be made of numbers, not {type(value).__name__}")
    if not math.isfinite(value):
        raise Diverged(f"{what} is not finite")
    return float(value)


def _numbers(value: Detail) -> list[float]:
    if not isinstance(value, list):
        return [value]
    return [number for row in value for number in (row if isinstance(row, list) else [row])]


def show(details: Mapping[str, Detail]) -> list[str]:
    """Lines for the terminal: numbers and short rows as they are, tables as tables."""
    lines = []
    for name, value in sorted(details.items()):
        if not isinstance(value, list):
            lines.append(f"{name}  {value:.6g}")
        elif value and isinstance(value[0], list):
            rows = [[f"{item:.6g}" for item in row] for row in value[:SHOWN]]  # type: ignore[union-attr]
            head = [f"{name} {i}" if i else name for i in range(len(rows[0]))]
            lines += [*table(head, rows).splitlines(), *_more(value)]
        else:
            shown = "  ".join(f"{item:.6g}" for item in value[:SHOWN])
            lines.append("  ".join([name, shown, *_more(value)]))
    return lines


def _more(value: Sequence[Any]) -> list[str]:
    rest = len(value) - SHOWN
    return [f"... and {rest} more (--json has all)"] if rest > 0 else []
