"""Scores to p-values: worked numbers, and how often a verdict is false."""

import math
import random

import numpy as np
import pytest
from scipy import stats

from pgbench.claims import Margin
from pgbench.claims.weigh import (
    ALPHA,
    at_least,
    combined,
    corrected,
    difference,
    in_all,
    p_values,
    power,
    standardised,
    state,
)

LOW, HIGH = [4.0, 6.0, 8.0], [10.0, 12.0, 14.0]  # variance 4: standard error sqrt(8 / 3), 4 degrees


def moved(values, by):
    return [value + by for value in values]


def test_effect_sizes_by_hand():
    value, low, high = difference(HIGH, LOW)
    half = 2.7764451 * math.sqrt(8 / 3)  # the t quantile of 0.975 with 4 degrees of freedom
    assert (value, low, high) == pytest.approx((6.0, 6 - half, 6 + half), abs=1e-6)
    g, low, high = standardised(HIGH, LOW)
    assert g == pytest.approx((1 - 3 / 15) * 6 / 2)
    t, root = 6 / math.sqrt(8 / 3), math.sqrt(3 / 2)
    assert stats.nct.sf(t, 4, low * root) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, 4, high * root) == pytest.approx(0.025, abs=1e-6)
    mirrored = standardised(LOW, HIGH)
    assert mirrored == pytest.approx((-g, -high, -low))


