"""Judges model-written Python by running it in a sandbox that the kernel enforces.

    with CodeVerifier(workers=2) as verifier:
        problem = Problem(tests="assert add(1, 2) == 3")
        verifier.judge([(problem, "def add(a, b): return a + b")])[0].passed

Two processes take part in a case. One holds the submission and never sees a test; the other holds
the tests and calls the submission's functions through plain data. Each is a fresh, fenced copy of a
warm server. docs/verifiers.md says what is enforced how, and what is not supported.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import socket
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any, Self

from pgbench.errors import PgbenchError
from pgbench.verify import _judge, sandbox
from pgbench.verify._extract import extract_code
from pgbench.verify._output import end_of, read, said, same_output
from pgbench.verify.sandbox import doctor

__all__ = [
    "CodeVerdict", "CodeVerifier", "Limits", "Problem", "doctor", "extract_code", "problem_of",
    "same_output",
]  # fmt: skip

VERSION = "code-2"  # changes with every change that may change a verdict
MAX_SOURCE = 1 << 18  # bytes
GRACE = 0.3  # seconds that the judge may go on after the submission's deadline
ANSWER = (
    10.0  # seconds for a server to say how a case ended: a second of killing and a busy machine
)
_warned = threading.Event()


@dataclass(frozen=True)
class Limits:
    """What one case may take, all its processes together (docs/verifiers.md: enforced how)."""

    seconds: float = 2.0
    memory_mib: int = 256
    processes: int = 8  # and threads
    output_kib: int = 256
    disk_mib: int = 16


@dataclass(frozen=True)
class Problem:
    """What a submission is judged by, and never sees.

    `tests`: asserts over the submission's functions, or with `entry` (the name of the function
    under test) HumanEval's `def check(candidate)`. `setup`: code before the tests; what it defines
    hides the submission's names. `cases`: (stdin, stdout) of the submission run as a script,
    compared line by line (`same_output`).

    `entry` may name several ways, of which the first that is there is taken: "f|Solution.f" is a
    function f, or else the method f of a Solution().
    """

    tests: str = ""
    entry: str = ""
    cases: tuple[tuple[str, str], ...] = ()
    setup: str = ""


@dataclass(frozen=True)
class CodeVerdict:
    """`how`: passed, wrong answer, error, exit, crash, timeout, memory, output, syntax, no code,
    or unsupported (tests or answers need what cannot be passed, or the problem's setup raises: no
    word on the code). `share`: of asserts and cases passed.

    `feedback` is one line that a model may see; it holds no expected output and no test.
    """

    passed: bool
    how: str
    share: float
    feedback: str
    seconds: float


class CodeVerifier:
    """Judges submissions, `workers` at a time. Safe to use from several threads."""

    def __init__(
        self,
        workers: int = 2,
        limits: Limits = Limits(),
        backend: str = "auto",
    ) -> None:
        if workers < 1:
            raise PgbenchError(f"workers={workers}: a code verifier needs at least one")
        self.backend = sandbox.choose(backend)
        self.is_sandbox = self.backend != "subprocess"
        self.version = f"{VERSION} Python {platform.python_version()}"
        self.limits = limits
        if not self.is_sandbox and not _warned.is_set():
            _warned.set()
            warnings.warn(
                "NO SANDBOX: model-written code will run with your rights on this machine; "
                + sandbox.advice("bubblewrap"),
                RuntimeWarning,
                stacklevel=2,
            )
        self._process = os.getpid()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        made = [_Worker(self.backend, limits, self._queue) for _ in range(workers)]
        self._stop = weakref.finalize(self, _stop, self._queue, made)
        for worker in made:
            worker.start()

    def judge(self, items: Sequence[tuple[Problem, str]]) -> list[CodeVerdict]:
        """The verdict of every (problem, source code), in their order.

        Raises: PgbenchError: a problem tests nothing, the verifier is closed, or no server starts.
        """
        if not self._stop.alive:
            raise PgbenchError("this code verifier is closed: make another one")
        if os.getpid() != self._process:
            raise PgbenchError("a code verifier works in the process that made it: make one here")
        for k, (problem, _) in enumerate(items):
            if not problem.tests.strip() and not problem.cases:
                raise PgbenchError(f"problem {k} has neither tests nor cases: give it one of them")
        futures: list[Future[CodeVerdict]] = [Future() for _ in items]
        for future, item in zip(futures, items, strict=True):
            self._queue.put((future, *item))
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def check_problems(
        self, problems: Sequence[Problem], solutions: Sequence[str] | None = None
    ) -> list[str | None]:
        """Why each problem cannot be used, None where it can; what `check_gold` is for answers.

        `solutions`: right code for each, "" where there is none. A problem is of no use whose tests
        are no Python, assert nothing or call what is not there; whose setup raises; which a
        submission passes whose functions all return None; which its own solution does not pass.

        Raises: PgbenchError: the verifier is closed, or no server starts.
        """
        known = [problem_of(problem) for problem in problems]
        use = [k for k, reason in enumerate(known) if reason is None]
        nothing = self.judge([(problems[k], _idle(problems[k])) for k in use])
        for k, verdict in zip(use, nothing, strict=True):
            if verdict.passed:
                known[k] = "code that does nothing passes its tests"
            elif verdict.how == "unsupported":
                known[k] = verdict.feedback
        if solutions is None:
            return known
        use = [k for k in use if known[k] is None and solutions[k].strip()]
        for k, verdict in zip(
            use, self.judge([(problems[k], solutions[k]) for k in use]), strict=True
        ):
            if not verdict.passed:
                known[k] = f"its own solution does not pass: {verdict.how}, {verdict.feedback}"
        return known

    def close(self) -> None:
        """End the servers; a second call does nothing."""
        self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def problem_of(problem: Problem) -> str | None:
    """Why a problem's text alone shows that it cannot be used; None if it does not."""
    if not problem.tests.strip():
        return None if problem.cases else "it has neither tests nor cases"
    parsed = _judge.parsed(asdict(problem))
    return f"its tests cannot be used: {parsed}" if isinstance(parsed, str) else None


