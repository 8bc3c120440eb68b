"""A language model as evaluation and users see it: prompts in, completions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pgbench.lm.engines import Sampling
from pgbench.worlds.tasks import Task

from .rollout import Rollout, Row, respond, retried


class TextPolicy:
    """Completions by an algorithm's model; drawn in training's way unless told otherwise."""

    deterministic = False  # evaluation draws responses, with fixed seeds
    moments = None

    def __init__(self, algorithm: Any) -> None:
        self.algorithm = algorithm
        self.judged: list[Row] = []  # the responses of the last `answer`
        self.unread = 0  # tasks of the last `answer` that do not fit into the model's context

    @property
    def env(self) -> Any:
        """The environment whose tasks, limits and verifier it answers to."""
        return self.algorithm.setup.env

    def see(self, obs: Any) -> Any:
        """Prompts are seen as they are."""
        return obs

    def __call__(self, obs: Sequence[str], explore: bool = False) -> list[str]:
        """A completion for each prompt; the most likely one unless `explore`."""
        texts: list[str] = self.algorithm.act(obs, explore)
        return texts

    def answer(
        self, tasks: Sequence[Task], count: int, seed: int, temperature: float | None = None,
        env: Any = None,
    ) -> Rollout:  # fmt: skip
        """`count` judged responses to each task, at training's temperature unless given.

        The tasks are those of the policy's own environment, or of `env`. One whose prompt the
        model cannot read is answered by nothing, which is wrong; `unread` counts them.
        """
        algorithm, env = self.algorithm, env or self.env
        limit = algorithm.config.max_tokens or env.max_tokens
        sampling: Sampling = replace(algorithm.sampling(), max_tokens=limit, stop=env.stop)
        if temperature is not None:
            sampling = replace(sampling, temperature=temperature, top_p=1.0)

        def once() -> Rollout:
            return respond(algorithm.model, algorithm.engine, env, tasks, count, sampling, seed)

        rollout = retried(once, algorithm.restart_engine)
        self.judged, self.unread = rollout.rows, rollout.unread
        return rollout

    def save(self, folder: str | Path) -> None:
        """Write a Hugging Face directory with the model as it is now."""
        self.algorithm.model.save(Path(folder))
