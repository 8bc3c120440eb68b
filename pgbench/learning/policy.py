"""A trained policy as the world uses it: raw observations in, actions for the environment out."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, Space
from numpy.typing import NDArray
from torch import Tensor

from pgbench.errors import Diverged, PgbenchError
from pgbench.learning.ops.normalize import RunningMoments
from pgbench.worlds.checks import action_of, actions_for


class Acting(Protocol):
    """What a policy asks of an algorithm."""

    action_range: ClassVar[str]
    device: torch.device

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions for observations (n, d), discrete ones counted from 0."""
        ...


class Policy:
    """An algorithm's `act` between the observation normaliser and the action space.

    Actions are float (n, a) where the space is a Box, int64 (n,) where it is Discrete.
    """

    def __init__(
        self, algorithm: Acting, action_space: Space[Any], moments: RunningMoments | None = None
    ) -> None:
        if not isinstance(action_space, Box | Discrete):
            raise PgbenchError(
                f"{type(algorithm).__name__} acts in a Box or in a Discrete space, not in "
                f"{action_space}; an environment with another one needs a policy of its own"
            )
        self.algorithm, self.moments, self.space = algorithm, moments, action_space
        if isinstance(action_space, Discrete):
            self.first = int(action_space.start)
            return
        width = action_space.high - action_space.low
        if algorithm.action_range == "scale" and not np.isfinite(width).all():
            raise PgbenchError(
                f"{type(algorithm).__name__} scales its actions to the environment's box, which "
                "has no bounds here; give the environment's action space finite ones, or take an "
                "algorithm that clips (action_range)"
            )
        self.low = torch.as_tensor(action_space.low, device=algorithm.device)
        self.high = torch.as_tensor(action_space.high, device=algorithm.device)

    def see(self, obs: NDArray[Any]) -> Tensor:
        """Raw observations (n, d) as the float32 tensor that the algorithm sees."""
        x = torch.from_numpy(obs.astype(np.float32)).to(self.algorithm.device)
        return self.moments.normalize(x) if self.moments else x

    def act(self, seen: Tensor, explore: bool = True) -> Tensor:
        """The algorithm's own actions for what `see` gave.

        Raises: Breach if they are no tensor of the space's kind.
        """
        return action_of(self.algorithm, seen, explore, self.space)

    def to_env(self, action: Tensor) -> NDArray[Any]:
        """An algorithm's actions for the environment: clipped to its box or scaled to it.

        Raises: Diverged if they are not finite; Breach if there is no such choice.
        """
        if isinstance(self.space, Discrete):
            units = self.in_units(action).cpu().numpy()
            whose = type(self.algorithm).__name__
            chosen: NDArray[np.int64] = actions_for(self.space, len(units), units, whose)
            return chosen
        # Fetched at once; looked at before clipping, which would hide an infinite action.
        raw, given = torch.stack([action, self.in_units(action)]).cpu().numpy()
        if not np.isfinite(raw).all():
            raise Diverged(f"actions of {type(self.algorithm).__name__} are not finite")
        clipped: NDArray[np.float32] = given
        return clipped

    def in_units(self, action: Tensor) -> Tensor:
        """An algorithm's actions in the environment's units."""
        if isinstance(self.space, Discrete):
            return action + self.first
        if self.algorithm.action_range == "free":
            return action
        if self.algorithm.action_range == "scale":
            action = self.low + 0.5 * (action + 1) * (self.high - self.low)
        return action.clamp(self.low, self.high)

    @torch.inference_mode()
    def on_tensors(self, obs: Tensor) -> Tensor:
        """The mode for raw observations (n, d), both on the algorithm's device.

        Float actions that are not finite are NaN, so that the score is: nothing is fetched to see
        it.
        """
        action = self.act(self.moments.normalize(obs) if self.moments else obs, False)
        units = self.in_units(action)
        if isinstance(self.space, Discrete):
            return units
        return torch.where(action.isfinite(), units, torch.nan)

    @torch.inference_mode()
    def __call__(self, obs: NDArray[Any], explore: bool = False) -> NDArray[Any]:
        """Actions for raw observations (n, d); the mode unless `explore`."""
        return self.to_env(self.act(self.see(obs), explore))
