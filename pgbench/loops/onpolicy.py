"""The on-policy loop: collect a rollout with a fixed policy, learn from it, throw it away.

The observation normaliser is frozen within an iteration (it learns from a rollout after the
update), so each rollout comes from one well-defined policy and is seen by the update exactly as
it was seen by the policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Algorithm
from pgbench.learning.batches import Rollout
from pgbench.learning.ops.normalize import CLIP, RunningMoments
from pgbench.learning.ops.returns import discounted_sum
from pgbench.learning.policy import Policy
from pgbench.loops.base import Episodes, Loop, Phase, lane_seeds
from pgbench.settings.ranges import Count, Share
from pgbench.worlds import checks

Array = NDArray[Any]


class OnPolicy(Loop):
    """Fixed policies collect whole iterations of `horizon` steps."""

    needs: ClassVar[dict[str, Any]] = {
        "horizon": Count,
        "num_envs": Count,
        "gamma": Share,
        "normalize_obs": bool,
        "normalize_reward": bool,
    }
    compile_from: ClassVar[int] = 100_000
    threads: ClassVar[int] = 1

    def __init__(self, algorithm: Algorithm, env: Any, budget: int, seed: int) -> None:
        c = algorithm.config
        self.horizon = c.horizon
        self.budget = self.steps_of(c, budget)
        self.algorithm, self.env = algorithm, env
        self.steps = 0
        d = env.single_observation_space.shape[0]
        self.moments = RunningMoments(d, algorithm.device) if c.normalize_obs else None
        self.scale = RunningMoments(1, algorithm.device) if c.normalize_reward else None
        self.discounted = torch.zeros(c.num_envs, device=algorithm.device)
        self.policy = Policy(algorithm, env.single_action_space, self.moments)
        self.episodes = Episodes(c.num_envs)
        self.pending: Rollout | None = None
        self.raw_obs: Tensor | None = None
        self.obs = checks.reset(env, lane_seeds(seed, c.num_envs))

    @staticmethod
    def steps_of(config: Any, budget: int) -> int:
        """Environment steps of a run with that budget: whole iterations below it.

        So the budget is never exceeded, and shapes stay static.

        Raises: PgbenchError if there is none, or if environments cannot share an iteration.
        """
        horizon, num_envs = config.horizon, config.num_envs
        if horizon % num_envs:
            raise PgbenchError(
                f"horizon {horizon} is not a multiple of num_envs {num_envs}; change one with --set"
            )
        if budget < horizon:
            raise PgbenchError(
                f"a budget of {budget} is below one iteration of {horizon} environment steps; "
                "raise --budget or lower --set horizon"
            )
        steps: int = budget - budget % horizon
        return steps

    @staticmethod
    def advice(config: Any, budget: int) -> str:
        """Why a run ends before its budget, and which horizon would spend it all."""
        sizes = range(config.horizon, 1, -1)
        fits = [n for n in sizes if not budget % n and not n % config.num_envs]
        advice = f"--set horizon={fits[0]} spends it all" if fits else "lower --set horizon"
        return f"in whole iterations of {config.horizon:,}; {advice}"

    def phases(self) -> Iterator[Phase]:
        """Alternate collection and update until the budget is spent."""
        while self.pending is not None or self.steps < self.budget:
            if self.pending is None:
                self.pending = self.collect()
                yield Phase("collect")
            metrics = checks.learn(self.algorithm, self.pending)
            self.learned()
            yield Phase("update", metrics)

    def learned(self) -> None:
        """The rollout has been learned from: the normaliser may see it now."""
        if self.moments is not None and self.raw_obs is not None:
            self.moments.update(self.raw_obs)
        self.pending = self.raw_obs = None

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Step the environments for one horizon with the present policy."""
        n = self.algorithm.config.num_envs
        length = self.horizon // n
        d = self.obs.shape[1]
        raw = np.empty((length, n, d), np.float32)
        raw_next = np.empty((length, n, d), np.float32)
        reward = np.empty((length, n), np.float32)
        terminated, truncated = np.empty((2, length, n), bool)
        actions: list[Tensor] = []
        for t in range(length):
            raw[t] = self.obs
            action = self.policy.act(self.policy.see(self.obs))
            actions.append(action)
            step = checks.step(self.env, self.policy.to_env(action))
            reward[t], terminated[t], truncated[t] = step.reward, step.terminated, step.truncated
            raw_next[t] = step.next_obs
            self.episodes.add(reward[t], step.done)
            self.obs = step.obs
        return self.rollout(raw, torch.stack(actions), reward, raw_next, terminated, truncated)

    def rollout(
        self, raw: Array, action: Tensor, reward: Array, raw_next: Array, terminated: Array,
        truncated: Array,
    ) -> Rollout:  # fmt: skip
        """One horizon of steps, each (T, n, ...), as the algorithm gets it."""
        self.steps += self.horizon
        device = self.algorithm.device
        raw_t, next_t, reward_t, term_t, trunc_t = (
            torch.from_numpy(x).to(device) for x in (raw, raw_next, reward, terminated, truncated)
        )
        self.raw_obs = raw_t.flatten(0, 1)
        see = self.moments.normalize if self.moments else torch.clone
        return Rollout(
            obs=see(raw_t),
            action=action,
            reward=self.scaled(reward_t, term_t | trunc_t),
            next_obs=see(next_t),
            terminated=term_t,
            truncated=trunc_t,
        )

    def scaled(self, reward: Tensor, done: Tensor) -> Tensor:
        """Rewards (T, n) over the running std of the discounted return, clipped to +-10."""
        if self.scale is None:
            return reward
        # G_t = r_t + gamma G_{t-1}, restarted after an episode's end: a scan backwards in time.
        gamma = self.algorithm.config.gamma
        keep = gamma * (~done).float()
        first = reward[:1] + gamma * self.discounted
        flipped = torch.cat([first, reward[1:]]).flip(0)
        discount = torch.cat([keep[:-1].flip(0), torch.zeros_like(keep[:1])])
        returns = discounted_sum(flipped, discount).flip(0)
        self.discounted = returns[-1] * (~done[-1]).float()
        self.scale.update(returns.reshape(-1, 1))
        return (reward * self.scale.inv_std).clamp(-CLIP, CLIP)

    def state_dict(self) -> dict[str, Any]:
        """Environment, normalisers, counters and the rollout that waits for its update."""
        return {
            "env": self.env.state_dict(),
            "obs": torch.from_numpy(np.array(self.obs)),
            "steps": self.steps,
            "moments": self.moments.state if self.moments else None,
            "scale": self.scale.state if self.scale else None,
            "discounted": self.discounted,
            "episodes": self.episodes.state_dict(),
            "pending": asdict(self.pending) if self.pending else None,
            "raw_obs": self.raw_obs,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        device = self.algorithm.device
        self.env.load_state_dict(saved["env"])
        self.obs = saved["obs"].numpy()
        self.steps = saved["steps"]
        for moments, key in ((self.moments, "moments"), (self.scale, "scale")):
            if moments:
                moments.state = {k: v.to(device) for k, v in saved[key].items()}
                moments.refresh()
        self.discounted = saved["discounted"].to(device)
        self.episodes.load_state_dict(saved["episodes"])
        pending = saved["pending"]
        self.pending = Rollout(**{k: v.to(device) for k, v in pending.items()}) if pending else None
        self.raw_obs = saved["raw_obs"].to(device) if saved["raw_obs"] is not None else None