def _idle(problem: Problem) -> str:
    """A submission with all that the tests ask for, which does nothing."""
    if not problem.tests.strip():
        return "pass"
    parsed = _judge.parsed(asdict(problem))
    assert not isinstance(parsed, str)
    names = {*parsed.wanted, *filter(None, [problem.entry.partition("|")[0]])}
    lines = (f"def {name}(*given, **named): return None" for name in sorted(names))
    return "\n".join(lines) or "pass"


def _stop(waiting: queue.SimpleQueue[Any], workers: list[_Worker]) -> None:
    for _ in workers:
        waiting.put(None)
    for worker in workers:
        worker.join()


@dataclass
class _Finding:
    """How a group of tests or cases came out."""

    how: str
    passed: int
    total: int
    feedback: str


class _Worker(threading.Thread):
    """A thread with two servers: the kernel ends them when the thread that made them ends."""

    def __init__(self, backend: str, limits: Limits, waiting: queue.SimpleQueue[Any]) -> None:
        super().__init__(name="code-verifier", daemon=True)
        self.backend, self.limits, self.waiting = backend, limits, waiting
        self.order = asdict(limits)
        self.subjects: sandbox.Server | None = None
        self.judges: sandbox.Server | None = None

    def run(self) -> None:
        try:
            while (item := self.waiting.get()) is not None:
                future, problem, source = item
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(self._verdict(problem, source))
                except BaseException as error:
                    future.set_exception(error)
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        for server in (self.subjects, self.judges):
            if server:
                server.close()
        self.subjects = self.judges = None

    def _servers(self) -> tuple[sandbox.Server, sandbox.Server]:
        if not self.subjects or not self.judges:
            try:
                self.subjects = sandbox.Server(self.backend, self.limits.memory_mib)
                self.judges = sandbox.Server(self.backend, self.limits.memory_mib)
            except sandbox.ServerDied as error:
                raise PgbenchError(f"sandbox {self.backend} does not start: {error}") from None
        return self.subjects, self.judges

    def _verdict(self, problem: Problem, source: str) -> CodeVerdict:
        data = (source or "").encode("utf-8", "surrogatepass")
        if not data.strip():
            return CodeVerdict(False, "no code", 0.0, "no code was found", 0.0)
        if len(data) > MAX_SOURCE:
            text = f"the code is longer than {MAX_SOURCE >> 10} KiB"
            return CodeVerdict(False, "syntax", 0.0, text, 0.0)
        for attempt in (1, 2):
            try:
                self._servers()
                begun = time.perf_counter()
                found = []
                if problem.tests.strip():
                    found.append(self._tests(problem, data))
                if problem.cases:
                    found.append(self._cases(problem, data))
                break
            except sandbox.ServerDied:
                self._hang_up()
                if attempt == 2:
                    found = [_Finding("crash", 0, 1, "the sandbox broke down twice over this code")]
        bad = next((one for one in found if one.how != "passed"), None)
        share = sum(one.passed for one in found) / sum(one.total for one in found)
        seconds = time.perf_counter() - begun
        if bad:
            return CodeVerdict(False, bad.how, share, bad.feedback, seconds)
        return CodeVerdict(True, "passed", 1.0, "all tests passed", seconds)

    def _tests(self, problem: Problem, source: bytes) -> _Finding:
        subjects, judges = self._servers()
        whole = {"tests": problem.tests, "setup": problem.setup, "entry": problem.entry}
        ends = socket.socketpair()
        reader, writer = os.pipe()
        files = [sandbox.file_of(source), sandbox.file_of(json.dumps(whole).encode())]
        longer = self.limits.seconds + GRACE
        try:
            subjects.send({**self.order, "mode": "serve"}, [files[0], ends[0].fileno()])
            order = {**self.order, "mode": "judge", "seconds": longer}
            judges.send(order, [files[1], ends[1].fileno(), writer])
        finally:
            for end in ends:
                end.close()
            for fd in (*files, writer):
                os.close(fd)
        try:
            report = read(reader, 1 << 20, longer + GRACE)[0]
        finally:
            os.close(reader)
        found = json.loads(report) if report.endswith(b"\n") else {}
        subjects.tell(b"G" if found.get("how") == "gone" else b"S")
        judges.tell(b"S")
        ended, judge_ended = subjects.ended(ANSWER), judges.ended(ANSWER)
        if not found:
            how = {"stopped": "timeout", "": "error"}.get(judge_ended[0], judge_ended[0])
            return _Finding(how, 0, 1, self._line(how))
        if found.get("passed"):
            return _Finding("passed", found["total"], found["total"], "")
        if found["how"] == "tests":
            raise PgbenchError(f"the tests of a problem cannot be used: {found['text']}")
        how = end_of(ended) if found["how"] == "gone" else found["how"]
        where = f" (test {found['test']})" if found.get("test") else ""
        text = self._line(how, found.get("error", ""), found.get("text", ""), where)
        return _Finding(how, found["good"], found["total"], text)

    def _cases(self, problem: Problem, source: bytes) -> _Finding:
        passed, first = 0, _Finding("passed", 0, len(problem.cases), "")
        for k, (given, expected) in enumerate(problem.cases, 1):
            how, error, text = self._case(source, given.encode("utf-8", "surrogatepass"), expected)
            passed += how == "passed"
            if how != "passed" and first.how == "passed":
                first.how, first.feedback = how, self._line(how, error, text, f" (case {k})")
            if how in ("timeout", "syntax"):  # the next would take as long, or be the same
                break
        first.passed = passed
        return first

    def _case(self, source: bytes, given: bytes, expected: str) -> tuple[str, str, str]:
        """(how, name of the error, its text) of one run as a script."""
        subjects, _ = self._servers()
        ours, theirs = socket.socketpair()
        reader, writer = os.pipe()
        files = [sandbox.file_of(source), sandbox.file_of(given)]
        try:
            fds = [files[0], theirs.fileno(), files[1], writer]
            subjects.send({**self.order, "mode": "script"}, fds)
        finally:
            theirs.close()
            for fd in (*files, writer):
                os.close(fd)
        try:
            limit = self.limits.output_kib << 10
            output, over = read(reader, limit, self.limits.seconds + GRACE)
        finally:
            os.close(reader)
        subjects.tell(b"S" if over else b"W")
        ended = subjects.ended(self.limits.seconds + ANSWER)
        error, text, syntax = said(ours)
        ours.close()
        if over:
            return "output", "", ""
        if ended == ("", 0) and not syntax:
            same = same_output(output.decode("utf-8", "replace"), expected)
            return ("passed" if same else "wrong answer"), "", ""
        how = end_of(ended)
        if how == "exit" and error:
            how = "syntax" if syntax else "memory" if error == "MemoryError" else "error"
        return how, error, text

    def _line(self, how: str, error: str = "", text: str = "", where: str = "") -> str:
        """One line about a failure."""
        limits = self.limits
        lines = {
            "wrong answer": "wrong answer",
            "timeout": f"no result within {limits.seconds:g} s",
            "memory": f"more than {limits.memory_mib} MiB of memory",
            "output": f"more than {limits.output_kib} KiB of output",
            "exit": "the program ended before its answer",
            "crash": "the interpreter crashed",
            "unsupported": "the tests need something that cannot be passed to or from the code",
        }
        line = lines.get(how) or (f"{error}: {text}" if text else error or "error")
        clean = "".join(c if c.isprintable() else " " for c in f"{line}{where}")
        return " ".join(clean.split())[:240]
