"""Metrics of a run: JSON lines, TensorBoard, and the trackers beside it, each one for real."""

import json
import shutil
import struct
import time

import pytest

from pgbench.errors import PgbenchError
from pgbench.runs import trackers
from pgbench.runs.follow import place
from pgbench.runs.log import Log, catch_up
from pgbench.runs.progress import Progress
from pgbench.support.files import read_json, write_json

OTHERS = ["wandb", "mlflow", "trackio"]


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Every tracker keeps what it gets below `tmp_path`."""
    monkeypatch.setattr("pgbench.runs.log.WAIT_S", 300.0)  # however slow the machine is
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    # Quick to make; what users get, a data base, takes seconds: the slow test below.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))


@pytest.fixture
def folder(make_record, tmp_path):
    """A run folder that begins: a record of status `running` and no events yet."""
    path = tmp_path / "ppo" / "toy" / "0-1a2b3c4d"
    path.mkdir(parents=True)
    put(path, make_record(status="running"))
    return path


def put(folder, record):
    write_json(folder / "run.json", record)
    return record


class Said(Progress):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.notes, self.warnings = [], []

    def note(self, text):
        self.notes.append(text)

    def warn(self, text):
        self.warnings.append(text)


def wait_for(folder, names, rows, seconds=300):
    end = time.monotonic() + seconds
    while any(
        not place(folder, name).exists() or read_json(place(folder, name))["rows"] < rows
        for name in names
    ):
        assert time.monotonic() < end, "no tracker came so far"
        time.sleep(0.1)


def say(log, steps):
    """A training line at each step, and an evaluation at every fourth."""
    for step in steps:
        log.write("train", step, {"loss": step / 8})
        if step % 4 == 0:
            log.write("evaluate", step, {"return": step / 2})


def expected(last):
    train = [(step, step / 8) for step in range(1, last + 1)]
    return {
        "train/loss": train,
        "evaluate/return": [(step, 4 * value) for step, value in train if step % 4 == 0],
    }


def points(rows):
    """Step and value of both metrics, in the order they were given."""
    names = ("train/loss", "evaluate/return")
    return {name: [(step, m[name]) for step, m in rows if name in m] for name in names}


def in_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {
        name: [(event.step, event.value) for event in board.Scalars(name)]
        for name in board.Tags()["scalars"]
    }


def in_wandb(folder):
    """(run id, configuration, points, summary) of what `wandb sync` would send."""
    from wandb.proto import wandb_internal_pb2 as proto

    names, rows, config, summary = set(), {}, {}, {}
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        data, at, whole = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if (left := 32768 - at % 32768) < 7:  # a block's end
                at += left
                continue
            _, size, kind = struct.unpack("<IHB", data[at : at + 7])
            whole += data[at + 7 : at + 7 + size]
            at += 7 + size
            if kind not in (1, 4):  # more of this record follows
                continue
            record, whole = proto.Record.FromString(whole), b""
            if record.WhichOneof("record_type") == "run":
                names.add(record.run.run_id)
                config |= {i.key: json.loads(i.value_json) for i in record.run.config.update}
            values = {
                (i.key or "/".join(i.nested_key)): json.loads(i.value_json)
                for i in [*record.history.item, *record.summary.update]
            }
            if record.WhichOneof("record_type") == "history":
                step = record.history.step.num or values.get("_step", 0)
                assert step not in rows, "a step twice"
                rows[step] = (int(values["steps"]), values)
            else:
                summary |= values
    (name,) = names
    return name, config, points([rows[i] for i in sorted(rows)]), summary


def in_mlflow(folder):
    import os

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("pgbench")
    (run,) = client.search_runs([experiment.experiment_id])
    found = {
        name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        for name in ("train/loss", "evaluate/return")
    }
    return run, found


def in_trackio(folder):
    import os
    import sqlite3

    with sqlite3.connect(os.path.join(os.environ["TRACKIO_DIR"], "pgbench.db")) as base:
        rows = base.execute("select run_name, step, metrics from metrics order by id").fetchall()
        config = json.loads(base.execute("select config from configs").fetchone()[0])
    (name,) = {row[0] for row in rows}
    rows = [(step, json.loads(metrics)) for _, step, metrics in rows]
    return name, config, points(rows), rows[-1][1]


def test_a_resumed_run_continues_in_every_tracker_and_no_step_is_there_twice(
    folder, make_record, offline
):
    for name in OTHERS:
        pytest.importorskip(name, reason=f"{name} is not installed")
    said = Said()
    log = Log(folder, 0, 0, trackers.TRACKERS, said)
    say(log, range(1, 5))
    offset = log.sync()
    say(log, range(5, 8))
    wait_for(folder, OTHERS, 8)
    log.file.close()  # killed: its inputs end, and the trackers see to themselves
    for process in log.beside.living.values():
        process.stdin.close()
        assert process.wait(300) == 0, (folder / "trackers").glob("*.log")

    log = Log(folder, 4, offset, trackers.TRACKERS, said)
    say(log, range(5, 11))
    record = put(folder, make_record())
    log.close()
    assert said.warnings == []
    assert any("wandb sync" in line for line in said.notes)

    whole = expected(10)
    assert in_tensorboard(folder) == whole
    name, config, found, summary = in_wandb(folder)
    assert found == whole and name == read_json(place(folder, "wandb"))["run"]
    assert config["algorithm"] == "ppo" and config["seed"] == 0 and config["lr"] == 0.1
    assert config["commit"] == record["provenance"]["commit"]
    assert summary["score"] == 2.0 and summary["status"] == "finished"
    run, found = in_mlflow(folder)
    assert found == whole and run.info.status == "FINISHED"
    assert run.data.metrics["score"] == 2.0 and run.data.params["folder"] == str(folder)
    _, config, found, last = in_trackio(folder)
    assert found == whole and config["environment"] == "toy-v0"
    assert last["final/score"] == 2.0


def test_a_finished_run_is_handed_to_a_tracker_that_is_asked_for_later(
    folder, make_record, offline
):
    pytest.importorskip("trackio", reason="trackio is not installed")
    said = Said()
    log = Log(folder, 0, 0, ())
    say(log, range(1, 301))
    log.close()
    record = put(folder, make_record())
    for _ in range(2):  # the second time there is nothing to say
        catch_up(folder, record, ["tensorboard", "trackio"], said)
    _, _, found, last = in_trackio(folder)
    assert found == expected(300) and last["final/score"] == 2.0
    assert not (folder / "tensorboard").exists()


@pytest.mark.parametrize("name", [pytest.param("mlflow", marks=pytest.mark.slow), "trackio"])
def test_a_tracker_that_fails_is_one_line_and_has_it_all_the_next_time(
    folder, make_record, offline, monkeypatch, tmp_path, name
):
    pytest.importorskip(name, reason=f"{name} is not installed")
    said = Said()
    with monkeypatch.context() as broken:
        broken.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
        broken.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        broken.setenv("TRACKIO_DIR", "/dev/null/trackio")
        log = Log(folder, 0, 0, [name], said)
        say(log, range(1, 5))
        log.close()
    (line,) = said.warnings
    assert line.startswith(f"{name}: ") and "\n" not in line
    assert "the run goes on without it" in line
    record = put(folder, make_record())
    catch_up(folder, record, [name], said)
    assert said.warnings == [line]
    found = in_mlflow(folder)[1] if name == "mlflow" else in_trackio(folder)[2]
    assert found == expected(4)


def test_a_tensorboard_that_cannot_be_written_is_one_line(folder):
    (folder / "tensorboard").write_text("no folder")
    said = Said()
    log = Log(folder, 0, 0, progress=said)
    say(log, range(1, 5))
    log.sync()
    log.close()
    (line,) = said.warnings
    assert line.startswith("tensorboard: ")
    assert len((folder / "events.jsonl").read_text().splitlines()) == 5


def test_what_a_tracker_prints_and_raises_stays_in_its_own_process(
    folder, offline, monkeypatch, tmp_path
):
    (tmp_path / "trackio.py").write_text(
        "print('noise')\ndef init(**rest):\n    raise SystemExit(7)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = Said()
    log = Log(folder, 0, 0, ["trackio"], said)
    say(log, range(1, 5))
    log.close()
    assert said.warnings == [
        "trackio: SystemExit: 7; the run goes on without it, and the same command sends the rest "
        "another time"
    ]
    assert "noise" in (folder / "trackers" / "trackio.log").read_text()


@pytest.mark.slow  # MLflow takes seconds to make its tables
def test_runs_that_begin_together_share_the_data_base_that_mlflow_makes(
    folder, make_record, monkeypatch, tmp_path
):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setattr("pgbench.runs.log.WAIT_S", 300.0)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    folders = [folder, *(folder.with_name(f"{seed}-1a2b3c4d") for seed in (1, 2))]
    for other in folders[1:]:
        shutil.copytree(folder, other)
    said = Said()
    logs = [Log(path, 0, 0, ["mlflow"], said) for path in folders]
    for path, log in zip(folders, logs, strict=True):
        say(log, range(1, 5))
        put(path, make_record())
    for log in logs:
        log.close()
    assert said.warnings == []
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("pgbench").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert {run.data.params["folder"] for run in runs} == set(map(str, folders))
    for run in runs:
        history = client.get_metric_history(run.info.run_id, "train/loss")
        assert [(m.step, m.value) for m in history] == expected(4)["train/loss"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("none", ()),
        ("tensorboard", ("tensorboard",)),
        (" TensorBoard,tensorboard ", ("tensorboard",)),
    ],
)
def test_log_names_trackers(words, names):
    assert trackers.parse_log(words) == names


@pytest.mark.parametrize("words", ["", ",", "none,tensorboard", "wandbb", "neptune", "wandb wandb"])
def test_what_is_no_tracker_is_refused(words):
    with pytest.raises(PgbenchError, match=r"tensorboard|wandb"):
        trackers.parse_log(words)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(trackers.TRACKERS, "wandb", ("not_installed_here", "Wandb"))
    with pytest.raises(PgbenchError, match=r"not_installed_here.*\[wandb\]"):
        trackers.parse_log("wandb")


def test_a_tracker_that_hangs_is_left_behind(folder, offline, monkeypatch, tmp_path):
    (tmp_path / "trackio.py").write_text("import time\nwhile True:\n    time.sleep(1)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("pgbench.runs.log.WAIT_S", 0.2)
    said = Said()
    log = Log(folder, 0, 0, ["trackio"], said)
    (process,) = log.beside.living.values()
    try:
        say(log, range(1, 5))
        log.close()
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    (line,) = said.warnings
    assert line.startswith("trackio: not done after 0 s, it goes on in the background")
