"""Every submission of the corpus, in real sandboxes: none passes, none leaves a trace."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import tomllib
from pathlib import Path

import pytest

from pgbench.verify import sandbox
from pgbench.verify.code import CodeVerifier, Limits, Problem

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CORPUS = tomllib.loads((HERE / "corpus.toml").read_text())["case"]
DOUBLE = Problem(tests="assert double(3) == 6\nassert double(10) == 20")
SCRIPT = Problem(cases=(("3\n", "6\n"),))
GOOD = ("def double(x): return 2 * x", "print(2 * int(input()))")
BAD = ("def double(x): return 2 * x if x < 9 else 0", "print(7)")
ABSTRACT = f"pgbench-canary-{os.getpid()}"  # another process may run these tests, too
TIGHT = Limits(seconds=0.5, memory_mib=128)


@pytest.fixture(scope="session")
def sandboxed():
    """Skips where no sandbox works."""
    reasons = {name: sandbox.reason_against(name) for name in ("bubblewrap", "namespaces")}
    if all(reasons.values()):
        pytest.skip(f"no sandbox here: {reasons}")


def needs(name):
    """Skips where this backend does not work."""
    if reason := sandbox.reason_against(name):
        pytest.skip(f"{name}: {reason}")


@pytest.fixture(scope="module")
def verifier(sandboxed):
    """One worker, so that a case comes right after the one before."""
    os.environ["PGBENCH_CANARY"] = "secret"
    with CodeVerifier(1, TIGHT) as made:
        yield made
    del os.environ["PGBENCH_CANARY"]


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    """What must not change: a file, a process, two listeners that nobody may reach."""
    place = tmp_path_factory.mktemp("canary")
    (place / "pgbench-canary.txt").write_text("sings")
    listeners = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
    listeners[1].bind(f"\0{ABSTRACT}")
    listeners[1].listen()
    bird = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield {"place": place, "listeners": listeners, "bird": bird}
    bird.kill()
    bird.wait()
    for listener in listeners:
        listener.close()


def descendants():
    """Process ids below this one, children that the kernel has not yet buried left out."""
    above = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                above[int(entry.name)] = int(parent)
    found, grew = {os.getpid()}, True
    while grew:
        more = {pid for pid, parent in above.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return found


def expand(text, port):
    """The corpus writes long things short."""
    text = text.replace("PORT", str(port)).replace("SURROGATE", "\ud800")
    text = re.sub(r"REPEAT\((\d+)\)", lambda m: "(" * int(m[1]) + ")" * int(m[1]), text)
    text = re.sub(r"SIGNS\((\d+)\)", lambda m: "-" * int(m[1]), text)
    return re.sub(r"LONG\((\d+)\)", lambda m: "x" * int(m[1]), text).replace("ABSTRACT", ABSTRACT)


def submission(case, port=1):
    if "code" in case:
        return expand(case["code"], port)
    answer = (
        "print(2 * int(input()) if done() else -1)" if case.get("script")
        else "def double(x): return 2 * x if done() else -1"
    )  # fmt: skip
    body = textwrap.indent(textwrap.dedent(expand(case["attack"], port)), "    ")
    return f"""\
