"""The model is a pure function of the records, and its numbers are worked by hand."""

import json
import random

import pytest

from pgbench.boards.markdown import to_markdown
from pgbench.boards.model import build_model, content_digest, results_digest
from pgbench.errors import PgbenchError
from pgbench.records.rules import obey
from pgbench.records.suite import read_suite
from pgbench.settings.config import canonical

ENVS = {"toy-v0": {}, "other-v0": {"wind": 1}}


@pytest.fixture
def suite(suite_file):
    return read_suite(suite_file())


@pytest.fixture
def whole(make_record):
    """Both rows of the toy suite's long track, whole: ppo and ppo with its declared settings."""
    out = []
    for env, kwargs in ENVS.items():
        changes = {"environment.kwargs": kwargs, "identity.env_kwargs": kwargs}
        lr = {"toy-v0": 0.2, "other-v0": 0.3}[env]
        shift = {"toy-v0": 0.0, "other-v0": -60.0}[env]
        for seed in range(3):
            slow, fast = (seed + shift, seed + 2.0 + shift), (seed + 4 + shift, seed + 6.0 + shift)
            out += [
                make_record("ppo", seed, slow, env, changes=changes),
                make_record(
                    "ppo", seed, fast, env, config={"lr": lr}, changed=["lr"], changes=changes
                ),
            ]
    return out


def track(model, name="long"):
    return next(t for t in model["tracks"] if t["name"] == name)


def row(model, key, env=None):
    rows = track(model)["tasks"][env] if env else track(model)["rows"]
    return next(r for r in rows if r["key"] == key)


def test_order_of_records_and_keys_does_not_matter(whole, suite):
    text = canonical(build_model("b", whole, suite))
    for seed in range(5):
        shuffled = random.Random(seed).sample(whole, len(whole))
        turned = [dict(reversed(record.items())) for record in shuffled]
        assert canonical(build_model("b", turned, suite)) == text


def test_worked_row_in_one_environment(whole, suite):
    # Scores 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.302653, half width 2.484138.
    found = row(build_model("b", whole, suite), "ppo", "toy-v0")
    assert found["mean"] == pytest.approx([2.0, -0.484138, 4.484138], abs=1e-6)
    assert (found["median"], found["min"], found["max"]) == (2.0, 1.0, 3.0)
    assert found["runs"] == {"finished": 3, "started": 3, "expected": 3}
    assert [(s["seed"], s["score"]) for s in found["scores"]] == [(0, 1.0), (1, 2.0), (2, 3.0)]
    # The curve's first point is half the score at step 500, the last the score itself.
    assert [(p["step"], p["mean"], p["n"]) for p in found["curve"]] == [
        (500, 1.0, 3),
        (1000, 2.0, 3),
    ]


def test_worked_row_across_environments(whole, suite):
    # Normalised: toy 0.1, 0.2, 0.3; other (floor -100, reference 0) 0.41, 0.42, 0.43.
    found = row(build_model("b", whole, suite), "ppo")
    assert found["mean"][0] == pytest.approx((0.2 + 0.42) / 2)
    # floor(6 / 4) = 1 value is dropped at each end: 0.2, 0.3, 0.41, 0.42
    assert found["iqm"][0] == pytest.approx((0.2 + 0.3 + 0.41 + 0.42) / 4)
    assert found["gap"][0] == pytest.approx(1 - (0.2 + 0.42) / 2)
    low, high = found["iqm"][1:]
    assert low < found["iqm"][0] < high
    assert found["complete"] and found["changed"] == {}
    assert row(build_model("b", whole, suite), "ppo, fast")["changed"] == {
        "lr": "0.3 on other-v0, 0.2 on toy-v0"
    }


def test_pairs_and_ranks(whole, suite):
    model = build_model("b", whole, suite)
    (pair,) = track(model)["pairs"]
    assert (pair["a"], pair["b"]) == ("ppo, fast", "ppo")
    # Means 0.31 and 0.53; Welch over both environments.
    assert pair["difference"][0] == pytest.approx(0.22)
    assert pair["probability"][0] == 1.0
    assert [(r["key"], r["rank"], r["ranks"]) for r in track(model)["rows"]] == [
        ("ppo, fast", 1, [1, 1]), ("ppo", 2, [2, 2]),
    ]  # fmt: skip
    assert [r["lead"][0] for r in track(model)["rows"]] == pytest.approx([0.22, -0.22])
    assert track(model)["profile"]["rows"]["ppo"]["value"][0] == 1.0


