"""Policies with a few numbers: base-stock, capped base-stock and echelon-stock levels.

IP is an inventory position, on hand plus on the way; all levels are softplus of a parameter:
  base_stock         (S - IP)^+ for every store
  capped_base_stock  min((S - IP)^+, cap)
  echelon_stock      min((S_j - IP of j and all downstream)^+, the supplier's stock on hand), where
                     S_j is the sum of the increments of j and all downstream

Departure from the released code: (capped) base-stock levels start at softplus(10), as its settings
say; the code sets the bias of a lazy layer, which is drawn anew when the layer gets its shape.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgbench.worlds.network import Network

from . import OrderPolicy, allocate
from .layers import is_chain, is_direct

START = 10.0  # before softplus


class BaseStock(OrderPolicy):
    """One level for all stores."""

    lr = 0.5
    count = 1

    def __init__(self, network: Network, device: torch.device | str = "cpu") -> None:
        self.network = network

    @staticmethod
    def misfit(network: Network) -> str:
        """Stores alone: what they order is not limited by anyone's stock."""
        return "" if is_direct(network) else "needs stores that order from outside only"

    def init(self, rng: torch.Generator) -> Tensor:
        """Levels of 10 units and a bit (count,)."""
        return torch.full((self.count,), START)

    def scores(self, theta: Tensor, obs: Tensor) -> Tensor:
        """What the inventory positions lack (K, B)."""
        return F.softplus(theta[0]) - self.network.inventories(obs)[1].sum(1)

    def orders(self, scores: Tensor, obs: Tensor) -> Tensor:
        """What is lacking; stores send nothing back."""
        return scores.clamp(min=0)


class CappedBaseStock(BaseStock):
    """One level and one cap for all stores; `theta` = (level, cap) before softplus."""

    lr = 1.0
    count = 2

    def scores(self, theta: Tensor, obs: Tensor) -> Tensor:
        """What the inventory positions lack, at most the cap (K, B)."""
        return torch.minimum(super().scores(theta, obs), F.softplus(theta[1]))


class EchelonStock(OrderPolicy):
    """A level for each echelon of a chain; `theta` holds the increments, the store's first."""

    lr = 0.5

    def __init__(self, network: Network, device: torch.device | str = "cpu") -> None:
        self.network = network
        self.count = network.locations

    @staticmethod
    def misfit(network: Network) -> str:
        """Locations one after the other."""
        return "" if is_chain(network) else "needs a chain of locations that ends in one store"

    def init(self, rng: torch.Generator) -> Tensor:
        """Uniform in [-1, 1], the default of a linear layer with one input (N,)."""
        return torch.empty(self.count).uniform_(-1, 1, generator=rng)

    def scores(self, theta: Tensor, obs: Tensor) -> Tensor:
        """What the echelon positions lack (N, B), in the order of `Network.edges`."""
        upstream, store = self.network.inventories(obs)
        position = torch.cat([upstream.sum(1), store.sum(1)])  # (N, B)
        levels = F.softplus(theta + START).cumsum(0)[:, None]
        # Sums over a location and all downstream: from the last row up.
        lack = (levels - position.flip(0).cumsum(0)).flip(0)
        return torch.cat([lack[1:], lack[:1]])  # the first location's order is the last edge

    def orders(self, scores: Tensor, obs: Tensor) -> Tensor:
        """What is lacking, as far as the supplier has it."""
        lack = scores.clamp(min=0)
        shipped = torch.minimum(lack[:-1], allocate.on_hand(self.network, obs))
        return torch.cat([shipped, lack[-1:]])
