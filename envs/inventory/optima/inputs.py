"""What the exact methods refuse."""

from __future__ import annotations

import math
from numbers import Integral

from pgbench.errors import PgbenchError


def positive(**numbers: float) -> None:
    """Every number is finite and above 0.

    Raises: PgbenchError naming the one that is not.
    """
    for name, number in numbers.items():
        if not (math.isfinite(number) and number > 0):
            raise PgbenchError(f"{name} must be a finite number above 0, not {number}")


def periods(**numbers: int) -> None:
    """Every number is a whole number of at least 1: what is ordered now arrives next period.

    Raises: PgbenchError naming the one that is not.
    """
    for name, number in numbers.items():
        if not isinstance(number, Integral) or number < 1:
            raise PgbenchError(f"{name} must be a whole number of at least 1, not {number}")