def test_a_missing_seed_makes_a_row_incomplete_and_unranked(whole, suite):
    model = build_model("b", whole[2:], suite)  # seed 0 of both rows on toy is gone
    for key in ("ppo", "ppo, fast"):
        found = row(model, key)
        assert not found["complete"] and found["rank"] is None
        assert found["runs"] == {"finished": 5, "started": 5, "expected": 6}
        assert row(model, key, "toy-v0")["rank"] is None
        assert row(model, key, "other-v0")["complete"]
    assert not model["counts"]["complete"]
    assert (model["counts"]["records"], model["counts"]["expected"]) == (10, 13)


def test_a_failed_run_scores_the_floor(whole, suite, make_record):
    failed = make_record("ppo", 0, status="failed")
    model = build_model("b", [failed, *whole[1:]], suite)
    found = row(model, "ppo", "toy-v0")
    assert [s["score"] for s in found["scores"]] == [0.0, 2.0, 3.0]
    assert found["complete"] and found["runs"]["finished"] == 2
    assert model["failures"][0]["error"] == "diverged: kl not finite"


def test_without_anchors_a_failed_run_leaves_its_row_unranked(make_record):
    records = [make_record("sac", 0, status="failed"), make_record("sac", 1), make_record("ppo", 0)]
    model = build_model("b", records)
    sac, ppo = (next(r for r in model["tracks"][0]["tasks"]["toy-v0"] if r["key"] == k)
                for k in ("sac", "ppo"))  # fmt: skip
    assert not sac["complete"] and sac["rank"] is None and sac["runs"]["finished"] == 1
    assert ppo["complete"] and ppo["mean"] == [2.0, None, None]


def test_withdrawn_records_are_listed_and_not_counted(whole, suite):
    stamp = {"kind": "withdrawn", "record": whole[0]["id"], "by": "x", "reason": "bad disk"}
    model = build_model("b", whole, suite, [stamp])
    assert model["withdrawn"][0]["reason"] == "bad disk"
    assert model["counts"]["records"] == 11 and whole[0]["id"] not in model["records"]
    assert model["digest"]["records"] == content_digest(whole)  # nothing vanishes


def test_evidence_comes_from_stamps(whole, suite):
    stamps = [{"kind": "verified", "record": whole[0]["id"], "by": "x"}]
    found = row(build_model("b", whole, suite, stamps), "ppo")
    assert (found["evidence"], found["checked"]) == ("verified", 1)
    stamps.append({"kind": "disputed", "record": whole[2]["id"], "by": "y"})
    assert row(build_model("b", whole, suite, stamps), "ppo")["evidence"] == "disputed"
    assert row(build_model("b", whole, suite, stamps), "ppo, fast")["evidence"] == "claimed"


def test_the_results_digest_ignores_times_and_machines_alone(whole, make_record):
    first = make_record("ppo", 0)
    slow = make_record("ppo", 0, changes={"cost.wall_s": 99.0, "provenance.cpu": "other"})
    assert first["id"] != slow["id"]
    assert results_digest([first]) == results_digest([slow])
    for path, value in {
        "result.checksum": "1",
        "protocol.seed": 1,
        "environment.golden": "h",
    }.items():
        assert results_digest([make_record("ppo", 0, changes={path: value})]) != results_digest(
            [first]
        )


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"golden": "h"}, "fingerprint h, not g"),
        ({"scores": (1.0,)}, "episodes 1, not 2"),
        ({"changes": {"provenance.packages": {"mujoco": "4.0.1"}}}, "MuJoCo 4.0, not 3.17"),
    ],
)
def test_what_cannot_be_compared_stands_apart_with_the_reason(make_record, odd, reason):
    records = [make_record("ppo", seed) for seed in range(3)]
    (found,) = build_model("b", [*records, make_record("sac", 0, **odd)])["tracks"]
    assert [r["key"] for r in found["rows"]] == ["ppo"]
    assert found["apart"][0]["name"] == "sac" and reason in found["apart"][0]["reason"]


