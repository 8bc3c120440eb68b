"""Mathematics problems from data sets: GSM8K, MATH, AIME and files of the same kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pgbench.settings.ranges import Count, Natural, Whole
from pgbench.verify.math import MathVerifier, check_gold
from pgbench.worlds.tasks import Message, Task, Verdict

from .dataset import BadRow, DatasetEnv, Item, find_field
from .judging import verdicts
from .rows import Row
from .worded import CALCULATIONS, STOP, again, boxed, completion, hints, prompt

PROBLEM = ("problem", "question", "prompt")
ANSWER = ("final_answer", "answer", "solution")
LEVEL = ("level", "difficulty")
MARKED = re.compile(r"\n?####(.*)\Z", re.DOTALL)  # GSM8K
TOLD = re.compile(r"\s*The answer is:(.*)\Z", re.DOTALL)  # MATH as PRM800K's split has it
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
CONTEST = re.compile(r"[0-9]{1,3}")
LONG = 200  # characters: a text without a marked answer that is longer is no answer itself


class Math(DatasetEnv):
    r"""Problems with one answer each, judged by the mathematics verifier.

    Observation: the problem, as `Question: ...`, `Answer:`. Action: the completion.
    Reward: 1 if the answer that the completion gives equals the problem's, otherwise 0. How an
    answer is found and compared: `pgbench.verify.math`, whose `mode` is strict or lenient.

    source: a file (.jsonl, .jsonl.gz, .json, .csv, .parquet), a folder with one named train and
    one named test, or a data set of the Hugging Face hub (`owner/name`); config: the hub's name of
    a configuration. A train and a test part are the splits; where there is one part, a problem
    belongs to the test split if the hash of its text says so (one in 8).
    test_source: where the test problems come from; those of `source` are then all train problems.
    With a test_source alone there is nothing to train on, only to evaluate.
    problem_field, answer_field: found by themselves if they are called problem, question or
    prompt, and final_answer, answer or solution. The answer is what follows the last `####` or
    `The answer is:`, what the last `\boxed{}` holds, or the field as it is.
    integers: refuse answers that are not whole numbers from 0 to 999, as those of AIME are.
    skip_bad: leave out rows without a problem or an answer that can be read; by default they are
    an error that names them. How many were left out is told once.
    shots: worked examples from the train split before the problem, which are then no train
    problems; shots_seed: which. chat: a conversation for a chat model. instruction: a text to go
    with every problem. max_tokens: what a completion may take by default. workers: processes of
    the verifier.

    The demonstration is the worked solution where there is one, otherwise the answer alone; the
    solution's steps are the hints. A problem that occurs twice counts once, in the test split if
    it is there.
    """

    def __init__(
        self, num_envs: int = 1, *, source: str = "", test_source: str = "", config: str = "",
        problem_field: str = "", answer_field: str = "", integers: bool = False,
        mode: str = "strict", skip_bad: bool = False, shots: Natural = 0, shots_seed: Whole = 0,
        chat: bool = False, instruction: str = "", max_tokens: Count = 512, workers: Count = 2,
        name: str = "math", turns: Count = 1, split: str = "train",
        reward: str = "verdict",
    ) -> None:  # fmt: skip
        super().__init__(num_envs, turns, split, reward)
        self.name, self.chat, self.instruction = name, chat, instruction
        self.max_tokens, self.stop = max_tokens, () if chat else STOP
        self.integers = integers
        self._fields = problem_field, answer_field
        self._verifier = MathVerifier(workers, mode=mode)
        self.load(source, test_source, self._item, config=config, skip_bad=skip_bad)
        taken = self.hold_out(shots, shots_seed) if shots else []
        self._examples = [(item.problem, item.demonstration) for item in taken]

    def _item(self, row: Row) -> Item:
        problem = _text(row, self._fields[0], PROBLEM, "problem")
        text = _text(row, self._fields[1], ANSWER, "answer")
        answer, work = read_answer(text)
        solution = row.fields.get("solution")
        if not work and isinstance(solution, str):
            work = read_answer(solution)[1]
        if self.integers:
            if not CONTEST.fullmatch(answer):
                raise BadRow(f"its answer '{answer[:40]}' is no whole number from 0 to 999")
            answer = str(int(answer))
        elif reason := _unreadable(answer):
            raise BadRow(f"its answer '{answer[:40]}' cannot be read: {reason}")
        level = find_field(row, "", LEVEL)
        end = f"The answer is \\boxed{{{answer}}}."
        shown = work if boxed(work) is not None else f"{work}\n{end}".strip()
        return Item(problem, answer, str(row.fields[level]) if level else "", shown, hints(work))

    def make_task(self, id: str, item: Item) -> Task:
        """The task of a problem."""
        asked = prompt(item.problem, self._examples, self.chat, self.instruction)
        shown = completion(item.demonstration, self.chat)
        return Task(id, asked, item.answer, item.level, shown, item.hints)

    def verify(self, tasks: Sequence[Task], completions: Sequence[str]) -> list[Verdict]:
        """Compare what each completion gives as its answer."""
        return verdicts(self._verifier, tasks, completions)

    def reply(self, task: Task, said: Sequence[Message], verdict: Verdict) -> Message | None:
        """What was wrong, and the cue to try again."""
        return again(super().reply(task, said, verdict), self.chat)

    @property
    def version(self) -> str:
        """The data's digest and the verifier."""
        return f"{self.name} {self.digest}, {self._verifier.version}"

    def close_extras(self, **kwargs: Any) -> None:
        """End the verifier's processes."""
        self._verifier.close()


@lru_cache(maxsize=1 << 16)  # the same data are often read several times
def _unreadable(answer: str) -> str | None:
    return check_gold(answer)


def _text(row: Row, asked: str, usual: Sequence[str], what: str) -> str:
    name = find_field(row, asked, usual)
    if name is None:
        raise BadRow(
            f"it has no {what}: its fields are {', '.join(row.fields)}; name one with "
            f"--set env.{what}_field=NAME"
        )
    value = row.fields[name]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRow(f"its {name} is {'empty' if value is None else 'no text'}")
    if not str(value).strip():
        raise BadRow(f"its {name} is empty")
    return str(value).strip()


def read_answer(text: str) -> tuple[str, str]:
    r"""The answer that a data set's text gives, and the worked solution before it, if any.

    Raises: BadRow where a long text marks no answer.
    """
    if marked := MARKED.search(text):
        work = CALCULATIONS.sub("", text[: marked.start()]).strip()
        return THOUSANDS.sub("", marked[1].strip()), work
    if told := TOLD.search(text):
        return told[1].strip(), text[: told.start()].strip()
    if (inside := boxed(text)) is not None:
        return inside.strip(), text
    if len(text) > LONG:
        raise BadRow(r"its answer marks no result (####, The answer is:, \boxed{})")
    return text, ""
