"""Tasks of reasoning-gym (github.com/open-thought/reasoning-gym), and GSM-Symbolic among them."""

from __future__ import annotations

import dataclasses
import inspect
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.settings.config import digest
from pgbench.settings.ranges import Count, Natural, Whole
from pgbench.support.names import unknown
from pgbench.verify.math import MathVerifier
from pgbench.worlds.tasks import Message, Task, Verdict
from pgbench.worlds.text_env import TRIES, TextEnv

from .extra import package, version
from .judging import verdicts
from .worded import STOP, Example, again, completion, hints, prompt, stated

GSM = "gsm_symbolic"
SEED = 0  # of reasoning-gym's data sets
KEPT = 4096  # tasks remembered: an evaluation asks for the same ones again
LONGER = 20  # an answer so many times as long as the data set's own is not scored
SHORT = 1000  # characters that every answer may have
# Data sets whose scoring hands the answer to Python's eval, directly or through sympy: a completion
# could then run code. An answer of sums and products of small whole numbers cannot. (puzzle24 would
# need it, too, but its scoring neither compares the numbers used with those given nor sees halves.)
EVALUATES = re.compile(r"\b(?:eval|exec|parse_expr|sympify)\(answer\b")
ARITHMETIC = {"countdown"}
HARMLESS = re.compile(r"(?!.*(?:\*\s*\*|/\s*/|\d{7}))[\d+\-*/()\s]{1,200}", re.ASCII | re.DOTALL)


class Reasoning(TextEnv):
    """Generated problems of reasoning-gym: arithmetic, algebra, logic, puzzles.

    Observation: the problem, as `Question: ...`, `Answer:`. Action: the completion.
    Reward: 1 if the stated answer is right, otherwise 0. What counts as stated is the inside of
    the last `<answer></answer>`, else of the last `\\boxed{}`, else the rest of the line after the
    last `answer is`, else the whole completion.
    What is right reasoning-gym's own `score_answer` says (a score of 1). gsm-symbolic is judged by
    the mathematics verifier instead, as gsm8k is, so that the two compare: reasoning-gym only
    takes the very same text (`18`, not `18.0` or `$18`).

    dataset: reasoning-gym's name of the data set, such as `chain_sum`.
    difficulty: level from 0 of every attribute of the data set's curriculum; the data set's
    defaults without it. config: the data set's own settings, such as `{"max_terms": 3}`.
    items: how many items of the data set there are to draw from.
    shaped: reward reasoning-gym's partial score in [0, 1] instead; `correct` stays what it was.
    shots: worked examples from the train split before the problem; shots_seed: which.
    chat: a conversation for a chat model. instruction: a text to go with every problem.
    max_tokens: what a completion may take by default.

    A problem belongs to the test split if the hash of its text says so (one in 8). The
    demonstration is the data set's answer, for gsm-symbolic a worked solution; its steps are the
    hints there. Answers are judged with care: where reasoning-gym would evaluate them as Python
    code, only whole numbers with + - * / and brackets are scored (countdown), and other such data
    sets are refused.
    """

    def __init__(
        self, num_envs: int = 1, *, dataset: str = "", difficulty: Natural | None = None,
        config: Mapping[str, Any] | None = None, items: Count = 1_000_000, shaped: bool = False,
        shots: Natural = 0, shots_seed: Whole = 0, chat: bool = False, instruction: str = "",
        max_tokens: Count = 256, turns: Count = 1, split: str = "train",
        reward: str = "verdict",
    ) -> None:  # fmt: skip
        super().__init__(num_envs, turns, split, reward)
        if items < 1:
            raise PgbenchError(f"items must be at least 1, not {items}")
        self.dataset = dataset.replace("-", "_")
        self.items, self.shaped, self.chat, self.instruction = items, shaped, chat, instruction
        self.max_tokens, self.stop = max_tokens, () if chat else STOP
        settings = {"size": items, "seed": SEED, **_settings(self.dataset, difficulty, config)}
        self._data, self._digest = _create(self.dataset, settings), digest(settings)[:8]
        self._math = MathVerifier() if self.dataset == GSM else None
        self._known: dict[tuple[str, int], Task] = {}
        self._examples: list[Example] = []
        for k in range(shots):
            question, entry = self._problem(f"example {shots_seed}.{k}", "train")
            self._examples.append((question, self._demonstration(entry)))

    def size(self, split: str) -> None:
        """None: tasks are generated without end."""
        return None

    def task(self, index: int, split: str = "train") -> Task:
        """The task of that index; the problem is an item of the data set, drawn by the index."""
        if (known := self._known.get((split, index))) is not None:
            return known
        question, entry = self._problem(index, split)
        work = _worked(entry)
        task = Task(
            f"{self.dataset.replace('_', '-')}/{split}/{index}",
            prompt(question, self._examples, self.chat, self.instruction),
            entry["answer"], self.dataset,
            completion(self._demonstration(entry), self.chat), hints(work) if work else (),
            {"entry": entry},
        )  # fmt: skip
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[split, index] = task
        return task

    def _problem(self, index: Any, split: str) -> tuple[str, dict[str, Any]]:
        taken = {question for question, _ in self._examples}

        def draw(rng: random.Random) -> tuple[str, tuple[str, dict[str, Any]]]:
            for _ in range(TRIES):
                try:
                    entry = self._data[rng.randrange(self.items)]
                except (ValueError, RuntimeError, IndexError):
                    continue  # a few data sets have items that cannot be made
                if (question := entry["question"].strip()) not in taken:
                    return question, (question, entry)
            raise PgbenchError(f"{self.dataset} with {self.items} items makes no new problem")

        found: tuple[str, dict[str, Any]] = self.generated(index, split, draw)
        return found

    def _demonstration(self, entry: Mapping[str, Any]) -> str:
        work = _worked(entry)
        return f"{work}\nThe answer is \\boxed{{{entry['answer']}}}." if work else entry["answer"]

    def verify(self, tasks: Sequence[Task], completions: Sequence[str]) -> list[Verdict]:
        """Score what each completion states as its answer."""
        if self._math is not None:
            return verdicts(self._math, tasks, completions)
        return [self._score(t, c) for t, c in zip(tasks, completions, strict=True)]

    def _score(self, task: Task, said: str) -> Verdict:
        answer, score = stated(said), 0.0
        if not answer:
            how = "empty"
        elif len(answer) > max(SHORT, LONGER * len(task.answer)):
            how = "too long"
        elif self.dataset in ARITHMETIC and not HARMLESS.fullmatch(answer):
            how = "malformed"
        else:
            try:
                score = float(self._data.score_answer(answer, task.extra["entry"]))
                how = "right" if score >= 1 else "wrong"
            except Exception:  # what a data set raises for an answer that it cannot read
                how = "malformed"
        correct = score >= 1
        formed = how in ("right", "wrong")
        return Verdict(
            min(max(score, 0.0), 1.0) if self.shaped else float(correct), correct,
            {"accuracy": float(correct), "format": float(formed)}, how, answer,
        )  # fmt: skip

    def reply(self, task: Task, said: Sequence[Message], verdict: Verdict) -> Message | None:
        """What was wrong, and the cue to try again."""
        return again(super().reply(task, said, verdict), self.chat)

    @property
    def version(self) -> str:
        """reasoning-gym's version, the data set and its settings, the verifier."""
        judge = f", {self._math.version}" if self._math else ""
        return f"{version('reasoning-gym')} {self.dataset} {self._digest}{judge}"

    def close_extras(self, **kwargs: Any) -> None:
        """End the verifier's processes."""
        if self._math is not None:
            self._math.close()


