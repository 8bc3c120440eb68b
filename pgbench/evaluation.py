"""Evaluation: whole episodes of a fixed policy, in parallel, on seeds that training never sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgbench.interface import make
from pgbench.registry import EnvSpec, find_env, load
from pgbench.seeding import eval_seeds

LANES = 32  # episodes in parallel; more would mostly step environments that have finished


@dataclass(frozen=True)
class Evaluation:
    """Score and length of every episode, in the order of the evaluation seeds.

    The score is the undiscounted return, unless the environment has an evaluator of its own.
    """

    returns: list[float]
    lengths: list[int]

    @property
    def mean(self) -> float:
        """Mean score per episode."""
        return float(np.mean(self.returns))


def evaluate(
    policy: Callable[[NDArray[Any]], NDArray[Any]],
    env: str | EnvSpec,
    episodes: int = 20,
    seed: int = 0,
    env_kwargs: dict[str, Any] | None = None,
    purpose: str = "board",
) -> Evaluation:
    """Run `policy` (raw observations (n, d) -> actions (n, a)) for `episodes` whole episodes.

    The same environment, episodes and seed give the same episodes for every policy. Each episode
    has an environment of its own, so short ones are not over-represented.
    """
    spec = find_env(env) if isinstance(env, str) else env
    seeds = eval_seeds(spec.name, episodes, seed, purpose)
    if spec.evaluator:
        scores, lengths = load(spec.evaluator, spec.extra)(policy, spec, seeds, env_kwargs or {})
        return Evaluation(scores, lengths)
    returns: list[float] = []
    lengths = []
    for start in range(0, episodes, LANES):
        batch = seeds[start : start + LANES]
        vector = make(spec, num_envs=len(batch), **(env_kwargs or {}))
        try:
            total, length = np.zeros(len(batch)), np.zeros(len(batch), int)
            running = np.ones(len(batch), bool)
            obs, _ = vector.reset(seed=batch)
            while running.any():
                obs, reward, terminated, truncated, _ = vector.step(policy(obs))
                total[running] += reward[running]
                length += running
                running &= ~(terminated | truncated)
        finally:
            vector.close()
        returns += total.tolist()
        lengths += length.tolist()
    return Evaluation(returns, lengths)
