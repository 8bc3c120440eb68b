"""Jobs to launch, and what every launcher must do with them."""

import os
import signal
import sys
import time
from pathlib import Path

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


def gone(pid, limit=200.0):
    """Wait for the end of a process that is not a child of this one."""
    before = time.monotonic()
    while True:
        try:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return
        except (FileNotFoundError, ProcessLookupError):  # before or while it is read
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

    # A request that comes before the job can listen ends it: that is a stop, too.
    deaf = "import os, time; print('began', os.getpid(), flush=True); time.sleep(600)"
    early = launcher.submit(python(deaf), logs / "deaf")
    began(logs / "deaf", early)
    early.stop()
    assert ended(early) == 130

    killed = launcher.submit(job(600, 0), logs / "killed")
    os.kill(began(logs / "killed", killed), signal.SIGKILL)
    assert ended(killed) == -signal.SIGKILL
    assert killed.poll() == -signal.SIGKILL  # still

    stuck = launcher.submit(job(600, 0), logs / "stuck")
    pid = began(logs / "stuck", stuck)
    stuck.kill()
    ended(stuck)
    stuck.kill()
    gone(pid)
    assert "asked to stop" not in (logs / "stuck").read_text()

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
