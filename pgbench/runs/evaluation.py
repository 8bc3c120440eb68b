"""Evaluation: whole episodes of a fixed policy, in parallel, on seeds that training never sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgbench.catalogue.capabilities import make
from pgbench.catalogue.registry import EnvSpec, find_env, load
from pgbench.errors import Breach, PgbenchError
from pgbench.records.details import checked
from pgbench.records.schema import Detail
from pgbench.support.seeding import eval_seeds
from pgbench.worlds import checks

LANES = 32  # episodes in parallel; more would mostly step environments that have finished
MOST_STEPS = 100_000  # of an episode where the environment sets no limit (`max_episode_steps`)


@dataclass(frozen=True)
class Evaluation:
    """Score and length of every episode, in the order of the evaluation seeds.

    The score is the undiscounted return, unless the environment has an evaluator of its own.
    `cut` episodes had not ended when they had as many steps as an episode may have; each counts
    with its return up to there. `details` are what else an evaluator measured, by name: numbers,
    rows of them, tables of them (pgbench/records/details.py).
    """

    returns: list[float]
    lengths: list[int]
    cut: int = 0
    details: Mapping[str, Detail] = field(default_factory=dict)

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
    has an environment of its own, so short ones are not over-represented. An episode that does not
    end is cut off after the environment's `max_episode_steps`, or `MOST_STEPS` if it has none.

    Raises: Breach for actions, observations or rewards of a wrong kind; Diverged for such as are
    not finite.
    """
    spec = find_env(env) if isinstance(env, str) else env
    seeds = eval_seeds(spec.name, episodes, seed, purpose)
    if spec.evaluator:
        found = load(spec.evaluator, spec.extra)(policy, spec, seeds, env_kwargs or {})
        return _judged(found, spec)
    if "VectorReward" in spec.capabilities:
        raise PgbenchError(
            f"{spec.id} rewards by vectors, of which a score is to be made first: its catalogue "
            "entry names no evaluator that does (EnvSpec.evaluator)"
        )
    returns: list[float] = []
    lengths = []
    cut = 0
    whose = type(getattr(policy, "algorithm", policy)).__name__
    for start in range(0, episodes, LANES):
        batch = seeds[start : start + LANES]
        vector = make(spec, num_envs=len(batch), **(env_kwargs or {}))
        try:
            total, length = np.zeros(len(batch)), np.zeros(len(batch), int)
            running = np.ones(len(batch), bool)
            limit = step_limit(vector)
            obs = checks.reset(vector, batch)
            while running.any() and length.max() < limit:
                actions = checks.actions_for(
                    vector.single_action_space, len(batch), policy(obs), whose
                )
                step = checks.step(vector, actions, successors=False)
                obs = step.obs
                total[running] += step.reward[running]
                length += running
                running &= ~step.done
            cut += int(running.sum())
        finally:
            vector.close()
        returns += total.tolist()
        lengths += length.tolist()
    return Evaluation(returns, lengths, cut)


def _judged(found: Any, spec: EnvSpec) -> Evaluation:
    """What an environment's own evaluator returned: scores, lengths, and details if it has any."""
    if not isinstance(found, tuple) or len(found) not in (2, 3):
        raise Breach(
            f"the evaluator of {spec.id} returns (scores, lengths) or (scores, lengths, details), "
            f"not {type(found).__name__}"
        )
    scores, lengths, details = (*found, {})[:3]
    scores, lengths = [float(score) for score in scores], [int(length) for length in lengths]
    if not scores or len(scores) != len(lengths):
        raise Breach(
            f"the evaluator of {spec.id} returned {len(scores)} scores and {len(lengths)} lengths; "
            "give one of each an episode"
        )
    if not np.isfinite(scores).all():  # whoever asked says so; of such a policy nothing else counts
        details = {}
    return Evaluation(scores, lengths, details=checked(details, f"the evaluator of {spec.id}"))


def step_limit(vector: Any) -> int:
    """Steps that an episode has at most: the environment's own limit, or `MOST_STEPS`."""
    for owner in (vector, getattr(vector, "spec", None)):
        limit = getattr(owner, "max_episode_steps", None)
        if limit:
            return int(limit)
    return MOST_STEPS
