"""A trained policy as the world uses it: raw observations in, actions for the environment out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray
from torch import Tensor

from pgbench.algorithm import Algorithm
from pgbench.ops.normalize import RunningMoments


class Policy:
    """An algorithm's `act` between the observation normaliser and the action box."""

    def __init__(
        self, algorithm: Algorithm, action_space: Space[Any], moments: RunningMoments | None = None
    ) -> None:
        assert isinstance(action_space, Box)
        self.algorithm, self.moments = algorithm, moments
        self.low = torch.as_tensor(action_space.low, device=algorithm.device)
        self.high = torch.as_tensor(action_space.high, device=algorithm.device)

    def see(self, obs: NDArray[Any]) -> Tensor:
        """Raw observations (n, d) as the float32 tensor that the algorithm sees."""
        x = torch.from_numpy(obs.astype(np.float32)).to(self.algorithm.device)
        return self.moments.normalize(x) if self.moments else x

    def to_env(self, action: Tensor) -> NDArray[np.float32]:
        """An algorithm's actions (n, a) for the environment: clipped to its box or scaled to it."""
        units: NDArray[np.float32] = self.in_units(action).cpu().numpy()
        return units

    def in_units(self, action: Tensor) -> Tensor:
        """An algorithm's actions (n, a) in the units of the environment's box."""
        if self.algorithm.action_range == "free":
            return action
        if self.algorithm.action_range == "scale":
            action = self.low + 0.5 * (action + 1) * (self.high - self.low)
        return action.clamp(self.low, self.high)

    @torch.inference_mode()
    def on_tensors(self, obs: Tensor) -> Tensor:
        """The mode (n, a) for raw observations (n, d), both on the algorithm's device."""
        seen = self.moments.normalize(obs) if self.moments else obs
        return self.in_units(self.algorithm.act(seen, False))

    @torch.inference_mode()
    def __call__(self, obs: NDArray[Any], explore: bool = False) -> NDArray[np.float32]:
        """Actions (n, a) for raw observations (n, d); the mode unless `explore`."""
        return self.to_env(self.algorithm.act(self.see(obs), explore))
