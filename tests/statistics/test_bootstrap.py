"""Worked numbers and invariances of the stratified bootstrap; agreement with rliable."""

import math

import numpy as np
import pytest
from scipy import stats

from pgbench.errors import PgbenchError
from pgbench.statistics.bootstrap import _draws
from pgbench.statistics.intervals import (
    improvement_interval,
    iqm,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
    t_interval,
)


def average(x):
    return x.mean(axis=-1)


ALL = {"iqm": iqm, "mean": average, "gap": optimality_gap}


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return {t: rng.normal(0.7, 0.3, n).tolist() for t, n in (("a", 6), ("b", 9), ("c", 2))}


def shuffled(scores):
    """The same scores with tasks and seeds in another order."""
    return {task: values[::-1] for task, values in reversed(scores.items())}


# The draws.


def test_draws_are_the_same_everywhere():
    assert _draws(5, (3, 4), 3).tolist() == [
        [2, 1, 1, 5, 6, 6, 5], [2, 0, 2, 5, 3, 3, 5], [2, 1, 0, 5, 5, 6, 4],
    ]  # fmt: skip
    assert not _draws(5, (3, 4), 3).flags.writeable  # shared by every row of the shape


def test_draws_of_a_task_depend_on_no_other_task():
    assert (_draws(5, (3, 4), 50)[:, :3] == _draws(5, (3, 9), 50)[:, :3]).all()
    assert (_draws(5, (3, 4), 50) != _draws(6, (3, 4), 50)).any()


def test_draws_are_uniform_within_tasks():
    drawn = _draws(1, (3, 7), 20_000)
    for columns, low, size in ((slice(0, 3), 0, 3), (slice(3, 10), 3, 7)):
        counts = np.bincount(drawn[:, columns].ravel() - low, minlength=size)
        assert len(counts) == size
        assert stats.chisquare(counts).pvalue > 0.001


# Values with intervals.


def test_bootstrap_ignores_order_and_chunks(scores, monkeypatch):
    first = stratified_bootstrap(scores, ALL, seed=3, replications=1500)
    assert first == stratified_bootstrap(shuffled(scores), ALL, seed=3, replications=1500)
    assert first != stratified_bootstrap(scores, ALL, seed=4, replications=1500)
    monkeypatch.setattr("pgbench.statistics.bootstrap.CHUNK", 7 * 17 + 3)
    assert first == stratified_bootstrap(scores, ALL, seed=3, replications=1500)


def test_bootstrap_of_one_statistic_is_that_of_several(scores):
    several = stratified_bootstrap(scores, ALL, seed=3, replications=500)
    for name, statistic in ALL.items():
        assert stratified_bootstrap(scores, {name: statistic}, seed=3, replications=500) == {
            name: several[name]
        }


def test_bootstrap_values_are_the_statistics(scores):
    pooled = np.concatenate(list(scores.values()))
    found = stratified_bootstrap(scores, ALL, seed=0, replications=100)
    for name, statistic in ALL.items():
        value, low, high = found[name]
        assert value == pytest.approx(statistic(pooled), rel=1e-14)
        assert low < value < high


def test_bootstrap_is_stratified():
    # Within a task the scores are equal, so resampling within tasks cannot move the statistic.
    found = stratified_bootstrap({"a": [0.1] * 4, "b": [9.0] * 4}, {"mean": average}, seed=0)
    value, low, high = found["mean"]
    assert low == value == high == pytest.approx(4.55)


def test_bootstrap_of_a_mean_worked():
    # {0, 1}: variance of the replicates 1/8, times 2 is 1/4; t(0.75, 1) = 1: half width 1/2
    found = stratified_bootstrap({"a": [0, 1]}, {"mean": average}, seed=0, level=0.5)
    assert found["mean"] == pytest.approx((0.5, 0.0, 1.0), abs=0.01)


def test_bootstrap_of_one_task_mean_is_the_t_interval(scores):
    for task in "ab":
        found = stratified_bootstrap({task: scores[task]}, {"mean": average}, seed=1)["mean"]
        low, high = t_interval(scores[task])
        assert found[1:] == pytest.approx((low, high), abs=0.02 * (high - low))


def test_bootstrap_with_unequal_seeds_worked():
    # Pooled mean of 2 and 4 scores with variances 18 and 4/3: the tasks' parts of its variance are
    # (2/6)^2 18/2 = 1 and (4/6)^2 (4/3)/4 = 4/27. Degrees of freedom (1 and 3 of the tasks):
    # (31/27)^2 / (1/3 + (4/27)^2 / 5) - 2 = 1.9033
    scores = {"a": [0, 6], "b": [0, 0, 2, 2]}
    found = stratified_bootstrap(scores, {"mean": average}, seed=0, replications=100_000)
    half = stats.t.ppf(0.975, 1.9033) * math.sqrt(31 / 27)
    assert found["mean"] == pytest.approx((5 / 3, 5 / 3 - half, 5 / 3 + half), rel=0.02)


