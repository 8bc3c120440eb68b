"""The committed boards are what their committed records determine."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "leaderboards"
NAMES = sorted(path.name for path in (ROOT / "records").iterdir() if path.is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_board_is_its_records_to_the_byte(cli, name):
    code, _, err = cli("board", name, "--root", ROOT, "--check")
    assert code == 0, err


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_shows_the_table_of_the_board(name):
    page = (ROOT / f"{name}.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    readme = (ROOT.parent / "README.md").read_text()
    assert rows and all(row in readme for row in rows)
