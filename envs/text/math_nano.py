"""Graded arithmetic for transformers of well under a million parameters that read bytes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Annotated

from pgbench.errors import PgbenchError
from pgbench.settings.ranges import Bounds, Count, Share
from pgbench.support.names import unknown
from pgbench.worlds.tasks import Task, Verdict, plain_prompt
from pgbench.worlds.text_env import TextEnv

NAME = "math-nano"
TOKENS = {"plain": 8, "tags": 32}  # bytes that a right completion and its end need, and some more
MOST_FILLER = 64
Filler = Annotated[int, Bounds(at_least=0, at_most=MOST_FILLER)]
INTEGER = re.compile(r"0|-?[1-9][0-9]*")
TAGGED = re.compile(r"<r>(?:(?!</?[ra]>).)*</r><a>(.*?)</a>", re.DOTALL)
MARKED = re.compile(r"<a>([^<]*)</a>")

# A problem: the prompt, the answer, and what is worth noting on the way to it.
Problem = tuple[str, int, str]
Draw = Callable[[random.Random], Problem]


def _places(a: int, b: int, sign: int) -> str:
    """The sums, or with sign -1 differences, place by place: 37+58 gives 80+15."""
    parts, scale = [], 1
    while scale <= max(a, b):
        parts.append((a // scale % 10 + sign * (b // scale % 10)) * scale)
        scale *= 10
    return "".join(f"{part:+d}" for part in reversed(parts)).removeprefix("+") or "0"


def _add(digits: int) -> Draw:
    low, high = _range(digits)

    def draw(rng: random.Random) -> Problem:
        a, b = rng.randrange(low, high), rng.randrange(low, high)
        return f"{a}+{b}=", a + b, _places(a, b, 1)

    return draw


def _sub(digits: int) -> Draw:
    low, high = _range(digits)

    def draw(rng: random.Random) -> Problem:
        a, b = rng.randrange(low, high), rng.randrange(low, high)
        return f"{a}-{b}=", a - b, _places(a, b, -1)

    return draw


def _range(digits: int) -> tuple[int, int]:
    return (0, 10) if digits == 1 else (10 ** (digits - 1), 10**digits)


def _mul1(rng: random.Random) -> Problem:
    a, b = rng.randrange(10), rng.randrange(10)
    return f"{a}*{b}=", a * b, f"{a * (b - 1)}+{a}" if b > 1 else str(a * b)


def _mul2(rng: random.Random) -> Problem:
    a, b = rng.randrange(10, 100), rng.randrange(10)
    return f"{a}*{b}=", a * b, f"{a // 10 * 10 * b}+{a % 10 * b}"


def _mod10(rng: random.Random) -> Problem:
    a, b = rng.randrange(10, 100), rng.randrange(10, 100)
    return f"{a}*{b}%10=", a * b % 10, f"{a % 10}*{b % 10}"


def _parity(rng: random.Random) -> Problem:
    digits = [rng.randrange(10) for _ in range(rng.randrange(2, 7))]
    odd = "".join(str(digit % 2) for digit in digits)
    return f"par {''.join(map(str, digits))}=", sum(digits) % 2, odd


def _chain(rng: random.Random) -> Problem:
    a, b, c = (rng.randrange(10) for _ in range(3))
    s, t = (rng.choice((1, -1)) for _ in range(2))
    half, last = a + s * b, f"{'+' if t > 0 else '-'}{c}"
    return f"{a}{'+' if s > 0 else '-'}{b}{last}=", half + t * c, f"{half}{last}"


LEVELS: dict[str, Draw] = {
    "add1": _add(1), "add2": _add(2), "add3": _add(3),
    "sub1": _sub(1), "sub2": _sub(2), "sub3": _sub(3),
    "mul1": _mul1, "mul2": _mul2, "mod10": _mod10, "parity": _parity, "chain": _chain,
}  # fmt: skip


class MathNano(TextEnv):
    """Short arithmetic on whole numbers, in levels from easy to hard.

    Observation: a prompt such as `37+58=`. Action: the completion, `95`.
    Reward: 1 if the completion, without white space around it, is the answer in its usual
    decimal form (`95`, `-21`, `0`; not `+95`, `095`, `-0`), otherwise 0.

    levels: which ones, a comma between them; a task's level is drawn uniformly, then the task.
    - add1, add2, add3: `a+b=`, both numbers of 1, 2 or 3 digits
    - sub1, sub2, sub3: `a-b=`; the result may be negative
    - mul1, mul2: `a*b=`, with a of 1 or 2 digits and b of 1
    - mod10: `a*b%10=`, both of 2 digits: the last digit of the product
    - parity: `par 4703=`: 1 if the sum of the 2 to 6 digits is odd, otherwise 0
    - chain: `a+b-c=`: three numbers of 1 digit, each sign plus or minus
    format: `plain`, or `tags` for `<r>notes</r><a>95</a>`: the answer counts wherever `<a>` has it.
    The verdict's parts are accuracy (the answer is right) and format (the whole completion has
    the form asked for: an integer in its usual form, or the two tags with one in `<a>`).
    format_weight: w in reward = (1 - w) * accuracy + w * format.
    scratch: whether demonstrations of format `tags` note partial results (`80+15`) in `<r>`.
    filler: with format `tags`, demonstrations begin their notes with 0 to that many (at most 64)
    dots, each number as likely as any other; a completion may take `filler` tokens more. Dots say
    nothing of the answer and no verdict counts them: lengths vary, and correctness does not
    depend on them. Tasks are the same for every filler.

    Tasks are generated without end; index and split alone determine one. A prompt belongs to the
    test split if the hash of its text says so (one in 8). Levels of 1 digit have few prompts: of
    the 100 of add1, 8 are of the test split. The hint is the partial results, where they
    are not the answer itself. With turns > 1 the next prompt ends in `wrong` or `malformed`.
    """

    def __init__(
        self, num_envs: int = 1, *, levels: str | Sequence[str] = ",".join(LEVELS),
        format: str = "plain", format_weight: Share = 0.0, scratch: bool = False,
        filler: Filler = 0, turns: Count = 1, split: str = "train",
        reward: str = "verdict",
    ) -> None:  # fmt: skip
        names = levels.split(",") if isinstance(levels, str) else list(levels)
        names = [name.strip() for name in names]
        for name in names:
            if name not in LEVELS:
                raise unknown(f"level of {NAME}", name, LEVELS, f"there are {', '.join(LEVELS)}")
        if len(set(names)) < len(names):
            raise PgbenchError(f"levels of {NAME}: {', '.join(names)} names one twice; drop it")
        if format not in TOKENS:
            raise PgbenchError(f"format takes plain or tags, not '{format}'")
        if filler and format != "tags":
            raise PgbenchError("filler needs notes to stand in; set format=tags, or filler=0")
        super().__init__(num_envs, turns, split, reward)
        self.levels, self.format, self.max_tokens = names, format, TOKENS[format] + filler
        self.format_weight, self.scratch, self.filler = format_weight, scratch, filler

    def size(self, split: str) -> None:
        """None: tasks are generated without end."""
        return None

    def task(self, index: int, split: str = "train") -> Task:
        """The task of that index: its level first, then numbers until the prompt is of `split`."""
        level, own = "", random.Random()

        def draw(rng: random.Random) -> tuple[str, Problem]:
            nonlocal level, own
            own = rng
            level = level or self.levels[rng.randrange(len(self.levels))]
            problem = LEVELS[level](rng)
            return problem[0], problem

        prompt, result, notes = self.generated(index, split, draw)
        answer = str(result)
        shown = answer
        if self.format == "tags":
            # Drawn after everything else, so that filler changes no task.
            dots = "." * own.randrange(self.filler + 1) if self.filler else ""
            shown = f"<r>{dots}{notes if self.scratch else ''}</r><a>{answer}</a>"
        hints = (notes,) if notes != answer else ()
        return Task(f"{NAME}/{split}/{index}", plain_prompt(prompt), answer, level, shown, hints)

    def verify(self, tasks: Sequence[Task], completions: Sequence[str]) -> list[Verdict]:
        """Compare texts."""
        return [self._judge(t.answer, c) for t, c in zip(tasks, completions, strict=True)]

    def _judge(self, answer: str, completion: str) -> Verdict:
        said = completion.strip()
        if self.format == "tags":
            whole = TAGGED.fullmatch(said)
            marked = MARKED.findall(said)
            formed = whole is not None and INTEGER.fullmatch(whole[1]) is not None
            value = marked[-1].strip() if marked else None
        else:
            formed = INTEGER.fullmatch(said) is not None
            value = said
        correct = value == answer
        how = "right" if correct else "wrong" if formed else "malformed"
        w = self.format_weight
        return Verdict(
            (1 - w) * correct + w * formed, correct,
            {"accuracy": float(correct), "format": float(formed)}, how, value or "",
            feedback="" if correct else how,
        )  # fmt: skip

    @property
    def version(self) -> str:
        """The generator's version, raised whenever a task or a verdict changes, and its form.

        A model that learnt from demonstrations of one form is none for another.
        """
        form = {"format": self.format, "scratch": self.scratch, "filler": self.filler}
        if self.format == "plain":  # whose demonstrations are the answers alone
            return f"{NAME} 0"
        return f"{NAME} 0 " + " ".join(f"{name}={value}" for name, value in form.items())