import functools
def attack():
{body}
@functools.cache
def done():
    try: return bool(attack())
    except BaseException: return False
{answer}
"""


def settled(verifier, item, right):
    """The verdict on one item; where a busy machine alone may be to blame, that of a second look.

    What a submission leaves behind would be there at the second look as well.
    """
    for _ in range(4):
        verdict = verifier.judge([item])[0]
        if verdict.passed or verdict.how != "timeout" or "timeout" in right:
            break
    return verdict


def check_hostile(verifier, case, canary):
    problem = SCRIPT if case.get("script") else DOUBLE
    port = canary["listeners"][0].getsockname()[1]
    verifier.judge([(DOUBLE, GOOD[0])])  # both servers are up
    before = descendants()
    right = case.get("how", ["wrong answer", "error", "timeout", "memory"])
    verdict = settled(verifier, (problem, submission(case, port)), right)
    assert not verdict.passed and verdict.share < 1
    assert verdict.how in right, verdict
    assert verdict.seconds < verifier.limits.seconds + 60  # nothing holds the verifier up
    assert "\n" not in verdict.feedback and len(verdict.feedback) <= 240
    good, bad = (settled(verifier, (DOUBLE, source), []) for source in (GOOD[0], BAD[0]))
    assert good.passed and good.how == "passed" and good.share == 1
    assert (bad.passed, bad.how, bad.share) == (False, "wrong answer", 0.5)
    if case.get("script"):
        good, bad = (settled(verifier, (SCRIPT, source), []) for source in (GOOD[1], BAD[1]))
        assert good.passed and bad.how == "wrong answer"
    assert descendants() == before  # the same servers, and nothing else
    assert canary["bird"].poll() is None
    assert (canary["place"] / "pgbench-canary.txt").read_text() == "sings"
    for listener in canary["listeners"]:
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.parametrize("case", CORPUS, ids=[case["name"] for case in CORPUS])
def test_hostile(verifier, canary, case):
    check_hostile(verifier, case, canary)


@pytest.mark.usefixtures("sandboxed")
def test_hostile_submissions_left_no_trace(verifier, canary):
    """After all of the above, in the folders where they tried to leave one."""
    folders = [
        "/",
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "/run",
        os.path.dirname(os.__file__),
        "/usr/lib",
    ]
    assert not [p for f in folders for p in Path(f).glob("hostile*")]
    assert not list(Path(os.path.dirname(os.__file__)).glob("sitecustomize.py"))
    assert len(CORPUS) >= 60


@pytest.mark.usefixtures("sandboxed")
def test_the_hunters_for_tests_would_find_them(verifier):
    """What looks for the tests in objects and in memory does find a text that is really there."""
    plant = "planted = 'assert dou'\nplanted = [planted + 'ble(3) == 6']\n"
    for case in CORPUS:
        if case["name"] in ("look for the tests in all objects", "look for the tests in memory",
                            "look for the tests in the frames above"):  # fmt: skip
            verdict = verifier.judge([(DOUBLE, plant + submission(case))])[0]
            assert verdict.passed, case["name"]


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", ["namespaces", "bubblewrap"])
def test_hostile_in_every_backend(name, canary):
    needs(name)
    with CodeVerifier(1, Limits(seconds=1.5, memory_mib=128), name) as verifier:
        for case in CORPUS:
            try:
                check_hostile(verifier, case, canary)
            except AssertionError as error:
                raise AssertionError(case["name"]) from error


@pytest.mark.usefixtures("sandboxed")
def test_hostile_neighbours():
    """Two at a time, hostile and honest mixed: every honest verdict is what it is alone."""
    items, right = [], []
    chosen = [c for c in CORPUS if "timeout" not in c.get("how", ["timeout"])][::2]
    for k, case in enumerate(chosen):
        items += [(SCRIPT if case.get("script") else DOUBLE, submission(case)), (DOUBLE, GOOD[0])]
        right += [False, True]
        if k % 2:
            items.append((DOUBLE, BAD[0]))
            right.append(False)
    with CodeVerifier(2) as verifier:
        assert [verdict.passed for verdict in verifier.judge(items)] == right


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.filterwarnings("ignore:NO SANDBOX")
def test_the_corpus_has_teeth():
    """What the corpus marks so works without a sandbox: the attacks are real."""
    with CodeVerifier(1, Limits(seconds=20), "subprocess") as bare:
        for case in CORPUS:
            if case.get("bare"):
                assert bare.judge([(DOUBLE, submission(case))])[0].passed, case["name"]


@pytest.mark.usefixtures("sandboxed")
def test_limits_hold_for_the_whole_tree():
    """Eight processes of 40 MiB are too much for 128, whoever counts: control group or watcher."""
    source = (
        "import os, time\ndef double(x):\n    for _ in range(5):\n        if os.fork() == 0:\n"
        "            a = bytearray(b'x') * (40 << 20)\n            time.sleep(9)\n    time.sleep(9)"
    )
    with CodeVerifier(1, Limits(seconds=5, memory_mib=128)) as verifier:
        assert verifier.judge([(DOUBLE, source)])[0].how == "memory"
        assert verifier.judge([(DOUBLE, GOOD[0])])[0].passed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox._cgroup, "make", lambda memory: None)
        with CodeVerifier(1, Limits(seconds=5, memory_mib=128)) as verifier:
            assert verifier.judge([(DOUBLE, source)])[0].how == "memory"


def test_where_memory_is_short_the_submission_goes_first(verifier):
    """Else the kernel might choose the server, which then could say nothing."""
    seen = set()
    work = threading.Thread(
        target=verifier.judge, args=([(DOUBLE, "import time; time.sleep(0.4)")],)
    )
    work.start()
    while work.is_alive():
        for pid in descendants() - {os.getpid()}:
            with contextlib.suppress(OSError):
                seen.add(int(Path(f"/proc/{pid}/oom_score_adj").read_text()))
    work.join()
    assert 1000 in seen


@pytest.mark.usefixtures("sandboxed")
def test_a_killed_server_comes_back(verifier):
    assert verifier.judge([(DOUBLE, GOOD[0])])[0].passed
    servers = [pid for pid in descendants() if _below(pid)]
    assert len(servers) >= 2
    for pid in servers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert [v.passed for v in verifier.judge([(DOUBLE, GOOD[0]), (DOUBLE, BAD[0])])] == [
        True,
        False,
    ]


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.parametrize("name", ["bubblewrap", "namespaces"])
def test_everything_dies_with_a_killed_parent(name, tmp_path):
    needs(name)
    program = (
        "import sys, threading\nfrom pgbench.verify.code import *\n"
        f"v = CodeVerifier(2, Limits(seconds=600), {name!r})\n"
        "p = Problem('assert f() == 1')\n"
        "v.judge([(p, 'def f(): return 1')])\nprint('up', flush=True)\n"
        "v.judge([(p, 'import os\\nos.fork()\\nos.setsid\\nwhile True: pass')] * 2)\n"
    )
    before = descendants()
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=os.environ | {
            "PYTHONPATH": str(ROOT)}, cwd=tmp_path,
    )  # fmt: skip
    assert child.stdout.readline() == b"up\n"
    deadline = time.monotonic() + 300
    while len(family := descendants() - before) <= 8:
        assert time.monotonic() < deadline, family
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    ours = {pid for pid in family if _below(pid)} | {child.pid}
    deadline = time.monotonic() + 300
    while alive := [p for p in ours if Path(f"/proc/{p}").exists() and _below(p)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)


def _below(pid):
    """Whether a process is one of a verifier's servers or cases."""
    try:
        return b"pgbench.verify" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


