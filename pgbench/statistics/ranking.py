"""Which rows may be the best, and which ranks the runs leave to each: simultaneous comparisons.

Each row is compared with all others at once, by Welch's t: spreads may differ from row to row. Its
critical values are for the largest of its K - 1 statistics, whose common part (the row's own error)
makes them one question more than K - 1: a row far below eighteen others is told apart as easily as
one below a single other, where a correction over all 171 pairs would find nothing.

Two things follow from the same critical values (`compare`):

- the rank set of a row, after Mogstad, Romano, Shaikh and Wilhelm (2024, Review of Economic Studies
  91, 476-518): 1 + the rows that are better beyond it, to K - the rows that are worse. It holds the
  row's true rank, and every rank that ties leave to it, in 95% of all tables;
- multiple comparisons with the best (Hsu 1981, Annals of Statistics 9, 1026-1034; 1996, Multiple
  Comparisons, section 4.3): intervals for each row's true mean less the best of the others', which
  hold all together in 97.5% of all tables, since the one event that the true best is compared
  rightly with the others implies all. A row may be the best (rank 1) where its interval passes 0.

Critical values are simulated: the largest Welch statistic of normal rows with the variances and
degrees of freedom that were seen (a parametric bootstrap; Westfall and Young 1993 for its form).
Rows are taken as independent. Runs of one seed share a start and the evaluation's instances, so
that rows agree a little (correlations of 0.1 in this project's records): then the comparisons are
surer than stated, and pairing runs by seed would cost half of the degrees of freedom for less.

What it does not know: a few runs cannot show a rare failure. Where most runs of a row end at a
bound and few fall far below it, no method that parts rows from 3 or 5 runs keeps its level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri, stdtr, stdtrit

from pgbench.statistics.intervals import LEAST, mean, variance, within_bounds

Array = NDArray[np.float64]
LEVEL = 0.95  # of a rank set: half of the rest on each side
DRAWS = 4000  # of the statistics' simulation; the tail of 2.5% is known to 0.25%


@dataclass(frozen=True)
class Estimate:
    """A row's mean, higher is better, with its variance and that variance's degrees of freedom.

    `lower` and `upper` are the bounds of the mean, None where there is none.
    """

    mean: float
    variance: float
    freedom: float
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Standing:
    """What the runs say of a row: its rank, its rank set `low` to `high`, how far from the best.

    `rank`: `low`, or the rank of a row with a better mean where that is worse: a wide spread earns
    no better rank. None where no comparison, of this row or of another with it, tells it apart from
    any: a spread so wide, or rows so alike, that nothing can be said.

    `lead`: the mean less the best of the others', and its limits; None where there is no other row.
    """

    rank: int | None
    low: int
    high: int
    lead: tuple[float, float, float] | None


def estimate(
    tasks: Sequence[Sequence[float]], lower: float | None = None, upper: float | None = None
) -> Estimate | None:
    """A row's mean over tasks, each with a score a seed; None with fewer than three seeds of one.

    The variance is that of the mean of the tasks' means; its degrees of freedom are Satterthwaite's
    with Welch's (1947) correction, between the least of a task and the sum of all.
    """
    sizes = [len(values) for values in tasks]
    if not sizes or min(sizes) < LEAST:
        return None
    parts = [variance(values) / len(values) / len(tasks) ** 2 for values in tasks]
    total, freedoms = math.fsum(parts), [n - 1 for n in sizes]
    freedom = float(sum(freedoms))
    if total > 0:
        # As shares of the total: the squares of tiny variances would vanish.
        squares = math.fsum(
            (p / total) ** 2 / (f + 2) for p, f in zip(parts, freedoms, strict=True)
        )
        freedom = min(max(1 / squares - 2, float(min(freedoms))), freedom)
    return Estimate(mean([mean(values) for values in tasks]), total, freedom, lower, upper)


def difference(a: Estimate, b: Estimate, level: float = LEVEL) -> tuple[float, float, float, float]:
    """Mean of `a` less that of `b`, its limits by Welch's t, and the two-sided p that it is 0.

    Without any spread the limits are nan and p is 1 for equal means, 0 for others.
    """
    gap, total = a.mean - b.mean, a.variance + b.variance
    if total == 0:
        return gap, math.nan, math.nan, float(gap == 0)
    shares = np.array([a.variance, b.variance]) / total
    freedom = 1 / float((shares**2 / [a.freedom, b.freedom]).sum())
    half = float(stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(total)
    p = 2 * float(stdtr(freedom, -abs(gap) / math.sqrt(total)))
    return gap, gap - half, gap + half, p


def compare(
    rows: Mapping[str, Estimate], level: float = LEVEL, draws: int = DRAWS
) -> dict[str, Standing]:
    """The rank set of each row, and its interval against the best of the others.

    A row whose runs all ended equal shows no spread, which is not a spread of zero: it takes the
    median of the others' spreads.
    """
    keys = sorted(rows)
    if len(keys) < 2:
        return {key: Standing(1, 1, 1, None) for key in keys}
    means = np.array([rows[key].mean for key in keys])
    freedom = np.array([rows[key].freedom for key in keys])
    square = _filled([rows[key].variance for key in keys])
    critical = _critical(square, freedom, level, draws)
    _, own = _welch(square, square[:, None], freedom, freedom[:, None])
    ahead = means - means[:, None]  # [i, k]: row k less row i
    reach, back = _reach([rows[key] for key in keys], square, _as_t(critical, own))
    better, worse = ahead > reach, -ahead > back
    lowest, highest = 1 + better.sum(axis=1), len(keys) - worse.sum(axis=1)
    parted = better | worse
    told = parted.any(axis=1) | parted.any(axis=0)
    low, high = _with_the_best(means, reach)
    out, rank = dict[str, Standing](), 1
    for i in sorted(range(len(keys)), key=lambda i: -means[i]):
        rank = max(rank, int(lowest[i])) if told[i] else rank
        best = float(means[i] - np.delete(means, i).max())
        limits = best, min(float(low[i]), best), max(float(high[i]), best)
        shown = rank if told[i] else None
        out[keys[i]] = Standing(shown, int(lowest[i]), int(highest[i]), limits)
    return out


def _reach(rows: Sequence[Estimate], square: Array, t: Array) -> tuple[Array, Array]:
    """[i, k]: how far row k lies ahead of row i by chance, and behind it, at quantiles `t`.

    From both rows' own limits within their bounds (Zou and Donner 2008, Statistics in Medicine 27,
    1693-1702): the lower one of the row ahead, the upper one of the row behind. Without bounds it
    is the half-width of Welch's interval.
    """
    reach, back = np.zeros((2, *t.shape))
    error = np.sqrt(square)
    for i, k in zip(*np.nonzero(~np.eye(len(rows), dtype=bool)), strict=True):
        (down_i, up_i), (down_k, up_k) = (
            _spans(rows[row], float(t[i, k] * error[row])) for row in (i, k)
        )
        reach[i, k], back[i, k] = math.hypot(down_k, up_i), math.hypot(down_i, up_k)
    return reach, back


def _spans(row: Estimate, half: float) -> tuple[float, float]:
    low, high = within_bounds(row.mean, half, row.lower, row.upper)
    return row.mean - low, high - row.mean


def _with_the_best(means: Array, reach: Array) -> tuple[Array, Array]:
    """Hsu's constrained limits of each mean less the best of the others'; K each.

    Above: how far the row may lead, none below 0. Below: how far it may trail one of those that may
    be the best (seen from that row, hence by its critical values), none above 0.
    """
    count = len(means)
    upper = np.array(
        [
            min(means[i] - means[k] + reach[i, k] for k in range(count) if k != i)
            for i in range(count)
        ]
    )
    high = np.maximum(upper, 0)
    low = np.zeros(count)
    for i in range(count):
        trailing = [
            means[i] - means[k] - reach[k, i] for k in range(count) if k != i and high[k] > 0
        ]
        low[i] = min([0.0, *trailing])
    return low, high


def _filled(squares: Sequence[float]) -> Array:
    found = np.array(squares)
    if (found > 0).any():
        found[found == 0] = np.median(found[found > 0])
    return found


def _critical(square: Array, freedom: Array, level: float, draws: int) -> Array:
    """[i, k]: what the statistic of rows i and k, as a normal deviate, must pass for row i's sake.

    In (1 - level) / 2 of all tables whose rows are truly equal one of the row's does. The others'
    statistics weigh by the critical values that they would have themselves: the less, the less the
    comparisons of row k are one question. Else a row that breaks down would be told from eighteen
    others, but not one of the eighteen from it.
    """
    quantile = 0.5 + level / 2
    normal, chi = _samples(tuple(freedom.tolist()), draws)
    error, squares = np.sqrt(square)[:, None] * normal, square[:, None] * chi
    first, second = np.triu_indices(len(square), 1)
    total, own = _welch(
        squares[first], squares[second], freedom[first, None], freedom[second, None]
    )
    gaps = error[second] - error[first]
    t = np.divide(gaps, np.sqrt(total), out=np.zeros_like(gaps), where=total > 0)
    ahead = _as_normal(t, own)  # (pairs, draws): the second row less the first
    weights = np.ones(len(square))
    for _ in range(2):
        largest = np.full(normal.shape, -np.inf)
        for pair, (i, k) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
            np.maximum(largest[i], ahead[pair] / weights[k], out=largest[i])
            np.maximum(largest[k], -ahead[pair] / weights[i], out=largest[k])
        found = np.quantile(largest, quantile, axis=1)
        critical = found[:, None] * weights
        weights = np.maximum(found, ndtri(quantile))
    # Never below that of a single comparison.
    limits: Array = np.maximum(critical, ndtri(quantile))
    return limits


def _welch(a: Array, b: Array, free_a: Array, free_b: Array) -> tuple[Array, Array]:
    """The variance of a difference, and its degrees of freedom after Welch and Satterthwaite."""
    total = a + b
    share = np.divide(a, total, out=np.full_like(total, 0.5), where=total > 0)
    return total, 1 / (share**2 / free_a + (1 - share) ** 2 / free_b)


def _as_normal(t: Array, freedom: Array) -> Array:
    """Student's t as a normal deviate (Wallace 1959): statistics of unlike freedom on one scale.

    What is simulated and what is seen pass the same formula: its error (0.02) moves no level.
    """
    size = np.sqrt(freedom * np.log1p(t * t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
    return np.copysign(size, t)


def _as_t(normal: Array, freedom: Array) -> Array:
    """`_as_normal` turned round, of deviates above 0."""
    size = normal * (8 * freedom + 3) / (8 * freedom + 1)
    return np.sqrt(freedom * np.expm1(np.minimum(size * size / freedom, 700.0)))


@lru_cache(maxsize=32)
def _samples(freedom: tuple[float, ...], draws: int) -> tuple[Array, Array]:
    """Normal deviates and chi-squares over their freedoms, (rows, draws).

    From Philox's raw bits, which are the same in every version of numpy, by inverse distribution
    functions; a row's depend on its place and its freedom alone.
    """
    normal, chi = np.empty((2, len(freedom), draws))
    for place, (key, f) in enumerate(
        zip(np.random.SeedSequence(0).spawn(len(freedom)), freedom, strict=True)
    ):
        bits = np.random.Philox(key).random_raw(2 * draws) >> 11
        uniform = (bits.astype(np.float64) + 0.5) * 2.0**-53
        normal[place] = ndtri(uniform[:draws])
        chi[place] = gammaincinv(f / 2, uniform[draws:]) * 2 / f
    normal.flags.writeable = chi.flags.writeable = False
    return normal, chi


@lru_cache(maxsize=64)
def quantile_t(freedom: float, rows: int) -> float:
    """What Welch's t of two rows must pass for `compare` to part them, among rows of one spread."""
    alike = np.full(rows, freedom)
    critical = _critical(np.ones(rows), alike, LEVEL, DRAWS)[~np.eye(rows, dtype=bool)]
    return float(_as_t(critical, np.full_like(critical, 2 * freedom)).mean())
