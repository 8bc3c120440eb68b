"""From scores to verdicts: when runs support a claim, and when they contradict it.

A kind of check names a region for the true difference d of two rows' means in an environment (a
minus b, positive where a is better): better d > 0, not-worse d > -margin, on-par |d| < margin. Two
p-values follow for each environment, by Welch's t test or, for a margin in seed standard
deviations, by its noncentral form: `p_for` of "d is outside the region", `p_against` of "d is
inside". One alone at or below 0.025 says that the 95% interval lies wholly inside, or outside.

Within is not-worse with the environment's reference for b: a constant, which comes here as often as
a has scores. Its variance is 0, so Welch's test is Student's of one sample, with n - 1 degrees.

A check over n environments of which k must hold combines them as a partial conjunction (Benjamini
and Heller 2008), which for k = n is the worst `p_for`, and n times the least `p_against`. A claim
needs every check; of its checks' `p_against` the least counts after Holm's correction. Hence a
claim that is false is called reproduced, and one that is true not reproduced, in at most 2.5% of
all cases, as far as means of so many seeds are near normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pgbench.claims import Margin
from pgbench.statistics.intervals import holm, mean, variance
from pgbench.statistics.power import POWER, upper_tail

LEVEL = 0.95
ALPHA = (1 - LEVEL) / 2  # one-sided: the tail of a 95% interval
SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "inconclusive"
Interval = tuple[float, float, float]  # value, low, high; nan where there is none
Values = Sequence[float]


@dataclass(frozen=True)
class Gap:
    """The difference of two samples' means, in terms of its standard error."""

    value: float
    error: float  # standard error; nan with a single score on a side
    freedom: float  # degrees of freedom after Welch and Satterthwaite
    spread: float  # root mean square of both standard deviations
    size: float  # harmonic mean of both numbers of scores

    def above(self, margin: Margin | None, sign: int, scale: float) -> float:
        """P-value of "the true difference is at most `sign` margins"; nan without an error."""
        from scipy.special import nctdtr, stdtr

        amount = sign * margin.amount if margin else 0.0
        in_spreads = margin is not None and margin.unit == "seed_std"
        edge = amount * (self.spread if in_spreads else scale) if amount else 0.0
        if self.error == 0:
            return 0.0 if self.value > edge else 1.0
        t = self.value / self.error
        if in_spreads:  # the spread is an estimate too: the margin is known in spreads alone
            # In equal samples the noncentrality is exact for unequal variances too.
            return float(nctdtr(self.freedom, -amount * math.sqrt(self.size / 2), -t))
        return float(stdtr(self.freedom, edge / self.error - t))

    def below(self, margin: Margin | None, sign: int, scale: float) -> float:
        """P-value of "the true difference is at least `sign` margins"; nan without an error."""
        turned = Gap(-self.value, self.error, self.freedom, self.spread, self.size)
        return turned.above(margin, -sign, scale)


def gap(x: Values, y: Values) -> Gap:
    """Mean of `x` minus mean of `y`, each one score a seed."""
    value = mean(x) - mean(y)
    n, m = len(x), len(y)
    size = 2 / (1 / n + 1 / m)
    if min(n, m) < 2:
        return Gap(value, math.nan, math.nan, math.nan, size)
    a, b = variance(x) / n, variance(y) / m
    if a + b == 0:
        return Gap(value, 0.0, math.nan, 0.0, size)
    # As shares of a + b: the squares of tiny variances would vanish.
    freedom = 1 / ((a / (a + b)) ** 2 / (n - 1) + (b / (a + b)) ** 2 / (m - 1))
    return Gap(value, math.sqrt(a + b), freedom, math.sqrt((a * n + b * m) / 2), size)


def difference(x: Values, y: Values) -> Interval:
    """Mean of `x` minus mean of `y`, with Welch's 95% interval."""
    from scipy.special import stdtrit

    found = gap(x, y)
    if math.isnan(found.error) or found.error == 0:
        return found.value, found.value + found.error, found.value + found.error
    half = float(stdtrit(found.freedom, 1 - ALPHA)) * found.error
    return found.value, found.value - half, found.value + half


def standardised(x: Values, y: Values) -> Interval:
    """Hedges' g: the difference in seed standard deviations, with its noncentral t interval.

    The unit is the root mean square of both standard deviations; without a spread there is none.
    """
    found = gap(x, y)
    if not found.spread > 0:
        return math.nan, math.nan, math.nan
    unbiased = 1 - 3 / (4 * (len(x) + len(y) - 2) - 1)
    t, root = found.value / found.error, math.sqrt(found.size / 2)
    low, high = (_noncentrality(found.freedom, t, p) / root for p in (1 - ALPHA, ALPHA))
    return unbiased * found.value / found.spread, low, high


