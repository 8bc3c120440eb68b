"""own-loop: one line on the data flow, and who needs it.

This file began as trials of fixed length, of which the algorithm sees the sum of rewards, and as
random search, the algorithm that asks for it. It runs as it is:
  pgbench run --algo ./own_loop.py --env inverted-pendulum
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import pgbench
from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.loops.base import Episodes, Loop, Phase
from pgbench.settings.config import Settings, option
from pgbench.settings.ranges import Count
from pgbench.worlds import checks


# 1. A loop moves data and holds no mathematics. It steps, acts and learns through `checks` alone,
#    which say what is odd; `pgbench explain ./own_loop.py` shows this docstring.
class OwnLoop(Loop):
    """Trials of `length` steps of one environment, one after the other, across episodes."""

    needs: ClassVar[dict[str, Any]] = {"length": Count}  # what it reads of the config

    def __init__(self, algorithm: Algorithm, env: Any, budget: int, seed: int) -> None:
        self.algorithm, self.env = algorithm, env
        self.budget, self.steps = budget, 0
        self.policy, self.episodes = algorithm.policy(), Episodes(1)
        self.obs = checks.reset(env, [seed])

    # 2. A phase takes seconds at most: between two of them a run logs, evaluates, stops and saves.
    def phases(self) -> Iterator[Phase]:
        """A trial and an update on it, until the budget is spent."""
        while self.steps < self.budget:
            total = 0.0
            for _ in range(self.algorithm.config.length):
                action = self.policy.act(self.policy.see(self.obs))
                step = checks.step(self.env, self.policy.to_env(action))
                self.episodes.add(step.reward, step.done)
                self.obs, total = step.obs, total + float(step.reward[0])
            self.steps += 1
            yield Phase("update", checks.learn(self.algorithm, torch.tensor(total)))

    # 3. Everything but the algorithm: a run that is killed after any phase ends with the same bits.
    def state_dict(self) -> dict[str, Any]:
        """Environment, counter, the returns for the progress line."""
        return {
            "env": self.env.state_dict(),
            "obs": self.obs,
            "steps": self.steps,
            "episodes": self.episodes.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.env.load_state_dict(saved["env"])
        self.obs, self.steps = np.array(saved["obs"]), saved["steps"]
        self.episodes.load_state_dict(saved["episodes"])


# 4. `unit` is what a budget counts, `batch` what `update` gets; `tiny` are settings with which
#    `pgbench check` has three phases or more within seconds.
pgbench.register_loop(
    "own-loop",
    OwnLoop,
    summary="what it is, in one line",
    unit="trials",
    batch=Tensor,
    tiny={"length": 5},
    tiny_budget=4,
)


# 5. An algorithm that asks for it; it may as well be in another file.
@dataclass(frozen=True)
class Config(Settings):
    """One of these is read by the loop."""

    length: int = option(100, "steps of a trial", at_least=1)
    size: float = option(0.3, "standard deviation of a change", above=0)


class Search(Algorithm):
    """Keeps the better of two weight matrices."""

    Config = Config

    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        w = torch.zeros(*setup.box_dims, device=self.device)
        most = torch.tensor(-torch.inf, device=self.device)
        self.state = {"w": w, "best": w.clone(), "most": most}

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions (n, a) of the weights on trial, or of the best ones, for observations (n, d)."""
        action = obs @ self.state["w" if explore else "best"]
        return action + 0.01 * self.noise(*action.shape) if explore else action

    def update(self, batch: Tensor) -> dict[str, Tensor]:
        """Keep what was on trial if its rewards, (), sum to more; try a neighbour of the best."""
        w, best, most = (self.state[name] for name in ("w", "best", "most"))
        best.copy_(torch.where(batch > most, w, best))
        most.copy_(torch.maximum(batch, most))
        w.copy_(best + self.config.size * self.noise(*w.shape))
        return {"most": most.clone()}


pgbench.register_algo(
    "own-loop-search",
    Search,
    family="control",
    loop="own-loop",
    summary="random search",
    requires={"ContinuousActions"},
    budget="50",
)
