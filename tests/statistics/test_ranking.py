"""Holm's correction and rank groups: worked numbers, order, errors among rows that are equal."""

import itertools
import math

import numpy as np
import pytest

from pgbench.errors import PgbenchError
from pgbench.statistics.intervals import holm, mean, paired_p, rank_groups, welch

NAN = math.nan


def test_holm_worked():
    # sorted 0.01 * 4, 0.02 * 3, 0.03 * 2 (raised to 0.06), 0.04 * 1 (raised to 0.06)
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_holm_does_not_count_nan():
    adjusted = holm([0.01, NAN, 0.02])
    assert adjusted[0] == 0.02 and math.isnan(adjusted[1]) and adjusted[2] == 0.02


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).uniform(0, 0.3, 25) ** 2
    assert holm(p.tolist()) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_ranks_worked():
    means = {"a": 3.0, "b": 2.0, "c": 1.0}
    clear = {("a", "b"): 1e-6, ("c", "b"): 1e-6, ("a", "c"): 1e-9}
    assert rank_groups(means, clear) == {"a": 1, "b": 2, "c": 3}
    # b is apart from neither of its neighbours, which are apart from each other
    chain = {("a", "b"): 0.2, ("b", "c"): 0.2, ("a", "c"): 0.001}
    assert rank_groups(means, chain) == {"a": 1, "b": 1, "c": 2}
    assert rank_groups(means, {}) == {"a": 1, "b": 1, "c": 1}
    assert rank_groups({}, {}) == {}


def test_a_wide_spread_does_not_lift_a_poor_row():
    """A run away in one seed: no test parts the row from any other, and yet it is the last."""
    means = {"a": 3.0, "b": 2.0, "runaway": 1.0}
    p = {("a", "b"): 1e-6, ("a", "runaway"): 0.3, ("b", "runaway"): 0.4}
    assert rank_groups(means, p) == {"a": 1, "b": 2, "runaway": 2}


def test_ranks_are_of_corrected_p_values():
    means = {"a": 2.0, "b": 1.0, "c": 1.0}
    one = {("a", "b"): 0.04}
    assert rank_groups(means, one) == {"a": 1, "b": 2, "c": 1}
    assert rank_groups(means, {**one, ("a", "c"): 0.9}) == {"a": 1, "b": 1, "c": 1}
    assert rank_groups(means, one, level=0.01) == {"a": 1, "b": 1, "c": 1}


def test_nan_and_equal_means_part_nobody():
    assert rank_groups({"a": 2.0, "b": 1.0}, {("a", "b"): NAN}) == {"a": 1, "b": 1}
    assert rank_groups({"a": 1.0, "b": 1.0}, {("a", "b"): 0.0}) == {"a": 1, "b": 1}
    # a nan takes nothing from the others: 0.04 is still below 5% of one test
    p = {("a", "c"): NAN, ("b", "c"): NAN, ("a", "b"): 0.04}
    assert rank_groups({"a": 2.0, "b": 1.0, "c": 9.0}, p) == {"a": 1, "b": 2, "c": 1}


def test_ranks_do_not_depend_on_order():
    rng = np.random.default_rng(1)
    means = {name: rng.normal() for name in "abcdef"}
    p = {pair: rng.uniform() ** 6 for pair in itertools.combinations(means, 2)}
    turned = {(b, a): value for (a, b), value in reversed(p.items())}
    first = rank_groups(means, p)
    assert max(first.values()) > 1
    assert rank_groups(dict(reversed(means.items())), turned) == first


def test_ranks_refuse_mistakes():
    with pytest.raises(PgbenchError, match="row b"):
        rank_groups({"a": 1.0}, {("a", "b"): 0.5})
    with pytest.raises(PgbenchError, match="twice"):
        rank_groups({"a": 1.0, "b": 2.0}, {("a", "b"): 0.5, ("b", "a"): 0.5})


@pytest.mark.parametrize("paired", [False, True])
def test_equal_rows_are_parted_in_one_table_of_twenty_at_most(paired):
    # 5% of tables, whatever the number of rows; 1500 tables: a standard error of 0.6%
    rng = np.random.default_rng(7)
    spread = np.linspace(0.5, 2, 6)[:, None]
    wrong = 0
    for _ in range(1500):
        rows = dict(enumerate((spread * rng.normal(size=(6, 8))).tolist()))
        pairs = itertools.combinations(rows, 2)
        if paired:
            p = {(a, b): paired_p(np.subtract(rows[a], rows[b]).tolist()) for a, b in pairs}
        else:
            p = {(a, b): welch(rows[a], rows[b]) for a, b in pairs}
        ranks = rank_groups({str(a): mean(v) for a, v in rows.items()}, _named(p))
        wrong += max(ranks.values()) > 1
    assert 0.005 < wrong / 1500 <= 0.05 + 2 * 0.006


def test_rows_that_differ_are_parted():
    rng = np.random.default_rng(3)
    rows = {name: rng.normal(5 * i, 1, 10).tolist() for i, name in enumerate("abc")}
    p = {(a, b): welch(rows[a], rows[b]) for a, b in itertools.combinations(rows, 2)}
    assert rank_groups({k: mean(v) for k, v in rows.items()}, p) == {"c": 1, "b": 2, "a": 3}


def _named(p):
    return {(str(a), str(b)): value for (a, b), value in p.items()}
