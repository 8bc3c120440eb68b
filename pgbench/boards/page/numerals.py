"""Numbers as a reader of tables wants them; a dash where there is none."""

from __future__ import annotations

from collections.abc import Iterable

NONE = "–"


def digits_of(values: Iterable[float | None]) -> int:
    """Decimals that suit scores of this size."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return 0 if largest >= 1000 else 1 if largest >= 10 else 3


def number(value: float | None, digits: int = 0) -> str:
    """`3,168.0`; a dash for None."""
    return NONE if value is None else f"{value:z,.{digits}f}"


def interval(low: float | None, high: float | None, digits: int) -> str:
    """`[low, high]`; empty where there is no interval."""
    return "" if low is None or high is None else f"[{number(low, digits)}, {number(high, digits)}]"


def exact(value: float | None) -> str:
    """A given number with all its digits, grouped: `3,234.3`."""
    return NONE if value is None else f"{value:z,.10g}"


def duration(seconds: float | None) -> str:
    """Seconds up to two minutes, minutes up to two hours, then hours."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plural(count: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
