"""Jobs under SLURM: submitit's local executor, and a real one where there is one."""

import os
import shutil
import signal

import pytest
from launching import began, ended, exercise, gone, job, parent

from pgbench.bench.launchers import make_launcher, worker
from pgbench.errors import PgbenchError


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
