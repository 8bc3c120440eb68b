"""The adversarial submissions: each is caught, by name, and writes nothing."""

import json

import pytest

from pgbench.boards.store import empty_board, open_board
from pgbench.errors import PgbenchError
from pgbench.records.ledger import add
from pgbench.records.record import record_id
from pgbench.records.rules import find_track, obey, verify
from pgbench.records.suite import read_suite
from pgbench.settings.config import digest

ENVS = {"toy-v0": {}, "other-v0": {"wind": 1}}


@pytest.fixture
def honest(make_record):
    """The records of one algorithm's whole row: two environments, three seeds."""

    def make(algo="mine", bonus=0.0):
        return [
            make_record(
                algo, seed, (seed + bonus, seed + 2.0 + bonus), env,
                changes={"environment.kwargs": kwargs, "identity.env_kwargs": kwargs},
            )
            for env, kwargs in ENVS.items() for seed in range(3)
        ]  # fmt: skip

    return make


@pytest.fixture
def submit(cli, suite_file, tmp_path, write_run):
    """Submit records to the toy suite's board: (exit code, output, errors)."""
    root = suite_file().parents[1]

    def send(records, *more):
        for i, record in enumerate(records):
            write_run(record, name=f"{i}")
        code, out, err = cli(
            "submit", tmp_path / "runs", "--board", "toy-v1", "--root", root, *more
        )
        return code, out, err

    return send


def forged(record, **changes):
    """The record after an edit, its id made to fit."""
    record = json.loads(json.dumps(record))
    for path, value in changes.items():
        *outer, last = path.split("__")
        inside = record
        for key in outer:
            inside = inside[key]
        inside[last] = value
    record["algorithm"]["config_hash"] = digest(record["algorithm"]["config"])
    return {**record, "id": record_id(record)}


def test_an_honest_submission_is_taken(submit, honest, tmp_path):
    code, out, err = submit(honest())
    assert code == 0, out + err
    assert "git switch -c toy-v1-submission" in out and "mine" in out
    board = open_board("toy-v1", tmp_path / "leaderboards")
    assert len(board.entries) == 6
    assert (tmp_path / "leaderboards/toy-v1.html").is_file()


def test_a_dry_run_writes_nothing(submit, honest, tmp_path):
    assert submit(honest(), "--dry-run")[0] == 0
    assert not (tmp_path / "leaderboards/records").exists()


def caught(result, complaint, tmp_path):
    code, out, err = result
    assert code == 2
    assert complaint in out + err
    assert not list((tmp_path / "leaderboards").glob("records/*/*.jsonl"))


def test_chosen_seeds_left_out(submit, honest, tmp_path):
    kept = [r for r in honest() if r["protocol"]["seed"] != 1]
    caught(submit(kept), "lacks seeds 1 on", tmp_path)


def test_chosen_seeds_beyond_the_given_ones(submit, honest, make_record, tmp_path):
    caught(submit([*honest(), make_record("mine", 7)]), "seed 7 is not one of toy-v1's 0 to 2",
           tmp_path)  # fmt: skip


def test_a_chosen_seed_under_a_given_number(submit, honest, tmp_path):
    first, *rest = honest()
    caught(submit([forged(first, protocol__train_seed=4711), *rest]), "was chosen", tmp_path)


def test_best_checkpoint_as_the_score(submit, honest, tmp_path):
    first, *rest = honest()
    best = [9.0, 11.0]
    fake = forged(first, result__final=best, result__score=10.0)
    caught(submit([fake, *rest]), "a best checkpoint is no result", tmp_path)


def test_best_checkpoint_before_the_end(submit, honest, tmp_path):
    first, *rest = honest()
    curve = [{"step": 600, "mean": first["result"]["score"], "n": 2}]
    fake = forged(first, result__curve=curve, cost__env_steps=600)
    caught(submit([fake, *rest]), "evaluated after 600 of 1,000 steps", tmp_path)


def test_edited_config(submit, honest, tmp_path):
    first, *rest = honest()
    edited = json.loads(json.dumps(first))
    edited["algorithm"]["config"]["lr"] = 0.3
    caught(submit([edited, *rest]), "was changed after it was written", tmp_path)
    caught(submit([{**edited, "id": record_id(edited)}, *rest]), "contradicts itself", tmp_path)


def test_edited_config_told_consistently_is_another_row(submit, honest, tmp_path):
    first, *rest = honest()
    config = {**first["algorithm"]["config"], "lr": 0.3}
    fake = forged(first, algorithm__config=config, identity__config=config,
                  algorithm__defaults_changed=["lr"])  # fmt: skip
    caught(submit([fake, *rest]), "mine (lr=0.3) (long) lacks seeds", tmp_path)


def test_two_runs_of_one_seed(submit, honest, make_record, tmp_path):
    caught(submit([*honest(), make_record("mine", 0, (90.0, 99.0))]), "one run a seed", tmp_path)


def test_a_second_run_of_a_seed_on_the_board(submit, honest, cli, tmp_path, write_run):
    assert submit(honest())[0] == 0
    for i, record in enumerate(honest(bonus=5.0)):
        write_run(record, name=f"again/{i}")
    code, out, _ = cli("submit", tmp_path / "runs/again", "--board", "toy-v1", "--root",
                       tmp_path / "leaderboards")  # fmt: skip
    assert code == 2 and "is there already" in out


