"""Ranges of numbers: declared beside each setting, checked in one place, shown by `explain`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any

from pgbench.errors import PgbenchError


class SettingError(PgbenchError, ValueError):
    """A setting that is out of its range, or that another one switches off."""


@dataclass(frozen=True)
class Bounds:
    """What a number (or each number of a tuple) may be; without any bound: any finite number."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    infinite: bool = False  # whether it may be infinite, as an end of an interval may

    def takes(self, x: float) -> bool:
        """Whether `x` is in the range; NaN is in none."""
        return (
            (math.isfinite(x) or (self.infinite and not math.isnan(x)))
            and (self.above is None or x > self.above)
            and (self.at_least is None or x >= self.at_least)
            and (self.below is None or x < self.below)
            and (self.at_most is None or x <= self.at_most)
        )

    def __str__(self) -> str:
        """`above 0`, `at least 1`, `in [0, 1)`, `a finite number`."""
        low = self.at_least if self.above is None else self.above
        high = self.at_most if self.below is None else self.below
        if low is not None and high is not None:
            left, right = "[" if self.above is None else "(", "]" if self.below is None else ")"
            return f"in {left}{low:g}, {high:g}{right}"
        if low is not None:
            return f"{'at least' if self.above is None else 'above'} {low:g}"
        if high is not None:
            return f"{'at most' if self.below is None else 'below'} {high:g}"
        return "a number" if self.infinite else "a finite number"


FINITE = Bounds()


def misfit(value: Any, bounds: Bounds | None) -> str:
    """Why `value` (a number, a tuple of them, or anything else) is refused; empty if it is not.

    What is no number has no range.
    """
    if isinstance(value, list | tuple):
        return next((why for item in value if (why := misfit(item, bounds))), "")
    if isinstance(value, bool) or not isinstance(value, Real):
        return ""
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all floats
        number = math.inf
    bounds = bounds or FINITE
    if bounds.takes(number):
        return ""
    finite = bounds.infinite or math.isfinite(number)
    return f"must be {bounds if finite else FINITE}, not {value}"


# Types of keywords of environments, whose constructors have no `option`.
Number = Annotated[float, FINITE]
Positive = Annotated[float, Bounds(above=0)]
NotNegative = Annotated[float, Bounds(at_least=0)]
Share = Annotated[float, Bounds(at_least=0, at_most=1)]
Whole = Annotated[int, FINITE]
Count = Annotated[int, Bounds(at_least=1)]
Natural = Annotated[int, Bounds(at_least=0)]
Interval = Annotated[tuple[float, float], Bounds(infinite=True)]  # low <= high
