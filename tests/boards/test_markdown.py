"""The Markdown page says what a stranger must know."""

import re

import pytest

from pgbench.boards.markdown import results_part, to_markdown
from pgbench.boards.model import build_model
from pgbench.records.suite import read_suite


def cells(page, section):
    """Cells of the first table below a heading, without head and rule."""
    body = re.split(r"\n#+ ", page.split(f"# {section}\n")[1])[0]
    lines = [line for line in body.splitlines() if line.startswith("|")][2:]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.fixture
def page(make_record):
    return lambda records, suite=None: to_markdown(build_model("b", records, suite))


def test_worked_row(make_record, page):
    # Scores 2, 3, 4: mean 3, s = 1, t(0.975, 2) = 4.302653, half width 2.484.
    text = page([make_record("ppo", s, (1.0 + s, 3.0 + s)) for s in range(3)])
    assert cells(text, "toy-v0") == [
        ["1", "ppo", "3.000 [0.516, 5.484]", "-", "3.000", "2.000", "4.000", "3 / 3"]
    ]
    assert re.search(r"\| ppo +\| +333 \| +3 s \|", text.split("## Cost and provenance")[1])


def test_an_incomplete_board_says_so(make_record, suite_file):
    suite = read_suite(suite_file())
    text = to_markdown(build_model("toy-v1", [make_record("ppo", 0), make_record("ppo", 2)], suite))
    assert "**Incomplete: 2 of 13 runs.**" in text
    assert cells(text, "toy-v0")[0][0] == "-"
    assert cells(text, "toy-v0")[0][-1] == "2 / 2 of 3"
    assert "No runs yet." in text


def test_failed_runs_are_counted_and_said(make_record, suite_file):
    suite = read_suite(suite_file())
    records = [make_record("ppo", s, status="failed" if s == 1 else "finished") for s in range(3)]
    text = to_markdown(build_model("toy-v1", records, suite))
    assert cells(text, "toy-v0")[0][-1] == "2 / 3"
    assert "- ppo on toy-v0, seed 1: diverged: kl not finite" in text


def test_results_come_before_what_no_rerun_gives_again(make_record, page):
    one = page([make_record(seed=s) for s in range(3)])
    other = page([make_record(seed=s, changes={"cost.wall_s": 99.0}) for s in range(3)])
    assert one != other
    assert results_part(one) == results_part(other)
    assert "sha256" in results_part(one) and "steps/s" not in results_part(one)


def test_footer(make_record, page):
    text = page([make_record(seed=s) for s in range(3)])
    for words in ("mujoco 3.17.0", "A CPU, 2 cores", "0123456789ab", "content sha256:", "rules 1"):
        assert words in text


def test_markup_in_a_setting_cannot_break_the_table(make_record, page):
    text = page([make_record(config={"note": "a|b<script>"}, changed=["note"])])
    assert r"ppo (note=a\|b&lt;script>)" in text
    assert len(cells(text, "toy-v0")[0]) == 8


def test_an_empty_board_is_a_page(page):
    assert "Records: 0" in page([])
