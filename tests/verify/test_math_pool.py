"""Workers with a deadline: hostile answers, kills, threads, the cache."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from answers import PAIRS, PATIENT, box, one

from pgbench.errors import PgbenchError
from pgbench.verify import math as math_module
from pgbench.verify import pool
from pgbench.verify.forms import read
from pgbench.verify.math import MathVerifier

pytest.importorskip("math_verify")

HOSTILE = [
    r"\sum_{k=1}^{10000000} \sqrt{k}", "9^{9^{9^9}}", "10000000!", "(10^{7})!", "((9!)!)!",
    "(" * 500 + "1" + ")" * 500, "7" * 900,
    r"\sum_{k=1}^{10000000} \frac{1}{k}", "1e999999999",
    r"\prod_{k=1}^{10000000} k", r"\binom{100000000}{50000000}", "10^{999999999}", "x" * 900,
    r"\frac{" * 18 + "1" + "}{2}" * 18, "x^{" * 15 + "2" + "}" * 15,
    r"\sin(" * 15 + "x" + ")" * 15,
    r"\pm x" * 200, "=" * 500, "1" + "=1" * 300, "{" * 900, "\\", "$" * 999,
    r"\text{" * 200, "a," * 300, r"\left(1+\frac{1}{10^9}\right)^{10^9}",
    "[" * 18 + "1,2" + "]" * 18, "\ud800", "\0",
]  # fmt: skip


def hostile(verifier, gold, answers):
    assert one(verifier, r"\sqrt{8}", r"2\sqrt{2}").correct  # workers are up
    for answer in answers:
        assert not one(verifier, gold, answer).correct
    assert verifier.killed == verifier.counts["timeout"]


def test_hostile_answers_end_in_time_and_harm_no_other():
    with MathVerifier(workers=2, deadline=0.4) as verifier:
        hostile(verifier, r"\sqrt{2}", HOSTILE[:6])
        assert verifier.killed > 0
        bad = [(r"\sqrt{2}", box(r"\sum_{k=1}^{20000000} \sqrt{k}"))]
        good = [(r"\sqrt{8}", box(rf"{n}\sqrt{{2}} - {n - 2}\sqrt{{2}}")) for n in range(3, 13)]
        found = verifier.judge([*good[:5], *bad, *good[5:]])
        assert [j.how for j in found] == ["symbolic"] * 5 + ["timeout"] + ["symbolic"] * 5


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["strict", "lenient"])
@pytest.mark.parametrize("gold", ["5", r"\sqrt{2}", "x^2+1", "(1,2]", "1,2"])
def test_all_hostile_answers(gold, mode):
    with MathVerifier(workers=2, deadline=0.5, mode=mode) as verifier:
        hostile(verifier, gold, HOSTILE)


def copies(verifier):
    """Process ids of the copies that serve, one for each worker."""
    out = []
    for worker in verifier._pool.workers:
        pid = worker.process.pid
        until = time.monotonic() + PATIENT
        while not (found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            assert time.monotonic() < until  # between two copies there is none
        out += map(int, found)
    return out


@pytest.mark.slow
def test_no_overrun_is_left_running():
    sums = [("x", box(rf"\sum_{{k=1}}^{{{n}0000000}} \sqrt{{k}}")) for n in range(1, 5)]
    with MathVerifier(workers=2, deadline=0.3) as verifier:
        assert one(verifier, "x+1", "1+x").correct
        found = verifier.judge(sums)
        assert [judgement.how for judgement in found] == ["timeout"] * 4
        assert verifier.killed == 4
        assert len(copies(verifier)) == 2


def test_a_timeout_is_not_remembered():
    slow = ("x", box(r"\sum_{k=1}^{20000000} \sqrt{k}"))
    with MathVerifier(workers=1, deadline=0.3) as verifier:
        for times in (1, 2):
            assert verifier.judge([slow, slow])[0].how == "timeout"
            assert verifier.counts["algebra"] == times and verifier.killed == times
        assert verifier.counts["cached"] == 0


@pytest.mark.slow
def test_verdicts_do_not_depend_on_the_load():
    """The deadline is processor time: beside busy loops each pair takes many times as long."""
    pairs = [(gold, box(answer)) for gold, answer, *_ in PAIRS][::5]
    pairs += [("x", box(r"\sum_{k=1}^{20000000} \sqrt{k}"))]
    with MathVerifier(workers=2) as verifier:
        idle = verifier.judge(pairs)
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(4 * (os.cpu_count() or 1))
    ]
    try:
        with MathVerifier(workers=2) as verifier:
            assert verifier.judge(pairs) == idle
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert [judgement.how for judgement in idle].count("timeout") == 1


def test_a_worker_that_gets_no_time_is_given_up(monkeypatch):
    with MathVerifier(workers=1, deadline=0.02) as verifier:
        verifier.judge([("x", box(r"\sum_{k=1}^{20000000} \sqrt{k}"))])  # it is up
        monkeypatch.setattr(pool, "WALL", 0.5)
        os.kill(copies(verifier)[0], signal.SIGSTOP)
        worker = verifier._pool.workers[0]
        assert worker._attempt({"gold": "x"}) is pool.DIED and worker.process is None


def test_megabytes_cost_little(strict):
    million = 1_000_000
    texts = [
        "x" * million, "(" * million, r"\boxed{" * 140_000, r"\boxed{" + "1+" * 500_000 + "1}",
        "the answer is " * 70_000, "answer: is: " * 80_000, "$" * million, "#### " * 200_000,
        "<answer>" * 125_000, "1," * 500_000, " " * million, "\n" * million, "<think>" * 140_000,
        r"\boxed{1} x \boxed{2} y " * 40_000,
    ]  # fmt: skip
    began = time.process_time()
    found = strict.judge([("5", text) for text in texts])
    assert not any(judgement.correct for judgement in found)
    assert strict.judge([("1" * million, box("5"))])[0].how == "gold unreadable"
    assert time.process_time() - began < 200


def test_no_answer_of_a_thousand_characters_is_slow_to_read():
    draw = random.Random(0)
    atoms = [*"0123456789()[]{}\\,.;=<>+-*/^_|%$ abxyzXYZ'\"", r"\frac", r"\sqrt", r"\text{",
             r"\left(", r"\pm", r"\cup", r"\in", r"\le", r"\boxed{", " and ", " or ", "1,234",
             "10^", r"^\circ", "**", "$$", r"\(", "the ", "sqrt(", "pi", "√", "²"]  # fmt: skip
    texts = [((a + b) * 1000)[:1000] for a in atoms[::3] for b in atoms[::2]]
    texts += ["".join(draw.choices(draw.sample(atoms, 6), k=999))[:1000] for _ in range(300)]
    for text in texts:
        began = time.process_time()
        with_error = None
        try:
            read(text)
        except math_module.Unreadable as error:
            with_error = error
        assert time.process_time() - began < 5, (text[:60], with_error)


def test_a_killed_worker_is_replaced_and_really_gone():
    with MathVerifier(workers=1, deadline=0.3) as verifier:
        assert verifier._pool.workers == []  # none before one is needed
        assert one(verifier, "5", "5").how == "number" and verifier._pool.workers == []
        assert one(verifier, "x+1", "1+x").correct
        parent, (first,) = verifier._pool.workers[0].process.pid, copies(verifier)
        judgement = one(verifier, "x+1", r"\sum_{k=1}^{20000000} \sqrt{k}")
        assert (judgement.correct, judgement.how) == (False, "timeout")
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        assert one(verifier, "x+2", "2+x").correct
        (second,) = copies(verifier)
        # The libraries are not loaded again.
        assert second != first and verifier.killed == 1
        assert verifier._pool.workers[0].process.pid == parent
        # Killed from outside between two jobs, the copy or all: the next one does not notice.
        for victim in (second, parent):
            os.kill(victim, signal.SIGKILL)
            for n in range(3, 6):
                assert one(verifier, f"x+{n}+{victim}", f"{victim + n}+x").correct
        last = verifier._pool.workers[0].process.pid
        assert last != parent
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)
    with pytest.raises(PgbenchError, match="closed"):
        one(verifier, "x+4", "4+x")


def test_workers_die_with_their_parent():
    code = (
        "import sys, threading\n"
        "from pgbench.verify.math import MathVerifier\n"
        "v = MathVerifier(workers=1, deadline=600)\n"
        "print(v.judge([('x+1', r'\\boxed{1+x}')])[0].correct, v._pool.workers[0].process.pid,"
        " flush=True)\n"
        "v.judge([('x', r'\\boxed{\\sum_{k=1}^{90000000} \\sqrt{k}}')])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    correct, pid = parent.stdout.readline().split()
    assert correct == "True"
    parent.kill()  # while it is at work on the sum, or about to be
    parent.wait()
    until = time.monotonic() + PATIENT
    while (stat := status(pid)) not in ("", "Z"):
        assert time.monotonic() < until, stat
        time.sleep(0.05)


def status(pid):
    """A process's state as the kernel writes it; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


