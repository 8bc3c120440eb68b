"""A chain that is swum against the current: the classic small problem of exploration."""

from __future__ import annotations

import functools
from typing import Annotated, Any

import torch

from pgbench.catalogue.capabilities import Optimum
from pgbench.settings.ranges import Bounds, Count
from pgbench.worlds.tabular import TabularEnv, TabularModel

SMALL, LARGE = 0.005, 1.0  # rewards at the two ends
AHEAD, STAY, BACK = 0.35, 0.6, 0.05  # of a stroke to the right, from the middle
LEAVE = 0.6  # chance that a stroke from the left end moves
HOLD = 0.6  # chance that a stroke at the right end stays there


def river(states: int, horizon: int) -> TabularModel:
    """RiverSwim as in Osband, Russo and Van Roy 2013 (arXiv:1306.0940), figure 1.

    Action 0 drifts one state to the left without fail; action 1 swims to the right.
    """
    P = torch.zeros(states, 2, states, dtype=torch.float64)
    R = torch.zeros(states, 2, dtype=torch.float64)
    last = states - 1
    for s in range(states):
        P[s, 0, max(s - 1, 0)] = 1.0
        if 0 < s < last:
            P[s, 1, s - 1 : s + 2] = torch.tensor([BACK, STAY, AHEAD], dtype=torch.float64)
    P[0, 1, :2] = torch.tensor([1 - LEAVE, LEAVE], dtype=torch.float64)
    P[last, 1, last - 1 :] = torch.tensor([1 - HOLD, HOLD], dtype=torch.float64)
    R[0, 0], R[last, 1] = SMALL, LARGE
    rho = torch.zeros(states, dtype=torch.float64)
    rho[0] = 1.0
    return TabularModel(P, R, rho, horizon=horizon)


class RiverSwim(TabularEnv):
    """RiverSwim: six states in a row, twenty steps, from the left end.

    Action 0 drifts left; action 1 swims right, which from the middle succeeds with 0.35, stays with
    0.6 and is carried back with 0.05. Reward 0.005 for drifting at the left end, 1 for swimming at
    the right end. Whoever explores by chance finds the small reward and stays there.

    Observation float32 (n, 6): the state as a one-hot vector; `clock=true` appends the steps so
    far, without which no policy is optimal at every step. Episodes terminate after `horizon` steps.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        states: Annotated[int, Bounds(at_least=2, at_most=1000)] = 6,
        horizon: Count = 20,
        **options: Any,
    ) -> None:
        super().__init__(num_envs, river(states, horizon), **options)

    @functools.cached_property
    def optimum(self) -> Optimum:
        """The expected return of an episode by the best policy that knows the time."""
        return Optimum(self.model.best(), "optimum", "backward induction")
