"""Jobs as real processes: here, under submitit's local executor, on real Ray clusters."""

import contextlib
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pgbench.bench.launchers import make_launcher, worker
from pgbench.errors import PgbenchError

JOB = """
import os, signal, sys, time
def stop(*_):
    print("asked to stop", flush=True)
    time.sleep(0.3)  # time in which a second signal would show
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
print("began", os.getpid(), flush=True)
time.sleep(float(sys.argv[1]))
print("ended", file=sys.stderr)
sys.exit(int(sys.argv[2]))
"""


def job(seconds, code):
    return [sys.executable, "-c", JOB, str(seconds), str(code)]


def python(code, *words):
    return [sys.executable, "-c", code, *map(str, words)]


def ended(handle, limit=200.0):
    """The exit code."""
    before = time.monotonic()
    while (code := handle.poll()) is None:
        assert time.monotonic() - before < limit, f"{handle.where} still runs"
        time.sleep(0.02)
    return code


def began(log, handle=None, limit=200.0):
    """The process number that the job wrote."""
    before = time.monotonic()
    while not (log.exists() and "\n" in log.read_text()):
        assert time.monotonic() - before < limit, "the job did not begin"
        if handle:
            handle.poll()
        time.sleep(0.02)
    return int(log.read_text().split()[1])


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def gone(pid, limit=10.0):
    """Wait for the end of a process that is not a child of this one."""
    before = time.monotonic()
    while Path(f"/proc/{pid}").exists():
        if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return
        assert time.monotonic() - before < limit, f"process {pid} still runs"
        time.sleep(0.02)


def exercise(launcher, folder, threads=1):
    """What every launcher owes to the bench."""
    logs = folder / "logs"
    codes = (0, 1, 2, 130)
    handles = [launcher.submit(job(0, code), logs / "codes") for code in codes]
    assert tuple(map(ended, handles)) == codes
    text = (logs / "codes").read_text()
    assert text.count("began") == 4 and text.count("ended") == 4  # both streams, added

    asked = launcher.submit(job(600, 0), logs / "asked")
    began(logs / "asked", asked)
    assert asked.poll() is None
    asked.stop()
    asked.stop()
    assert ended(asked) == 130
    asked.stop()
    assert (logs / "asked").read_text().count("asked to stop") == 1

    killed = launcher.submit(job(600, 0), logs / "killed")
    os.kill(began(logs / "killed", killed), signal.SIGKILL)
    assert ended(killed) == -signal.SIGKILL
    assert killed.poll() == -signal.SIGKILL  # still

    # Each waits for a sign of the other: together or never.
    meet = (
        "import pathlib, sys, time\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.05)"
    )
    a, b = folder / "a", folder / "b"
    pair = [launcher.submit(python(meet, *files), logs / "pair") for files in ((a, b), (b, a))]
    assert [ended(handle) for handle in pair] == [0, 0]

    here = "import os; print(os.getcwd(), os.environ['OMP_NUM_THREADS'])"
    assert ended(launcher.submit(python(here), logs / "here")) == 0
    assert (logs / "here").read_text().split() == [os.getcwd(), str(threads)]


@pytest.fixture
def one_thread(monkeypatch):
    for name in worker.SINGLE_THREADED:
        monkeypatch.delenv(name, raising=False)


# ----- this machine


def test_local(tmp_path, one_thread):
    exercise(make_launcher("local", jobs=2), tmp_path)


def test_local_slots():
    assert make_launcher("local").slots == os.cpu_count()
    assert make_launcher("local", jobs=3).slots == 3


def test_local_keeps_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['MKL_NUM_THREADS'])"
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert ended(make_launcher("local").submit(python(code), tmp_path / "log")) == 0
    assert (tmp_path / "log").read_text().split() == ["2", "1"]


