"""Every interval holds what it claims: simulated coverage at a nominal 95% is within 93-97%.

Of 2000 tables the standard error is 0.5%. Seeds are fixed, so the outcome is, too. Shares are
discrete (3 runs have 4 of them), so that their coverage saws up and down along the true share:
there the mean over many true shares is held to 93-97%, and no single one may fall far.
"""

import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from pgbench.statistics.intervals import (
    improvement_interval,
    iqm,
    optimality_gap,
    performance_profile,
    stratified_bootstrap,
    t_interval,
    welch,
)

LOW, HIGH = 0.93, 0.97
ALL = {"iqm": iqm, "mean": lambda x: x.mean(axis=-1), "gap": optimality_gap}
GRID = [(tasks, seeds) for tasks in (1, 3, 10) for seeds in (3, 5, 10, 20)]
QUICK = [(1, 3), (1, 5), (3, 3), (3, 10), (10, 3)]


# What the scores of (trials, tasks, seeds) are like.


def alike(rng, shape):
    """Normal, the same on every task; 37% of the runs pass 1."""
    return rng.normal(0.9, 0.3, shape)


def apart(rng, shape):
    """Normal, tasks at different places with different spreads."""
    task = np.arange(shape[1])[:, None]
    return (
        0.2
        + task / max(shape[1] - 1, 1)
        + np.choose(task % 3, (0.3, 0.1, 0.05)) * rng.normal(size=shape)
    )


def skewed(rng, shape):
    """Gamma with a skewness of 1."""
    return rng.gamma(4, 0.2, shape)


def tables(kind, tasks, seeds, trials):
    rng = np.random.default_rng([tasks, seeds])
    for table in kind(rng, (trials, tasks, seeds)):
        yield {f"task{k}": values for k, values in enumerate(table.tolist())}