def test_bootstrap_edges():
    value, low, high = stratified_bootstrap({"a": [1, 2], "b": [3]}, {"m": average}, seed=0)["m"]
    assert value == 2 and math.isnan(low) and math.isnan(high)
    with pytest.raises(PgbenchError, match="no task"):
        stratified_bootstrap({}, ALL, seed=0)
    with pytest.raises(PgbenchError, match="'a' has no score"):
        stratified_bootstrap({"a": []}, ALL, seed=0)
    with pytest.raises(PgbenchError, match="'b' is nan"):
        stratified_bootstrap({"a": [1.0], "b": [math.nan, 1.0]}, ALL, seed=0)
    with pytest.raises(PgbenchError, match="infinite"):
        stratified_bootstrap({"a": [1.0, math.inf]}, ALL, seed=0)


# Performance profiles.


def test_profile_of_one_task_is_wilson():
    scores = {"a": list(range(1, 11))}
    value, low, high = performance_profile(scores, [0, 1, 6.5, 10], seed=0)
    assert value.tolist() == [1.0, 0.9, 0.4, 0.0]  # above, not at
    for k, a, b in zip((10, 9, 4, 0), low, high, strict=True):
        wilson = stats.binomtest(k, 10).proportion_ci(method="wilson")
        assert (a, b) == pytest.approx((wilson.low, wilson.high), abs=1e-12)
    assert high[0] == 1 and low[-1] == 0


def test_profile_of_tasks_apart_worked():
    # No variance within tasks: a design effect of 0, drawn towards 1 as (9 * 0 + 2) / (9 + 2);
    # 20 runs are worth 110, of which 55 are above
    scores = {"easy": [1.0] * 10, "hard": [0.0] * 10}
    value, low, high = performance_profile(scores, [0.5], seed=0)
    wilson = stats.binomtest(55, 110).proportion_ci(method="wilson")
    assert (value[0], low[0], high[0]) == pytest.approx((0.5, wilson.low, wilson.high), abs=1e-12)


def test_profile_with_a_variance_within_tasks_worked():
    # Shares 0.9 and 0.3 of 10 runs each: variance of their mean (0.09 + 0.21) / 10 / 4 * 20 / 18,
    # against 0.6 * 0.4 / 20 of one coin: an effect of 0.69444, drawn to (9 * that + 2) / 11
    scores = {"easy": [1.0] * 9 + [0.0], "hard": [1.0] * 3 + [0.0] * 7}
    _, low, high = performance_profile(scores, [0.5], seed=0, replications=50_000)
    runs = 20 / ((9 * 0.694444 + 2) / 11)
    assert (low[0], high[0]) == pytest.approx(_wilson_by_roots(0.6, runs), abs=0.002)


def _wilson_by_roots(share, runs, z=1.959964):
    """Roots p of (share - p)^2 = z^2 p (1 - p) / runs."""
    square = z * z / runs
    return tuple(sorted(np.roots([1 + square, -2 * share - square, share * share]).tolist()))


def test_profile_edges_and_invariances(scores):
    tau = np.linspace(-1, 2, 13)
    first = performance_profile(scores, tau, seed=3)
    for a, b in zip(first, performance_profile(shuffled(scores), tau, seed=3), strict=True):
        assert a.tolist() == b.tolist()
    value, low, high = first
    assert (np.diff(value) <= 0).all()
    assert ((low >= 0) & (low <= value) & (value <= high) & (high <= 1)).all()
    _, low, high = performance_profile({"a": [1.0], "b": [0.0]}, [0.5], seed=0)  # no spread known
    assert (low[0], high[0]) == pytest.approx(_wilson_by_roots(0.5, 2), abs=1e-6)
    with pytest.raises(PgbenchError, match="no task"):
        performance_profile({}, [0.5], seed=0)


# Probability of improvement.


def test_probability_of_improvement_worked():
    # a: pairs (1,1) tie, (1,0) win, (2,1) win, (2,0) win: 3.5 / 4; b: 0
    x, y = {"a": [1, 2], "b": [0]}, {"b": [5, 6, 7], "a": [1, 0]}
    assert probability_of_improvement(x, y) == pytest.approx((0.875 + 0) / 2)
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)
    with pytest.raises(PgbenchError, match="task c"):
        probability_of_improvement(x, {"a": [1], "b": [1], "c": [1]})


