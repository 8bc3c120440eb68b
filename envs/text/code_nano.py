"""Small functions to write, graded, judged by running them on hidden inputs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.settings.ranges import Count
from pgbench.support.names import unknown
from pgbench.worlds.tasks import Message, Task, Verdict, plain_prompt
from pgbench.worlds.text_env import TextEnv

from .running import CodeJudge, again

NAME = "code-nano"
TESTS = 8  # hidden inputs of a task
WORDS = ("abc", "banana", "cab", "aabbcc", "tool", "level", "zebra", "a")

# What to write: the comment, the argument's name, the expression, inputs that tell it from others.
Problem = tuple[str, str, str, list[Any]]

# An expression of x, and how to say it.
FORMS = (
    ("x*{a}+{b}", "x times {a}, plus {b}"), ("x*{a}-{b}", "x times {a}, minus {b}"),
    ("(x+{a})*{b}", "x plus {a}, all times {b}"), ("x*x+{a}*{b}", "x squared, plus {a} times {b}"),
    ("{a}-x*{b}", "{a} minus x times {b}"), ("x%{a}+{b}", "x modulo {a}, plus {b}"),
)  # fmt: skip
TESTED = (
    ("x%2==0", "x is even"), ("x%2==1", "x is odd"), ("x>{c}", "x is above {c}"),
    ("x<{c}", "x is below {c}"),
)  # fmt: skip
OF_LISTS = (
    ("sum(xs)*{a}+{b}", "the sum of xs, times {a}, plus {b}"),
    ("max(xs)*{a}+{b}", "the largest of xs, times {a}, plus {b}"),
    ("min(xs)*{a}-{b}", "the smallest of xs, times {a}, minus {b}"),
    ("len(xs)*{a}+{b}", "the length of xs, times {a}, plus {b}"),
    ("[x*{a}+{b} for x in xs]", "the list of each x in xs times {a}, plus {b}"),
    ("sorted(xs)[0]*{a}+xs[-1]*{b}", "the smallest of xs times {a}, plus the last times {b}"),
)
OF_TEXTS = (
    ("s*{a}+'{k}'*{b}", "{a} times s, then {b} times '{k}'"),
    ("s[::-1]+'{k}'*{b}", "s backwards, then {b} times '{k}'"),
    ("s.upper()*{a}+'{k}'", "{a} times s in capitals, then '{k}'"),
    ("s.replace('{k}','{m}')*{a}", "{a} times s with '{m}' for each '{k}'"),
    ("s.count('{k}')*{a}+{b}", "how often '{k}' is in s, times {a}, plus {b}"),
    ("len(s)*{a}-{b}", "the length of s, times {a}, minus {b}"),
)


def _constants(rng: random.Random) -> dict[str, Any]:
    k, m = rng.sample("abcdefgh", 2)
    a, b, c = rng.randrange(2, 20), rng.randrange(1, 20), rng.randrange(-5, 6)
    return {"a": a, "b": b, "c": c, "k": k, "m": m}


def _numbers(rng: random.Random) -> list[Any]:
    return [*rng.sample(range(-20, 50), TESTS - 1), 1000]


def _copy(rng: random.Random) -> Problem:
    form, _ = rng.choice(FORMS)
    text = form.format(**_constants(rng))
    return text, "x", text, _numbers(rng)


def _words(rng: random.Random) -> Problem:
    form, said = rng.choice(FORMS)
    constants = _constants(rng)
    return said.format(**constants), "x", form.format(**constants), _numbers(rng)


def _branch(rng: random.Random) -> Problem:
    form, said = rng.choice(FORMS)
    test, asked = rng.choice(TESTED)
    constants = _constants(rng)
    comment = f"{said} if {asked}, otherwise {{c}}".format(**constants)
    text = f"{form} if {test} else {{c}}".format(**constants)
    return comment, "x", text, [*range(-4, 4), *range(-6, 7, 3), *_numbers(rng)]


def _lists(rng: random.Random) -> Problem:
    form, said = rng.choice(OF_LISTS)
    constants = _constants(rng)
    xs = [[rng.randrange(-9, 10) for _ in range(rng.randrange(1, 6))] for _ in range(TESTS)]
    return said.format(**constants), "xs", form.format(**constants), xs


def _texts(rng: random.Random) -> Problem:
    form, said = rng.choice(OF_TEXTS)
    constants = _constants(rng)
    inputs = [rng.choice(WORDS) + constants["k"] * n for n in range(TESTS)]
    return said.format(**constants), "s", form.format(**constants), inputs


def _examples(rng: random.Random) -> Problem:
    a, b = rng.randrange(-9, 10), rng.randrange(-20, 21)
    text = f"x*{a}{b:+d}"
    shown = sorted(rng.sample(range(-5, 10), 3))
    comment = ", ".join(f"f({x})={x * a + b}" for x in shown)
    return comment, "x", text, _numbers(rng)


LEVELS: dict[str, Callable[[random.Random], Problem]] = {
    "copy": _copy, "words": _words, "branch": _branch,
    "lists": _lists, "texts": _texts, "examples": _examples,
}  # fmt: skip


class CodeNano(TextEnv):
    """Python functions of one line, described in a comment; hidden inputs test them.

    Observation: a comment and the beginning of a function, for instance `# x times 3, plus 2`,
    `def f(x):`, `    return`. Action: the completion, ` x*3+2`: what follows on that line, or a
    whole definition of `f`, in a code block or not.
    Reward: 1 if the function gives the expected value for every hidden input, otherwise 0.
    share: reward the share of the hidden inputs that are right instead.

    levels: which ones, a comma between them; a task's level is drawn uniformly, then the task.
    - copy: the comment is the expression itself
    - words: an expression of x in words
    - branch: the same under a condition
    - lists, texts: a value of a list xs, of a text s
    - examples: three values of a linear function
    workers: processes that run code, each in a sandbox where the machine has one.
    max_tokens: what a completion may take by default.

    Tasks are generated without end; a prompt belongs to the test split if the hash of its text
    says so (one in 8). With turns > 1 the next prompt has what went wrong in a comment (an
    error's name, never an expected value) and the beginning of the function again.
    """

    stop = ("\n",)
    slow_verifier = True  # worth judging one part of a batch while the next is written

    def __init__(
        self, num_envs: int = 1, *, levels: str | Sequence[str] = ",".join(LEVELS),
        share: bool = False, workers: Count = 2, max_tokens: Count = 48, turns: Count = 1,
        split: str = "train", reward: str = "verdict",
    ) -> None:  # fmt: skip
        names = levels.split(",") if isinstance(levels, str) else list(levels)
        names = [name.strip() for name in names]
        for name in names:
            if name not in LEVELS:
                raise unknown(f"level of {NAME}", name, LEVELS, f"there are {', '.join(LEVELS)}")
        if len(set(names)) < len(names):
            raise PgbenchError(f"levels of {NAME}: {', '.join(names)} names one twice; drop it")
        super().__init__(num_envs, turns, split, reward)
        self.levels, self.max_tokens = names, max_tokens
        self._judge = CodeJudge(workers, share)

    def size(self, split: str) -> None:
        """None: tasks are generated without end."""
        return None

    def task(self, index: int, split: str = "train") -> Task:
        """The task of that index: its level first, then the function."""
        level = ""

        def draw(rng: random.Random) -> tuple[str, tuple[str, Problem]]:
            nonlocal level
            level = level or self.levels[rng.randrange(len(self.levels))]
            problem = LEVELS[level](rng)
            text = f"# {problem[0]}\ndef f({problem[1]}):\n    return"
            return text, (text, problem)

        text, (_, argument, expression, inputs) = self.generated(index, split, draw)
        function = eval(f"lambda {argument}: {expression}")  # an expression of this module's own
        tests = "\n".join(f"assert f({value!r}) == {function(value)!r}" for value in inputs)
        return Task(
            f"{NAME}/{split}/{index}", plain_prompt(text), expression, level, f" {expression}",
            extra={"tests": tests, "function": "f", "head": text},
        )  # fmt: skip

    def verify(self, tasks: Sequence[Task], completions: Sequence[str]) -> list[Verdict]:
        """Run each function on the hidden inputs of its task."""
        return self._judge.verdicts(tasks, completions)

    def reply(self, task: Task, said: Sequence[Message], verdict: Verdict) -> Message | None:
        """What was wrong, and the cue to try again."""
        return again(super().reply(task, said, verdict), task)

    @property
    def version(self) -> str:
        """The generator's version, raised whenever a task changes, and the verifier's."""
        return f"{NAME} 0, {self._judge.version}"

    @property
    def sandbox(self) -> str:
        """What keeps the programs in, for the record."""
        return self._judge.sandbox

    def close_extras(self, **kwargs: Any) -> None:
        """End the verifier's processes."""
        self._judge.close()
