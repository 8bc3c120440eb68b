"""What seeds can tell before, or after, they are run: least differences, seeds for a difference.

Power is the chance that a true difference of the stated size is found. It rests on the spread
between seeds alone, never on the differences that were seen. Two rows are taken to have the
typical spread of their table; with more or less of it the least difference is in proportion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import chdtri, nctdtr, stdtrit

from pgbench.errors import PgbenchError
from pgbench.statistics.intervals import mean, variance
from pgbench.statistics.ranking import LEVEL, estimate, quantile_t

POWER = 0.8
MOST = 100_000  # seeds; beyond it no number is looked for


@dataclass(frozen=True)
class Spread:
    """The spread of a typical row's seeds: of its mean over tasks, as if each seed gave one.

    `tasks`: to how many independent ones their spread is worth, in degrees of freedom a seed.
    """

    deviation: float
    tasks: float


def typical(rows: Sequence[Sequence[Sequence[float]]]) -> Spread | None:
    """The spread of rows, each of its tasks with a score a seed; None where there is none.

    The median of the variances, divided by what it is of such variances when all are one: few
    outliers, such as a row that breaks down in some seeds, do not move it. Rows with fewer than
    three seeds of a task tell nothing.
    """
    told = [(tasks, found) for tasks in rows if (found := estimate(tasks)) is not None]
    if not told:
        return None
    freedom = float(np.median([found.freedom for _, found in told]))
    each = [math.fsum(map(variance, tasks)) / len(tasks) ** 2 for tasks, _ in told]
    middle = float(np.median(each)) / (float(chdtri(freedom, 0.5)) / freedom)
    if middle == 0:
        return None
    worth = [found.freedom / (mean([len(v) for v in tasks]) - 1) for tasks, found in told]
    return Spread(math.sqrt(middle), float(np.median(worth)))


def least_difference(spread: Spread, seeds: int, rows: int = 2, power: float = POWER) -> float:
    """The least true difference of two rows that so many seeds find with the power.

    With two rows by Welch's test at 5%, two-sided; with more by the simultaneous comparison of a
    row with all others that ranks are made of (`ranking.compare`), for one named pair of them.
    """
    freedom = (seeds - 1) * spread.tasks
    return _noncentrality(freedom, rows, power) * spread.deviation * math.sqrt(2 / seeds)


def seeds_needed(spread: Spread, difference: float, rows: int = 2, power: float = POWER) -> int:
    """The least number of seeds that finds `difference` with the power; at least three.

    Raises: PgbenchError if it is more than 100,000, or the difference is not above 0.
    """
    if not difference > 0:
        raise PgbenchError(f"a difference to be found must be more than 0, not {difference:g}")
    low, high = 2, 3
    while least_difference(spread, high, rows, power) > difference:
        low, high = high, 2 * high
        if high > MOST:
            raise PgbenchError(
                f"a difference of {difference:g} needs more than {MOST:,} seeds; give a larger one"
            )
    while high - low > 1:
        middle = (low + high) // 2
        if least_difference(spread, middle, rows, power) > difference:
            low = middle
        else:
            high = middle
    return high


def upper_tail(freedom: float, noncentrality: float, t: float) -> float:
    """P(T > t) of a noncentral t."""
    return 1 - float(nctdtr(freedom, noncentrality, t))


@lru_cache(maxsize=256)
def _noncentrality(freedom: float, rows: int, power: float) -> float:
    """Standard errors that the true difference must have, by bisection."""
    pooled = 2 * freedom
    critical = float(stdtrit(pooled, 0.5 + LEVEL / 2)) if rows == 2 else quantile_t(freedom, rows)
    low, high = 0.0, 2 * critical + 10
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if upper_tail(pooled, middle, critical) < power else (low, middle)
        )
    return high
