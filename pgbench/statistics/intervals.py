"""Statistics over seeds and tasks: intervals that cover what they claim, and tests.

Scores come by name: a sequence of seeds' scores for one task, or a mapping task -> such a
sequence. Nothing depends on the position of an axis, nothing on a global random state.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

from pgbench.errors import PgbenchError
from pgbench.statistics.bootstrap import (
    Scores,
    Statistic,
    improvement_interval,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)

__all__ = [
    "Scores",
    "Statistic",
    "content_seed",
    "holm",
    "improvement_interval",
    "iqm",
    "mean",
    "mean_interval",
    "optimality_gap",
    "performance_profile",
    "probability_of_improvement",
    "stratified_bootstrap",
    "t_interval",
    "variance",
    "welch",
    "wilson",
    "within_bounds",
]
ROUNDING = 1e-12  # relative; values that differ by less are equal
LEAST = 3  # values that an interval is made from: of two it would be 13 times as wide as they lie


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean by an exact sum: the order of the values cannot change a bit of it."""
    return math.fsum(values) / len(values)


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean; `(nan, nan)` for a single value, which tells no spread.

    With few seeds a percentile bootstrap is far too narrow (75% instead of 95% with 3 seeds);
    this interval is exact for normal scores.

    Raises: PgbenchError if there is no value.
    """
    n = len(values)
    if n == 0:
        raise PgbenchError("an interval needs at least one score")
    if n == 1:
        return math.nan, math.nan
    centre, variance = _moments(values)
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * math.sqrt(variance / n)
    return centre - half, centre + half


def mean_interval(
    values: Sequence[float],
    lower: float | None = None,
    upper: float | None = None,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Student's t interval of a mean that lies between bounds; see `within_bounds`.

    None from fewer than three values, and from values that are all equal: they show no spread,
    which is not a spread of zero. Coverage at 95%, simulated (tests/statistics/test_bounds.py):
    95% for normal scores; for a share around 0.95 with a standard deviation of 0.05, 94% with 3 to
    10 seeds, where t alone has 89-91%; around 0.98, 88-90%, where t alone has 79-85%. Runs that
    fail rarely and then wholly cannot be seen in 3 or 5 seeds by any method.
    """
    if len(values) < LEAST or variance(values) == 0:
        return None
    low, high = t_interval(values, level)
    return within_bounds(mean(values), (high - low) / 2, lower, upper)