def truth(kind, tasks):
    """The statistics of a great many runs."""
    pooled = kind(np.random.default_rng(0), (1, tasks, 3_000_000 // tasks)).ravel()
    return {name: float(statistic(pooled)) for name, statistic in ALL.items()}


def coverage(kind, tasks, seeds, trials, replications):
    """Share of tables whose interval holds the truth, for each statistic."""
    true = truth(kind, tasks)
    hits = dict.fromkeys(ALL, 0)
    for trial, scores in enumerate(tables(kind, tasks, seeds, trials)):
        seed = trial // 20  # draws are cached
        found = stratified_bootstrap(scores, ALL, seed=seed, replications=replications)
        for name, (_, low, high) in found.items():
            hits[name] += low <= true[name] <= high
    return {name: count / trials for name, count in hits.items()}


# Means, and differences of means.


@pytest.mark.parametrize("n", [2, 3, 5, 10, 20])
def test_t_interval(n):
    draws = np.random.default_rng(n).normal(50, 10, (4000, n)).tolist()
    hits = sum(low <= 50 <= high for low, high in map(t_interval, draws))
    assert LOW <= hits / len(draws) <= HIGH


@pytest.mark.parametrize(("n", "m", "spread"), [(5, 5, 1), (10, 5, 1), (10, 10, 4), (5, 20, 3)])
def test_welch_errs_in_one_of_twenty(n, m, spread):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(4000, n)).tolist(), (spread * rng.normal(size=(4000, m))).tolist()
    wrong = sum(welch(a, b) < 0.05 for a, b in zip(x, y, strict=True)) / 4000
    assert 1 - HIGH <= wrong <= 1 - LOW


# Statistics over tasks.


@pytest.mark.parametrize(("tasks", "seeds"), QUICK)
def test_bootstrap(tasks, seeds):
    found = coverage(alike, tasks, seeds, trials=1500, replications=500)
    assert all(LOW <= found[name] <= HIGH for name in ("iqm", "mean")), found


@pytest.mark.slow
@pytest.mark.parametrize(("tasks", "seeds"), GRID)
def test_bootstrap_on_normal_scores(tasks, seeds):
    found = coverage(alike, tasks, seeds, trials=3000, replications=1000)
    names = ("iqm", "mean", "gap") if tasks == 10 else ("iqm", "mean")
    assert all(LOW <= found[name] <= HIGH for name in names), found


def test_bootstrap_on_skewed_scores():
    found = coverage(skewed, 3, 10, trials=1500, replications=500)
    assert all(LOW <= share <= HIGH for share in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize(("tasks", "seeds"), [case for case in GRID if case[1] >= 10])
def test_bootstrap_on_more_skewed_scores(tasks, seeds):
    found = coverage(skewed, tasks, seeds, trials=3000, replications=1000)
    assert all(LOW <= share <= HIGH for share in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize(("tasks", "seeds"), [case for case in GRID if case[0] > 1])
def test_bootstrap_on_tasks_apart(tasks, seeds):
    """Three tasks apart are the documented miss: their IQM is biased with few seeds."""
    found = coverage(apart, tasks, seeds, trials=3000, replications=1000)
    floor = {"iqm": 0.91 if tasks == 3 else LOW, "mean": 0.92 if seeds == 3 else LOW}
    assert all(floor.get(name, 0.92) <= share <= HIGH for name, share in found.items()), found


def test_gap_of_one_task_is_the_documented_miss():
    # All 3 seeds pass the threshold in 5% of tables, which leaves no spread at all.
    assert 0.84 <= coverage(alike, 1, 3, trials=1500, replications=500)["gap"] <= 0.90


def test_unequal_seeds():
    rng = np.random.default_rng(1)
    sizes, spreads = (3, 8, 15), (1.0, 0.3, 3.0)
    hits = 0
    for trial in range(1500):
        scores = {str(n): rng.normal(0, s, n).tolist() for n, s in zip(sizes, spreads, strict=True)}
        found = stratified_bootstrap(
            scores, {"mean": ALL["mean"]}, seed=trial // 20, replications=500
        )
        hits += found["mean"][1] <= 0 <= found["mean"][2]
    assert LOW <= hits / 1500 <= HIGH


@pytest.mark.parametrize(("tasks", "seeds", "at_most"), [(1, 3, 0.78), (1, 5, 0.92), (3, 3, 0.89)])
def test_percentiles_alone_cover_too_little(tasks, seeds, at_most):
    """What other tools print: quantiles of the replicates. Ours, on the same tables, hold 95%."""
    rng = np.random.default_rng(5)
    true = truth(alike, tasks)["iqm"]
    kept = hits = 0
    for trial, scores in enumerate(tables(alike, tasks, seeds, 1500)):
        drawn = [rng.choice(values, (400, seeds)) for values in scores.values()]
        low, high = np.quantile(iqm(np.concatenate(drawn, axis=1)), [0.025, 0.975])
        hits += low <= true <= high
        _, low, high = stratified_bootstrap(
            scores, {"iqm": iqm}, seed=trial // 20, replications=400
        )["iqm"]
        kept += low <= true <= high
    assert hits / 1500 <= at_most
    assert LOW <= kept / 1500 <= HIGH


# Shares: performance profiles and the probability of improvement.


def profile_coverage(centres, spread, seeds, trials):
    """Coverage at each of many tau with a true share of 5-95%."""
    centres = np.asarray(centres)[:, None]
    tau = np.linspace(centres.min() - 3 * spread, centres.max() + 3 * spread, 60)
    true = ndtr((centres - tau) / spread).mean(axis=0)
    tau, true = tau[(true > 0.05) & (true < 0.95)], true[(true > 0.05) & (true < 0.95)]
    rng = np.random.default_rng([len(centres), seeds])
    hits = np.zeros(len(tau))
    for trial in range(trials):
        values = rng.normal(centres, spread, (len(centres), seeds)).tolist()
        scores = {f"task{k}": v for k, v in enumerate(values)}
        _, low, high = performance_profile(scores, tau, seed=trial // 20, replications=500)
        hits += (low <= true) & (true <= high)
    return hits / trials


@pytest.mark.parametrize(
    ("centres", "seeds"), [([0], 3), ([0], 10), ([0, 0.5, 1], 5), (np.linspace(0, 1, 10), 10)]
)
def test_profile(centres, seeds):
    found = profile_coverage(centres, 0.5, seeds, 800)
    assert LOW <= found.mean() <= HIGH
    assert found.min() >= 0.82


@pytest.mark.slow
@pytest.mark.parametrize(("tasks", "seeds"), GRID)
@pytest.mark.parametrize("distance", [0, 1])
def test_profile_on_the_grid(tasks, seeds, distance):
    found = profile_coverage(np.linspace(0, distance, tasks), 0.5, seeds, 1000)
    assert LOW <= found.mean() <= HIGH
    assert found.min() >= 0.82


def improvement_coverage(tasks, sizes, spread, distance, trials):
    """Coverage at true probabilities of 0.5 to 0.9; normal scores, those of y `spread` as wide."""
    found = []
    for wanted in np.linspace(0.5, 0.9, 9):
        shift = ndtri(wanted) * 1.3 ** (distance > 0) + np.linspace(-distance, distance, tasks)
        true = ndtr(shift).mean()
        shift = shift[:, None] * math.hypot(1, spread)
        rng = np.random.default_rng([tasks, *sizes, round(100 * wanted)])
        hits = 0
        for trial in range(trials):
            x = (rng.normal(size=(tasks, sizes[0])) + shift).tolist()
            y = (spread * rng.normal(size=(tasks, sizes[1]))).tolist()
            x, y = ({f"task{k}": v for k, v in enumerate(side)} for side in (x, y))
            _, low, high = improvement_interval(x, y, seed=trial // 20, replications=500)
            hits += low <= true <= high
        found.append(hits / trials)
    return np.array(found)


@pytest.mark.parametrize(
    ("tasks", "sizes"), [(1, (5, 5)), (1, (10, 10)), (3, (5, 5)), (10, (3, 10))]
)
def test_improvement(tasks, sizes):
    found = improvement_coverage(tasks, sizes, 1, 0, 300)
    assert LOW <= found.mean() <= HIGH
    assert found.min() >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize(("tasks", "seeds"), GRID)
@pytest.mark.parametrize(("spread", "distance"), [(1, 0), (1, 1), (3, 0)])
def test_improvement_on_the_grid(tasks, seeds, spread, distance):
    """Misses, half a point to two: 3 runs of one task, and spreads of 1 to 3 on one task."""
    found = improvement_coverage(tasks, (seeds, seeds), spread, distance, 600)
    assert (LOW if spread == 1 else 0.91) <= found.mean() <= HIGH + 0.005
    assert found.min() >= (0.80 if spread == 1 else 0.75)
