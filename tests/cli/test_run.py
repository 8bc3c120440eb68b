"""`run`, `show`, `eval` as a user meets them: what they print, and one clear line for bad input."""

import json
import os

import pytest

RUN = "run --algo ppo --env inverted-pendulum --budget 512 --set horizon=256 --no-compile".split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run --algo pppo --env hopper", "did you mean ppo"),
        ("run --algo ppo --env hoper", "did you mean hopper"),
        ("run --algo ppo --env hopper --set lrr=1", "did you mean lr"),
        ("run --algo ppo --env hopper --set lr=fast", "'lr' takes a number, not 'fast'"),
        ("run --algo ppo --env hopper --set lr", "key=value"),
        ("run --algo ppo --env hopper --set env.healthy=1", "setting of hopper 'healthy'"),
        ("run --algo ppo --env hopper --budget 10x", "'10x' is no budget"),
        ("run --algo ppo --env hopper --budget -5", "'-5' is no budget"),
        ("run --algo ppo --env hopper --budget 100", "below one iteration of 2048"),
        ("run --algo ppo --env hopper --set num_envs=7", "not a multiple of num_envs 7"),
        ("run --algo ppo --env hopper --set num_envs=0", "num_envs must be at least 1"),
        ("run --algo ppo --env hopper --device tpu", "unknown device 'tpu'"),
        ("run --algo ppo --env hopper --device cuda:99", "has no cuda:99"),
        ("run --algo ppo --env hopper --seed -1", "a seed is a whole number"),
        ("run --algo ppo --env hopper --seed 3 --seeds 2", "not both"),
        ("run --algo ppo --env hopper --config nowhere.toml", "no config file nowhere.toml"),
        ("run --algo ./nowhere.py --env hopper", "no plug-in file ./nowhere.py"),
        ("run --algo ppo --env hopper --log wandbb", "did you mean wandb"),
        ("run --algo ppo --env hopper --log none,wandb", "or none alone"),
        ("bench smoke --log neptune", "--log takes tensorboard, wandb, mlflow, trackio, or none"),
        ("tune --algo ppo --env hopper --log neptune", "--log takes tensorboard"),
        ("show nowhere", "no run folder nowhere"),
        ("eval nowhere", "no run folder nowhere"),
        ("explain pppo", "did you mean ppo"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, tmp_path, words, expected):
    code, out, err = cli(*words.split(), *(["--runs", tmp_path] if words[:3] == "run" else []))
    assert code == 2
    assert out == ""
    assert expected in err
    assert err.count("\n") == 1 and "Traceback" not in err
    assert not list(tmp_path.rglob("*.*")), "bad input must leave nothing behind"


def test_a_broken_plugin_is_named_with_its_line(cli, tmp_path):
    broken = tmp_path / "mine.py"
    broken.write_text("import pgbench\n\nx = 1 / 0\n")
    code, _, err = cli("run", "--algo", broken, "--env", "pendulum", "--runs", tmp_path / "runs")
    assert code == 2
    assert "ZeroDivisionError" in err and "line 3" in err


def test_a_run_prints_its_score_and_is_found_again(cli, tmp_path):
    words = [*RUN, "--runs", tmp_path]
    code, out, _ = cli(*words)
    assert code == 0
    assert "95% interval" in out and "return" in out
    code, again, _ = cli(*words)
    assert code == 0 and again == out, "a finished run is reported, not repeated"
    code, page, _ = cli("show", tmp_path)
    assert code == 0 and "finished" in page


def test_fresh_keeps_the_old_run(cli, tiny, tmp_path):
    folder, _ = tiny
    words = "run --algo ppo --env inverted-pendulum --budget 512 --set horizon=256 --set num_envs=2"
    code, _, err = cli(*words.split(), "--episodes", 2, "--no-compile", "--fresh", "--runs",
                       tmp_path / "runs")  # fmt: skip
    assert code == 0, err
    assert folder.with_name(folder.name + ".old1").is_dir()


def test_show_prints_the_page_and_the_record(cli, tiny):
    folder, record = tiny
    code, out, _ = cli("show", folder)
    assert code == 0
    assert "inverted-pendulum" in out and "512 of 512 environment steps" in out
    code, out, _ = cli("show", folder, "--json")
    assert json.loads(out) == record


@pytest.mark.parametrize("damage", ["newer", "edited", "torn", "missing"])
def test_damaged_runs_are_refused_by_name(cli, tiny, damage):
    folder, record = tiny
    path = folder / "run.json"
    if damage == "newer":
        path.write_text(json.dumps({**record, "schema": 99}))
        expected = "upgrade pgbench"
    elif damage == "edited":
        record["result"]["score"] += 1
        path.write_text(json.dumps(record))
        expected = "changed after it was written"
    elif damage == "torn":
        path.write_text(path.read_text()[:100])
        expected = "not valid JSON"
    else:
        path.unlink()
        expected = "has no run.json"
    for command in ("show", "eval"):
        code, _, err = cli(command, folder)
        assert code == 2 and expected in err and err.count("\n") == 1


def test_eval_repeats_the_final_episodes(cli, tiny):
    folder, record = tiny
    code, out, _ = cli("eval", folder, "--episodes", 2, "--json")
    assert code == 0
    assert json.loads(out)["returns"] == record["result"]["final"]


