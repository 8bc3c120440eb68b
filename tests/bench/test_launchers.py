"""Jobs as real processes on this machine, and the guard of jobs elsewhere."""

import os
import signal
import subprocess
import sys
import time

import pytest
from launching import began, ended, exercise, gone, job, parent, python

from pgbench.bench.launchers import make_launcher, worker
from pgbench.errors import PgbenchError, install

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
        # What was started in the background of a shell inherits that Ctrl-C is ignored.
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "make_launcher('local').submit(sys.argv[2:], pathlib.Path(sys.argv[1]))\n"
        "time.sleep(600)"
    )
    log, may_end = tmp_path / "log", tmp_path / "may end"
    waits = (
        "import os, pathlib, sys, time\n"
        "print('began', os.getpid(), flush=True)\n"
        "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)\n"
        "print('ended')"
    )
    process = subprocess.Popen(python(bench, log, *python(waits, may_end)), start_new_session=True)
    pid = began(log)
    assert os.getsid(pid) != os.getsid(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
    process.wait()
    assert "ended" not in log.read_text()
    may_end.touch()
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
    assert str(error.value) == f"{package} is not installed; run: {install(name)}"


# ----- the guard between a worker of Ray or SLURM and the job


def test_guard_passes_one_sigterm_whatever_asks(tmp_path):
    process = worker.start(job(600, 0), tmp_path / "log", tmp_path)
    began(tmp_path / "log")
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.02)
    assert process.wait(200) == 130
    assert (tmp_path / "log").read_text().count("asked to stop") == 1


def test_guard_ends_as_the_job(tmp_path):
    for code, expected in (("raise SystemExit(3)", 3), ("import os; os.abort()", -signal.SIGABRT)):
        assert worker.start(python(code), tmp_path / "log", tmp_path).wait(200) == expected
    process = worker.start(["no-such-program"], tmp_path / "none", tmp_path)
    assert process.wait(200) == worker.CANNOT_START
    assert (tmp_path / "none").read_text().startswith("pgbench: cannot start no-such-program on ")


def test_a_job_knows_its_sigusr2_is_not_for_it(tmp_path):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2); print('began', os.getpid())"
    assert worker.start(python(code), tmp_path / "log", tmp_path).wait(200) == 0


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