def test_budgets_are_tracks_of_their_own(make_record):
    model = build_model("b", [make_record(), make_record(budget=500)])
    assert [t["budget"] for t in model["tracks"]] == [500, 1000]


def test_settings_forms_and_changed_defaults_are_rows_of_their_own(make_record):
    records = [
        make_record(seed=0),
        make_record(seed=0, config={"hidden": [8, 8]}, changed=["hidden"]),
        make_record("mdpo", 0, config={"form": "paper"}),
        make_record("mdpo", 0, config={"form": "released"}, changed=["form"]),
        make_record("sac", 0),
        make_record("sac", 1, config={"lr": 0.3}),  # a default that changed between two versions
    ]
    keys = {r["key"] for r in build_model("b", records)["tracks"][0]["rows"]}
    assert {"ppo", "ppo (hidden=8x8)", "mdpo (paper form)", "mdpo (released form)"} <= keys
    assert sum(key.startswith("sac #") for key in keys) == 2


def test_lower_is_better_where_the_metric_says_so(make_record):
    records = [
        make_record(algo, seed, (base + seed,), direction="min")
        for algo, base in (("ppo", 10.0), ("sac", 100.0)) for seed in range(3)
    ]  # fmt: skip
    (found,) = build_model("b", records)["tracks"]
    assert [(r["key"], r["rank"]) for r in found["tasks"]["toy-v0"]] == [("ppo", 1), ("sac", 2)]


def test_an_empty_board_is_a_model(suite):
    model = build_model("b", [], suite)
    assert model["counts"]["records"] == 0 and model["newest"] is None
    assert track(model)["rows"] == []
    json.dumps(model, allow_nan=False)


def test_an_unknown_stamped_record_changes_nothing(whole, suite):
    stamps = [{"kind": "verified", "record": "0" * 64, "by": "x"}]
    one, other = build_model("b", whole, suite, stamps), build_model("b", whole, suite)
    assert one == other


def test_a_runaway_counts_as_the_floor_in_means_and_raw_beside(whole, suite, make_record):
    wind = {"environment.kwargs": {"wind": 1}, "identity.env_kwargs": {"wind": 1}}
    lost = make_record("ppo", 0, (-90_000.0, -90_002.0), "other-v0", changes=wind)
    kept = [r for r in whole if not (r["environment"]["id"] == "other-v0"
            and r["protocol"]["seed"] == 0 and r["algorithm"]["config"]["lr"] == 0.1)]  # fmt: skip
    model = build_model("b", [*kept, lost], suite)
    found = row(model, "ppo")
    # Toy 0.1, 0.2, 0.3; other 0 (and not -899), 0.42, 0.43.
    assert found["mean"][0] == pytest.approx((0.6 + 0.85) / 6)
    assert found["below_floor"] == 1 and row(model, "ppo, fast")["below_floor"] == 0
    assert row(model, "ppo", "other-v0")["min"] == -90_001.0
    for name in ("iqm", "mean", "gap"):
        value, low, high = found[name]
        assert 0 <= low <= value <= high
    assert found["gap"][2] <= 1 and found["lead"][0] == pytest.approx(1.45 / 6 - 0.53)
    assert "1 run is below the floor" in to_markdown(model)


def bounded(make_record, algo, values, env="inverted-pendulum-v0"):
    metric = {"environment.metric": {"name": "return per episode", "direction": "max", "unit": ""}}
    return [make_record(algo, s, (v,), env, changes=metric) for s, v in enumerate(values)]


def test_intervals_stay_between_the_bounds_of_the_catalogue(make_record):
    values = [155.0, 1000.0, 1000.0, 1000.0, 1000.0]
    (found,) = build_model("b", bounded(make_record, "ppo", values))["tracks"]
    (only,) = found["tasks"]["inverted-pendulum-v0"]
    value, low, high = only["mean"]
    assert 0 < low < 500 and value == 831.0 < high <= 1000
    # Longer episodes, say: a score beyond the bound takes it away.
    (found,) = build_model("b", bounded(make_record, "ppo", [*values, 1500.0]))["tracks"]
    assert found["tasks"]["inverted-pendulum-v0"][0]["mean"][2] > 1000
    # A stranger has none, nor has a record of another metric.
    (found,) = build_model("b", bounded(make_record, "ppo", values, "toy-v0"))["tracks"]
    assert found["tasks"]["toy-v0"][0]["mean"][2] > 1000