def test_improvement_when_every_run_wins_worked():
    # 5 runs a side, no variance seen. All: (5 + 0.5) / 6 = 0.916667; the task's chance drawn
    # there by 2 runs: (5 + 2 * 0.916667) / 7 = 0.976190. Newcombe's variance
    # 0.976190 * 0.023810 * (1 + 4 (0.023810 / 1.023810 + 0.976190 / 1.976190)) / 25 = 0.00285...
    # Worth 0.916667 * 0.083333 / that runs; t(0.975, 8) = 2.306004; low = runs / (runs + t^2)
    chance, lose = 0.9761905, 0.0238095
    variance = chance * lose * (1 + 4 * (lose / 1.0238095 + chance / 1.9761905)) / 25
    runs = 0.9166667 * 0.0833333 / variance
    found = improvement_interval({"a": [6, 7, 8, 9, 10]}, {"a": [1, 2, 3, 4, 5]}, seed=0)
    assert found == pytest.approx((1, runs / (runs + 2.306004**2), 1), abs=1e-6)
    assert 0.6 < found[1] < 0.9


def test_improvement_sees_the_variance_of_the_bootstrap():
    # Scores of x on both sides of those of y: each run of x wins all or nothing, so that the
    # variance of 10 coins is 0.25 / 10, above Newcombe's; 36 degrees of freedom: n = m = 10
    x = {"a": [-1.0] * 5 + [1.0] * 5, "b": [-1.0] * 5 + [1.0] * 5}
    y = {"a": np.linspace(-0.1, 0.1, 10).tolist(), "b": np.linspace(-0.1, 0.1, 10).tolist()}
    found = improvement_interval(x, y, seed=0, replications=50_000)
    expected = _wilson_by_roots(0.5, 0.25 / (0.025 / 2), z=stats.t.ppf(0.975, 36))
    assert found == pytest.approx((0.5, *expected), abs=0.003)


def test_improvement_edges_and_invariances(scores):
    other = {task: [v + 0.1 for v in values] for task, values in scores.items()}
    first = improvement_interval(scores, other, seed=3)
    assert first == improvement_interval(shuffled(scores), shuffled(other), seed=3)
    assert first[0] == probability_of_improvement(scores, other)
    assert 0 <= first[1] < first[0] < first[2] <= 1
    value, low, high = improvement_interval(other, scores, seed=3)
    assert (1 - value, 1 - high, 1 - low) == pytest.approx(first, abs=0.01)
    tie = improvement_interval({"a": [5.0] * 4}, {"a": [5.0] * 4}, seed=0)
    assert tie[0] == 0.5 and tie[1] < 0.5 < tie[2]
    value, low, high = improvement_interval({"a": [1.0]}, {"a": [0.0, 2.0]}, seed=0)
    assert value == 0.5 and math.isnan(low) and math.isnan(high)
    with pytest.raises(PgbenchError, match="task a, b"):
        improvement_interval({"a": [1.0]}, {"b": [1.0]}, seed=0)


# rliable (Agarwal et al. 2021).


@pytest.fixture
def library():
    try:
        return pytest.importorskip("rliable.library")
    except TypeError:  # arch, which it imports, is older than pandas 3
        pytest.skip("rliable.library does not load beside this version of pandas")


@pytest.fixture
def suite():
    """Scores of two algorithms, (10 runs, 7 tasks): skewed, some at a ceiling, a failure or two."""
    rng = np.random.default_rng(4)
    scale = rng.uniform(0.1, 1.6, 7)
    x, y = (np.minimum(np.round(scale * rng.gamma(6, 1 / 6, (10, 7)), 2), 1.5) for _ in range(2))
    x[0, 2] = y[3, 5] = 0.0
    return x, y


def by_task(matrix):
    return {f"task{k}": column.tolist() for k, column in enumerate(matrix.T)}


def test_values_are_those_of_rliable(suite):
    metrics = pytest.importorskip("rliable.metrics")
    x, y = suite
    found = stratified_bootstrap(by_task(x), ALL, seed=0, replications=10)
    assert found["iqm"][0] == pytest.approx(metrics.aggregate_iqm(x), abs=1e-12)
    assert found["mean"][0] == pytest.approx(metrics.aggregate_mean(x), abs=1e-12)
    assert found["gap"][0] == pytest.approx(metrics.aggregate_optimality_gap(x), abs=1e-12)
    assert probability_of_improvement(by_task(x), by_task(y)) == pytest.approx(
        metrics.probability_of_improvement(x, y), abs=1e-12
    )


def test_profiles_are_those_of_rliable(library, suite):
    tau = np.linspace(0, 1.6, 33)
    value, _, _ = performance_profile(by_task(suite[0]), tau, seed=0)
    assert value == pytest.approx(library.score_distributions(suite[0], tau), abs=1e-12)


def test_rliable_ignores_its_seed_and_we_do_not(library, suite):
    def theirs():
        _, intervals = library.get_interval_estimates(
            {"x": suite[0]},
            lambda scores: np.array([iqm(scores.ravel())]),
            reps=200,
            random_state=np.random.RandomState(0),
        )
        return intervals["x"].ravel().tolist()

    def ours():
        return stratified_bootstrap(by_task(suite[0]), ALL, seed=0, replications=200)

    assert theirs() != theirs()
    assert ours() == ours()
