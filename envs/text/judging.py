"""Verdicts of the mathematics verifier."""

from __future__ import annotations

from collections.abc import Sequence

from pgbench.verify.math import MathVerifier
from pgbench.worlds.tasks import Task, Verdict

LOST = "No answer was found. Try again."


def verdicts(
    verifier: MathVerifier, tasks: Sequence[Task], completions: Sequence[str]
) -> list[Verdict]:
    """Reward 1 for an answer equal to the task's; part `format`: an answer is stated."""
    pairs = [(task.answer, said) for task, said in zip(tasks, completions, strict=True)]
    return [
        Verdict(
            float(found.correct), found.correct,
            {"accuracy": float(found.correct), "format": float(found.answer is not None)},
            found.how, found.answer or "", timed_out=found.how == "timeout",
            feedback=LOST if found.answer is None else "",
        )
        for found in verifier.judge(pairs)
    ]  # fmt: skip
