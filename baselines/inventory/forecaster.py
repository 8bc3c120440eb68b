"""Quantiles of the demand over a lead time, from past demand: a network and the pinball loss.

Equations, numbered here (L a lead time, D_L the demand of the L + 1 weeks from now on):
  Eq. 1   f(x)[L, i] estimates the q_i-quantile of D_L, q_i = 0.05, 0.10, ..., 0.95; it is clipped
          at 0 where it is used, not where it is learnt: a clipped output would learn no more
  Eq. 2   pinball loss of a forecast v at level q for an outcome y: max(q (y - v), (q - 1) (y - v))
  Eq. 3   v(q) between the levels by linear interpolation, with v(0) = 2 v(.05) - v(.10) and
          v(1) = 2 v(.95) - v(.90)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pgbench.learning.nets import Mlp
from pgbench.worlds.network import Traces

LEVELS = 19  # q_1 .. q_19
STEP = 1 / (LEVELS + 1)


@dataclass(frozen=True)
class Forecaster:
    """The network of Eq. 1 for one store, as a function of its parameters (P,)."""

    past: int  # weeks of past demand that it reads, in units as they are
    leads: tuple[int, ...]
    clock: bool = True  # it reads the days from Christmas too
    hidden: tuple[int, ...] = (128, 128)

    @cached_property
    def net(self) -> Mlp:
        """The network underneath."""
        return Mlp((self.past + self.clock, *self.hidden, LEVELS * len(self.leads)), "elu")

    def __call__(self, theta: Tensor, x: Tensor) -> Tensor:
        """Eq. 1, not clipped: (n, leads, 19) from past demand, oldest first, then the days."""
        return self.net(theta, x).reshape(-1, len(self.leads), LEVELS)

    def weeks(self, traces: Traces) -> range:
        """The weeks of `traces` in which a window can begin."""
        return range(self.past, len(traces.demand) - max(self.leads))

    def windows(self, traces: Traces, week: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """What is read in weeks `week` of traces `sample` (n,), and then D_L (n, leads)."""
        span = torch.arange(-self.past, max(self.leads) + 1, device=week.device)
        demand = traces.demand[week[:, None] + span, 0, sample[:, None]]
        x, ahead = demand[:, : self.past], demand[:, self.past :]
        if self.clock:
            assert traces.clock is not None
            x = torch.cat([x, traces.clock[week, None]], -1)
        total = ahead.cumsum(-1)  # picked one by one: a list of places is a copy to the device
        return x, torch.stack([total[:, lead] for lead in self.leads], -1)


def pinball(forecast: Tensor, outcome: Tensor) -> Tensor:
    """Eq. 2, averaged over the levels: (...) from forecasts (..., 19) and outcomes (...)."""
    q = STEP * torch.arange(1, LEVELS + 1, device=forecast.device)
    miss = outcome[..., None] - forecast
    return torch.maximum(q * miss, (q - 1) * miss).mean(-1)


def interpolate(values: Tensor, q: Tensor) -> Tensor:
    """Eq. 3: (n,) from the forecast quantiles (n, 19) and the wanted levels in [0, 1] (n,)."""
    first = 2 * values[:, :1] - values[:, 1:2]
    last = 2 * values[:, -1:] - values[:, -2:-1]
    grid = torch.cat([first, values, last], -1)
    index = (q / STEP).floor().clamp(0, LEVELS).long()
    below = grid.gather(-1, index[:, None]).squeeze(-1)
    above = grid.gather(-1, index[:, None] + 1).squeeze(-1)
    return below + (q / STEP - index) * (above - below)
