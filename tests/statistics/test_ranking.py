"""Ranks and leads of rows: worked numbers, what noise earns, ties, order."""

import math

import numpy as np
import pytest
from scipy import stats

from pgbench.statistics.intervals import welch
from pgbench.statistics.ranking import compare, difference, estimate, quantile_t

# Five seeds each: eighteen methods within 0.02 of each other and one that broke down in some seeds.
GOOD = [
    [0.338 + 0.0005 * (i % 4) + 0.004 * z for z in (-1.2, -0.6, 0.0, 0.5, 1.3)] for i in range(18)
]
BROKEN = [0.007, 0.104, 0.166, 0.233, 0.245]


def ranked(rows, **bounds):
    return compare({name: estimate([values], **bounds) for name, values in rows.items()})


def sets(found):
    return {name: (s.rank, s.low, s.high) for name, s in found.items()}


def test_estimate_worked():
    # Means 2 and 6, variances of the means 1/3 and 4/3, each counting a quarter: 5/12.
    found = estimate([[1, 2, 3], [4, 6, 8]])
    assert (found.mean, found.variance) == (4.0, pytest.approx(5 / 12))
    # Shares 1/5 and 4/5: 1 / ((1/25 + 16/25) / (2 + 2)) - 2 = 3.88
    assert found.freedom == pytest.approx(100 / 17 - 2)
    assert estimate([[1, 2, 3]]).freedom == 2
    assert estimate([[5, 5, 5], [6, 6, 6]]).variance == 0
    assert estimate([[1, 2]]) is None and estimate([[1, 2, 3], [1, 2]]) is None
    assert estimate([]) is None


def test_difference_is_welchs():
    x, y = [1.0, 2.0, 3.0], [3.0, 5.0, 7.0]
    gap, low, high, p = difference(estimate([x]), estimate([y]))
    assert gap == -3 and p == pytest.approx(welch(x, y))
    interval = stats.ttest_ind(x, y, equal_var=False).confidence_interval()
    assert (low, high) == pytest.approx((interval.low, interval.high))
    same, low, _, p = difference(estimate([[1, 1, 1]]), estimate([[2, 2, 2]]))
    assert (same, p) == (-1, 0) and math.isnan(low)


@pytest.mark.parametrize("rows", [2, 4, 19])
def test_critical_value_is_dunnetts_where_spreads_are_known(rows):
    """With very many seeds the comparisons with one row are normal, with correlations of 1/2."""
    size = rows - 1
    joint = stats.multivariate_normal(cov=0.5 + 0.5 * np.eye(size), seed=0)
    found = quantile_t(1e6, rows)
    assert joint.cdf(np.full(size, found)) == pytest.approx(0.975, abs=0.004)


def test_a_row_far_below_all_others_is_the_last():
    rows = {f"m{i:02d}": values for i, values in enumerate(GOOD)} | {"broken": BROKEN}
    for bounds in ({}, {"lower": 0.0, "upper": 1.0}):
        found = ranked(rows, **bounds)
        assert sets(found)["broken"] == (19, 19, 19)
        assert found["broken"].lead[2] == 0 > found["broken"].lead[0]
        assert {s.rank for name, s in found.items() if name != "broken"} == {1}
        assert all(s.low == 1 and s.lead[2] > 0 for n, s in found.items() if n != "broken")


def test_rows_that_differ_are_parted():
    rng = np.random.default_rng(3)
    rows = {name: rng.normal(5 * i, 1, 10).tolist() for i, name in enumerate("abc")}
    found = ranked(rows)
    assert sets(found) == {"c": (1, 1, 1), "b": (2, 2, 2), "a": (3, 3, 3)}
    lead, low, high = found["c"].lead
    assert low == 0 < lead < high  # the best alone: it is at least as good as all others
    assert all(
        found[name].lead[1] < found[name].lead[0] < found[name].lead[2] == 0 for name in "ab"
    )


def test_noise_earns_no_rank():
    clear = {"a": [3.0, 3.1, 3.2, 3.1], "b": [2.0, 2.1, 2.2, 2.1], "c": [1.0, 1.1, 1.2, 1.1]}
    assert sets(ranked(clear)) == {"a": (1, 1, 1), "b": (2, 2, 2), "c": (3, 3, 3)}
    wide = ranked(clear | {"wide": [-60.0, 40.0, 90.0, -50.0]})
    assert wide["wide"].rank is None and (wide["wide"].low, wide["wide"].high) == (1, 4)
    # It takes no rank from the others, but none can be sure to be above it.
    assert sets(wide)["a"] == (1, 1, 2) and sets(wide)["c"] == (3, 3, 4)
    # Told from the best alone, and with the worst mean: it does not pass rows with better ones.
    poor = ranked(clear | {"poor": [-0.4, 1.6, 1.1, 1.3]})
    assert poor["poor"].low == 2 and poor["poor"].rank == 3


def test_alike_and_all_at_a_bound():
    rows = {"a": [1.0, 1.2, 0.8], "b": [1.1, 0.9, 1.0]}
    assert sets(ranked(rows)) == {"a": (None, 1, 2), "b": (None, 1, 2)}
    full = {name: [1.0] * 5 for name in "abc"}
    assert sets(ranked(full, upper=1.0)) == dict.fromkeys("abc", (None, 1, 3))
    # Without spread and yet not told from a row with some: equal seeds are not a spread of zero.
    near = full | {"d": [0.98, 1.0, 0.9, 1.0, 0.99]}
    assert sets(ranked(near, lower=0.0, upper=1.0))["d"] == (None, 1, 4)
    # Where no row has any, means that differ are different.
    flat = {"a": [2.0] * 3, "b": [1.0] * 3, "c": [1.0] * 3}
    assert sets(ranked(flat)) == {"a": (1, 1, 1), "b": (2, 2, 3), "c": (2, 2, 3)}
    assert sets(ranked({"a": [1.0, 2.0, 3.0]})) == {"a": (1, 1, 1)} and compare({}) == {}


def test_neither_order_nor_names_nor_units_change_a_rank():
    rng = np.random.default_rng(1)
    rows = {name: rng.normal(i, 1, 5).tolist() for i, name in enumerate("abcdef")}
    first = sets(ranked(rows))
    assert {rank for rank, _, _ in first.values()} > {1, None} - {None}
    assert sets(ranked(dict(reversed(rows.items())))) == first
    scaled = {name: [1e6 * x - 7 for x in values] for name, values in rows.items()}
    assert sets(ranked(scaled)) == first


def test_leads_stay_within_what_bounds_allow():
    high = {"a": [0.99, 1.0, 0.98], "b": [0.6, 0.9, 0.99], "c": [0.2, 0.9, 0.4]}
    for standing in ranked(high, lower=0.0, upper=1.0).values():
        assert -1 <= standing.lead[1] <= standing.lead[0] <= standing.lead[2] <= 1