def test_local_jobs_outlive_a_killed_bench_and_do_not_hear_its_terminal(tmp_path):
    bench = (
        "import os, pathlib, signal, sys, time\n"
        "from pgbench.bench.launchers import make_launcher\n"
        "make_launcher('local').submit(sys.argv[2:], pathlib.Path(sys.argv[1]))\n"
        "time.sleep(60)"
    )
    log = tmp_path / "log"
    process = subprocess.Popen(python(bench, log, *job(1, 0)), start_new_session=True)
    pid = began(log)
    assert os.getsid(pid) != os.getsid(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
    process.wait()
    assert "ended" not in log.read_text()
    gone(pid)
    assert log.read_text().endswith("ended\n")


# ----- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "slrum"}, "unknown launcher 'slrum'; did you mean slurm?"),
        ({"name": "x"}, "unknown launcher 'x'; there are local, ray, slurm"),
        ({"name": "local", "jobs": 0}, "jobs is at least 1, not 0"),
        (
            {"name": "local", "options": {"mem": "1GB"}},
            "unknown option of the launcher local 'mem'; it takes none",
        ),
        (
            {"name": "slurm", "address": "auto"},
            "an address is for the launcher ray; slurm has none",
        ),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(PgbenchError) as error:
        make_launcher(**arguments)
    assert str(error.value) == message


def test_a_command_that_is_not_there(tmp_path):
    with pytest.raises(PgbenchError, match=r"cannot start a job: .*no-such-program"):
        make_launcher("local").submit(["no-such-program"], tmp_path / "log")


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_missing_package(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PgbenchError) as error:
        make_launcher(name)
    assert str(error.value) == f"{package} is not installed; run: pip install 'pgbench[{name}]'"


# ----- the guard between a worker of Ray or SLURM and the job


def test_guard_passes_one_sigterm_whatever_asks(tmp_path):
    process = worker.start(job(600, 0), tmp_path / "log", tmp_path)
    began(tmp_path / "log")
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.02)
    assert process.wait(10) == 130
    assert (tmp_path / "log").read_text().count("asked to stop") == 1


def test_guard_ends_as_the_job(tmp_path):
    for code, expected in (("raise SystemExit(3)", 3), ("import os; os.abort()", -signal.SIGABRT)):
        assert worker.start(python(code), tmp_path / "log", tmp_path).wait(10) == expected
    process = worker.start(["no-such-program"], tmp_path / "none", tmp_path)
    assert process.wait(10) == worker.CANNOT_START
    assert (tmp_path / "none").read_text().startswith("pgbench: cannot start no-such-program on ")


def test_a_job_knows_its_sigusr2_is_not_for_it(tmp_path):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2); print('began', os.getpid())"
    assert worker.start(python(code), tmp_path / "log", tmp_path).wait(10) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death")
@pytest.mark.parametrize("generations", [1, 2], ids=["guard", "worker"])
def test_a_job_saves_and_stops_when_its_worker_dies(generations, tmp_path):
    start = (
        "import pathlib, sys, threading\n"
        "from pgbench.bench.launchers.worker import start\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "run = lambda: start(sys.argv[2:], folder / 'log', folder).wait()\n"
        "threads = [threading.Thread(target=f) for f in (run, threading.Event().wait)]\n"
        "[thread.start() for thread in threads]"
    )
    process = subprocess.Popen(python(start, tmp_path, *job(600, 0)))
    pid = began(tmp_path / "log")
    victim = pid
    for _ in range(generations):
        victim = parent(victim)
    assert (victim == process.pid) == (generations == 2)
    os.kill(victim, signal.SIGKILL)
    gone(pid)
    process.kill()
    process.wait()
    assert (tmp_path / "log").read_text().count("asked to stop") == 1


# ----- SLURM


