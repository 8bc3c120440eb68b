"""Reset options that are numbers, as Gymnasium's classic control takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pgbench.errors import Misuse


def finite(options: Mapping[str, Any], name: str, usual: float) -> float:
    """A reset option, or what is usual.

    Raises: Misuse if it is no finite number.
    """
    value = options.get(name, usual)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise Misuse(f"reset option '{name}' must be a finite number, not {value!r}")
    return number


def bounds(
    options: Mapping[str, Any], low: float, high: float, most: float = np.inf
) -> tuple[float, float]:
    """Between what a state is drawn: the options `low` and `high`, or what is usual.

    Raises: Misuse if they are no finite numbers in that order, or beyond +-`most`.
    """
    low, high = finite(options, "low", low), finite(options, "high", high)
    if low > high:
        raise Misuse(f"reset option 'low' ({low:g}) must be at most 'high' ({high:g})")
    if max(-low, high) > most:
        raise Misuse(f"reset options 'low' and 'high' must lie within +-{most:g}")
    return low, high