def _noncentrality(freedom: float, t: float, p: float) -> float:
    """The noncentrality for which a t below `t` has the probability `p`."""
    from scipy.special import nctdtr

    if t < 0:
        return -_noncentrality(freedom, -t, 1 - p)
    low, high = -10.0, 10 + 4 * t
    for _ in range(80):
        middle = (low + high) / 2
        # The probability falls as the noncentrality rises.
        low, high = (middle, high) if nctdtr(freedom, middle, t) > p else (low, middle)
    return (low + high) / 2


def p_values(
    kind: str, x: Values, y: Values, margin: Margin | None = None, scale: float = 1.0
) -> tuple[float, float]:
    """(p_for, p_against) of one environment; `scale` is its distance from floor to reference.

    Both are 1 where a single seed tells no spread.
    """
    found = gap(x, y)
    if math.isnan(found.error):
        return 1.0, 1.0
    if kind != "on-par":
        sign = 0 if kind == "better" else -1
        return found.above(margin, sign, scale), found.below(margin, sign, scale)
    inside = max(found.above(margin, -1, scale), found.below(margin, 1, scale))
    # Too high or too low: both tails, at the edge where they are largest.
    outside = min(
        found.above(margin, 1, scale) + found.above(margin, -1, scale),
        found.below(margin, 1, scale) + found.below(margin, -1, scale),
    )
    return inside, min(1.0, outside)


@dataclass(frozen=True)
class Power:
    """What the runs of one environment could show, from their spread alone.

    `least`: the true difference from which on the check is supported with a power of 80%; None for
    on-par, which more of a difference cannot support. `equal`: the power if a and b are equal (a
    and the reference); None for better, which equal rows must not support.
    """

    least: float | None
    equal: float | None


def power(
    kind: str, x: Values, y: Values, margin: Margin | None, scale: float, tail: float = ALPHA
) -> Power | None:
    """The power of one environment's comparison at this tail; None where no spread is told."""
    from scipy.special import stdtrit

    found = gap(x, y)
    if not found.error > 0:
        return None
    # Supported where the difference, in standard errors, is more than `critical`.
    critical = float(stdtrit(found.freedom, 1 - tail))
    edge = 0.0
    if margin is not None and margin.unit == "scale":
        edge = -margin.amount * scale / found.error
    elif margin is not None:
        nearest = -margin.amount * math.sqrt(found.size / 2)
        critical = _quantile(found.freedom, nearest, 1 - tail)
    least = (edge + _noncentrality(found.freedom, critical, 1 - POWER)) * found.error
    equal = upper_tail(found.freedom, -edge, critical)
    if kind == "better":
        return Power(least, None)
    if kind == "on-par":  # both sides have to be shown
        return Power(None, max(0.0, 2 * equal - 1))
    return Power(least, equal)


def _quantile(freedom: float, noncentrality: float, p: float) -> float:
    from scipy.special import nctdtrit

    return float(nctdtrit(freedom, noncentrality, p))


def in_all(powers: Values, k: int) -> float:
    """The chance that at least `k` independent events of these chances come true."""
    chances = [1.0]
    for p in powers:
        kept = [*(c * (1 - p) for c in chances), 0.0]
        chances = [a + b for a, b in zip(kept, [0.0, *(c * p for c in chances)], strict=True)]
    return math.fsum(chances[k:])


def at_least(ps: Values, k: int) -> float:
    """P-value of "fewer than `k` of the nulls are false", whatever ties the `ps` together."""
    return min(1.0, (len(ps) - k + 1) * sorted(ps)[k - 1])


def combined(pairs: Sequence[tuple[float, float]], k: int) -> tuple[float, float]:
    """(p_for, p_against) of a check that must hold in `k` of the environments with these p."""
    support, contradiction = zip(*pairs, strict=True)
    return at_least(support, k), at_least(contradiction, len(pairs) - k + 1)


def state(p_for: float, p_against: float) -> str:
    """What a check's two p-values say."""
    if p_against <= ALPHA:
        return CONTRADICTED
    return SUPPORTED if p_for <= ALPHA else OPEN


def corrected(p_against: Sequence[float]) -> list[float]:
    """Holm's correction over the checks that can refute one claim."""
    return holm(list(p_against)) if p_against else []
