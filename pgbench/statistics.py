"""Statistics over seeds and tasks: intervals that cover what they claim, seeded resampling.

Scores come by name: a sequence of seeds' scores for one task, or a mapping task -> such a
sequence. Nothing depends on the position of an axis, nothing on a global random state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from pgbench.errors import PgbenchError

Scores = Mapping[str, Sequence[float]]  # task -> one score a seed
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # (..., N) -> (...)
CHUNK = 1000  # replications in memory at once


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
    centre = mean(values)
    variance = math.fsum((value - centre) ** 2 for value in values) / (n - 1)
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * math.sqrt(variance / n)
    return centre - half, centre + half


def iqm(values: NDArray[np.float64] | Sequence[float]) -> NDArray[np.float64]:
    """Interquartile mean along the last axis: the lowest and highest floor(N / 4) are dropped."""
    ordered = np.sort(np.asarray(values, np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    middle: NDArray[np.float64] = ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)
    return middle


def stratified_bootstrap(
    scores: Scores,
    statistic: Statistic = iqm,
    *,
    seed: int,
    level: float = 0.95,
    replications: int = 10_000,
) -> tuple[float, float]:
    """Percentile interval of `statistic` over all scores, seeds resampled within each task.

    `statistic` sees the pooled scores, (replications, N). The same scores and `seed` give the
    same interval, whatever the order of the tasks. Too narrow below 10 seeds a task.

    Raises: PgbenchError if there is no task, or a task without a score.
    """
    _not_empty(scores)
    tasks = sorted(scores)
    # One generator a task: neither another task's size nor the chunks change its draws.
    streams = [np.random.Generator(np.random.Philox(s)) for s in _spawn(seed, len(tasks))]
    columns = [np.asarray(scores[task], np.float64) for task in tasks]
    results = []
    for start in range(0, replications, CHUNK):
        rows = min(CHUNK, replications - start)
        drawn = [
            column[(rng.random((rows, len(column))) * len(column)).astype(np.intp)]
            for rng, column in zip(streams, columns, strict=True)
        ]
        results.append(statistic(np.concatenate(drawn, axis=1)))
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(results), [tail, 1 - tail])
    return float(low), float(high)


def _spawn(seed: int, count: int) -> list[Any]:
    return list(np.random.SeedSequence(seed).spawn(count))


def probability_of_improvement(x: Scores, y: Scores) -> float:
    """P(a run of `x` beats a run of `y`) on a task, ties counting half; the mean over tasks.

    Raises: PgbenchError if the tasks differ or one has no score.
    """
    _same_names(x, y, "task")
    _not_empty(x)
    _not_empty(y)
    chances = []
    for task in sorted(x):
        a = np.asarray(x[task], np.float64)[:, None]
        b = np.asarray(y[task], np.float64)[None, :]
        chances.append(float(((a > b) + 0.5 * (a == b)).mean()))
    return mean(chances)


def paired_difference(
    x: Mapping[str, float], y: Mapping[str, float], level: float = 0.95
) -> tuple[float, float, float]:
    """Mean of x - y over pairs of the same name (a seed, or a task), and its t interval.

    Raises: PgbenchError if the names differ or there is none.
    """
    _same_names(x, y, "pair")
    differences = [x[name] - y[name] for name in sorted(x)]
    low, high = t_interval(differences, level)
    return mean(differences), low, high


def _not_empty(scores: Scores) -> None:
    if not scores:
        raise PgbenchError("there is no task to compute a statistic of")
    for task, values in scores.items():
        if len(values) == 0:
            raise PgbenchError(f"task '{task}' has no score")


def _same_names(x: Mapping[str, Any], y: Mapping[str, Any], what: str) -> None:
    if odd := sorted(set(x) ^ set(y)):
        raise PgbenchError(f"{what} {', '.join(odd)} is only on one side of the comparison")
