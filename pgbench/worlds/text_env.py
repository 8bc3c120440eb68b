"""Text environments: prompts in, completions out, verified rewards; one base for the family.

An environment says which tasks there are and how completions are judged. This base makes a
`gymnasium.vector.VectorEnv` of that (prompts as observations, completions as actions), gives loops
direct access to tasks and verdicts, and continues a conversation with feedback where `turns` > 1.

Train and test tasks are disjoint by construction where an environment generates them: a prompt
belongs to the test split if and only if the hash of its text says so (`split_of`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from pgbench.errors import PgbenchError
from pgbench.settings.ranges import Count
from pgbench.worlds.batch_env import each_seed, reset_mask
from pgbench.worlds.copying import Copied
from pgbench.worlds.tasks import REWARDS, SPLITS, Message, Task, Verdict

CHARSET = frozenset(map(chr, [9, 10, *range(32, 127)]))
TEST_SHARE = 8  # one generated prompt in so many is a test prompt
TRIES = 10_000  # draws until a generator's prompt falls into the split asked for
RETRY = "That is not correct. Try again."


def split_of(text: str) -> str:
    """`train` or `test`, by the hash of a prompt's text."""
    return "test" if hashlib.sha256(text.encode()).digest()[0] % TEST_SHARE == 0 else "train"


