"""Any set of runs as one model: a board, folders, files; other settings are told apart."""

import json

import pytest

from pgbench.boards.gather import gather, told_apart
from pgbench.errors import PgbenchError
from pgbench.records import ledger
from pgbench.records.record import record_id


def names(records):
    return [record["environment"]["id"] for record in told_apart(records)]


def test_other_environment_settings_are_an_environment_of_their_own(make_record):
    wind = {"environment.kwargs": {"wind": 1, "rain": 0}, "environment.golden": "h"}
    records = [make_record("ppo", 0), make_record("ppo", 0, changes=wind)]
    assert names(records) == ["toy-v0", "toy-v0 (rain=0, wind=1)"] or names(records) == [
        "toy-v0 (fingerprint g)", "toy-v0 (rain=0, wind=1)",
    ]  # fmt: skip
    assert names(records[:1]) == ["toy-v0"]
    assert records[1]["environment"]["id"] == "toy-v0"  # the records themselves are left alone


def test_another_evaluation_is_told_apart(make_record):
    records = [make_record("ppo", 0), make_record("ppo", 1, scores=(1.0, 2.0, 3.0))]
    assert names(records) == ["toy-v0 (episodes 2)", "toy-v0 (episodes 3)"]


def test_runs_files_and_boards(tiny, tmp_path):
    folder, record = tiny
    said = []
    model = gather([str(folder)], tmp_path, None, said.append)
    (track,) = model["tracks"]
    assert [row["runs"]["started"] for row in track["rows"]] == [1] and said == []
    assert track["tasks"]["inverted-pendulum-v0"][0]["mean"][0] == record["result"]["score"]
    board = tmp_path / "records" / "mine"
    ledger.add(board, [folder])
    for source in ("mine", str(board), str(board / "ppo.jsonl")):
        again = gather([source], tmp_path, None, said.append)
        assert again["digest"]["results"] == model["digest"]["results"]
    both = gather([str(folder), str(board)], tmp_path, None, said.append)
    assert both["counts"]["records"] == 1  # one run, found twice
    ended = json.loads((folder / "run.json").read_text())
    waiting = {**ended, "status": "running"}
    waiting["id"] = record_id(waiting)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/run.json").write_text(json.dumps(waiting))
    with pytest.raises(PgbenchError, match="no ended run"):
        gather([str(tmp_path / "odd")], tmp_path, None, said.append)
    assert len(said) == 1 and said[0].startswith("left out ")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["nothing"], "neither a folder of runs nor a board of"),
        (["nothing", "more"], "no folder or file nothing"),
        (["a.txt"], "give a folder of runs, or a .jsonl file"),
    ],
)
def test_refusals(sources, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(PgbenchError, match=message) as stop:
        gather(sources, tmp_path, None, print)
    assert "\n" not in str(stop.value)
