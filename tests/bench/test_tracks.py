"""Tracks that differ in settings, and a limit of samples."""

from pathlib import Path

import pytest

from pgbench.errors import PgbenchError
from pgbench.records.rules import find_track, obey
from pgbench.records.suite import find_suite

ROOT = Path(__file__).parents[2] / "leaderboards"


@pytest.fixture(scope="module")
def records():
    from pgbench.records.ledger import read_board

    folder = ROOT / "records" / "math-nano-mini-v1"
    return [entry.record for entry in read_board(folder, lambda record, where: None)]


def test_common_settings_tell_tracks_apart(records):
    suite = find_suite("math-nano-mini-v1", ROOT)
    found = {r["algorithm"]["config"]["equalise"]: find_track(r, suite).name for r in records}
    assert found == {False: "own-scale-300", True: "equal-scale-300"}
    assert all(cell.settings["equalise"] for cell in suite.cells() if cell.track.settings)


def test_more_samples_than_the_track_allows_are_refused(records):
    suite = find_suite("math-nano-mini-v1", ROOT)
    record = records[0]
    obey(record, suite, "here")
    more = {**record, "cost": {**record["cost"], "samples": 76_801}}
    with pytest.raises(PgbenchError, match=r"76,801 responses were drawn, track .* allows 76,800"):
        obey(more, suite, "here")


def test_none_is_declared_as_a_word():
    """TOML has no null: lam = "none" is the row of the records whose lam is None."""
    from pgbench.boards.rows import find_entry
    from pgbench.records.ledger import read_board

    suite = find_suite("group-papers-mini-v1", ROOT)
    folder = ROOT / "records" / "group-papers-mini-v1"
    found = [entry.record for entry in read_board(folder, lambda record, where: None)]
    drpo = [r for r in found if r["algorithm"]["name"] == "drpo"]
    rows = {}
    for record in drpo:
        track = find_track(record, suite)
        entry = find_entry(record, track, suite.environments["math-nano-padded"])
        rows.setdefault(record["algorithm"]["config"]["lam"], set()).add(entry.label)
    assert rows == {None: {"drpo, no lengths"}, 0.1: {"drpo, lam 0.1"}, 0.02: {"drpo, lam 0.02"}}