def test_difference_of_unequal_samples_is_welch():
    x, y = [1.0, 2.0, 4.0, 9.0], [3.0, 3.5, 3.1]
    reference = stats.ttest_ind(x, y, equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert difference(x, y)[1:] == pytest.approx((interval.low, interval.high))
    p_for, p_against = p_values("better", x, y)
    assert 2 * min(p_for, p_against) == pytest.approx(reference.pvalue)


# Kind, shift of a against b, margin of the scale 50 -> p for, p against by t tables, what it says.
@pytest.mark.parametrize(
    ("kind", "shift", "margin", "p_for", "p_against", "says"),
    [
        ("better", 6, None, 0.010656, 0.989344, "supported"),
        ("better", 4, None, 0.035242, 0.964758, "inconclusive"),
        ("better", -6, None, 0.989344, 0.010656, "contradicted"),
        ("not-worse", -1, 0.2, 0.002645, 0.997355, "supported"),  # (10 - 1) / se = 5.511
        ("not-worse", -1, 0.1, 0.035242, 0.964758, "inconclusive"),  # (5 - 1) / se = 2.449
        ("not-worse", -14, 0.1, 0.997355, 0.002645, "contradicted"),
        ("on-par", 1, 0.2, 0.002645, None, "supported"),
        ("on-par", -1, 0.2, 0.002645, None, "supported"),
        ("on-par", 6, 0.2, 0.035242, None, "inconclusive"),
        ("on-par", 16, 0.2, None, 0.010656 + 0.000045, "contradicted"),
        ("on-par", -16, 0.2, None, 0.010656 + 0.000045, "contradicted"),
    ],
)
def test_outcomes_of_each_kind(kind, shift, margin, p_for, p_against, says):
    unit = Margin("scale", margin) if margin else None
    found = p_values(kind, moved(LOW, shift), LOW, unit, 50.0)
    for value, expected in zip(found, (p_for, p_against), strict=True):
        if expected is not None:
            assert value == pytest.approx(expected, abs=2e-6)
    assert state(*found) == says


def test_margin_in_seed_standard_deviations_is_the_noncentral_t_test():
    one = Margin("seed_std", 1.0)
    for shift in (-9.0, -2.0, 0.0, 3.0):
        x = moved(LOW, shift)
        t, away = shift / math.sqrt(8 / 3), math.sqrt(3 / 2)
        p_for, p_against = p_values("not-worse", x, LOW, one)
        assert p_for == pytest.approx(stats.nct.sf(t, 4, -away), abs=1e-9)
        assert p_for + p_against == pytest.approx(1.0)
        low = standardised(x, LOW)[1]
        assert (p_for <= ALPHA) == (low >= -1)  # the interval that is printed decides
        outside = p_values("on-par", x, LOW, one)[1]
        tails = stats.nct.cdf(-abs(t), 4, -away) + stats.nct.sf(abs(t), 4, -away)
        assert outside == pytest.approx(tails, abs=1e-9)


def test_scores_without_spread():
    tie, above = [7.0, 7.0, 7.0], [8.0, 8.0, 8.0]
    assert p_values("better", tie, tie) == (1.0, 1.0)
    assert p_values("better", above, tie) == (0.0, 1.0)
    assert p_values("on-par", tie, tie, Margin("scale", 0.1), 10.0) == (0.0, 1.0)
    assert p_values("on-par", above, tie, Margin("scale", 0.01), 10.0) == (1.0, 0.0)
    assert all(map(math.isnan, standardised(above, tie)))
    assert p_values("on-par", [0.1] * 3, [0.1] * 3, Margin("scale", 1e-9)) == (0.0, 1.0)
    assert p_values("better", [9.0], [1.0]) == (1.0, 1.0)  # a single seed tells no spread
    assert math.isnan(difference([9.0], [1.0])[1])


def test_within_is_the_one_sample_t_test_against_a_constant():
    """Gaps of 0.2, 0.3, 0.4% of the optimum, the floor at 100%: a margin of 0.01 is 1%."""
    gaps, optimum, one = [-0.2, -0.3, -0.4], [0.0] * 3, Margin("scale", 0.01)
    # Mean -0.3, standard error 0.1 / sqrt(3), 2 degrees of freedom: t = 0.7 sqrt(300) = 12.124,
    # and with 2 degrees the tail is (1 - t / sqrt(t^2 + 2)) / 2 = (1 - sqrt(147 / 149)) / 2.
    tail = (1 - math.sqrt(147 / 149)) / 2
    found = p_values("within", gaps, optimum, one, 100.0)
    assert found == pytest.approx((tail, 1 - tail), rel=1e-9)
    assert tail == pytest.approx(0.0033671, abs=1e-7)
    test = stats.ttest_1samp(gaps, -1.0, alternative="greater")
    assert found[0] == pytest.approx(test.pvalue, rel=1e-9)
    assert state(*found) == "supported"
    interval = stats.ttest_1samp(gaps, 0.0).confidence_interval(0.95)
    assert difference(gaps, optimum) == pytest.approx((-0.3, interval.low, interval.high))
    # Far out: gaps of 1.7, 1.8, 1.9%, t = -0.8 sqrt(300).
    against = p_values("within", moved(gaps, -1.5), optimum, one, 100.0)[1]
    assert against == pytest.approx((1 - math.sqrt(192 / 194)) / 2, rel=1e-9)
    # Better than the reference is within it too; a score of 0.9 to 1.1% is neither.
    assert state(*p_values("within", moved(gaps, 9.0), optimum, one, 100.0)) == "supported"
    assert state(*p_values("within", moved(gaps, -0.7), optimum, one, 100.0)) == "inconclusive"
    assert p_values("within", [-0.5] * 3, optimum, one, 100.0) == (0.0, 1.0)
    assert p_values("within", [-1.5] * 3, optimum, one, 100.0) == (1.0, 0.0)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_false_verdicts_against_a_constant_are_rare(seeds):
    rng, cases, margin = random.Random(seeds), 4000, Margin("scale", 1.5)
    counts = {"supported": 0, "contradicted": 0, "inconclusive": 0}
    for _ in range(cases):
        x = [rng.gauss(-1.5, 1.0) for _ in range(seeds)]  # the worst case: at the margin
        counts[state(*p_values("within", x, [0.0] * seeds, margin))] += 1
    bound = 4 * math.sqrt(ALPHA * (1 - ALPHA) / cases)
    for verdict in ("supported", "contradicted"):
        assert counts[verdict] / cases == pytest.approx(ALPHA, abs=bound)


def test_partial_conjunction():
    ps = [0.5, 0.01, 0.02]
    assert at_least(ps, 3) == 0.5  # in every environment: the worst
    assert at_least(ps, 2) == 2 * 0.02
    assert at_least(ps, 1) == 3 * 0.01
    assert at_least([0.6, 0.7], 1) == 1.0
    pairs = [(0.001, 0.999), (0.99, 0.01), (0.3, 0.7)]
    assert combined(pairs, 3) == (0.99, 3 * 0.01)
    assert combined(pairs, 1) == (3 * 0.001, 0.999)
    assert corrected([0.02, 0.01, 1.0]) == [0.04, 0.03, 1.0]
    assert corrected([]) == []


SPREADS = [(1.0, 1.0), (1.0, 3.0)]  # of a, of b


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("a", "b"), SPREADS)
def test_false_verdicts_are_rare(seeds, a, b):
    """At the worst true difference each wrong answer comes in at most 2.5% of the cases."""
    rng = random.Random(f"{seeds} {a} {b}")
    std, cases = math.hypot(a, b) / math.sqrt(2), 2000
    one, scale = Margin("seed_std", 1.0), Margin("scale", 1.5)
    # Kind, margin, true differences in two environments, which verdict is wrong.
    wrong = {
        ("better", None, (0.0, 40.0)): "supported",
        ("better", None, (0.0, 0.0)): "contradicted",
        ("not-worse", one, (-std, 40.0)): "supported",
        ("not-worse", one, (-std, -std)): "contradicted",
        ("not-worse", scale, (-1.5, -1.5)): "contradicted",
        ("on-par", scale, (1.5, 0.0)): "supported",
        ("on-par", scale, (1.5, -1.5)): "contradicted",
    }
    counts = dict.fromkeys(wrong, 0)
    for _ in range(cases):
        noise = [
            ([rng.gauss(0, a) for _ in range(seeds)], [rng.gauss(0, b) for _ in range(seeds)])
            for _ in range(2)
        ]
        for (kind, margin, truths), bad in wrong.items():
            pairs = [
                p_values(kind, moved(x, d), y, margin)
                for (x, y), d in zip(noise, truths, strict=True)
            ]
            counts[kind, margin, truths] += state(*combined(pairs, 2)) == bad
    worst = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / cases)
    assert {key: n / cases for key, n in counts.items() if n / cases > worst} == {}
    assert max(counts.values()) > 0.01 * cases  # the tests are not empty: some are near the bound


