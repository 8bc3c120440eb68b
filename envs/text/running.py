"""Verdicts of the code verifier, whose processes start when the first one is asked for."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pgbench.errors import PgbenchError
from pgbench.worlds.tasks import Message, Task, Verdict

if TYPE_CHECKING:
    from pgbench.verify.code import CodeVerifier, Problem


UNREAD = ("no code", "syntax")  # what a completion is that holds no Python


def program(head: str, function: str, said: str) -> str:
    """The source that a completion means: its code block or itself, after `head` where it goes on.

    `head` is the beginning of a function that the prompt ends with, if it does. What is not
    indented and defines `function` by itself follows it too: what `head` imports stays there.
    """
    from pgbench.verify.code import extract_code

    code = extract_code(said) if "```" in said else None
    whole = said if code is None else code
    defined = rf"^(?:async\s+def|def|class)\s+{re.escape(function)}\b"
    goes_on = whole.lstrip("\r\n")[:1].isspace()
    if head and not goes_on and re.search(defined, whole, re.MULTILINE):
        return f"{head}\n\n{whole}\n"
    return head + whole


def again(message: Message | None, task: Task, chat: bool = False) -> Message | None:
    """An environment's answer as the prompt of the next try.

    Where a completion continues a function the answer is a comment, and the function begins anew.
    """
    head = task.extra.get("head", "")
    if message is None or chat or not head:
        return message
    told = "".join(f"# {line}\n" for line in message.content.splitlines())
    return Message(message.role, told + head)


def _submitted(extra: Mapping[str, Any], said: str) -> tuple[Problem, str]:
    """The problem of a task's `extra` and the source that a completion means."""
    from pgbench.verify.code import Problem

    parts = dict(extra)
    source = program(parts.pop("head", ""), parts.pop("function", ""), said)
    return Problem(**parts), source


class CodeJudge:
    """A `CodeVerifier` that is made on first use; threads may share it.

    A task's `extra` has what a `Problem` takes (tests, entry, cases, setup), and what `program`
    does (head, function).
    """

    def __init__(self, workers: int = 2, share: bool = False, seconds: float = 2.0) -> None:
        if not seconds > 0:
            raise PgbenchError(f"seconds must be above 0, not {seconds}")
        self.workers, self.share, self.seconds = workers, share, seconds
        self._verifier: CodeVerifier | None = None
        self._lock = threading.Lock()

    @property
    def verifier(self) -> CodeVerifier:
        """The verifier itself."""
        from pgbench.verify.code import CodeVerifier, Limits

        with self._lock:
            if self._verifier is None:
                self._verifier = CodeVerifier(self.workers, Limits(seconds=self.seconds))
            return self._verifier

    def verdicts(self, tasks: Sequence[Task], completions: Sequence[str]) -> list[Verdict]:
        """Reward 1 for code that passes every test, or the share that it passes."""
        pairs = zip(tasks, completions, strict=True)
        items = [_submitted(task.extra, said) for task, said in pairs]
        return [
            Verdict(
                found.share if self.share else float(found.passed), found.passed,
                {"accuracy": float(found.passed), "format": float(found.how not in UNREAD)},
                found.how,
                timed_out=found.how == "timeout", feedback=found.feedback,
            )
            for found in self.verifier.judge(items)
        ]  # fmt: skip

    def unusable(self, problems: Sequence[tuple[Mapping[str, Any], str]]) -> list[str | None]:
        """Why each problem (a task's `extra`, a solution or ``) cannot be used, None if it can."""
        made = [_submitted(extra, said) for extra, said in problems]
        solutions = [
            source if said.strip() else ""
            for (_, said), (_, source) in zip(problems, made, strict=True)
        ]
        return self.verifier.check_problems([problem for problem, _ in made], solutions)

    @property
    def version(self) -> str:
        """The verifier's version, and how long code may run."""
        return f"{self.verifier.version}, {self.seconds:g} s"

    @property
    def sandbox(self) -> str:
        """The verifier's backend, for the record: `subprocess` is no sandbox."""
        return self.verifier.backend

    def close(self) -> None:
        """End the verifier's processes."""
        with self._lock:
            if self._verifier is not None:
                self._verifier.close()
                self._verifier = None