def wilson(right: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's (1927) interval of a share of independent trials: `right` of `count`.

    It has a width where all trials ended alike, too: none right of 256 leaves shares up to 0.015.

    Raises: PgbenchError if there is no trial.
    """
    if count == 0:
        raise PgbenchError("a share needs at least one trial")
    z2 = float(ndtri(0.5 + level / 2)) ** 2
    share = right / count
    centre, scale = share + z2 / (2 * count), 1 + z2 / count
    half = math.sqrt(z2 / count * (share * (1 - share) + z2 / (4 * count)))
    return max((centre - half) / scale, 0.0), min((centre + half) / scale, 1.0)


def within_bounds(
    value: float, half: float, lower: float | None = None, upper: float | None = None
) -> tuple[float, float]:
    """The interval value +- half with its limits inside bounds; None is no bound.

    A score interval: its limits are the means m with (value - m)^2 = half^2 V(m) / V(value), where
    the spread of bounded values is taken to fall towards a bound as V = (m - lower) (upper - m), or
    as the distance to the one bound that there is. For shares this is Wilson's (1927) form with a
    dispersion that the seeds tell (a quasi-binomial model), for one bound the quasi-Poisson one;
    far from the bounds it is the plain interval.
    """
    below = math.inf if lower is None else max(value - lower, 0.0)
    above = math.inf if upper is None else max(upper - value, 0.0)
    if half == 0 or (below == above == math.inf):
        return value - half, value + half
    if min(below, above) == 0:  # a value at a bound tells no dispersion
        return max(value - half, value - below), min(value + half, value + above)
    # With x = m - value: x^2 = scale (below + x) (above - x), each factor 1 without its bound.
    if above == math.inf:
        scale = half**2 / below
        centre, root = scale / 2, math.sqrt(half**2 + scale**2 / 4)
    elif below == math.inf:
        scale = half**2 / above
        centre, root = -scale / 2, math.sqrt(half**2 + scale**2 / 4)
    else:
        inverse = below / half * (above / half)  # of the scale, which may be too large for a float
        middle = (above - below) / 2
        centre = middle / (1 + inverse)
        root = math.sqrt(middle**2 + half**2 * inverse * (1 + inverse)) / (1 + inverse)
    return value + max(centre - root, -below), value + min(centre + root, above)


def prediction_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Where one more value of the same kind falls; `(nan, nan)` for a single value.

    Raises: PgbenchError if there is no value.
    """
    low, high = t_interval(values, level)
    # One more value varies by itself too: s^2 (1 + 1/n) in place of s^2 / n.
    half = (high - low) / 2 * math.sqrt(len(values) + 1)
    return mean(values) - half, mean(values) + half


def iqm(values: NDArray[np.float64] | Sequence[float]) -> NDArray[np.float64]:
    """Interquartile mean along the last axis: the lowest and highest floor(N / 4) are dropped."""
    ordered = np.sort(np.asarray(values, np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    middle: NDArray[np.float64] = ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)
    return middle


def optimality_gap(
    values: NDArray[np.float64] | Sequence[float], threshold: float = 1.0
) -> NDArray[np.float64]:
    """Mean of max(threshold - x, 0) along the last axis: what is missing to the threshold."""
    missing = threshold - np.asarray(values, np.float64)
    gap: NDArray[np.float64] = np.maximum(missing, 0, out=missing).mean(axis=-1)
    return gap


def content_seed(text: str) -> int:
    """A seed from a hash's hexadecimal digest: its first 13 digits, exact in any JSON reader.

    Raises: PgbenchError if `text` is not hexadecimal.
    """
    if not re.fullmatch("[0-9a-fA-F]+", text):
        raise PgbenchError(
            f"'{text[:20]}' is not a hexadecimal digest; give that of a content hash"
        )
    return int(text[:13], 16)


def welch(x: Sequence[float], y: Sequence[float]) -> float:
    """Two-sided p of Welch's t test that two means are equal; nan with less than two values each.

    Without any spread it is 1 for equal means and 0 for others.
    """
    if min(len(x), len(y)) < 2:
        return math.nan
    (mean_x, var_x), (mean_y, var_y) = _moments(x), _moments(y)
    a, b = var_x / len(x), var_y / len(y)
    if a + b == 0:
        return float(mean_x == mean_y)
    # As shares of a + b: the squares of tiny variances would vanish.
    freedom = 1 / ((a / (a + b)) ** 2 / (len(x) - 1) + (b / (a + b)) ** 2 / (len(y) - 1))
    return 2 * float(stdtr(freedom, -abs(mean_x - mean_y) / math.sqrt(a + b)))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given; those at or below 5% are rejected at 5%.

    A nan stays nan and does not count among the tests.
    """
    order = sorted((i for i in range(len(p)) if not math.isnan(p[i])), key=p.__getitem__)
    adjusted = [math.nan] * len(p)
    highest = 0.0
    for done, i in enumerate(order):
        highest = max(highest, min((len(order) - done) * p[i], 1.0))
        adjusted[i] = highest
    return adjusted


def variance(values: Sequence[float]) -> float:
    """Unbiased variance; exactly 0 for equal values."""
    return _moments(values)[1]


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and unbiased variance; exactly 0 for values that are equal but for rounding."""
    low, high = min(values), max(values)
    if high - low <= ROUNDING * max(abs(low), abs(high)):
        return (float(low) if low == high else mean(values)), 0.0
    centre = mean(values)
    return centre, math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1)
