"""A check of kind `within`: one row against the reference of its environment."""

import json
import math

import pytest

from pgbench.claims import find_claims
from pgbench.claims.page import to_markdown
from pgbench.claims.results import hold
from pgbench.errors import PgbenchError

WITHIN = """
algorithm = "ppo"
paper = "arXiv:1707.06347"
title = "PPO"
registered = "before the runs"

[[claim]]
id = "ppo-1"
statement = "PPO is near the optimum."
source = "Table 9"
note = "Two toys."

[[claim.check]]
suite = "toy-v1"
track = "long"
kind = "within"
a = "ppo"
margin = { scale = 0.01 }
"""
NEAR, FAR = [0.2, 0.3, 0.4], [1.7, 1.8, 1.9]


def verdict(root):
    (claim,) = hold(find_claims(root), root)["papers"][0]["claims"]
    return claim


@pytest.fixture
def gaps(write_claims, add_runs):
    """Claims on gaps to an optimum in two environments: floor 100, reference 0, lower is better."""

    def write(toy, other, text=WITHIN):
        root = write_claims(text)
        suite = root / "suites/toy-v1.toml"
        told = suite.read_text().replace("floor = 0\n", "floor = 100\n")
        told = told.replace("floor = -100", "floor = 100").replace(
            "reference = 10", "reference = 0"
        )
        suite.write_text(told)
        if toy:
            add_runs(root, {("toy", "ppo"): toy, ("other", "ppo"): other}, direction="min")
        return root

    return write


def test_within_the_reference(gaps):
    root = gaps(NEAR, [0.1, 0.2, 0.3])
    claim = verdict(root)
    assert claim["verdict"] == "reproduced"
    (check,) = claim["checks"]
    assert check["state"] == "supported" and check["b"] is None
    assert check["runs"] == {"finished": 6, "started": 6, "expected": 6}  # the other row has none
    toy, other = check["environments"]
    tail = (1 - math.sqrt(147 / 149)) / 2  # see test_weigh.py
    assert toy["p_for"] == check["p_for"] == pytest.approx(tail)
    assert other["p_for"] == pytest.approx((1 - math.sqrt(192 / 194)) / 2)
    assert toy["margin"] == pytest.approx(1.0)
    assert toy["b"] == {"reference": 0.0}
    half = 4.302653 * 0.1 / math.sqrt(3)  # the t quantile of 0.975 with 2 degrees of freedom
    assert toy["difference"] == pytest.approx([-0.3, -0.3 - half, -0.3 + half], abs=1e-6)
    assert toy["standardised"] is toy["probability"] is None
    # Normalised: 0.997 and 0.998 against 1, one pair a seed.
    assert check["overall"]["difference"][0] == pytest.approx(-0.0025)
    assert check["overall"]["probability"] is None
    page = to_markdown(hold(find_claims(root), root))
    assert "`ppo` is worse than the reference by at most 0.01 of the way from floor to" in page
    rows = [" ".join(line.split()) for line in page.splitlines() if line.startswith("| toy-v0")]
    assert rows == [
        "| toy-v0 | 0.300 [0.052, 0.548] | 0.000 | -0.300 [-0.548, -0.052] (margin 1.000) "
        "| over 99% if equal, 80% from -0.67 on | - | - |"
    ]
    assert "| reference " in page and "| P(a beats b)" in page
    assert "| all " in page
    json.dumps(claim)


def test_within_is_contradicted_by_one_environment(gaps):
    claim = verdict(gaps(NEAR, FAR))
    assert claim["verdict"] == "not reproduced"
    (check,) = claim["checks"]
    assert check["p_against"] == pytest.approx(2 * (1 - math.sqrt(192 / 194)) / 2)
    assert check["p_for"] == pytest.approx(1 - (1 - math.sqrt(192 / 194)) / 2)


def test_within_in_some_environments(gaps):
    claim = verdict(gaps(NEAR, FAR, WITHIN + "at_least = 1\n"))
    assert claim["verdict"] == "reproduced"
    (check,) = claim["checks"]
    assert check["p_for"] == pytest.approx(2 * (1 - math.sqrt(147 / 149)) / 2)  # 2 chances for 1
    assert check["p_against"] == pytest.approx(1 - (1 - math.sqrt(147 / 149)) / 2)  # both must fail


def test_within_waits_for_its_runs_and_scores_failures(gaps):
    assert verdict(gaps([], []))["verdict"] == "no runs yet"
    root = gaps(NEAR[:2], [0.1])
    claim = verdict(root)
    assert claim["verdict"] == "incomplete (3 of 6 runs)"
    toy, other = claim["checks"][0]["environments"]
    assert toy["difference"][0] == pytest.approx(-0.25) and toy["p_for"] is None
    assert other["difference"][0] == pytest.approx(-0.1)
    assert "| 0.100 " in to_markdown(hold(find_claims(root), root))


def test_an_environment_without_a_finished_run_decides_nothing(gaps):
    claim = verdict(gaps([None, None, None], [0.1, 0.2, None]))
    toy, other = claim["checks"][0]["environments"]
    assert (toy["p_for"], toy["p_against"]) == (1.0, 1.0)
    assert other["difference"][0] == pytest.approx(-100.3 / 3)  # a failed run scores the floor
    assert claim["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('a = "ppo"', 'a = "ppo"\nb = "ppo, fast"', "claim[0].check[0].b has no meaning for kind "
         "'within'"),
        ("scale = 0.01", "seed_std = 1", "claim[0].check[0].margin.seed_std has no meaning for "
         "kind 'within'"),
        ("margin = { scale = 0.01 }", "", "claim[0].check[0].margin is missing"),
        ('kind = "within"', 'kind = "not-worse"', "claim[0].check[0].b is missing"),
    ],
)  # fmt: skip
def test_a_broken_within_is_told(write_claims, old, new, message):
    root = write_claims(WITHIN.replace(old, new, 1))
    with pytest.raises(PgbenchError) as error:
        find_claims(root)
    assert f"{root / 'claims/ppo.toml'}: {message}" in str(error.value)
    assert "\n" not in str(error.value)
