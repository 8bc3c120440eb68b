"""Targets, times to them, ceilings, and curves over a whole track, worked by hand."""

import pytest

from pgbench.boards.compare import TAUS
from pgbench.boards.model import build_model
from pgbench.records.suite import read_suite

ENVS = {"toy-v0": {}, "other-v0": {"wind": 1}}
TRACK = 0  # the toy suite's long one


def curve(*means):
    return [{"step": 250 * (i + 1), "mean": mean, "n": 5} for i, mean in enumerate(means)]


@pytest.fixture
def board(make_record, suite_file):
    """`board(slow, fast)` -> the track `long`; both rows have these curves in `toy-v0`."""

    def build(slow, fast, **more):
        records = []
        for env, kwargs in ENVS.items():
            changes = {"environment.kwargs": kwargs, "identity.env_kwargs": kwargs}
            shift = {"toy-v0": 0.0, "other-v0": -100.0}[env]
            for seed in range(3):
                for means, config in ((slow, {}), (fast, {"lr": 0.2 if env == "toy-v0" else 0.3})):
                    points = [mean + seed + shift for mean in means]
                    records.append(
                        make_record(
                            "ppo", seed, (points[-1], points[-1]), env, config=config,
                            changed=config, changes=changes, curve=curve(*points), **more,
                        )
                    )  # fmt: skip
        return build_model("b", records, read_suite(suite_file()))["tracks"][TRACK]

    return build


def test_worked_target_and_time_to_it(board):
    # Best mean in toy-v0: 8 + 1 = 9, floor 0: the target is 8.1. Seeds reach it at 250 (8 + s + 1
    # >= 8.1 from seed 0 on only for means of 8), see below.
    track = board(slow=(1.0, 2.0, 3.0, 4.0), fast=(5.0, 7.5, 8.0, 8.0))
    (env, _) = track["environments"]
    assert env["target"] == pytest.approx(8.1)
    fast, slow = track["tasks"]["toy-v0"]
    # Seed 0 ends at 8 and never does; seed 1 has 8.5 at step 500; seed 2 has 9.5 there.
    assert fast["reach"] == {"step": 500, "runs": 2}
    assert slow["reach"] == {"step": None, "runs": 0}


def test_a_row_that_most_runs_keep_from_the_target_has_no_time(board):
    track = board(slow=(1.0, 1.0), fast=(4.0, 6.5))
    # Target 0.9 * 7.5 = 6.75: seeds 1 and 2 (7.5, 8.5) reach it at 500, seed 0 (6.5) does not.
    assert track["tasks"]["toy-v0"][0]["reach"] == {"step": 500, "runs": 2}
    track = board(slow=(1.0, 1.0), fast=(4.0, 7.9))
    # 0.9 * 8.9 = 8.01, which seed 0 (7.9) misses.
    assert track["tasks"]["toy-v0"][0]["reach"] == {"step": 500, "runs": 2}


def test_no_target_where_nothing_is_above_the_floor(board):
    track = board(slow=(-9.0, -9.0), fast=(-8.0, -5.0))
    assert track["environments"][0]["target"] is None
    assert {row["reach"] for row in track["tasks"]["toy-v0"]} == {None}


def test_less_is_better_where_the_metric_says_so(make_record, suite_file):
    text = suite_file().read_text()
    text = text.replace("floor = 0\n", "floor = 20\n").replace(
        "reference = 10\n", "reference = 0\n"
    )
    records = [
        make_record(
            "ppo", seed, (end, end), "toy-v0", direction="min", curve=curve(15.0, 9.0, end)
        )
        for seed, end in enumerate((3.0, 4.0, 5.0))
    ]  # fmt: skip
    track = build_model("b", records, read_suite(suite_file(text)))["tracks"][TRACK]
    # Best mean 4, floor 20: target 20 - 0.9 * 16 = 5.6.
    assert track["environments"][0]["target"] == pytest.approx(5.6)
    assert track["tasks"]["toy-v0"][0]["reach"] == {"step": 750, "runs": 3}


def test_worked_curve_over_the_track(board):
    track = board(slow=(1.0, 2.0), fast=(5.0, 8.0))
    fast = next(row["key"] for row in track["rows"])
    points = track["curves"][fast]
    assert [point["step"] for point in points] == [250, 500]
    # toy: 5, 6, 7 of 10; other: -95, -94, -93 between -100 and 0. Means 0.6 and 0.06.
    assert points[0]["mean"] == pytest.approx((0.6 + 0.06) / 2)
    # Standard errors 0.1 and 0.01 over sqrt(3), halved: of the sum sqrt(0.0101 / 12) = 0.029011;
    # its t of about 2.02 degrees of freedom leaves 0.33 +- 0.12, skewed by the bound at 0.
    low, high = points[0]["low"], points[0]["high"]
    assert 0.20 < low < 0.24 and 0.46 < high < 0.52
    assert high - 0.33 > 0.33 - low > 0


def test_one_environment_has_no_curve_over_the_track(make_record):
    records = [make_record("ppo", seed, (1.0, seed + 1.0)) for seed in range(3)]
    (track,) = build_model("b", records)["tracks"]
    assert track["curves"] == {}


def test_a_failed_run_counts_as_the_floor_after_its_end(make_record, suite_file):
    records = []
    for env, kwargs in ENVS.items():
        changes = {"environment.kwargs": kwargs, "identity.env_kwargs": kwargs}
        for seed in range(3):
            failed = (env, seed) == ("toy-v0", 1)
            points = curve(6.0, 6.0) if env == "toy-v0" else curve(-40.0, -40.0)
            records.append(
                make_record(
                    "ppo", seed, (points[-1]["mean"],) * 2, env, changes=changes,
                    curve=points[:1] if failed else points,
                    status="failed" if failed else "finished",
                )
            )  # fmt: skip
    track = build_model("b", records, read_suite(suite_file()))["tracks"][TRACK]
    (points,) = track["curves"].values()
    assert [p["mean"] for p in points] == pytest.approx([0.6, (0.4 + 0.6) / 2])


def test_a_ceiling_comes_from_the_catalogue(make_record):
    from pgbench.catalogue.registry import find_env

    metric = find_env("math-nano").metrics[0]
    assert metric.upper == 1.0
    records = [
        make_record("grpo", seed, (0.25, 0.5), "math-nano-v0", changes={
            "environment.metric": metric.told,
        })
        for seed in range(3)
    ]  # fmt: skip
    records.append(make_record("grpo", 0, (1.0, 2.0), "toy-v0"))
    (track,) = build_model("b", records)["tracks"]
    assert [env["ceiling"] for env in track["environments"]] == [1.0, None]


def test_a_profile_begins_near_the_data(board):
    high = board(slow=(8.0, 8.0), fast=(9.0, 9.0))["profile"]["tau"]
    assert TAUS <= len(high) <= 2 * TAUS and high == sorted(set(high))
    low = board(slow=(0.0, 0.0), fast=(9.0, 9.0))["profile"]["tau"]
    assert low[0] == 0.0 and low[-1] > 1.1  # 11 of 10
