"""Aggregates over tasks with intervals from a stratified bootstrap: seeds resampled within tasks.

The draws are a function of a seed and of the numbers of scores alone. Rows of a table with equal
shapes share them, so that rows differ by their scores and not by luck; nothing depends on the
order of tasks or seeds, on chunks, or on a global random state.

With the few seeds of reinforcement learning the quantiles of a bootstrap are no interval: at 95%
they cover 74% with 3 seeds of one task, and shares near 0 or 1 get no width at all. Here the
bootstrap gives a variance; Student's t or Wilson's limits turn it into an interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from pgbench.errors import PgbenchError

Array = NDArray[np.float64]
Scores = Mapping[str, Sequence[float]]  # task -> one score a seed; higher is better
Statistic = Callable[[Array], Array]  # (..., N) -> (...); leaves its argument as it is
Interval = tuple[float, float, float]  # value, low, high
CHUNK = 2**18  # scores in memory at once
BORROWED = 2  # runs' worth that a task borrows from the others where its own tell too little


def stratified_bootstrap(
    scores: Scores,
    statistics: Mapping[str, Statistic],
    *,
    seed: int,
    level: float = 0.95,
    replications: int = 10_000,
) -> dict[str, Interval]:
    """Value, low and high of several statistics of the pooled scores, from the same draws.

    The interval is value +- t * s. The variance s^2 is that of the replicates, each task's share
    of it times n / (n - 1), since n values resampled spread less than their source. The degrees
    of freedom of t are Satterthwaite's, from the same shares (Welch 1947, bias-corrected): few
    where one task has most of the variance, up to the sum of n - 1. A task's share is the sum of
    its scores' squared influences, the covariances of how often a score was drawn with the
    statistic (Efron 2014). For the mean of one task this is the t interval.

    Chosen by simulation over percentiles, percentiles with their distance to the value scaled by
    sqrt(n / (n - 1)) t / z, and skewness corrections: mean and IQM are covered 94-97%
    for 3 to 20 seeds of 1 to 10 tasks if scores are normal, 93-97% if their skewness is 1. Known
    misses: the IQM of one task with 4 seeds covers 98%, its replicates being too wide; the
    optimality gap of one task 87% with 3 seeds and 92% with 10, as seeds may all pass the
    threshold (93-94% of three tasks); the IQM of three tasks far apart 92%, being biased there.

    A task with one score has no spread: low and high are nan. The limits lie symmetrically and
    know no bounds: that of a gap may be below 0. Tasks weigh by their numbers of scores.

    Raises: PgbenchError if there is no task, a task without a score, or one that is not finite.
    """
    columns = _columns(scores)
    pooled = np.concatenate(columns)
    if not np.isfinite(pooled).all():
        raise PgbenchError("a score is infinite; give a failed run the floor of its environment")
    values = {name: float(statistic(pooled)) for name, statistic in statistics.items()}
    sizes = tuple(map(len, columns))
    if min(sizes) == 1:
        return {name: (value, math.nan, math.nan) for name, value in values.items()}
    drawn = _draws(seed, sizes, replications)
    replicates = {name: np.empty(replications) for name in statistics}
    rows = max(CHUNK // len(pooled), 1)
    for start in range(0, replications, rows):
        sample = pooled.take(drawn[start : start + rows])
        for name, statistic in statistics.items():
            replicates[name][start : start + rows] = statistic(sample)
    half = {name: _half_width(x, drawn, sizes, level) for name, x in replicates.items()}
    return {name: (value, value - half[name], value + half[name]) for name, value in values.items()}


def performance_profile(
    scores: Scores,
    tau: Sequence[float],
    *,
    seed: int,
    level: float = 0.95,
    replications: int = 2000,
) -> tuple[Array, Array, Array]:
    """Share of runs with a score above each `tau`, and its pointwise band: three arrays like `tau`.

    Wilson's limits for as many runs as would have the variance of the stratified bootstrap: tasks
    that differ make a share more certain than a coin of the same chance (the design effect of
    survey statistics). Few seeds tell little of that effect; it is drawn towards 1 by two seeds'
    worth. Wilson's limits have width where every run is above, or none, and stay in [0, 1].

    Raises: PgbenchError if there is no task, or a task without a score.
    """
    columns = _columns(scores)
    sizes = tuple(map(len, columns))
    runs, tasks = sum(sizes), len(sizes)
    above = (np.concatenate(columns) > np.asarray(tau, np.float64)[:, None]).astype(np.float64)
    value = above.mean(axis=1)
    effect = np.ones_like(value)
    if runs > tasks:
        binomial = value * (1 - value) / runs
        # Not by BLAS, whose threads wait for each other on a busy machine.
        drawn_above = np.einsum("rn,tn->rt", _counts(seed, sizes, replications), above)
        spread = drawn_above.var(axis=0) / (runs * (runs - tasks))
        np.divide(spread, binomial, out=effect, where=binomial > 0)
        own = runs / tasks - 1
        effect = (own * np.minimum(effect, 1) + BORROWED) / (own + BORROWED)
    return value, *_wilson(value, runs / effect, float(ndtri(0.5 + level / 2)))


def probability_of_improvement(x: Scores, y: Scores) -> float:
    """P(a run of `x` beats a run of `y`) on a task, ties counting half; the mean over tasks.

    Raises: PgbenchError if the tasks differ or one has no score.
    """
    return _mean_chance(_wins(x, y))


def improvement_interval(
    x: Scores, y: Scores, *, seed: int, level: float = 0.95, replications: int = 2000
) -> Interval:
    """`probability_of_improvement(x, y)`, and the limits of its interval within [0, 1].

    Wilson's limits with a quantile of t, for as many runs as would have the variance of the
    probability: that of the bootstrap (`x` and `y` resampled within each task) or, where larger,
    Newcombe's (2006) at each task's chance drawn towards the others' by two runs' worth. The
    former sees scores of unlike spread; the latter does not vanish when every run of `x` wins.
    No n / (n - 1) here: with few runs the replicates of this statistic are too wide by as much.

    A task with one score on a side has no spread: low and high are nan.

    Raises: PgbenchError if the tasks differ or one has no score.
    """
    wins = _wins(x, y)
    value = _mean_chance(wins)
    sizes = [w.shape for w in wins]
    if min(map(min, sizes)) == 1:
        return value, math.nan, math.nan
    counts = _counts(seed, tuple(n for shape in sizes for n in shape), replications)
    resampled, start = 0.0, 0
    for w, (n, m) in zip(wins, sizes, strict=True):
        a, b = counts[:, start : start + n], counts[:, start + n : start + n + m]
        resampled += float(((a @ w) * b).sum(axis=1).var()) / (n * m) ** 2
        start += n + m

    pairs = np.array([2 * n * m / (n + m) for n, m in sizes])
    pooled = (value * pairs.sum() + 0.5) / (pairs.sum() + 1)
    chances = np.array([w.mean() for w in wins])
    drawn_in = (chances * pairs + BORROWED * pooled) / (pairs + BORROWED)
    assumed = sum(_newcombe(c, *shape) for c, shape in zip(drawn_in.tolist(), sizes, strict=True))
    variance = max(resampled, assumed) / len(wins) ** 2
    freedom = sum(n + m - 2 for n, m in sizes)
    quantile = float(stdtrit(freedom, 0.5 + level / 2))
    low, high = _wilson(np.array([value]), np.array([pooled * (1 - pooled) / variance]), quantile)
    return value, float(low[0]), float(high[0])


def same_names(x: Mapping[str, object], y: Mapping[str, object], what: str) -> None:
    """Refuse a comparison of mappings with different keys.

    Raises: PgbenchError naming the keys that are on one side only.
    """
    if odd := sorted(set(x) ^ set(y)):
        raise PgbenchError(f"{what} {', '.join(odd)} is only on one side of the comparison")


def _columns(scores: Scores) -> list[Array]:
    """Each task's scores, sorted, in the order of the tasks' names: no order of the input stays."""
    if not scores:
        raise PgbenchError("there is no task to compute a statistic of")
    columns = []
    for task in sorted(scores):
        column = np.sort(np.asarray(scores[task], np.float64))
        if len(column) == 0:
            raise PgbenchError(f"task '{task}' has no score")
        if np.isnan(column[-1]):  # sorted last
            raise PgbenchError(f"a score of task '{task}' is nan; a failed run scores the floor")
        columns.append(column)
    return columns


@lru_cache(maxsize=8)
def _draws(seed: int, sizes: tuple[int, ...], replications: int) -> NDArray[np.unsignedinteger]:
    """Positions in the pooled scores, (replications, N); each task's draws in its own columns.

    Philox counts, so a stream is the same on every machine; its raw bits are the same in every
    version of numpy. One stream a task: another task's size does not change its draws.
    """
    kind = np.uint16 if sum(sizes) < 2**16 else np.uint32
    drawn = np.empty((replications, sum(sizes)), kind)
    start = 0
    for key, size in zip(np.random.SeedSequence(seed).spawn(len(sizes)), sizes, strict=True):
        bits = np.random.Philox(key).random_raw(replications * size) >> 32
        drawn[:, start : start + size] = (bits * size >> 32).reshape(replications, size) + start
        start += size
    drawn.flags.writeable = False
    return drawn


@lru_cache(maxsize=8)
def _counts(seed: int, sizes: tuple[int, ...], replications: int) -> Array:
    """How often each score was drawn, (replications, N). Sums of them are exact in any order."""
    total = sum(sizes)
    rows = np.arange(replications)[:, None] * total
    cells = (rows + _draws(seed, sizes, replications)).ravel()
    counts = np.bincount(cells, minlength=replications * total).astype(np.float64)
    counts.flags.writeable = False
    return counts.reshape(replications, total)


def _half_width(
    replicates: Array, drawn: NDArray[np.unsignedinteger], sizes: tuple[int, ...], level: float
) -> float:
    """Half the width of the Student interval; 0 if no replicate differs."""
    if np.ptp(replicates) == 0:
        return 0.0
    n = np.array(sizes, np.float64)
    freedom = n - 1
    deviations = replicates - replicates.mean()
    variance = float((deviations**2).mean())
    share = np.ones(1)
    if len(sizes) > 1:
        often = np.repeat(deviations, drawn.shape[1])
        influence = np.bincount(drawn.ravel(), often, drawn.shape[1]) / len(replicates)
        squares = np.add.reduceat(influence**2, np.cumsum([0, *sizes[:-1]]))
        squares -= freedom * variance / len(replicates)  # what a finite number of draws adds
        squares = np.maximum(squares, 0)
        share = squares / squares.sum() if squares.any() else n / n.sum()
    parts = variance * share * n / freedom
    effective = parts.sum() ** 2 / (parts**2 / (freedom + 2)).sum() - 2
    effective = min(max(effective, freedom.min()), freedom.sum())
    return float(stdtrit(effective, 0.5 + level / 2)) * math.sqrt(parts.sum())


def _wilson(share: Array, runs: Array, quantile: float) -> tuple[Array, Array]:
    """Wilson's limits of a share among (effectively) so many runs, within [0, 1]."""
    square = quantile**2
    centre = share + square / (2 * runs)
    half = quantile * np.sqrt(share * (1 - share) / runs + square / (4 * runs**2))
    low, high = (centre - half) / (1 + square / runs), (centre + half) / (1 + square / runs)
    # At the ends the limit is the end itself, but for the rounding.
    low, high = np.where(share <= 0, 0.0, low), np.where(share >= 1, 1.0, high)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def _wins(x: Scores, y: Scores) -> list[Array]:
    """Of each task in the order of names: 1 where a run of `x` beats one of `y`, 1/2 for a tie."""
    same_names(x, y, "task")
    sides = zip(_columns(x), _columns(y), strict=True)
    return [(a[:, None] > b) + 0.5 * (a[:, None] == b) for a, b in sides]


def _mean_chance(wins: Sequence[Array]) -> float:
    return math.fsum(float(w.mean()) for w in wins) / len(wins)


def _newcombe(chance: float, n: int, m: int) -> float:
    """Variance of an estimated P(x > y) from n and m runs (Newcombe 2006, method 5)."""
    lose = 1 - chance
    shared = (n + m) / 2 - 1
    return chance * lose * (1 + shared * (lose / (2 - chance) + chance / (1 + chance))) / (n * m)
