"""Intervals between bounds: worked limits, and coverage for few seeds."""

import math

import numpy as np
import pytest
from scipy import stats

from pgbench.statistics.intervals import mean, mean_interval, t_interval, within_bounds


def test_the_limits_solve_their_equation():
    for value, half, lower, upper in [
        (0.95, 0.1, 0.0, 1.0), (841.0, 685.0, 0.0, 1000.0), (0.1, 0.05, 0.0, 1.0),
        (2.0, 5.0, 0.0, None), (-3.0, 2.0, None, 0.0),
    ]:  # fmt: skip

        def spread(m, lower=lower, upper=upper):
            below = 1.0 if lower is None else m - lower
            return below * (1.0 if upper is None else upper - m)

        low, high = within_bounds(value, half, lower, upper)
        for limit in (low, high):
            assert (limit - value) ** 2 == pytest.approx(half**2 * spread(limit) / spread(value))
        assert (lower is None or lower <= low) and low < value < high
        assert upper is None or high <= upper


def test_the_interval_of_a_share_of_coins_is_wilsons():
    # Seven of ten: half the width of the plain interval, 1.96 * sqrt(0.7 * 0.3 / 10).
    half = stats.norm.ppf(0.975) * math.sqrt(0.021)
    wilson = stats.binomtest(7, 10).proportion_ci(method="wilson")
    assert within_bounds(0.7, half, 0.0, 1.0) == pytest.approx((wilson.low, wilson.high))


def test_far_from_the_bounds_it_is_the_t_interval():
    values = [0.337, 0.341, 0.339, 0.343, 0.34]
    assert mean_interval(values) == t_interval(values)
    assert mean_interval(values, 0.0, 1.0) == pytest.approx(t_interval(values), abs=5e-5)


def test_no_interval_where_no_spread_is_told():
    assert mean_interval([1.0, 2.0]) is None and mean_interval([]) is None
    assert mean_interval([1.0] * 10, 0.0, 1.0) is None
    assert mean_interval([0.1 + 0.2, 0.3, 0.3]) is None  # equal but for rounding


def test_at_a_bound_and_without_one():
    assert within_bounds(1.0, 0.2, 0.0, 1.0) == (0.8, 1.0)
    assert within_bounds(0.0, 0.2, 0.0) == (0.0, 0.2)
    assert within_bounds(5.0, 2.0) == (3.0, 7.0)
    low, high = within_bounds(1e-300, 1e-3, 0.0, 1.0)
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize("seed", range(3))
def test_limits_never_pass_bounds(seed):
    rng = np.random.default_rng(seed)
    for _ in range(500):
        values = rng.beta(*rng.uniform(0.02, 3, 2), rng.integers(3, 8)).tolist()
        if (found := mean_interval(values, 0.0, 1.0)) is not None:
            assert 0 <= found[0] <= mean(values) + 1e-12 and mean(values) - 1e-12 <= found[1] <= 1


def share(draws, true, lower, upper):
    """How often the interval holds the mean, and how often that of t alone does."""
    found = [(mean_interval(row, lower, upper), t_interval(row)) for row in draws.tolist()]
    return [np.mean([low <= true <= high for low, high in one]) for one in zip(*found, strict=True)]


@pytest.mark.parametrize("n", [3, 5, 10])
def test_coverage(n):
    rng, size = np.random.default_rng(n), (3000, n)
    for draws, true, upper in [
        (rng.normal(0.34, 0.004, size), 0.34, 1.0),
        (rng.beta(18, 2, size), 0.9, 1.0),
        (rng.beta(19, 1, size), 0.95, 1.0),
        (rng.gamma(4, 0.25, size), 1.0, None),
        (rng.gamma(1, 1, size), 1.0, None),
    ]:
        held, plain = share(draws, true, 0.0, upper)
        assert 0.915 <= held <= 0.97 and held >= plain - 0.005  # a standard error of 0.4%
    # Near the bound: short of nominal, and far closer to it than t.
    held, plain = share(rng.beta(49, 1, size), 0.98, 0.0, 1.0)
    assert held >= 0.87 and held >= plain + 0.02