def test_wrong_environment(submit, honest, tmp_path):
    first, *rest = honest()
    for changes, complaint in (
        ({"environment__golden": "another"}, "its fingerprint differs"),
        ({"environment__id": "toy-v9", "identity__environment": "toy-v9"}, "was chosen"),
        ({"environment__kwargs": {"easy": True}, "identity__env_kwargs": {"easy": True}},
         "environment.kwargs are not"),
        ({"protocol__budget": 9000, "identity__budget": 9000}, "is no track of toy-v1"),
    ):  # fmt: skip
        caught(submit([forged(first, **changes), *rest]), complaint, tmp_path)


def test_an_unknown_environment(make_record, suite_file):
    suite = read_suite(suite_file())
    with pytest.raises(PgbenchError, match="toy-v9 is not one of toy-v1's"):
        obey(make_record(env="toy-v9"), suite, "here")


def test_tuning_runs_are_no_results(make_record, suite_file):
    suite = read_suite(suite_file())
    record = make_record(changes={"identity.purpose": "tune"})
    with pytest.raises(PgbenchError, match="was chosen"):  # a board seed called a tuning seed
        verify(record, "here")
    with pytest.raises(PgbenchError, match="a tuning run is no result"):
        obey(record, suite, "here")


def test_dirty_code_and_impossible_costs(submit, honest, tmp_path):
    first, *rest = honest()
    for changes, complaint in (
        ({"provenance__dirty": True}, "the code had local changes"),
        ({"provenance__commit": None}, "no commit"),
        ({"cost__wall_s": 1e-5}, "is impossible"),
        ({"cost__cpu_s": 1e4}, "cost.cpu_s"),
    ):
        caught(submit([forged(first, **changes), *rest]), complaint, tmp_path)


def test_settings_called_declared_that_are_not(submit, honest, tmp_path):
    records = [forged(r, protocol__tuning={"class": "declared", "trials": 0}) for r in honest()]
    caught(submit(records), "settings that the suite does not declare", tmp_path)


def test_a_free_choice_of_settings_is_held_and_stands_apart(submit, honest, tmp_path):
    records = [forged(r, protocol__tuning={"class": "free", "trials": None}) for r in honest()]
    code, out, _ = submit(records)
    assert code == 0 and "held    tuning class" in out
    model = open_board("toy-v1", tmp_path / "leaderboards").model()
    assert [a["name"] for a in model["tracks"][0]["apart"]] == ["mine", "mine"]
    assert not model["tracks"][0]["rows"]


def test_a_known_algorithm_that_is_suddenly_better_is_held(submit, honest, make_record, tmp_path,
                                                           write_run):  # fmt: skip
    mine = empty_board("toy-v1", tmp_path / "leaderboards")
    for seed in range(3):
        write_run(make_record("ppo", seed, (seed, seed + 2.0)), name=f"old{seed}")
    add(mine.folder, [tmp_path / "runs"], mine.rule)
    for path in (tmp_path / "runs").iterdir():
        (path / "run.json").unlink()
    better = [forged(r, provenance__packages={"mujoco": "3.17.1"}) for r in honest("ppo", 500.0)]
    board = open_board("toy-v1", tmp_path / "leaderboards")
    from pgbench.boards.submit import _band
    from pgbench.records.record import Entry

    found = _band([Entry(r, "here") for r in better], board)
    assert found.status == "held" and "above the board's own runs" in found.detail


def test_tracks_are_told_apart_by_budget(make_record, suite_file):
    suite = read_suite(suite_file())
    assert find_track(make_record(), suite).name == "long"
    assert find_track(make_record(budget=500), suite).name == "short"
    assert find_track(make_record(budget=7), suite) is None
    assert find_track(make_record(env="other-v0", budget=500), suite) is None


def test_programs_that_could_reach_their_judge_are_on_no_board(
    submit, honest, make_record, write_run, cli, tmp_path
):
    plain = [forged(r, environment__sandbox="subprocess") for r in honest()]
    caught(submit(plain), "judged without a sandbox", tmp_path)
    for board in ("toy-v1", "mine"):  # with a suite, and without
        words = ("board", board, "--add", tmp_path / "runs", "--root", tmp_path / "leaderboards")
        code, out, err = cli(*words)
        assert (code, out) == (2, "") and "pgbench doctor" in err and err.count("\n") == 1
        assert not list((tmp_path / "leaderboards").glob("records/*/*.jsonl"))
    runs = write_run(make_record(changes={"environment.sandbox": "bubblewrap"}), name="kept/in")
    assert cli("board", "mine", "--add", runs / "kept", *words[4:])[0] == 0


def test_a_submission_to_no_board_names_those_that_there_are(cli, honest, write_run, suite_file):
    root = suite_file().parents[1]
    for i, record in enumerate(honest()):
        runs = write_run(record, name=f"{i}")
    code, out, err = cli("submit", runs, "--board", "toy-v2", "--root", root)
    assert (code, out) == (2, "") and "toy-v1" in err and err.count("\n") == 1
    assert not (root / "records").exists()