def test_equal_runs_have_no_interval_and_two_no_rank(make_record):
    records = [*bounded(make_record, "ppo", [1000.0] * 5), *bounded(make_record, "sac", [1.0, 2.0])]
    (found,) = build_model("b", records)["tracks"]
    rows = {r["key"]: r for r in found["tasks"]["inverted-pendulum-v0"]}
    assert rows["ppo"]["mean"] == [1000.0, None, None] and rows["ppo"]["rank"] == 1
    assert rows["sac"]["mean"] == [1.5, None, None]
    assert rows["sac"]["rank"] is rows["sac"]["ranks"] is rows["sac"]["lead"] is None
    json.dumps(found, allow_nan=False)


def test_a_track_tells_what_its_seeds_find(whole, suite):
    found = track(build_model("b", whole, suite))["power"]
    assert (found["alpha"], found["power"]) == (0.05, 0.8)
    assert set(found["tables"]) == {"all", "toy-v0", "other-v0"}
    one = found["tables"]["toy-v0"]
    assert (one["seeds"], one["rows"]) == (3, 2)
    # Both rows have the scores' deviation of 1; of normal ones the median variance is 0.69 of it.
    assert one["deviation"] == pytest.approx((1 / 0.6931) ** 0.5, rel=1e-3)
    assert one["pair"] == pytest.approx(3.071 * one["deviation"], rel=1e-3)
    assert track(build_model("b", whole[:2], suite))["power"]["tables"]["toy-v0"] is None


def test_a_random_reward_control_is_a_row_of_the_suite(whole, suite_file, make_record):
    """The suite names it as an entry, its runs stand with the others, and are nobody else's."""
    path = suite_file()
    declared = '{ algo = "ppo", label = "ppo, fast"'
    control = '{ algo = "ppo", label = "control", set = { "env.reward" = "random" } },\n    '
    path.write_text(path.read_text().replace(declared, control + declared))
    suite = read_suite(path)
    records = list(whole)
    for env, kwargs in ENVS.items():
        changes = {f"{at}": {**kwargs, "reward": "random"}
                   for at in ("environment.kwargs", "identity.env_kwargs")}  # fmt: skip
        for seed in range(3):
            texts = {**changes, "identity.family": "text"}
            records.append(make_record("ppo", seed, (-9.0, -9.0), env, changes=texts))
    for record in records:
        obey(record, suite, "here")
    model = build_model("toy-v1", records, suite)
    assert {r["key"] for r in track(model)["rows"]} == {"ppo", "ppo, fast", "control"}
    assert not track(model)["apart"]
    assert [s["score"] for s in row(model, "control", "toy-v0")["scores"]] == [-9.0] * 3
    without = build_model("toy-v1", records, read_suite(suite_file()))
    assert "ppo (random reward)" in {r["key"] for r in track(without)["rows"]}
    # Of another family `reward` is a keyword like any other.
    with pytest.raises(PgbenchError, match="kwargs are not"):
        obey(make_record("ppo", 0, env="toy-v0", changes=changes), suite, "here")


def test_floors_are_shown_beside_records_of_their_fingerprint(whole, suite):
    floor = {"score": 0.5, "low": 0.25, "high": 0.75}
    panel = {"golden": "g", "metric": "return", "episodes": 8, "floors": {"zero": floor}}
    plain = build_model("toy-v1", whole, suite)
    shown = build_model("toy-v1", whole, suite, panels={"toy-v0": panel})
    other = build_model("toy-v1", whole, suite, panels={"toy-v0": {**panel, "golden": "h"}})
    assert canonical(other) == canonical(plain) != canonical(shown)
    line = "Floors (return of 8 held-out episodes): zero action 0.5 [0.25, 0.75]."
    assert line in to_markdown(shown) and "Floors (" not in to_markdown(plain)
