"""Killing a real process: Ctrl-C saves and says how to go on, SIGKILL loses nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.timeout(3600)  # generous: the machine may be busy

COMMAND = [
    *(sys.executable, "-m", "pgbench", "run", "--algo", "mdpo", "--env", "inverted-pendulum"),
    *("--no-compile", "--quiet", "--set", "horizon=512", "--episodes", "5"),
]


def start(runs, *more):
    return subprocess.Popen(
        [*COMMAND, "--runs", str(runs), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def record(runs):
    (path,) = runs.rglob("run.json")
    return json.loads(path.read_text())


def wait_for(runs, pattern, seconds=600):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(runs.rglob(pattern)):
            return
        time.sleep(0.02)
    raise AssertionError(f"no {pattern} after {seconds} s")


def test_ctrl_c_exits_130_and_the_run_continues_to_the_same_end(tmp_path):
    budget = ("--budget", "20k", "--save-every", "0")
    whole = start(tmp_path / "whole", *budget)
    stopped = start(tmp_path / "stopped", *budget)
    wait_for(tmp_path / "stopped", "state.pt")
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=600)
    assert stopped.returncode == 130
    assert "the same command continues it" in err and "Traceback" not in err
    assert record(tmp_path / "stopped")["status"] == "interrupted"
    again = start(tmp_path / "stopped", *budget)
    assert again.wait(timeout=1800) == 0 and whole.wait(timeout=1800) == 0
    assert record(tmp_path / "stopped")["result"] == record(tmp_path / "whole")["result"]


@pytest.mark.slow
def test_ten_sigkills_at_random_moments_change_no_bit(tmp_path):
    budget = ("--budget", "60k", "--save-every", "0.2")
    assert start(tmp_path / "whole", *budget).wait(timeout=1800) == 0
    rng = random.Random(0)
    kills = 0
    while kills < 10:
        process = start(tmp_path / "killed", *budget)
        wait_for(tmp_path / "killed", "state.pt")
        time.sleep(rng.uniform(0.0, 4.0))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills == 10, "the run was too short to be killed ten times"
    assert start(tmp_path / "killed", *budget).wait(timeout=1800) == 0
    whole, killed = record(tmp_path / "whole"), record(tmp_path / "killed")
    assert killed["result"] == whole["result"]
    assert killed["provenance"]["resumed"] >= 1


def test_fresh_does_not_take_the_folder_of_a_living_run(tmp_path):
    budget = ("--budget", "60k", "--save-every", "0")
    living = start(tmp_path, *budget)
    wait_for(tmp_path, "state.pt")
    (folder,) = (path.parent for path in tmp_path.rglob("run.json"))
    thief = start(tmp_path, *budget, "--fresh")
    _, err = thief.communicate(timeout=600)
    living.kill()
    living.wait()
    assert thief.returncode == 2 and "another process is working" in err
    assert folder.is_dir() and not list(folder.parent.glob("*.old*"))


def test_a_kill_before_any_save_counts_as_a_start_and_its_time(tmp_path):
    budget = ("--budget", "20k", "--save-every", "3600")
    killed = start(tmp_path, *budget)
    wait_for(tmp_path, "events.jsonl")
    killed.kill()
    killed.wait()
    assert record(tmp_path)["status"] == "running" and not list(tmp_path.rglob("state.pt"))
    # Its last sign of life, put an hour after its start.
    (path,) = tmp_path.rglob("run.json")
    began = path.stat().st_mtime
    os.utime(path.with_name("events.jsonl"), (began + 3600, began + 3600))
    again = start(tmp_path, *budget)
    assert again.wait(timeout=1800) == 0
    ended = record(tmp_path)
    assert ended["status"] == "finished" and ended["provenance"]["resumed"] == 1
    assert 3600 < ended["cost"]["wall_s"] < 2 * 3600