NOBODY = """
import sys
from pgbench.errors import PgbenchError
from pgbench.verify.code import *
P = Problem("assert double(3) == 6\\nassert double(10) == 20")
for name in ("bubblewrap", "namespaces"):
    try:
        verifier = CodeVerifier(1, Limits(seconds=1, memory_mib=128), name)
    except PgbenchError as error:
        print(name, "skipped", error)
        continue
    sources = {sources!r}
    with verifier:
        print(name, *[int(v.passed) for v in verifier.judge([(P, s) for s in sources])])
"""


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_as_an_unprivileged_user():
    """The same without any privilege, by a Python that such a user may run."""
    python = next((p for p in ("/usr/bin/python3", sys.executable) if _for_all(p)), None)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not python or not shutil.which("setpriv"):
        pytest.skip("no Python that user 65534 may run, or no setpriv")
    said = subprocess.run([python, "--version"], capture_output=True, text=True).stdout
    if version not in said:
        pytest.skip(f"{python} is {said.strip()}")
    chosen = [submission(c) for c in CORPUS if "timeout" not in c.get("how", ["timeout"])]
    chosen += [submission(c) for c in CORPUS if "attack" in c and "environ" not in c["name"]]
    chosen = [c for c in chosen if c.isascii() and "\0" not in c and len(c) < 5000][::5]
    sources = [part for c in chosen for part in (c, GOOD[0], BAD[0])]
    program = NOBODY.replace("{sources!r}", repr(sources))
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-c",
         f"import sys; sys.path.insert(0, {str(ROOT)!r}); exec(sys.stdin.read())"],
        input=program, capture_output=True, text=True, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "skipped" not in line]
    if not lines:
        pytest.skip(done.stdout)
    for line in lines:
        assert line.split()[1:] == ["0", "1", "0"] * len(chosen), line


def _for_all(path):
    probe = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", path, "-c", ""]
    return (
        bool(shutil.which(probe[0])) and subprocess.run(probe, capture_output=True).returncode == 0
    )


NOTE = """
import os
def probe():
    left = []
    for folder, _, files in os.walk("/"):
        if "pgbench_note" in files:
            return "found"
        try:
            open(os.path.join(folder, "pgbench_note"), "w").close()
            left.append(folder)
        except OSError: pass
    return left
"""


@pytest.mark.parametrize("name", ["bubblewrap", "namespaces"])
@pytest.mark.parametrize("landlock", [True, False])
def test_no_file_awaits_the_next_case(name, landlock, monkeypatch):
    """Nor on a kernel without Landlock."""
    needs(name)
    if not landlock:
        without = "from pgbench.verify import _kernel; _kernel.landlock_version = lambda: 0; "
        start, found, rest = sandbox.BOOT.partition("from pgbench")
        monkeypatch.setattr(sandbox, "BOOT", start + without + found + rest)
    with CodeVerifier(1, Limits(seconds=10), name) as verifier:
        for _ in range(2):
            verdict = verifier.judge([(Problem("assert probe() == ['/tmp']"), NOTE)])[0]
            assert verdict.passed, verdict
