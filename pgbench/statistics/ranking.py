"""Rank groups: rows share a rank unless a test, corrected for the number of tests, parts them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pgbench.errors import PgbenchError


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


def rank_groups(
    means: Mapping[str, float], p_values: Mapping[tuple[str, str], float], level: float = 0.05
) -> dict[str, int]:
    """Rank of each row: 1 + the number of rows whose mean is higher and significantly so.

    No row ranks above one whose mean is higher: where the spread of a poor row is too wide for
    any test, it takes the rank of the rows above it. `p_values` has each pair once, in either
    order; Holm's correction is over all of them. A pair that is missing or nan parts nobody. Ranks
    may skip numbers, and a row can share a rank with two others that a test parts.

    Raises: PgbenchError if a pair is given twice or names a row without a mean.
    """
    if odd := sorted({name for pair in p_values for name in pair} - set(means)):
        raise PgbenchError(f"row {', '.join(odd)} has a p-value but no mean")
    if len({frozenset(pair) for pair in p_values}) < len(p_values):
        raise PgbenchError("p_values has a pair twice, (a, b) and (b, a); give each pair once")
    ranks = dict.fromkeys(means, 1)
    for (a, b), p in zip(p_values, holm(list(p_values.values())), strict=True):
        if p <= level and means[a] != means[b]:
            ranks[a if means[a] < means[b] else b] += 1
    return {
        name: max([rank, *(ranks[other] for other in ranks if means[other] > means[name])])
        for name, rank in ranks.items()
    }
