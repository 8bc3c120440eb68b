"""Worked numbers, invariances, and the coverage of the interval that the boards print."""

import math

import numpy as np
import pytest

from pgbench.errors import PgbenchError
from pgbench.statistics import (
    iqm,
    paired_difference,
    probability_of_improvement,
    stratified_bootstrap,
    t_interval,
)


def test_t_interval_worked():
    # mean 3, s = sqrt(2.5), t(0.975, 4) = 2.776445: half width 2.776445 * sqrt(0.5) = 1.963243
    assert t_interval([1, 2, 3, 4, 5]) == pytest.approx((1.036757, 4.963243), abs=1e-6)
    # t(0.95, 2) = 2.919986, s = 1: half width 2.919986 / sqrt(3) = 1.685855
    assert t_interval([1, 2, 3], level=0.9) == pytest.approx((0.314145, 3.685855), abs=1e-6)


def test_t_interval_edges():
    assert t_interval([7.0, 7.0, 7.0]) == (7.0, 7.0)
    assert all(math.isnan(x) for x in t_interval([7.0]))
    with pytest.raises(PgbenchError, match="at least one"):
        t_interval([])


def test_t_interval_does_not_depend_on_order():
    values = [0.1, 1e16, -1e16, 0.3, 7.7]
    assert len({t_interval(np.roll(values, k).tolist()) for k in range(5)}) == 1


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_t_interval_covers_as_stated(n):
    draws = np.random.default_rng(n).normal(50, 10, (4000, n)).tolist()
    hits = sum(low <= 50 <= high for low, high in map(t_interval, draws))
    assert 0.93 <= hits / len(draws) <= 0.97


def test_iqm_worked():
    assert iqm([100, 1, 2, 3, 4, 5, 6, -90]) == 3.5  # 2 dropped at each end: 2, 3, 4, 5
    assert iqm([9, 1, 2]) == 4  # floor(3 / 4) = 0 dropped
    assert iqm([[0, 1, 3, 99], [5, 5, 5, 5]]).tolist() == [2, 5]


def test_bootstrap_is_seeded_and_ignores_task_order():
    rng = np.random.default_rng(0)
    scores = {task: rng.normal(0, 1, n).tolist() for task, n in (("a", 6), ("b", 9), ("c", 1))}
    flipped = dict(reversed(scores.items()))
    first = stratified_bootstrap(scores, seed=3)
    assert first == stratified_bootstrap(flipped, seed=3)
    assert first != stratified_bootstrap(scores, seed=4)


def test_bootstrap_does_not_depend_on_the_chunk(monkeypatch):
    scores = {"a": [1.0, 2.0, 4.0], "b": [10.0, 30.0]}
    whole = stratified_bootstrap(scores, seed=0, replications=1500)
    monkeypatch.setattr("pgbench.statistics.CHUNK", 7)
    assert stratified_bootstrap(scores, seed=0, replications=1500) == whole


def test_bootstrap_is_stratified():
    # Within a task the scores are equal, so resampling within tasks cannot move the statistic.
    assert stratified_bootstrap({"a": [1.0] * 4, "b": [9.0] * 4}, seed=0) == (5.0, 5.0)


def test_bootstrap_matches_the_exact_distribution():
    # The mean of 2 draws from {0, 1} is 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    def mean(x):
        return x.mean(axis=-1)

    low, high = stratified_bootstrap({"a": [0, 1]}, mean, seed=0, level=0.4)
    assert (low, high) == (0.5, 0.5)
    assert stratified_bootstrap({"a": [0, 1]}, mean, seed=0, level=0.6) == (0.0, 1.0)


def test_bootstrap_covers_nearly_as_stated_from_ten_seeds():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        scores = {f"task{k}": rng.normal(0, 1, 10).tolist() for k in range(5)}
        low, high = stratified_bootstrap(scores, seed=trial, replications=500)
        hits += low <= 0 <= high
    assert 0.88 <= hits / 300 <= 0.97  # a percentile bootstrap is a little narrow; the text says so


def test_bootstrap_refuses_empty_input():
    with pytest.raises(PgbenchError, match="no task"):
        stratified_bootstrap({}, seed=0)
    with pytest.raises(PgbenchError, match="'a' has no score"):
        stratified_bootstrap({"a": []}, seed=0)


def test_probability_of_improvement_worked():
    # a: pairs (1,1) tie, (1,0) win, (2,1) win, (2,0) win: 3.5 / 4; b: 0
    x, y = {"a": [1, 2], "b": [0]}, {"b": [5, 6, 7], "a": [1, 0]}
    assert probability_of_improvement(x, y) == pytest.approx((0.875 + 0) / 2)
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)
    with pytest.raises(PgbenchError, match="task c"):
        probability_of_improvement(x, {"a": [1], "b": [1], "c": [1]})


def test_paired_difference_worked():
    # differences 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.302653: half width 2.484138
    x, y = {"s0": 2.0, "s1": 4.0, "s2": 6.0}, {"s2": 3.0, "s1": 2.0, "s0": 1.0}
    assert paired_difference(x, y) == pytest.approx((2.0, -0.484138, 4.484138), abs=1e-6)
    with pytest.raises(PgbenchError, match="s2"):
        paired_difference(x, {"s0": 1.0, "s1": 2.0})
