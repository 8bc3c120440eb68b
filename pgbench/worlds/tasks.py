"""Tasks of the text family: a prompt, and what judging a completion of it needs and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SPLITS = ("train", "test")
# What training is rewarded by: the verifier, or for control a fair coin that knows nothing.
REWARDS = ("verdict", "random")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Task:
    """One problem; everything but `messages` is hidden from the policy."""

    id: str  # unique within its environment: `<name>/<split>/<index>`
    messages: tuple[Message, ...]  # the prompt
    answer: str = ""  # gold; what a verifier compares with
    level: str = ""  # kind or difficulty, for reports
    demonstration: str = ""  # a completion that is judged correct; empty where none is known
    hints: tuple[str, ...] = ()  # from the faintest to the clearest
    extra: Mapping[str, Any] = field(default_factory=dict)  # tests of a code task, and the like

    @property
    def text(self) -> str:
        """The prompt as one text."""
        return "\n".join(message.content for message in self.messages)


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of one completion."""

    reward: float
    correct: bool
    parts: Mapping[str, float] = field(default_factory=dict)  # binary rewards: accuracy, format
    how: str = ""  # a short stable word: why
    # The final answer as the completion writes it, "" where none was found; None from a verifier
    # of something that has no final answer, such as a program.
    answer: str | None = None
    timed_out: bool = False
    feedback: str = ""  # what a second turn may be told; never the answer


def plain_prompt(text: str) -> tuple[Message, ...]:
    """A prompt of one user message."""
    return (Message("user", text),)