class AnyText(spaces.Text):
    """Texts of any characters; `charset` is what samples are made of."""

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text of a length within the bounds."""
        return isinstance(x, str) and self.min_length <= len(x) <= self.max_length


class TextEnv(Copied, VectorEnv[Any, Any, Any]):
    """Tasks as a vector environment; one episode is one task, in up to `turns` completions.

    Observations: tuple of n prompts (the conversation as one text). Actions: n completions.
    Reward: the verdict's, in [0, 1] unless the environment says otherwise; in a conversation that
    of the last turn, the turns before it give 0.

    Finished lanes go on with a new task in the same step; `set_autoreset_mode` chooses another
    mode of Gymnasium's. With `reward` "random" loops train on a fair coin in place of the reward, a
    control for what verdicts teach; `verify`, `step` and evaluations stay the verifier's.
    A lane that was never seeded has the same tasks in every process.
    `render` with `render_mode` "ansi" gives the conversations; there are no pictures.
    """

    # What a subclass may set.
    stop: tuple[str, ...] = ()  # a completion ends before the first of these texts
    max_tokens: int = 256  # what a completion may take by default
    chat: bool = False  # whether the prompt is put into the model's chat template, if it has one

    def __init__(
        self, num_envs: int = 1, turns: Count = 1, split: str = "train", reward: str = "verdict"
    ) -> None:
        if turns < 1:
            raise PgbenchError(f"turns must be at least 1, not {turns}")
        if split not in SPLITS:
            raise PgbenchError(f"split takes train or test, not '{split}'")
        if reward not in REWARDS:
            raise PgbenchError(f"reward takes {' or '.join(REWARDS)}, not '{reward}'")
        self.num_envs, self.turns, self.split, self.reward = num_envs, turns, split, reward
        if num_envs < 1:
            raise PgbenchError(f"num_envs must be at least 1, not {num_envs}")
        self.metadata = {
            "render_modes": ["ansi"],
            "render_fps": 1,
            "autoreset_mode": AutoresetMode.SAME_STEP,
        }
        self.single_observation_space = AnyText(10**6, min_length=0, charset=CHARSET)
        self.single_action_space = AnyText(10**5, min_length=0, charset=CHARSET)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.rngs = [random.Random(lane) for lane in range(num_envs)]
        self.tasks: list[Task] = []
        self.conversations: list[tuple[Message, ...]] = []
        self._over = np.zeros(num_envs, bool)  # lanes that wait for their reset

    # What a subclass implements.

    def size(self, split: str) -> int | None:
        """Number of tasks of a split; None where they are generated without end."""
        raise NotImplementedError

    def task(self, index: int, split: str = "train") -> Task:
        """The task of that index, the same at every call; any whole number if `size` is None."""
        raise NotImplementedError

    def verify(self, tasks: Sequence[Task], completions: Sequence[str]) -> list[Verdict]:
        """Judge a completion for each task; may be called from another thread."""
        raise NotImplementedError

    @property
    def version(self) -> str:
        """Everything that verdicts depend on: the verifier, its packages, the data's digest."""
        return ""

    # What the base does with it.

    def sample(self, count: int, rng: random.Random, split: str = "train") -> list[Task]:
        """`count` tasks of a split, drawn uniformly; without repetition where that is possible."""
        size = self.size(split)
        if size is None:
            return [self.task(rng.getrandbits(48), split) for _ in range(count)]
        if count <= size:
            return [self.task(i, split) for i in rng.sample(range(size), count)]
        return [self.task(rng.randrange(size), split) for _ in range(count)]

    def reply(self, task: Task, said: Sequence[Message], verdict: Verdict) -> Message | None:
        """What the environment answers after `said`; None ends the conversation."""
        turns = sum(message.role == "assistant" for message in said)
        if verdict.correct or turns >= self.turns:
            return None
        return Message("user", verdict.feedback or RETRY)

    def probe(self) -> list[str]:
        """Lines for the environment's fingerprint: tasks, verdicts, versions."""
        lines = [self.version]
        for split in SPLITS:
            size = self.size(split)
            tasks = [self.task(i, split) for i in range(8 if size is None else min(8, size))]
            for answer in (lambda t: t.demonstration, lambda t: "no answer"):
                verdicts = self.verify(tasks, [answer(task) for task in tasks])
                lines += [
                    f"{task.id} {task.text!r} {verdict.reward}"
                    for task, verdict in zip(tasks, verdicts, strict=True)
                ]
        return lines

    def set_autoreset_mode(self, mode: AutoresetMode | str) -> None:
        """Choose when lanes whose conversations end start anew, as Gymnasium defines it."""
        self.metadata["autoreset_mode"] = AutoresetMode(mode)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        """Prompts of new tasks; `seed` and `reset_mask` as for every vector environment.

        Raises: Misuse for other options and for what is no seed.
        """
        mask = reset_mask(options, self.num_envs)
        if not mask.all() and not self.tasks:
            raise ResetNeeded("the first reset() must be of all environments")
        for lane, value in enumerate(each_seed(seed, self.num_envs)):
            if value is not None and mask[lane]:
                self.rngs[lane].seed(value)
        if not self.tasks:
            self.tasks = [self.sample(1, rng, self.split)[0] for rng in self.rngs]
            self.conversations = [task.messages for task in self.tasks]
            self._over[:] = False
        else:
            for lane in mask.nonzero()[0].tolist():
                self._begin(lane)
        return self._texts(), {}

    def _begin(self, lane: int) -> None:
        self.tasks[lane] = self.sample(1, self.rngs[lane], self.split)[0]
        self.conversations[lane] = self.tasks[lane].messages
        self._over[lane] = False

    def step(self, actions: Sequence[str]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Judge a completion in every lane; finished lanes go on with a new task.

        Raises: PgbenchError before the first `reset`, for another number of completions, and for
            what is no text; ResetNeeded after an end where lanes are not reset by themselves.
        """
        if not self.tasks:
            raise PgbenchError("there is no task to answer yet: call reset before step")
        said = self._completions(actions)
        mode = self.metadata["autoreset_mode"]
        waiting = self._over.nonzero()[0].tolist()
        if mode is AutoresetMode.DISABLED and waiting:
            raise ResetNeeded(f"the episode is over in environments {waiting}: call reset()")
        answering = [lane for lane in range(self.num_envs) if lane not in waiting]
        verdicts = self.verify([self.tasks[i] for i in answering], [said[i] for i in answering])
        reward, done = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        correct, judged = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        final = np.full(self.num_envs, None, dtype=object)
        for lane, verdict in zip(answering, verdicts, strict=True):
            correct[lane], judged[lane] = verdict.correct, True
            talk = (*self.conversations[lane], Message("assistant", said[lane]))
            answer = self.reply(self.tasks[lane], talk, verdict)
            self.conversations[lane] = talk if answer is None else (*talk, answer)
            if answer is not None:
                continue
            reward[lane], done[lane] = verdict.reward, True
            if mode is AutoresetMode.SAME_STEP:
                final[lane] = self._text(lane)
                self._begin(lane)
        for lane in waiting:
            self._begin(lane)
        info: dict[str, Any] = {"correct": correct, "_correct": judged} if answering else {}
        if mode is not AutoresetMode.SAME_STEP:
            self._over = done.copy()
        elif done.any():
            last = {"correct": correct & done, "_correct": done.copy()}
            info |= {"final_obs": final, "_final_obs": done.copy()}
            info |= {"final_info": last, "_final_info": done.copy()}
        return self._texts(), reward, done, np.zeros(self.num_envs, bool), info

    def _completions(self, actions: Sequence[str]) -> list[str]:
        given = [actions] if isinstance(actions, str) else list(actions)
        if len(given) != self.num_envs:
            raise PgbenchError(f"{self.num_envs} completions expected, {len(given)} given")
        for text in given:
            if not isinstance(text, str):
                raise PgbenchError(f"a completion is a text, not {type(text).__name__}")
        return [str(text) for text in given]

    def render(self) -> tuple[str, ...] | None:
        """The conversation of every lane, with "ansi"; None without a render mode."""
        return None if self.render_mode is None else self._texts()

    def _text(self, lane: int) -> str:
        return "\n".join(message.content for message in self.conversations[lane])

    def _texts(self) -> tuple[str, ...]:
        return tuple(self._text(lane) for lane in range(self.num_envs))

    def state_dict(self) -> dict[str, Any]:
        """Generators and open conversations."""
        return {
            "rngs": [_pack(rng) for rng in self.rngs],
            "tasks": [self._open(lane) for lane in range(self.num_envs)] if self.tasks else [],
            **({"over": self._over.tolist()} if self._over.any() else {}),
        }

    def _open(self, lane: int) -> dict[str, Any]:
        said = self.conversations[lane][len(self.tasks[lane].messages) :]
        return {"id": self.tasks[lane].id, "said": [(m.role, m.content) for m in said]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for rng, value in zip(self.rngs, saved["rngs"], strict=True):
            version, words, gauss = value
            rng.setstate((version, tuple(words), gauss))
        self._over = np.array(saved.get("over", [False] * self.num_envs))
        self.tasks = [self.find(entry["id"]) for entry in saved["tasks"]]
        self.conversations = [
            (*task.messages, *(Message(*words) for words in entry["said"]))
            for task, entry in zip(self.tasks, saved["tasks"], strict=True)
        ]

    def find(self, id: str) -> Task:
        """The task of an id, which ends in `<split>/<index>` unless a subclass has other ids."""
        *_, split, index = id.split("/")
        return self.task(int(index), split)

    def generated(self, index: int, split: str, draw: Any) -> Any:
        """The first thing that `draw(rng)` gives whose prompt text belongs to `split`.

        `draw` returns a pair (text, thing); `rng` is seeded by the index and the split alone.
        """
        rng = random.Random(f"{split}/{index}")
        for _ in range(TRIES):
            text, thing = draw(rng)
            if split_of(text) == split:
                return thing
        raise PgbenchError(
            f"no {split} task in {TRIES} draws: too few different prompts for two splits; "
            "choose settings with more of them"
        )


def _pack(rng: random.Random) -> list[Any]:
    version, words, gauss = rng.getstate()
    return [version, list(words), gauss]