def test_a_worker_outlives_the_thread_that_needed_it_first():
    with MathVerifier(workers=1, deadline=PATIENT) as verifier:
        found = []
        for n in range(2):
            thread = threading.Thread(
                target=lambda n=n: found.append(one(verifier, f"x+{n}", f"{n}+x"))
            )
            thread.start()
            thread.join()
            pid = verifier._pool.workers[0].process.pid
            time.sleep(0.1)
            os.kill(pid, 0)
            assert verifier._pool.workers[0].process.pid == pid
        assert [judgement.correct for judgement in found] == [True, True]


def test_threads_and_order_change_no_verdict(strict):
    pairs = [(gold, box(answer)) for gold, answer, *_ in PAIRS][::6]
    expected = strict.judge(pairs)
    with MathVerifier(workers=1, deadline=PATIENT) as verifier:
        found = {}

        def work(seed):
            order = list(range(len(pairs)))
            random.Random(seed).shuffle(order)
            judged = verifier.judge([pairs[i] for i in order])
            found[seed] = [judged[order.index(i)] for i in range(len(pairs))]

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        before = signal.getsignal(signal.SIGALRM)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert signal.getsignal(signal.SIGALRM) == before
    assert all(found[seed] == expected for seed in range(4))


def test_the_cache_saves_work_and_is_bounded(monkeypatch):
    monkeypatch.setattr(math_module, "CACHE", 8)
    with MathVerifier(workers=1, deadline=PATIENT) as verifier:
        pairs = [("x+1", box("1+x"))] * 5
        assert all(judgement.correct for judgement in verifier.judge(pairs))
        assert verifier.counts["algebra"] == 1  # the same pair in one batch is judged once
        verifier.judge(pairs)
        assert verifier.counts["algebra"] == 1 and verifier.counts["cached"] == 1
        verifier.judge([("5", box(str(n))) for n in range(50)])
        assert len(verifier._cache) == 8
        verifier.judge(pairs)
        assert verifier.counts["algebra"] == 2


def test_a_worker_may_not_take_more_than_its_memory():
    code = (
        "import os\n"
        "from pgbench.verify import worker\n"
        "worker._limits(os.getppid())\n"
        "try:\n"
        "    bytearray(2 * worker.MEMORY)\n"
        "except MemoryError:\n"
        "    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "refused"


def test_a_verifier_is_not_used_after_a_fork():
    with MathVerifier(workers=1, deadline=PATIENT) as verifier:
        assert one(verifier, "x+1", "1+x").correct
        pid = os.fork()
        if pid == 0:
            try:
                one(verifier, "x+2", "2+x")
            except PgbenchError as error:
                os._exit(7 if "fork" in str(error) else 1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
