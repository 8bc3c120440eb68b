"""Jobs on real Ray clusters."""

import contextlib
import functools
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import began, ended, exercise, gone, job, parent

from pgbench.bench.launchers import make_launcher, worker
from pgbench.errors import PgbenchError


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_ray_at_a_dead_address(scheme):
    pytest.importorskip("ray")
    address = f"{scheme}127.0.0.1:{closed_port()}"
    with pytest.raises(PgbenchError) as error:
        make_launcher("ray", address=address)
    assert str(error.value).startswith(f"no Ray cluster answers at {address} (")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"address": "head"}, "a Ray address is auto, host:port or ray://host:port, not 'head'"),
        ({"options": {"num_cpus": "two"}}, "option num_cpus of the launcher ray is a number"),
        ({"options": {"num_cpus": "0"}}, "option num_cpus of the launcher ray is a number"),
        (
            {"options": {"gpus": "1"}},
            "unknown option of the launcher ray 'gpus'; did you mean",
        ),
    ],
)
def test_ray_refused(arguments, message):
    pytest.importorskip("ray")
    with pytest.raises(PgbenchError) as error:
        make_launcher("ray", **arguments)
    assert str(error.value).startswith(message)


def in_a_fresh_process(test):
    """Ray reads its settings once a process: here a token of this test, none of the home folder."""

    @functools.wraps(test)
    def run(**fixtures):
        pytest.importorskip("ray")
        if os.environ.get("PGBENCH_TEST_OF_RAY") == test.__name__:
            test(**fixtures)
            return
        own = {
            "PGBENCH_TEST_OF_RAY": test.__name__,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "slow", f"{__file__}::{test.__name__}"],
            env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | own,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]

    return run


@contextlib.contextmanager
def ray_node(log, *words):
    """A real node, as a person starts one; Ray gives up after 30 s, which may be too soon."""
    program = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words]
    for _ in range(3):
        with open(log, "w") as file:
            process = subprocess.Popen(program, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None and "Ray runtime started" not in log.read_text():
            time.sleep(0.2)
        if process.poll() is None:
            break
    else:
        raise AssertionError(log.read_text())
    try:
        yield process
    finally:
        process.terminate()
        process.wait(120)


def head(folder, port, cpus):
    return ray_node(
        *(folder / "head", "--head", f"--port={port}", f"--num-cpus={cpus}"),
        *("--include-dashboard=false", f"--ray-client-server-port={closed_port()}"),
    )


@pytest.mark.slow
@in_a_fresh_process
def test_ray_cluster_of_the_bench(tmp_path, one_thread, capfd):
    handler = signal.getsignal(signal.SIGTERM)
    launcher = make_launcher("ray", jobs=2)
    try:
        assert launcher.slots == 2
        assert signal.getsignal(signal.SIGTERM) == handler
        exercise(launcher, tmp_path)

        log = tmp_path / "logs" / "lost"
        handle = launcher.submit(job(600, 0), log)
        pid = began(log)
        assert handle.where.startswith("node ")
        os.kill(parent(parent(pid)), signal.SIGKILL)  # job, guard, Ray's worker
        assert ended(handle) == worker.LOST
        assert "pgbench: the worker was lost: The actor died" in log.read_text()
        gone(pid)
        assert log.read_text().count("asked to stop") == 1

        busy = [launcher.submit(job(600, 0), tmp_path / f"busy{i}") for i in range(2)]
        for i in range(2):
            began(tmp_path / f"busy{i}")
        waits = launcher.submit(job(600, 0), tmp_path / "waits")
        assert waits.where == "queued"
        for handle in (waits, *busy):
            handle.stop()
        assert [ended(handle) for handle in (waits, *busy)] == [130, 130, 130]
        assert not (tmp_path / "waits").exists()
        assert ended(launcher.submit(["no-such-program"], tmp_path / "none")) == 127
    finally:
        launcher.close()
    out, err = capfd.readouterr()
    assert out == "" and "worker" not in err  # Ray's own talk would tear the live table


@pytest.mark.slow
@in_a_fresh_process
def test_ray_cluster_at_an_address(tmp_path, one_thread, monkeypatch):
    port = closed_port()
    with head(tmp_path, port, cpus=4) as node:
        launcher = make_launcher("ray", address=f"127.0.0.1:{port}", options={"num_cpus": "2"})
        try:
            assert launcher.slots == 2
            exercise(launcher, tmp_path, threads=2)  # Ray: as many as CPUs
        finally:
            launcher.close()
        with pytest.raises(PgbenchError, match="a job asks for 1 CPU, 1 GPU, the Ray cluster has"):
            make_launcher("ray", address=f"127.0.0.1:{port}", options={"num_gpus": "1"})
        assert node.poll() is None  # `close` left it alone

        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        with pytest.raises(PgbenchError, match="asks for a token; set RAY_AUTH_MODE=token"):
            make_launcher("ray", address=f"127.0.0.1:{port}")


@pytest.mark.slow
@in_a_fresh_process
def test_ray_loses_a_node(tmp_path):
    port, log = closed_port(), tmp_path / "log"
    with head(tmp_path, port, cpus=0), contextlib.ExitStack() as nodes:
        launcher = make_launcher("ray", address=f"127.0.0.1:{port}", jobs=1)
        try:
            node = nodes.enter_context(
                ray_node(tmp_path / "node", f"--address=127.0.0.1:{port}", "--num-cpus=1")
            )
            handle = launcher.submit(job(600, 0), log)
            assert handle.where == "queued"
            began(log)
            children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
            for child in map(int, children):
                os.kill(child, signal.SIGKILL)
            assert ended(handle) == worker.LOST
        finally:
            launcher.close()


@pytest.mark.slow
@in_a_fresh_process
def test_something_else_at_the_address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(PgbenchError, match=f"Ray cluster at {address}: no answer within 20 s$"):
            make_launcher("ray", address=address)
