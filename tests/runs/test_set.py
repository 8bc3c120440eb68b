"""A set of policies and an evaluator's details, from a run to its record, the terminal, a board."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import pgbench
from pgbench.boards.model import build_model
from pgbench.boards.page import render_page
from pgbench.boards.rerun import Comparison
from pgbench.errors import Breach, PgbenchError
from pgbench.records.record import SCHEMA, read_run
from pgbench.runs.result import load
from pgbench.support.files import load_tensors, save_tensors

PLUGIN = str(Path(__file__).parents[1] / "helpers/set_plugin.py")
WORDS = ["run", "--algo", PLUGIN, "--env", PLUGIN, "--set", "horizon=64", "--episodes", "2"]
DETAILS = {"front": [[0.0, 1.0], [0.5, 0.75], [1.0, 0.0]], "regret": [3.0, 2.5, 2.0], "gap": 0.125}


@pytest.fixture
def run(cli, tmp_path):
    """The folder of a finished run of the plug-in."""
    code, _, err = cli(*WORDS, "--quiet", "--runs", tmp_path / "runs")
    assert code == 0, err
    return next((tmp_path / "runs/three/pushed").glob("0-*"))


def test_the_record_holds_details_and_names_the_policies(run, cli):
    record = read_run(run)
    assert record["schema"] == SCHEMA == 3
    assert record["result"]["details"] == DETAILS
    assert record["algorithm"]["policies"] == {
        "left": [1.0, 0.0], "middle": [0.5, 0.5], "right": [0.0, 1.0],
    }  # fmt: skip
    code, page, _ = cli("show", run)
    assert code == 0
    assert "gap  0.125" in page and "regret  3  2.5  2" in page and "  0.5     0.75" in page
    assert "left (1.000, 0.000), middle (0.500, 0.500)" in page


def test_eval_takes_a_policy_by_name_or_by_the_nearest_weights(run, cli):
    def pushes(*words):
        code, out, err = cli("eval", run, "--episodes", 1, "--json", *words)
        assert code == 0, err
        return json.loads(out), err

    learned = load_tensors(run / "policy.pt")["algorithm"]["state"]["pushes"].tolist()
    assert learned[0] < 0 == learned[1] < learned[2]
    for words, place in (
        ((), 1), (("--policy", "left"), 0), (("--policy", "right"), 2),
        (("--weights", "0.3,0.7"), 1), (("--weights", "0.2,0.8"), 2), (("--weights", "5,1"), 0),
    ):  # fmt: skip
        data, err = pushes(*words)
        assert data["returns"] == [learned[place]]
        assert data["details"] == DETAILS
        assert (f"policy {['left', 'middle', 'right'][place]}" in err) == bool(words)
    assert load(run, weights=[1, 0]).policy.algorithm.place == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "lefft"], "unknown policy 'lefft'; did you mean left?"),
        (["--weights", "1,2,3"], "have 2 weights each; give as many numbers, not 1.0,2.0,3.0"),
        (["--weights", "nan,1"], "have 2 weights each"),
        (["--weights", "much"], "--weights takes numbers such as 0.3,0.7, not 'much'"),
        (["--weights", "1,0", "--policy", "left"], "not both"),
    ],
)
def test_what_the_set_does_not_hold_is_one_line(run, cli, words, said):
    code, out, err = cli("eval", run, *words)
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1


def test_a_run_of_one_policy_has_none_to_choose(tiny, cli):
    code, _, err = cli("eval", tiny[0], "--policy", "left")
    assert code == 2 and "holds one policy, no set; leave out --policy and --weights" in err
    assert "policies" not in tiny[1]["algorithm"] and "details" not in tiny[1]["result"]


def test_a_board_mixes_schemas_and_only_details_bring_their_script(run, make_record):
    record = read_run(run)
    old = make_record(changes={"schema": 2})
    model = build_model("mixed", [record, old])
    assert model["records"][record["id"]]["details"] == DETAILS
    assert "details" not in model["records"][old["id"]]
    assert "detailPlot" in render_page(model)
    assert "detailPlot" not in render_page(build_model("plain", [old]))
    other = json.loads(json.dumps(record))
    other["result"]["details"]["gap"] = 0.25
    assert Comparison(record, other, []).differing == ["details"]
    assert Comparison(old, {**old, "result": {**old["result"], "details": {}}}, []).differing == []
    digests = [build_model("b", [r])["digest"]["results"] for r in (record, other)]
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "returns (scores, lengths) or (scores, lengths, details), not NoneType"),
        (([1.0], [1, 2]), "returned 1 scores and 2 lengths"),
        (([], []), "returned 0 scores and 0 lengths"),
        (([1.0], [1], {"a/b": 1}), "'a/b' cannot name a detail of the evaluator of pushed"),
    ],
)
def test_an_evaluator_that_returns_something_else_is_refused(run, monkeypatch, returned, said):
    spec = load(run).env
    odd = type(spec)(**{**spec.__dict__, "evaluator": lambda *args: returned})
    with pytest.raises(Breach, match=said.replace("(", r"\(").replace(")", r"\)")):
        pgbench.evaluate(lambda obs: obs, odd, episodes=1)


def damage(path, change):
    state = load_tensors(path)
    change(state)
    save_tensors(path, state)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.clear(),
        lambda s: s.update(algorithm=None),
        lambda s: s.update(algorithm={"state": []}),
        lambda s: s["algorithm"].pop("rng"),
        lambda s: s["algorithm"]["state"].update(pushes=torch.zeros(9)),
    ],
)
def test_a_damaged_policy_is_one_line(run, cli, change):
    damage(run / "policy.pt", change)
    code, out, err = cli("eval", run)
    assert (code, out) == (2, "") and err.count("\n") == 1 and "unexpected" not in err
    assert "is damaged" in err or "does not fit" in err


def stopped(cli, folder, monkeypatch):
    """A run that was interrupted after its second iteration, saved."""
    from pgbench.runs.runner import Run

    after, seen = Run._after, []

    def stop(self, phase):
        seen.append(phase)
        self.stop = len(seen) == 2
        after(self, phase)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_after", stop)
        assert cli(*WORDS, "--quiet", "--runs", folder)[0] == 130
    return next((folder / "three/pushed").glob("0-*"))


def test_a_damaged_checkpoint_or_log_is_one_line_and_fresh_starts_over(cli, tmp_path, monkeypatch):
    folder = stopped(cli, tmp_path / "runs", monkeypatch)
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    state, events = "checkpoint/state.pt", "events.jsonl"
    for name, change in (
        (state, lambda p: p.write_bytes(p.read_bytes()[:-50])),
        (state, lambda p: p.write_bytes(b"")),
        (state, lambda p: damage(p, lambda s: s.clear())),
        (state, lambda p: damage(p, lambda s: s.update(loop=[]))),
        (state, lambda p: damage(p, lambda s: s.update(spent={}))),
        (state, lambda p: damage(p, lambda s: s.update(curve=None))),
        (state, lambda p: damage(p, lambda s: s.update(events="x"))),
        (events, lambda p: p.write_bytes(p.read_bytes()[:-1])),
        (events, lambda p: p.unlink()),
    ):
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        change(folder / name)
        code, out, err = cli(*WORDS, "--quiet", "--runs", tmp_path / "runs")
        assert (code, out) == (2, "") and err.count("\n") == 1, err
        assert name in err and "--fresh" in err and "unexpected" not in err, err
    code, _, err = cli(*WORDS, "--quiet", "--fresh", "--runs", tmp_path / "runs")
    assert code == 0, err


def test_names_of_policies_follow_the_one_rule(run, monkeypatch):
    from pgbench.runs.recording import _policies

    class Odd:
        def __init__(self, found):
            self.found = found

        def policies(self):
            return self.found

    assert _policies(Odd({})) == {}
    for found in ({"a/b": []}, {"a": [1.0], "b": [1.0, 2.0]}, {"a": ["x"]}):
        with pytest.raises(PgbenchError):
            _policies(Odd(found))
