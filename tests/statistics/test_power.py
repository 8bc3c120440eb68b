"""Least differences and seeds for a difference: against a simulation, and against each other."""

import numpy as np
import pytest
from scipy import stats

from pgbench.errors import PgbenchError
from pgbench.statistics.intervals import welch
from pgbench.statistics.power import Spread, least_difference, seeds_needed, typical
from pgbench.statistics.ranking import compare, estimate

ONE = Spread(1.0, 1.0)


def test_two_rows_are_found_as_often_as_is_said():
    found = least_difference(ONE, 5)
    rng = np.random.default_rng(0)
    x, y = rng.normal(found, 1, (4000, 5)), rng.normal(0, 1, (4000, 5))
    assert np.mean([welch(*pair) < 0.05 for pair in zip(x, y, strict=True)]) == pytest.approx(
        0.8, abs=0.03
    )


def test_two_rows_by_the_textbook():
    # G*Power 3.1, two groups of 64, d = 0.5: power 0.8015 at 5%, two-sided.
    assert least_difference(ONE, 64) == pytest.approx(0.5, abs=0.002)
    assert seeds_needed(ONE, 0.5) == 64 and seeds_needed(Spread(0.01, 1.0), 0.005) == 64


def test_a_named_pair_among_many_is_found_as_often_as_is_said():
    rows, found = 6, least_difference(ONE, 5, 6)
    assert found > least_difference(ONE, 5)
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        table = rng.normal(0, 1, (rows, 5))
        table[0] += found
        told = compare(
            {str(i): estimate([row.tolist()]) for i, row in enumerate(table)}, draws=1000
        )
        hits += (rows - told["0"].high) / (rows - 1)  # the share of the others that are worse
    assert hits / 300 == pytest.approx(0.8, abs=0.06)


def test_typical_spread_is_unbiased_and_outliers_do_not_move_it():
    rng = np.random.default_rng(2)
    rows = [[row.tolist()] for row in rng.normal(0, 3, (4001, 3))]
    assert typical(rows).deviation == pytest.approx(3, rel=0.04) and typical(rows).tasks == 1
    wild = rows[:-200] + [[[-900.0, 0.0, 900.0]]] * 200
    assert typical(wild).deviation == pytest.approx(3, rel=0.1)
    # Two tasks: the mean of both varies less, and is known from twice as many degrees of freedom.
    two = [[row[:3].tolist(), row[3:].tolist()] for row in rng.normal(0, 3, (2001, 6))]
    found = typical(two)
    assert found.deviation == pytest.approx(3 / np.sqrt(2), rel=0.05) and 1 < found.tasks <= 2
    assert (
        typical([[[1.0, 2.0]]]) is None and typical([[[1.0] * 3]]) is None and typical([]) is None
    )


def test_more_seeds_find_less_and_needs_agree():
    found = [least_difference(ONE, n, 4) for n in (3, 5, 10, 50)]
    assert found == sorted(found, reverse=True)
    for wanted in (0.4, 1.0, 5.0):
        n = seeds_needed(ONE, wanted, 4)
        assert least_difference(ONE, n, 4) <= wanted
        assert n == 3 or least_difference(ONE, n - 1, 4) > wanted
    assert least_difference(ONE, 5, power=0.9) > least_difference(ONE, 5)
    for bad, words in ((0.0, "more than 0"), (1e-9, "100,000 seeds")):
        with pytest.raises(PgbenchError, match=words):
            seeds_needed(ONE, bad)


def test_many_seeds_are_the_normal_limit():
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert least_difference(ONE, 10_000) == pytest.approx(z * np.sqrt(2 / 10_000), rel=1e-3)
