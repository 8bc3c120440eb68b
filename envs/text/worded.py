"""Word problems: prompts with worked examples, hints from worked solutions, answers in texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pgbench.worlds.tasks import Message

STOP = ("\nQuestion:",)  # a base model goes on with a question of its own
BRACKET = re.compile(r"\\boxed\{|\{|\}")
PHRASE = re.compile(r"answer is[ \t]*:?", re.IGNORECASE)
CALCULATIONS = re.compile(r"<<[^<>]*>>")  # GSM8K's marks for a calculator
SENTENCE = re.compile(r"(?<=[.!?])\s+")
HINTS = 3

Example = tuple[str, str]  # a problem and its demonstration


def prompt(
    problem: str, examples: Sequence[Example], chat: bool, instruction: str = ""
) -> tuple[Message, ...]:
    """The conversation that asks for an answer.

    A chat has a turn for every problem and for every example's answer, and `instruction` after
    each problem; otherwise it is one text of `Question:` and `Answer:` after the instruction.
    """
    if not chat:
        head = f"{instruction}\n\n" if instruction else ""
        shown = "".join(f"Question: {text}\nAnswer: {said.strip()}\n\n" for text, said in examples)
        return (Message("user", f"{head}{shown}Question: {problem}\nAnswer:"),)
    tail = f"\n\n{instruction}" if instruction else ""
    turns: list[Message] = []
    for text, said in examples:
        turns += [Message("user", text + tail), Message("assistant", said.strip())]
    return (*turns, Message("user", problem + tail))


def again(message: Message | None, chat: bool) -> Message | None:
    """An environment's answer as the prompt of the next try: `Answer:` follows but in a chat."""
    if message is None or chat:
        return message
    return Message(message.role, f"{message.content}\nAnswer:")


def completion(text: str, chat: bool) -> str:
    """`text` as what follows such a prompt: after a space where it follows `Answer:`."""
    return text if chat else f" {text}"


def hints(solution: str) -> tuple[str, ...]:
    """Longer and longer beginnings of a worked solution, without its last step; at most 3.

    Steps are lines, or sentences where there is one line.
    """
    text = solution.strip()
    breaks = [match.start() for match in re.finditer(r"\n\s*", text)]
    breaks = breaks or [match.start() for match in SENTENCE.finditer(text)]
    count = len(breaks)
    chosen = range(count) if count <= HINTS else (0, count // 2, count - 1)
    return tuple(text[: breaks[i]].rstrip() for i in chosen)


def boxed(text: str) -> str | None:
    r"""What the last complete `\boxed{...}` holds; None without one."""
    opened: list[int] = []  # where what an open bracket holds begins; 0 for a bare bracket
    found: tuple[int, int] | None = None
    for token in BRACKET.finditer(text):
        if token[0] != "}":
            opened.append(token.end() if len(token[0]) > 1 else 0)
        elif opened and (start := opened.pop()) and (found is None or start > found[0]):
            found = start, token.start()
    return None if found is None else text[found[0] : found[1]]


def stated(text: str) -> str:
    r"""The answer that a completion states.

    What the last `<answer>...</answer>` holds, else the last `\boxed{...}`, else what follows the
    last `answer is` on its line, or below if the line ends there (without a full stop), else the
    whole text; no space around it.
    """
    end = text.rfind("</answer>")
    if end >= 0 and (start := text.rfind("<answer>", 0, end)) >= 0:
        return text[start + len("<answer>") : end].strip()
    if (inside := boxed(text)) is not None:
        return inside.strip()
    if phrases := list(PHRASE.finditer(text)):
        rest = text[phrases[-1].end() :].lstrip(" \t")
        line = rest.strip() if rest.startswith("\n") else rest.split("\n")[0].strip()
        return line.removesuffix(".").rstrip()
    return text.strip()
