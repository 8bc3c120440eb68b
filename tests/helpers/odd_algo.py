"""A small algorithm that can be odd in one way at a time, as a plug-in of somebody's may be."""

from dataclasses import dataclass

import torch

from pgbench.learning.algorithm import Algorithm
from pgbench.settings.config import option


@dataclass(frozen=True)
class Config:
    """What the loops read."""

    horizon: int = option(64, "steps an iteration")
    num_envs: int = option(2, "environments")
    gamma: float = option(0.9, "discount")
    normalize_obs: bool = option(True, "whether observations are")
    normalize_reward: bool = option(True, "whether rewards are")
    start: int = option(20, "random steps")
    batch: int = option(8, "transitions an update")
    buffer: int = option(100, "transitions kept")


class Linear(Algorithm):
    """Acts linearly and learns nothing; `returned` changes its actions, `metrics` is its log."""

    Config = Config
    returned = staticmethod(lambda action, explore: action)
    metrics = staticmethod(lambda weights: {"size": weights.norm()})

    def __init__(self, config, setup):
        super().__init__(config, setup)
        self.state = {"w": torch.zeros(*setup.box_dims)}

    def act(self, obs, explore=True):
        action = obs @ self.state["w"]
        return self.returned(action + self.noise(*action.shape) if explore else action, explore)

    def update(self, batch):
        self.state["w"] += 0.01 * self.noise(*self.state["w"].shape)
        return self.metrics(self.state["w"])