def drawn(kind, margin, true, trials=1500):
    """How often samples of five with this true difference support a check on a scale of 10."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(true, 1, (trials, 5)), rng.normal(0, 1, (trials, 5))
    pairs = zip(x.tolist(), y.tolist(), strict=True)
    return np.mean([p_values(kind, a, b, margin, 10.0)[0] <= ALPHA for a, b in pairs])


@pytest.mark.parametrize(
    ("kind", "margin"),
    [("better", None), ("not-worse", Margin("scale", 0.2)), ("not-worse", Margin("seed_std", 2.0)),
     ("on-par", Margin("scale", 0.25)), ("on-par", Margin("seed_std", 3.0))],
)  # fmt: skip
def test_power_is_the_chance_of_support(kind, margin):
    # Both samples have a standard deviation of exactly 1, as the rows that are drawn.
    one = (np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) / np.sqrt(2.5)).tolist()
    found = power(kind, one, one, margin, 10.0)
    if found.equal is not None:
        assert drawn(kind, margin, 0.0) == pytest.approx(found.equal, abs=0.06)
    if found.least is not None:
        assert drawn(kind, margin, found.least) == pytest.approx(0.8, abs=0.04)
    assert (found.least is None) == (kind == "on-par") and (found.equal is None) == (
        kind == "better"
    )


def test_power_needs_a_spread_and_falls_with_the_level():
    assert power("better", [1.0, 1.0], [2.0, 2.0], None, 1.0) is None
    assert power("better", [1.0], [2.0, 3.0], None, 1.0) is None
    x, y = [1.0, 2.0, 3.0], [1.0, 2.5, 3.0]
    assert power("better", x, y, None, 1.0, 0.001).least > power("better", x, y, None, 1.0).least


def test_chance_of_enough_events():
    assert in_all([0.5, 0.5], 2) == 0.25 and in_all([0.5, 0.5], 1) == 0.75
    assert in_all([0.2, 0.9, 1.0], 3) == pytest.approx(0.18) and in_all([], 0) == 1