def test_video_is_a_real_film(cli, tiny, tmp_path):
    imageio = pytest.importorskip("imageio.v2")
    folder, record = tiny
    for name in ("film.mp4", "film.gif"):
        code, _, err = cli("eval", folder, "--episodes", 1, "--video", tmp_path / name)
        assert code == 0, err
        frames = imageio.mimread(tmp_path / name, memtest=False)
        length = record["result"]["lengths"][0]
        if name.endswith("gif"):  # stored nearly whole, each of them: fewer
            assert 1 < len(frames) <= length / 2 + 1
        else:
            assert len(frames) == length
        assert frames[0].std() > 5, "the picture is blank"
    code, _, err = cli("eval", folder, "--video", tmp_path / "film.txt")
    assert code == 2 and ".mp4 or .gif" in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_the_run_stays_resumable(cli, tmp_path, monkeypatch):
    from pgbench.support import files

    whole = os.fsync

    def full(fd):
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")  # raises the kernel's own ENOSPC

    words = [*RUN, "--runs", tmp_path, "--save-every", 0, "--quiet"]
    calls = {"n": 0}

    def fills_up_during_training(fd):
        calls["n"] += 1
        return full(fd) if calls["n"] == 7 else whole(fd)

    monkeypatch.setattr(files.os, "fsync", fills_up_during_training)
    code, _, err = cli(*words)
    assert code == 2 and "No space left" in err and err.count("\n") == 1
    assert not list(tmp_path.rglob("*.tmp")), "half a file was left"
    monkeypatch.setattr(files.os, "fsync", whole)
    code, _, err = cli(*words)
    assert code == 0, err


def test_a_checkpoint_left_beside_the_last_record_is_removed(cli, tiny, tmp_path):
    folder, _ = tiny
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "state.pt").write_bytes(b"left by a kill")
    before = (folder / "run.json").read_bytes()
    words = "run --algo ppo --env inverted-pendulum --budget 512 --set horizon=256 --set num_envs=2"
    code, _, err = cli(*words.split(), "--episodes", 2, "--no-compile", "--runs", tmp_path / "runs")
    assert code == 0, err
    assert not (folder / "checkpoint").exists()
    assert (folder / "run.json").read_bytes() == before


@pytest.mark.parametrize("text", ["{", "[]", "\x00\x01", '{"schema": 2}'])
def test_a_damaged_record_hides_no_other_run(cli, tiny, tmp_path, text):
    folder, record = tiny
    bad = folder.with_name("1-damaged")
    bad.mkdir()
    (bad / "run.json").write_text(text)
    code, out, err = cli("show", tmp_path / "runs", "--json")
    assert code == 0 and json.loads(out) == [record]
    assert err.startswith(f"left out {bad}") and err.count("\n") == 1
    words = ("board", "mine", "--add", tmp_path / "runs", "--root", tmp_path / "boards")
    code, _, err = cli(*words)
    assert code == 0 and f"left out {bad}" in err and "1 added" in err
    (folder / "run.json").write_text(text)  # now there is no other
    code, _, err = cli(*words)
    assert code == 2 and "there is no run in" in err and err.count("\n") == 1


def test_where_metrics_go_is_no_part_of_a_run(cli, tmp_path, monkeypatch):
    pytest.importorskip("trackio", reason="trackio is not installed")
    monkeypatch.setattr("pgbench.runs.log.WAIT_S", 300.0)  # however slow the machine is
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    records = {}
    for log in ("none", "trackio", "tensorboard"):
        words = [*RUN, "--episodes", 2, "--json", "--log", log, "--runs", tmp_path / log]
        code, out, err = cli(*words)
        assert code == 0 and err == "", "one who asks for JSON and gets all of it hears nothing"
        records[log] = json.loads(out)
    assert len({r["result"]["checksum"] for r in records.values()}) == 1
    assert "log" not in {key for block in records["trackio"].values() if isinstance(block, dict)
                         for key in block}  # fmt: skip
    folders = [next((tmp_path / log).glob("*/*/*")) for log in records]
    assert len({folder.name for folder in folders}) == 1
    assert [(folder / "tensorboard").exists() for folder in folders] == [False, False, True]
    assert [(folder / "trackers").exists() for folder in folders] == [False, True, False]
    # A tracker that is asked for later has the run all the same, and the record stays as it is.
    code, out, _ = cli(*[*words[:-3], "trackio", *words[-2:]])
    assert code == 0 and json.loads(out) == records["tensorboard"]
    assert (folders[2] / "trackers" / "trackio.json").exists()


def test_a_run_whose_responses_were_all_cut_off_says_so_when_it_is_shown(cli, tiny):
    folder, _ = tiny
    assert "cut off" not in cli("show", folder)[1]
    with open(folder / "events.jsonl", "a") as file:
        file.write(json.dumps({"kind": "train", "step": 512, "cut_off": 1.0}) + "\n")
        file.write(json.dumps({"kind": "evaluate", "step": 512, "return": 0.0}) + "\n")
    code, out, _ = cli("show", folder)
    assert code == 0 and "cut off     every response of the last step" in out
