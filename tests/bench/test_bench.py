"""A real suite: killed and continued it gives the same results, whatever launches it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pgbench.catalogue.fingerprint import golden
from pgbench.catalogue.registry import find_env
from pgbench.records.ledger import add_stamp, read_board

pytestmark = pytest.mark.timeout(3600)  # generous: the machine may be busy

SUITE = """
name = "tiny-v1"
title = "Tiny"
rules = 1
limit = {limit}
protocol = {{ episodes = 2, curve_points = 2, curve_episodes = 2 }}

[environments.inverted-pendulum]
version = "inverted-pendulum-v0"
golden = "{golden}"
floor = 4.71
floor_origin = "random policy"
reference = 1000
reference_origin = "the most that an episode gives"

[[track]]
name = "short"
title = "Short"
budget = {budget}
seeds = 2
environments = ["inverted-pendulum"]
entry = [
    {{ algo = "ppo", set = {{ horizon = 256, num_envs = 2 }} }},
    {{ algo = "{second}", label = "second", set = {{ horizon = 256, num_envs = 2 }} }},
]
"""


def write_suite(where, budget=1024, limit=600, fingerprint=None, second="reinforce"):
    path = where / "leaderboards/suites/tiny-v1.toml"
    path.parent.mkdir(parents=True)
    right = golden(find_env("inverted-pendulum"))
    text = SUITE.format(golden=fingerprint or right, budget=budget, limit=limit, second=second)
    path.write_text(text)
    return where


@pytest.fixture
def place(tmp_path):
    """Write the suite below a folder of its own; returns that folder."""
    return lambda **changes: write_suite(tmp_path / "place", **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A place where the suite ran to its end, undisturbed: (folder, output, errors)."""
    where = write_suite(tmp_path_factory.mktemp("finished"))
    out, err = start(where).communicate(timeout=1800)
    return where, out, err


@pytest.fixture
def whole(finished, tmp_path):
    """A copy of it to work on."""
    return Path(shutil.copytree(finished[0], tmp_path / "whole"))


@pytest.fixture
def pgbench(cli, monkeypatch):
    """The command line in this process and that folder: (exit code, output, errors)."""

    def run(where, *words):
        monkeypatch.chdir(where)
        return cli(*words)

    return run


