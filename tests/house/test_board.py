"""The board is a pure function of its records, and says what a stranger must know."""

import random
import re

import pytest

from pgbench.board import content_digest, make_rows, render

HEADS = ("rank", "algorithm", "score", "median", "runs", "budget", "steps/s", "time", "parameters")


def table(page, section="toy"):
    """Cells of a section's table, by algorithm."""
    body = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("|")][2:]
    rows = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[1]: dict(zip(HEADS, row, strict=True)) for row in rows}


@pytest.fixture
def many(make_record):
    """Three algorithms on two environments, five seeds, one failed."""
    return [
        make_record(algo, seed, (base + seed, base + seed + 1), env, status=status)
        for algo, base in (("ppo", 10.0), ("sac", 100.0), ("mdpo", 11.0))
        for env in ("toy-v0", "other-v0")
        for seed in range(5)
        for status in ["failed" if (algo, env, seed) == ("mdpo", "toy-v0", 4) else "finished"]
    ]


def test_order_of_records_does_not_matter(many):
    page = render("b", many)
    for seed in range(10):
        shuffled = random.Random(seed).sample(many, len(many))
        assert render("b", shuffled) == page


def test_order_of_keys_does_not_matter(many):
    turned = [dict(reversed(record.items())) for record in many]
    assert render("b", turned) == render("b", many)


def test_worked_row(make_record):
    # Scores 2, 3, 4: mean 3, s = 1, t(0.975, 2) = 4.302653, half width 2.484.
    records = [make_record("ppo", s, (1.0 + s, 3.0 + s)) for s in range(3)]
    row = table(render("b", records))["ppo"]
    assert row == {
        "rank": "1", "algorithm": "ppo", "score": "3.000 [0.516, 5.484]", "median": "3.000",
        "runs": "3 / 3", "budget": "1,000", "steps/s": "333", "time": "3 s", "parameters": "1,234",
    }  # fmt: skip


def test_sorted_and_ranks_shared_where_intervals_overlap(many):
    rows = table(render("b", many), "other")
    assert list(rows) == ["sac", "mdpo", "ppo"]
    assert [row["rank"] for row in rows.values()] == ["1", "2", "2"]


def test_lower_is_better_where_the_metric_says_so(make_record):
    records = [
        make_record(algo, seed, (base + seed,), direction="min")
        for algo, base in (("ppo", 10.0), ("sac", 100.0))
        for seed in range(3)
    ]
    page = render("b", records)
    assert [(r["rank"], r["algorithm"]) for r in table(page).values()] == [
        ("1", "ppo"),
        ("2", "sac"),
    ]
    assert "lower is better" in page


def test_failed_runs_are_counted_and_said(many):
    page = render("b", many)
    assert table(page)["mdpo"]["runs"] == "4 / 5"
    assert "mdpo: 1 of 5 runs failed; its score is over the finished runs only" in page
    assert "seed 4: diverged: kl not finite" in page
    assert "30 (29 finished, 1 failed)" in page


def test_a_row_of_failures_stays_visible_and_last(make_record):
    records = [make_record("sac", 0, status="failed"), make_record("ppo", 0), make_record("ppo", 1)]
    rows = table(render("b", records))
    assert list(rows) == ["ppo", "sac"]
    assert (rows["sac"]["rank"], rows["sac"]["score"], rows["sac"]["runs"]) == (
        "-", "no run finished", "0 / 1",
    )  # fmt: skip


def test_one_seed_has_no_interval_and_no_rank(make_record):
    row = table(render("b", [make_record()]))["ppo"]
    assert (row["rank"], row["score"]) == ("-", "2.000 (no interval from one seed)")


def test_settings_and_forms_are_rows_of_their_own(make_record):
    records = [
        make_record(seed=0),
        make_record(seed=0, config={"lr": 0.2}, changed=["lr"]),
        make_record(seed=0, config={"hidden": [8, 8]}, changed=["hidden"]),
        make_record("mdpo", 0, config={"form": "paper"}),
        make_record("mdpo", 0, config={"form": "released"}, changed=["form"]),
    ]
    assert set(table(render("b", records))) == {
        "ppo", "ppo (lr=0.2)", "ppo (hidden=8x8)", "mdpo (paper form)", "mdpo (released form)",
    }  # fmt: skip


def test_defaults_that_changed_between_versions_do_not_merge(make_record):
    records = [make_record(seed=0), make_record(seed=1, config={"lr": 0.3})]
    names = list(table(render("b", records)))
    assert len(names) == 2
    assert all(re.fullmatch(r"ppo #[0-9a-f]{8}", name) for name in names)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"budget": 500}, "budget 500 environment steps, not 1,000 environment steps"),
        ({"env": "toy-v1"}, "environment toy-v1, not toy-v0"),
        ({"scores": (1.0,)}, "episodes 1, not 2"),
        ({"changes": {"provenance.packages": {"mujoco": "4.0.1"}}}, "MuJoCo 4.0, not 3.17"),
    ],
)
def test_what_cannot_be_compared_stands_apart_with_the_reason(make_record, odd, reason):
    records = [make_record("ppo", seed) for seed in range(3)]
    page = render("b", [*records, make_record("sac", 0, **odd)])
    assert list(table(page)) == ["ppo"]
    apart = page.split("Not comparable with the table above:")[1]
    assert "- sac: " in apart
    assert reason in apart


def test_another_simulator_splits_the_seeds_of_one_algorithm(make_record):
    changed = {"provenance.packages": {"mujoco": "4.0.0"}}
    records = [make_record(seed=s) for s in range(2)] + [make_record(seed=2, changes=changed)]
    assert [len(row.records) for row in make_rows(records)] == [2, 1]


def test_footer_and_digest(many):
    page = render("b", many)
    assert f"sha256:{content_digest(many)}" in page
    assert content_digest(many) == content_digest(many[::-1]) != content_digest(many[1:])
    assert "mujoco 3.17.0" in page
    assert "A CPU, 2 cores" in page
    assert "0123456789ab" in page


def test_markup_in_a_setting_cannot_break_the_table(make_record):
    page = render("b", [make_record(config={"note": "a|b<script>"}, changed=["note"])])
    assert r"ppo (note=a\|b&lt;script>)" in table(page)


def test_an_empty_board_is_a_page():
    assert "Records: 0" in render("b", [])
