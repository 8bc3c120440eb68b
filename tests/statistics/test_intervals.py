"""Worked numbers, edges and invariances of means, intervals of means, and tests."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from pgbench.errors import PgbenchError
from pgbench.statistics.intervals import (
    content_seed,
    holm,
    iqm,
    optimality_gap,
    prediction_interval,
    t_interval,
    welch,
)


def test_t_interval_worked():
    # mean 3, s = sqrt(2.5), t(0.975, 4) = 2.776445: half width 2.776445 * sqrt(0.5) = 1.963243
    assert t_interval([1, 2, 3, 4, 5]) == pytest.approx((1.036757, 4.963243), abs=1e-6)
    # t(0.95, 2) = 2.919986, s = 1: half width 2.919986 / sqrt(3) = 1.685855
    assert t_interval([1, 2, 3], level=0.9) == pytest.approx((0.314145, 3.685855), abs=1e-6)


def test_t_interval_edges():
    assert t_interval([7.0, 7.0, 7.0]) == (7.0, 7.0)
    assert t_interval([0.1] * 3) == (0.1, 0.1)  # though the sum of 0.1s is rounded
    assert all(math.isnan(x) for x in t_interval([7.0]))
    with pytest.raises(PgbenchError, match="at least one"):
        t_interval([])


def test_t_interval_does_not_depend_on_order():
    values = [0.1, 1e16, -1e16, 0.3, 7.7]
    assert len({t_interval(np.roll(values, k).tolist()) for k in range(5)}) == 1


def test_iqm_worked():
    assert iqm([100, 1, 2, 3, 4, 5, 6, -90]) == 3.5  # 2 dropped at each end: 2, 3, 4, 5
    assert iqm([9, 1, 2]) == 4  # floor(3 / 4) = 0 dropped
    assert iqm([[0, 1, 3, 99], [5, 5, 5, 5]]).tolist() == [2, 5]


@pytest.mark.parametrize("n", [1, 3, 8, 30, 101])
def test_iqm_is_the_trimmed_mean_of_scipy(n):
    values = np.random.default_rng(n).normal(size=n)
    assert iqm(values) == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-13)


def test_optimality_gap_worked():
    assert optimality_gap([0.5, 1.0, 3.0, -1.0]) == 0.625  # 0.5, 0, 0, 2
    assert optimality_gap([[1, 2], [5, 0]], threshold=3).tolist() == [1.5, 1.5]
    values = np.array([0.2, 0.4])
    optimality_gap(values)
    assert values.tolist() == [0.2, 0.4]


def test_content_seed_worked():
    assert content_seed("0000000000010ffff") == 16  # of 0000000000010, the first 13 digits
    assert content_seed("ff") == 255
    assert content_seed("f" * 64) == 2**52 - 1
    for text in ("", "0x12", "sha256:12", "1_2", "12\n"):
        with pytest.raises(PgbenchError, match="hexadecimal"):
            content_seed(text)


def test_welch_worked():
    # means 2 and 5, variances 1 and 4 of 3 values each: t = 3 / sqrt(5 / 3) = 2.3238,
    # degrees of freedom (5 / 3)^2 / ((1 / 9 + 16 / 9) / 2) = 2.9412
    assert welch([1, 2, 3], [3, 5, 7]) == pytest.approx(0.104479, abs=1e-6)
    assert welch([3, 5, 7], [1, 2, 3]) == welch([1, 2, 3], [3, 5, 7])


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 10), (20, 5)])
def test_welch_is_that_of_scipy(n, m):
    rng = np.random.default_rng(n)
    x, y = rng.normal(0, 1, n), rng.normal(0.5, 3, m)
    expected = stats.ttest_ind(x, y, equal_var=False).pvalue
    assert welch(x.tolist(), y.tolist()) == pytest.approx(expected, rel=1e-10)


def test_tests_without_spread_or_without_values():
    assert welch([5.0, 5.0], [5.0, 5.0, 5.0]) == 1
    assert welch([0.1] * 3, [0.1] * 6) == 1
    assert welch([5.0, 5.0], [6.0, 6.0]) == 0
    assert 0 < welch([5.0, 5.0], [6.0, 7.0]) < 1
    assert 0 < welch([1e-90, 2e-90], [1e-90, 3e-90]) <= 1
    assert math.isnan(welch([1.0], [1.0, 2.0])) and math.isnan(welch([1.0, 2.0], []))


def test_import_leaves_scipy_stats_alone():
    code = "import sys, pgbench.statistics.intervals; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prediction_interval_worked_and_its_coverage():
    # mean 3, s = sqrt(2.5), t(0.975, 4) = 2.776445: half width 2.776445 * sqrt(2.5 * 6 / 5)
    assert prediction_interval([1, 2, 3, 4, 5]) == pytest.approx((-1.808944, 7.808944), abs=1e-5)
    draws = np.random.default_rng(0).normal(50, 10, (4000, 6))
    limits = [prediction_interval(row[:5].tolist()) for row in draws]
    hits = sum(low <= x <= high for (low, high), x in zip(limits, draws[:, 5], strict=True))
    assert 0.93 <= hits / len(draws) <= 0.97


def test_holm_worked():
    # sorted 0.01 * 4, 0.02 * 3, 0.03 * 2 (raised to 0.06), 0.04 * 1 (raised to 0.06)
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_holm_does_not_count_nan():
    adjusted = holm([0.01, math.nan, 0.02])
    assert adjusted[0] == 0.02 and math.isnan(adjusted[1]) and adjusted[2] == 0.02


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).uniform(0, 0.3, 25) ** 2
    assert holm(p.tolist()) == pytest.approx(multitest.multipletests(p, method="holm")[1])
