"""The committed boards are what their committed records determine."""

from pathlib import Path

import pytest

from pgbench.boards import index
from pgbench.boards.markdown import results_part
from pgbench.records.suite import read_suite

ROOT = Path(__file__).resolve().parents[2] / "leaderboards"
NAMES = sorted({path.parent.name for path in (ROOT / "records").glob("*/*.jsonl")})


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_board_is_its_records_to_the_byte(cli, name):
    code, out, err = cli("board", name, "--root", ROOT, "--check")
    assert code == 0, out + err


def test_the_page_of_all_boards_is_what_they_give():
    files = index.outputs(ROOT)
    assert sorted(path.name for path in files) == ["index.html", "index.md"]
    assert all(path.read_bytes() == data for path, data in files.items())
    assert [model["board"] for model in index.read_models(ROOT)] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_board_has_a_suite(name):
    assert read_suite(ROOT / "suites" / f"{name}.toml").name == name


def test_the_readme_shows_the_tables_of_the_board():
    page = results_part((ROOT / "control-mini-v1.md").read_text())
    across = [part.split("\n### ")[0] for part in page.split("\n### ")[1:] if "| IQM" in part]
    rows = [line for part in across for line in part.splitlines() if line.startswith("|")]
    readme = (ROOT.parent / "README.md").read_text()
    assert len(rows) >= 6 and all(row in readme for row in rows)


def test_the_claims_page_is_what_claims_and_records_give(cli):
    code, out, err = cli("claims", "--root", ROOT, "--check")
    assert code == 0, out + err
