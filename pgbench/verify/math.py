"""Judging mathematical answers: exact and fast where it can be, algebra in processes where not.

    with MathVerifier() as verifier:
        verifier.judge([("1/2", "So the answer is \\\\boxed{0.5}.")])[0].correct

What counts as equal is written down in docs/verifiers.md.
"""

from __future__ import annotations

import atexit
import importlib.metadata
import os
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from pgbench.errors import PgbenchError, install
from pgbench.verify.answers import MAX_STATEMENTS, statements
from pgbench.verify.compare import Comparison
from pgbench.verify.forms import MAX_CHARS, Node, Unreadable, read
from pgbench.verify.pool import DIED, TIMEOUT, Pool

SCHEME = 3  # of the rules in docs/verifiers.md; another number is another reward
PACKAGES = ("math-verify", "latex2sympy2_extended", "sympy")
CACHE = 1 << 16  # pairs


@dataclass(frozen=True)
class Judgement:
    """What a verifier says of one completion.

    how: "text", "number" or "symbolic" where it is correct; otherwise "different",
    "no answer", "several answers", "too long", "too large", "unreadable", "gold unreadable",
    "timeout" or "died". answer: the statement that was judged.
    """

    correct: bool
    how: str
    answer: str | None


def _versions() -> str:
    try:
        return " ".join(f"{name}-{importlib.metadata.version(name)}" for name in PACKAGES)
    except importlib.metadata.PackageNotFoundError as error:
        raise PgbenchError(f"{error.name} is not installed; run: {install('text')}") from None


class MathVerifier:
    """Judges completions against reference answers; safe to call from several threads.

    workers: processes for algebra, started when a pair first needs them; deadline: seconds of
    processor time that a pair may take there; mode: "strict" or "lenient".
    """

    def __init__(self, workers: int = 2, deadline: float = 1.0, mode: str = "strict") -> None:
        if mode not in ("strict", "lenient"):
            raise PgbenchError(f"mode of the math verifier is {mode!r}; choose strict or lenient")
        if workers < 1 or not deadline > 0:
            raise PgbenchError("the math verifier needs at least one worker and a deadline above 0")
        self.mode, self.deadline = mode, deadline
        self.version = f"math-{SCHEME}-{mode} {_versions()}"
        self.counts: Counter[str] = Counter()  # pairs, cached, algebra, and each `how`
        self._lenient = mode == "lenient"
        self._comparison = Comparison(self._lenient)
        self._pool = Pool(workers, deadline)
        self._cache: OrderedDict[tuple[str, str], tuple[bool, str]] = OrderedDict()
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, Pool.close, self._pool)

    @property
    def killed(self) -> int:
        """How many pairs overran the deadline, and ended the process that judged them."""
        return self._pool.killed

    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[Judgement]:
        """Verdicts on (gold answer, completion), in order.

        Raises: PgbenchError if the verifier is closed or its workers cannot start.
        """
        stated = [statements(completion, self._lenient) for _, completion in pairs]
        if self._lenient:
            stated = [found[-1:] for found in stated]
        verdicts: dict[tuple[str, str], tuple[bool, str]] = {}
        waiting: dict[tuple[str, str], None] = {}
        cached = 0
        for (gold, _), found in zip(pairs, stated, strict=True):
            for answer in found if len(found) <= MAX_STATEMENTS else ():
                pair = (gold, answer)
                if pair in verdicts or pair in waiting:
                    continue
                verdict = self._known(pair)
                cached += verdict is not None
                verdict = verdict or self._simple(gold, answer)
                if verdict is None:
                    waiting[pair] = None
                else:
                    verdicts[pair] = verdict
        verdicts |= self._algebra(list(waiting))
        self._remember(verdicts)
        out = [
            _combine([verdicts[gold, answer] for answer in found], found)
            if len(found) <= MAX_STATEMENTS
            else Judgement(False, "several answers", found[-1])
            for (gold, _), found in zip(pairs, stated, strict=True)
        ]
        with self._lock:
            self.counts.update(judgement.how for judgement in out)
            self.counts.update({"pairs": len(out), "cached": cached, "algebra": len(waiting)})
        return out

    def _known(self, pair: tuple[str, str]) -> tuple[bool, str] | None:
        with self._lock:
            verdict = self._cache.get(pair)
            if verdict is not None:
                self._cache.move_to_end(pair)
            return verdict

    def _remember(self, verdicts: dict[tuple[str, str], tuple[bool, str]]) -> None:
        with self._lock:
            for pair, verdict in verdicts.items():
                # What a machine did to a pair is no property of the pair.
                if max(map(len, pair)) <= MAX_CHARS and verdict[1] not in ("died", "timeout"):
                    self._cache[pair] = verdict
            while len(self._cache) > CACHE:
                self._cache.popitem(last=False)

    def _simple(self, gold: str, answer: str) -> tuple[bool, str] | None:
        """The verdict without algebra, or None if it takes some."""
        try:
            g = read(gold)
        except Unreadable:
            return False, "gold unreadable"
        try:
            a = read(answer)
        except Unreadable as error:
            return False, str(error) if str(error) == "too long" else "unreadable"
        except RecursionError:
            return False, "unreadable"
        verdict = self._comparison.same(g, a)
        if verdict is True:
            return True, "number" if g.number or a.number else "text"
        if verdict is False:
            if self._lenient and {g.kind, a.kind} == {"leaf"}:
                return None
            return False, _several(g, a)
        return None

    def _algebra(self, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[bool, str]]:
        if not pairs:
            return {}
        requests = [{"gold": g, "answer": a, "lenient": self._lenient} for g, a in pairs]
        out = {}
        for pair, result in zip(pairs, self._pool.run(requests), strict=True):
            if result is TIMEOUT or result is DIED:
                out[pair] = (False, "timeout" if result is TIMEOUT else "died")
            else:
                correct, how = result
                out[pair] = (bool(correct), str(how))
        return out

    def close(self) -> None:
        """End the workers; the verifier cannot be used afterwards."""
        self._finalizer()

    def __enter__(self) -> MathVerifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _several(gold: Node, answer: Node) -> str:
    """A list for a single answer is a guess at several."""
    several = answer.kind == "list" and gold.kind not in ("list", "seq", "union", "matrix")
    return "several answers" if several else "different"


def _combine(verdicts: list[tuple[bool, str]], answers: list[str]) -> Judgement:
    """A completion that makes several statements is right only if all of them are."""
    if not verdicts:
        return Judgement(False, "no answer", None)
    correct = all(verdict[0] for verdict in verdicts)
    how = verdicts[-1][1]
    if not correct and len(verdicts) > 1:
        how = "several answers"
    return Judgement(correct, how, answers[-1])


_checker: Pool | None = None
_checker_lock = threading.Lock()
GOLD_DEADLINE = 5.0  # seconds of processor time


def check_gold(gold: str) -> str | None:
    """Why this gold answer cannot be judged, in a few words; None if it can.

    Raises: PgbenchError if the worker cannot start.
    """
    global _checker
    try:
        node = read(gold)
    except Unreadable as error:
        return str(error)
    if node.kind in ("number", "based"):
        return None
    _versions()
    with _checker_lock:
        if _checker is None or _checker.pid != os.getpid():
            _checker = Pool(1, GOLD_DEADLINE)
            atexit.register(_checker.close)
        checker = _checker
    result = checker.run([{"gold": gold}])[0]
    if result is TIMEOUT:
        return f"takes longer than {GOLD_DEADLINE:g} s to read"
    if result is DIED:
        return "ends the process that reads it"
    return None if result is None else str(result)