def test_slurm_on_this_machine(tmp_path, one_thread, monkeypatch):
    pytest.importorskip("submitit")
    from pgbench.bench.launchers import slurm

    monkeypatch.setattr(slurm, "REPEAT_EVERY_S", 0.5)
    launcher = make_launcher("slurm", options={"cluster": "local"})
    assert launcher.slots == 64
    exercise(launcher, tmp_path)
    assert (tmp_path / "logs" / ".submitit").is_dir()

    log = tmp_path / "logs" / "lost"
    handle = launcher.submit(job(600, 0), log)
    pid = began(log, handle)
    assert handle.where.startswith("local ")
    os.kill(parent(parent(pid)), signal.SIGKILL)  # job, guard, worker
    assert ended(handle) == worker.LOST
    assert "pgbench: the worker was lost" in log.read_text()
    gone(pid)

    early = launcher.submit(job(600, 0), tmp_path / "logs" / "early")
    early.stop()
    assert ended(early) == 130


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"partion": "gpu"},
            "unknown option of the launcher slurm 'partion'; did you mean",
        ),
        ({"cluster": "debug"}, "option cluster is slurm or local, not 'debug'"),
        ({"time": "1h", "cluster": "local"}, "option time of the launcher slurm is a whole number"),
        ({}, "SLURM is not here: no sbatch on the PATH; run this on a login node"),
    ],
)
def test_slurm_refused(options, message, monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PgbenchError) as error:
        make_launcher("slurm", options=options)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_slurm_options_reach_the_submission(tmp_path, monkeypatch):
    """The script that sbatch gets, and what sbatch says when it refuses."""
    pytest.importorskip("submitit")
    script = "#!/bin/sh\ncat $1 > {}\nenv > {}\necho no such partition >&2\nexit 1\n"
    for tool in ("sbatch", "srun"):
        (tmp_path / tool).write_text(script.format(tmp_path / "script", tmp_path / "env"))
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_CONF"):
        monkeypatch.setenv(name, "7")
    options = {"partition": "gpu", "time": "90", "mem": "4GB", "gpus": "1", "cpus_per_task": "3"}
    launcher = make_launcher("slurm", jobs=5, options=options)
    assert launcher.slots == 5
    with pytest.raises(PgbenchError, match=r"^SLURM refused the job: no such partition$"):
        launcher.submit(job(0, 0), tmp_path / "logs" / "log")
    lines = (tmp_path / "script").read_text().splitlines()
    for flag in ("partition=gpu", "time=90", "mem=4GB", "gpus-per-node=1", "cpus-per-task=3"):
        assert f"#SBATCH --{flag}" in lines
    assert any(line.startswith("srun ") and "--cpus-per-task=3" in line for line in lines)
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert "SLURM_CONF" in names and not {"SLURM_JOB_ID", "SLURM_CPUS_PER_TASK"} & names
    assert os.environ["SLURM_JOB_ID"] == "7"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("sbatch") is None, reason="no SLURM here")
def test_slurm(tmp_path, one_thread, monkeypatch):
    """A real SLURM; needs two free processors and a `tmp_path` that its nodes see."""
    from pgbench.bench.launchers import slurm

    monkeypatch.setattr(slurm, "LIST_EVERY_S", 2.0)
    monkeypatch.setattr(slurm, "GRACE_S", 4.0)
    launcher = make_launcher("slurm")
    exercise(launcher, tmp_path)

    log = tmp_path / "logs" / "lost"
    handle = launcher.submit(job(600, 0), log)
    pid = began(log, handle)
    os.kill(parent(parent(pid)), signal.SIGKILL)
    assert ended(handle) == worker.LOST

    held = make_launcher("slurm", options={"cpus_per_task": str(os.cpu_count())})
    busy = held.submit(job(600, 0), tmp_path / "logs" / "busy")
    began(tmp_path / "logs" / "busy", busy)
    waits = held.submit(job(600, 0), tmp_path / "logs" / "waits")
    waits.stop()
    assert ended(waits) == 130
    busy.stop()
    assert ended(busy) == 130
    assert not (tmp_path / "logs" / "waits").exists()


# ----- Ray


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_ray_at_a_dead_address(scheme):
    pytest.importorskip("ray")
    before, address = time.monotonic(), f"{scheme}127.0.0.1:{closed_port()}"
    with pytest.raises(PgbenchError) as error:
        make_launcher("ray", address=address)
    assert time.monotonic() - before < 10
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
        before = time.monotonic()
        with pytest.raises(PgbenchError, match=f"Ray cluster at {address}: no answer within 20 s$"):
            make_launcher("ray", address=address)
        assert time.monotonic() - before < 40