def start(where, *more):
    words = [sys.executable, "-m", "pgbench", "bench", "tiny-v1", "--jobs", "2", *more]
    return subprocess.Popen(
        words, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def results(where):
    """The files that a re-run gives again to the byte."""
    return [(where / f"leaderboards/tiny-v1.{end}").read_bytes() for end in ("csv", "tex")]


def count(where):
    folder = where / "leaderboards/records/tiny-v1"
    return len(read_board(folder)) if folder.is_dir() else 0


def until(condition, seconds=600):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_every_run_is_recorded_and_said(finished):
    where, out, err = finished
    assert "4 of 4 runs recorded, 0 failed" in out
    assert "4/4" in err  # not a terminal: a line for each run
    assert count(where) == 4


def test_a_withdrawn_run_is_made_again(whole, finished, pgbench):
    folder = whole / "leaderboards/records/tiny-v1"
    first = read_board(folder)[0]
    add_stamp(folder, {"by": "x", "kind": "withdrawn", "record": first.id, "reason": "bad disk",
                       "created": "2026-11-23T00:00:00Z"})  # fmt: skip
    shutil.rmtree(whole / "runs")
    code, out, _ = pgbench(whole, "bench", "tiny-v1")
    assert code == 0 and "4 of 4 runs recorded" in out
    assert count(whole) == 5
    assert results(whole) == results(finished[0])


def test_a_killed_bench_goes_on_to_the_same_board(place, finished, pgbench):
    """SIGKILL while runs are under way; the orphans are waited for, the rest is run."""
    killed = place()
    process = start(killed)
    until(lambda: count(killed) >= 1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 1 <= count(killed) < 4
    assert pgbench(killed, "bench", "tiny-v1")[0] == 0
    assert count(killed) == 4
    assert results(killed) == results(finished[0])


def test_nothing_left_to_do_changes_no_byte(whole, pgbench):
    before = {p: p.read_bytes() for p in (whole / "leaderboards").rglob("*") if p.is_file()}
    assert pgbench(whole, "bench", "tiny-v1")[0] == 0
    assert before == {p: p.read_bytes() for p in before}
    shutil.rmtree(whole / "leaderboards/records")
    assert pgbench(whole, "bench", "tiny-v1", "--collect")[0] == 0
    assert {p: p.read_bytes() for p in before} == before  # the runs give the same records again


def test_ctrl_c_saves_and_the_same_command_goes_on(place):
    where = place(budget=40_960)
    process = start(where)
    until(lambda: len(list(where.rglob("events.jsonl"))) == 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "the same command goes on" in err and "Traceback" not in err
    states = {json.loads(p.read_text())["status"] for p in where.rglob("run.json")}
    assert states <= {"interrupted", "finished"} and "interrupted" in states


def test_a_run_over_its_time_is_a_failed_record(place, pgbench):
    # Long for two seconds on any machine, yet not compiled: a compilation hears no request to stop,
    # and on a busy machine outlasts the bench's patience.
    where = place(budget=98_304, limit=2)
    code, _, err = pgbench(where, "bench", "tiny-v1", "--seeds", "1", "--algo", "ppo")
    assert code == 0, err
    (entry,) = read_board(where / "leaderboards/records/tiny-v1")
    assert entry.record["status"] == "failed"
    assert entry.record["result"]["failure"] == "timeout"
    assert "timeout: not finished after 2 s" in (where / "leaderboards/tiny-v1.md").read_text()


def test_a_run_that_does_not_stop_in_time_is_killed(place, monkeypatch):
    """A stopped process hears no request to save itself: nothing of it is left running."""
    from pgbench.bench import schedule
    from pgbench.bench.launchers import make_launcher
    from pgbench.records.suite import find_suite

    class Stuck:
        slots = 1

        def __init__(self):
            self.inner, self.handles = make_launcher("local", jobs=1), []

        def submit(self, command, log):
            handle = self.inner.submit(command, log)
            self.handles.append(handle)
            folder = Path(str(log).removesuffix(".log"))
            until(lambda: (folder / "run.json").exists())
            handle.process.send_signal(signal.SIGSTOP)
            return handle

        def close(self):
            self.inner.close()

    monkeypatch.setattr(schedule, "PATIENCE_S", 0.5)
    where = place(budget=98_304, limit=1)
    launcher, root = Stuck(), where / "leaderboards"
    work = schedule.Bench(
        find_suite("tiny-v1", root), launcher, where / "runs", root / "records/tiny-v1",
        lambda cell: cell.seed == 0 and cell.entry.algo == "ppo",
    )  # fmt: skip
    (task,) = work.go()
    (handle,) = launcher.handles
    assert handle.poll() == -signal.SIGKILL
    assert task.state == "failed" and "timeout" in task.note
    (entry,) = read_board(root / "records/tiny-v1")
    assert entry.record["result"]["failure"] == "timeout"


def test_a_run_whose_process_dies_is_started_again_then_counted(place, tmp_path):
    """A launcher whose jobs are killed: three attempts, then a failed record."""
    from pgbench.bench.launchers import make_launcher
    from pgbench.bench.schedule import Bench
    from pgbench.records.suite import find_suite

    class Deadly:
        slots = 1

        def __init__(self):
            self.inner, self.started = make_launcher("local", jobs=1), 0

        def submit(self, command, log):
            handle = self.inner.submit(command, log)
            self.started += 1
            folder = Path(str(log).removesuffix(".log"))
            until(lambda: (folder / "run.json").exists())
            os.kill(int(handle.where.split()[-1]), signal.SIGKILL)
            return handle

        def close(self):
            self.inner.close()

    where = place(budget=400_000)
    launcher = Deadly()
    root = where / "leaderboards"
    said = []
    work = Bench(
        find_suite("tiny-v1", root), launcher, where / "runs", root / "records/tiny-v1",
        lambda cell: cell.seed == 0 and cell.entry.algo == "ppo", say=said.append,
    )  # fmt: skip
    (task,) = work.go()
    assert launcher.started == 3 and len(said) == 2
    assert task.state == "failed"
    (entry,) = read_board(root / "records/tiny-v1")
    assert entry.record["result"]["failure"] == "killed"


def test_two_benches_may_record_at_once(finished, whole):
    """The board is held for a moment by another process: the bench waits for it."""
    import threading

    from pgbench.bench.schedule import Bench
    from pgbench.records.suite import find_suite
    from pgbench.support.files import only_process

    root = whole / "leaderboards"
    shutil.rmtree(root / "records")
    work = Bench(find_suite("tiny-v1", root), None, whole / "runs", root / "records/tiny-v1")
    work.plan()
    held, free = threading.Event(), threading.Event()

    def hold():
        with only_process(work.records):
            held.set()
            free.wait(600)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(600)
    threading.Timer(1.0, free.set).start()
    work.collect()
    other.join()
    assert count(whole) == 4


def test_dry_run_and_selection(place, pgbench):
    where = place()
    code, out, _ = pgbench(where, "bench", "tiny-v1", "--dry-run", "--seeds", "1")
    assert code == 0 and "2 of 2 runs are missing" in out
    assert not (where / "runs").exists() and count(where) == 0


@pytest.mark.parametrize(
    ("words", "changes", "complaint"),
    [
        (("--algo", "pppo"), {}, "unknown algorithm of tiny-v1 'pppo'; did you mean ppo?"),
        ((), {"fingerprint": "0" * 64}, "inverted-pendulum-v0 is not what tiny-v1 was made with"),
        ((), {"second": "pppo"}, "unknown algorithm 'pppo'; did you mean ppo"),
        ((), {"budget": 0}, "track[0].budget cannot be read"),
        (("--launcher", "slrum"), {}, "did you mean slurm?"),
        (("--address", "127.0.0.1:1"), {}, "an address is for the launcher ray"),
        (("--option", "x"), {}, "--option takes key=value"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(place, pgbench, words, changes, complaint):
    where = place(**changes)
    code, _, err = pgbench(where, "bench", "tiny-v1", *words)
    assert code == 2 and complaint in err
    assert err.count("\n") == 1
    assert not (where / "runs").exists() and count(where) == 0


def test_an_unknown_suite(tmp_path, pgbench):
    code, _, err = pgbench(tmp_path, "bench", "tiny-v1")
    assert (code, err.count("\n")) == (2, 1) and "unknown suite 'tiny-v1'" in err


def test_reproduce_and_verify(whole, pgbench):
    entry = read_board(whole / "leaderboards/records/tiny-v1")[0]
    code, out, err = pgbench(
        whole, "reproduce", entry.id[:10], "--board", "tiny-v1", "--runs", "again"
    )
    assert code == 0 and "verified: bit-equal" in out, err
    code, out, _ = pgbench(whole, "verify", "tiny-v1", "--rerun", "1")
    assert code == 0 and "verified" in out and "DIFFERS" not in out
    (whole / "leaderboards/tiny-v1.csv").write_text("rank\n")
    code, out, _ = pgbench(whole, "verify", "tiny-v1")
    assert code == 1 and "tiny-v1.csv: DIFFERS" in out
    code, _, err = pgbench(whole, "reproduce", "zzz", "--board", "tiny-v1")
    assert code == 2 and "no record whose id begins with 'zzz'" in err
    code, _, err = pgbench(whole, "verify", "tony-v1")
    assert (code, err.count("\n")) == (2, 1) and "there is no board tony-v1" in err


def test_compare_runs_what_is_missing(whole, pgbench):
    compare = ("compare", "ppo", "second", "--board", "tiny-v1")
    code, out, err = pgbench(whole, *compare)
    assert code == 0 and "Verdict: inconclusive" in out and "three seeds" in out, err
    settings = ("--set", "horizon=256", "--set", "num_envs=2", "--set", "lr=1e-3")
    code, out, err = pgbench(whole, *compare, *settings)
    assert code == 0 and "lr=0.001" in out and "2 of 4 runs are missing" in err, err
    code, again, err = pgbench(whole, *compare, *settings)
    assert (code, again) == (0, out) and "missing" not in err
    for words, complaint in (
        (("ppo", "ppo"), "there is nothing to compare"),
        (("ppo", "sec"), "unknown algorithm 'sec'"),
        (("ppo", "second", "--track", "shrt"), "did you mean short?"),
    ):
        code, _, err = pgbench(whole, "compare", *words, "--board", "tiny-v1")
        assert (code, err.count("\n")) == (2, 1) and complaint in err, err


def test_a_forged_record_is_found_by_running_it_again(whole, pgbench):
    """Every digit agrees with every other, yet the run never gave them."""
    from pgbench.records.record import record_id
    from pgbench.settings.config import canonical

    path = whole / "leaderboards/records/tiny-v1/ppo.jsonl"
    lines, prev = [], None
    for line in path.read_text().splitlines():
        record = json.loads(line)
        result = record["result"]
        result["final"] = [x + 500.0 for x in result["final"]]
        result["score"] = sum(result["final"]) / len(result["final"])
        result["curve"][-1]["mean"] = result["score"]
        record.update(prev=prev, id=record_id(record))
        prev = record["id"]
        lines.append(canonical(record) + "\n")
    path.write_text("".join(lines))
    (path.parent / "_heads.json").unlink()
    (entry, *_) = read_board(path.parent)
    code, out, _ = pgbench(whole, "reproduce", entry.id, "--board", "tiny-v1", "--runs", "again")
    assert code == 1
    assert "final" in out and ("disputed" in out or "undecided" in out)


@pytest.mark.slow
def test_ray_runs_a_suite_to_the_same_results(place, finished, pgbench):
    pytest.importorskip("ray")
    cluster = place()
    code, _, err = pgbench(cluster, "bench", "tiny-v1", "--jobs", "2", "--launcher", "ray")
    assert code == 0, err
    assert results(cluster) == results(finished[0])
