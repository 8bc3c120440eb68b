"""A good policy for transshipment, where the optimal one is not known.

The centre orders up to a level; what reaches it is shared out so that all stores end with the same
standardised position. Its cost is simulated once with many traces, and kept: it serves as control
variate of evaluations, which its own error (a standard error of some 0.05%) shifts all alike.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from pgbench.worlds.network import Network

from .demand import Demand, Guide
from .optima.cache import cached
from .simulator import TINY, Simulator

SEED = 20_260_101
TRACES, PERIODS, WARM_UP = 8192, 1300, 300


def orders(network: Network, state: Tensor) -> Tensor:
    """Orders (edges, B) for states (R, B)."""
    centre, store = network.inventories(state)
    mean, std = (torch.tensor(x).to(state)[:, None] for x in (network.mean, network.std))
    lead, outer = network.internal[0].lead, network.supply[0].lead
    held, have = store.sum(1), centre[:, :1].squeeze(1).clamp(min=0)  # (K, B), (1, B)
    covered = mean * (lead + 1)
    spread = std * math.sqrt(lead + 1)
    level = ((held - covered).sum(0, keepdim=True) + have) / spread.sum()  # standardised
    wanted = (covered + level * spread - held).clamp(min=0)
    shipped = wanted * (have / (wanted.sum(0, keepdim=True) + TINY))
    z = norm.ppf(network.penalty[0] / (network.penalty[0] + network.holding[1]))
    total = covered.sum() + outer * mean.sum() + z * _deviation(network, lead, outer)
    order = (total - held.sum(0, keepdim=True) - centre.sum(1)).clamp(min=0)
    return torch.cat([shipped, order])


def _deviation(network: Network, lead: int, outer: int) -> float:
    """Standard deviation of all demand over both lead times, were the stores fully correlated."""
    return sum(network.std) * math.sqrt(outer + lead + 1)


def guide(network: Network, demand: Demand) -> Guide:
    """The policy with its cost per store and period, simulated once on a machine."""
    key = {
        "std": demand.std, "mean": demand.mean, "correlation": demand.correlation,
        "penalty": network.penalty, "leads": [e.lead for e in network.edges],
        "traces": TRACES, "periods": PERIODS, "warm_up": WARM_UP,
    }  # fmt: skip

    def act(state: Tensor) -> Tensor:
        return orders(network, state)

    cost = cached({"balancing": key}, lambda: {"cost": _simulated(network, demand)})["cost"]
    return Guide(act, cost)


@torch.inference_mode()
def _simulated(network: Network, demand: Demand) -> float:
    """Mean cost per store and period."""
    rng, sim = np.random.default_rng(SEED), Simulator(network)
    state, total = torch.zeros(network.stock, TRACES), 0.0
    for t in range(PERIODS):
        xi = torch.from_numpy(demand.draw(rng, TRACES, 1)[0])
        state, cost = sim.step(state, orders(network, state), xi, {})
        if t >= WARM_UP:
            total += float(cost.double().mean())
    return total / (PERIODS - WARM_UP) / network.stores
