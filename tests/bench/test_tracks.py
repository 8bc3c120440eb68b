"""Tracks that differ in settings, and a limit of samples."""

from pathlib import Path

import pytest

from pgbench.bench.suite import find_suite
from pgbench.errors import PgbenchError
from pgbench.rules import find_track, obey

ROOT = Path(__file__).parents[2] / "leaderboards"


@pytest.fixture(scope="module")
def records():
    from pgbench.ledger import read_board

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
