"""own-world: one line on what it is, and where it comes from."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pgbench
from pgbench.settings.ranges import Count
from pgbench.worlds.tasks import Task, Verdict, plain_prompt
from pgbench.worlds.text_env import TextEnv

LETTERS = "abcdefghij"


# 1. Which tasks there are and what is right; the vector environment and its seeds are the base
#    class's. `pgbench explain ./own_world.py` shows this docstring.
class OwnWorld(TextEnv):
    """Letters to be put in order.

    Observation: a prompt such as `sort cab=`. Action: the completion, `abc`.
    Reward: 1 if the completion, without white space around it, is the answer, otherwise 0.

    letters: how many there are.
    Tasks are generated without end; index and split alone determine one. A prompt belongs to the
    test split if the hash of its text says so (one in 8).
    """

    # 2. Keywords are settings (`--set env.letters=6`), with their ranges as types.
    def __init__(
        self, num_envs: int = 1, *, letters: Count = 3, turns: Count = 1, split: str = "train"
    ) -> None:
        super().__init__(num_envs, turns, split)
        self.letters, self.max_tokens = letters, letters + 2  # what a completion may take

    # 3. The tasks: a number of them, or None where they are generated.
    def size(self, split: str) -> None:
        """None: tasks are generated without end."""

    def task(self, index: int, split: str = "train") -> Task:
        """The task of that index, the same at every call."""

        def draw(rng: random.Random) -> tuple[str, str]:
            word = "".join(rng.choice(LETTERS) for _ in range(self.letters))
            return f"sort {word}=", word

        word: str = self.generated(index, split, draw)
        answer = "".join(sorted(word))
        return Task(
            f"own-world/{split}/{index}", plain_prompt(f"sort {word}="), answer,
            demonstration=answer,  # what a nano model learns from, before it is trained
        )  # fmt: skip

    # 4. The judge. `how` is a short word for why; `parts` are the rewards that a reward is made of.
    def verify(self, tasks: Sequence[Task], completions: Sequence[str]) -> list[Verdict]:
        """Compare texts."""
        return [self._judge(t.answer, c.strip()) for t, c in zip(tasks, completions, strict=True)]

    def _judge(self, answer: str, said: str) -> Verdict:
        right = said == answer
        how = "right" if right else "wrong" if sorted(said) == list(answer) else "other letters"
        return Verdict(float(right), right, {"accuracy": float(right)}, how, said)

    # 5. Raise it with every change of a task or a verdict; it is part of the fingerprint.
    @property
    def version(self) -> str:
        """Of the tasks and the judge, and the settings that they depend on."""
        return f"own-world 0 letters={self.letters}"


# 6. One registration a file. A budget counts steps, as the loop of this family does.
pgbench.register_env(
    "own-world",
    OwnWorld,
    family="text",
    summary="what it is, in one line",
    underlying="own",
    metrics=[pgbench.Metric("pass@1", "max", "share of held-out tasks")],
    budgets={"smoke": 5, "small": 200},
    budget_unit="steps",
    capabilities={"Text", "Groups", "Verifier", "Demonstrations"},
    evaluator="pgbench.lm.evaluation:evaluate",
    episodes=64,
    curve_episodes=16,
)