def _worked(entry: Mapping[str, Any]) -> str:
    """The steps of GSM-Symbolic's solution, without the line that only repeats the answer."""
    return str(entry["metadata"].get("answer_cot", "")).rpartition("\n####")[0].strip()


def _settings(name: str, difficulty: int | None, config: Any) -> dict[str, Any]:
    """Settings of the data set, beginning with those of a level of its curriculum."""
    if config is not None and not isinstance(config, Mapping):
        raise PgbenchError(f"config takes a table such as {{'max_terms': 3}}, not {config!r}")
    factory = package("reasoning_gym.factory")
    if not name:
        raise PgbenchError("which data set of reasoning-gym? Give --set env.dataset=NAME")
    if name not in factory.DATASETS:
        raise unknown("data set of reasoning-gym", name, factory.DATASETS, "see its gallery")
    known = {field.name for field in dataclasses.fields(factory.DATASETS[name][1])}
    for key in config or {}:
        if key not in known - {"seed", "size"}:
            raise unknown(f"setting of {name}", key, known, f"it has {', '.join(sorted(known))}")
    if difficulty is None:
        return dict(config or {})
    try:
        curriculum = factory.create_curriculum(name)
        for attribute in curriculum.attributes:
            curriculum.set_attr_level(attribute, difficulty)
        level = vars(curriculum.generate_configuration())
    except (ValueError, AssertionError, TypeError) as error:
        raise PgbenchError(f"{name} has no difficulty {difficulty}: {error}") from error
    return {k: v for k, v in level.items() if k not in ("seed", "size")} | dict(config or {})


def _create(name: str, settings: dict[str, Any]) -> Any:
    """The data set, if its answers can be scored, and safely."""
    factory = package("reasoning_gym.factory")
    scoring = inspect.getsource(factory.DATASETS[name][0].score_answer)
    if EVALUATES.search(scoring) and name not in ARITHMETIC:
        raise PgbenchError(
            f"{name} is refused: reasoning-gym scores it by evaluating the completion as code; "
            "take another data set"
        )
    try:
        data = factory.create_dataset(name, **settings)
        # A few data sets print what they reject; standard output is not theirs.
        vars(inspect.getmodule(type(data)) or factory)["print"] = lambda *words, **options: None
        entry = data[0]
        right = entry["answer"] is not None and data.score_answer(entry["answer"], entry) >= 1
    except (AssertionError, ValueError, TypeError, LookupError) as error:
        hint = "; give fewer with --set env.items=NUMBER" if "size" in str(error) else ""
        raise PgbenchError(f"data set {name} of reasoning-gym: {error}{hint}") from error
    if not right:
        raise PgbenchError(
            f"{name} is refused: reasoning-gym does not score its own answer as right; "
            "take another data set"
        )
    return data
