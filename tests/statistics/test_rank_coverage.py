"""Rank sets hold true ranks, and leads true leads, as often as they claim: simulated.

Each case draws tables of rows whose true means are known. Held: the share of rows whose set has
every rank that is true of them (nominal 95%), the share of tables in which all leads hold (97.5%).
The slow grid covers 3, 5 and 10 seeds of 4 and 19 rows; known misses are cases of their own.
"""

import numpy as np
import pytest

from pgbench.statistics.ranking import compare, estimate

BOUNDS = {"lower": 0.0, "upper": 1.0}


def normal(rng, means, seeds):
    return means[:, None] + 0.05 * rng.standard_normal((len(means), seeds))


def unequal(rng, means, seeds):
    """Normal, spreads from a twentieth to four times the former."""
    spread = 0.05 * np.geomspace(0.05, 4, len(means))[:, None]
    return means[:, None] + spread * rng.standard_normal((len(means), seeds))


def skewed(rng, means, seeds):
    """Exponential tails downwards: a skewness of -2."""
    return means[:, None] + 0.05 * (1 - rng.exponential(size=(len(means), seeds)))


def beta(rng, means, seeds):
    """Shares near 1: a mean of 0.95 has a standard deviation of 0.05 and a skewness of -1.6."""
    size = (len(means), seeds)
    return rng.beta(20 * means[:, None], 20 * (1 - means)[:, None], size)


def counted(rng, means, seeds):
    """The same out of 20 episodes: many seeds, and often all, end at the bound."""
    return rng.binomial(20, beta(rng, means, seeds)) / 20


def skewed_unequal(rng, means, seeds):
    spread = 0.05 * np.geomspace(0.2, 3, len(means))[:, None]
    return means[:, None] + spread * (1 - rng.exponential(size=(len(means), seeds)))


def beta_unequal(rng, means, seeds):
    """Some rows near 1 in every seed, others mostly at it and sometimes far below."""
    size = np.geomspace(5, 200, len(means))[:, None]
    return rng.beta(size * means[:, None], size * (1 - means)[:, None], (len(means), seeds))


SHAPES = {
    "tied": lambda k: np.zeros(k),
    "groups": lambda k: -0.15 * (np.arange(k) >= k // 2),
    "spread": lambda k: np.linspace(0, -0.3, k),
}
KINDS = {
    "normal": (normal, 0.5, {}),
    "unequal": (unequal, 0.5, {}),
    "skewed": (skewed, 0.5, {}),
    "beta": (beta, 0.95, BOUNDS),
    "counted": (counted, 0.95, BOUNDS),
    "skewed unequal": (skewed_unequal, 0.5, {}),
    "beta unequal": (beta_unequal, 0.95, BOUNDS),
}


def coverage(kind, seeds, rows, shape, trials):
    """Mean share of rows whose rank sets hold, and share of tables whose leads all hold."""
    draw, top, bounds = KINDS[kind]
    means = top + SHAPES[shape](rows)
    rng = np.random.default_rng([seeds, rows, list(KINDS).index(kind), list(SHAPES).index(shape)])
    first = 1 + (means > means[:, None] + 1e-9).sum(axis=1)
    last = rows - (means < means[:, None] - 1e-9).sum(axis=1)
    leads = [means[i] - np.delete(means, i).max() for i in range(rows)]
    held = led = 0.0
    for _ in range(trials):
        table = draw(rng, means, seeds).tolist()
        found = compare(
            {f"{i:02d}": estimate([row], **bounds) for i, row in enumerate(table)}, draws=1000
        )
        rank = [found[key] for key in sorted(found)]
        held += np.mean(
            [s.low <= a and b <= s.high for s, a, b in zip(rank, first, last, strict=True)]
        )
        led += all(
            s.lead[1] - 1e-9 <= x <= s.lead[2] + 1e-9 for s, x in zip(rank, leads, strict=True)
        )
    return held / trials, led / trials


@pytest.mark.parametrize(
    ("kind", "seeds", "rows", "shape"),
    [("normal", 3, 4, "tied"), ("unequal", 5, 4, "tied"), ("skewed", 5, 4, "spread"),
     ("counted", 3, 4, "groups"), ("beta", 5, 4, "tied"), ("unequal", 10, 4, "spread")],
)  # fmt: skip
def test_a_few(kind, seeds, rows, shape):
    held, led = coverage(kind, seeds, rows, shape, trials=300)
    assert held >= 0.915 and led >= 0.95  # 300 tables: a standard error of 1%


@pytest.mark.parametrize("seeds", [3, 5])
def test_means_over_tasks(seeds):
    """Three tasks of unlike spread, the same for all rows or each row's own: no false rank."""
    rng = np.random.default_rng(seeds)
    held = 0.0
    for trial in range(300):
        spread = np.geomspace(0.01, 1, 3)[None, :, None]
        if trial % 2:
            spread = rng.permuted(np.broadcast_to(spread, (4, 3, 1)), axis=1)
        table = spread * rng.standard_normal((4, 3, seeds))
        found = compare({str(i): estimate(row.tolist()) for i, row in enumerate(table)}, draws=1000)
        held += np.mean([(s.low, s.high) == (1, 4) for s in found.values()])
    assert held / 300 >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [4, 19])
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("kind", ["normal", "unequal", "skewed", "beta", "counted"])
def test_coverage(kind, seeds, rows, shape):
    held, led = coverage(kind, seeds, rows, shape, trials=1000 if rows == 4 else 200)
    print(f"{kind}, {seeds} seeds, {rows} rows, {shape}: rank sets {held:.3f}, leads {led:.3f}")
    # Near a bound sets hold in 92% at least, and leads miss twice as often as they say: 94-95%.
    near = bool(KINDS[kind][2])
    assert held >= (0.915 if near else 0.93) and led >= (0.93 if near else 0.955)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [4, 19])
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("kind", ["skewed unequal", "beta unequal"])
def test_known_misses(kind, seeds, rows):
    """Wide one-sided tails in some rows only: their few seeds mostly lie on the good side."""
    held, _ = coverage(kind, seeds, rows, "tied", trials=600 if rows == 4 else 150)
    print(f"{kind}, {seeds} seeds, {rows} rows: rank sets {held:.3f}")
    assert held >= 0.83
