"""What an instance is made of besides its network: demand, and a policy of known cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

Orders = Callable[[Tensor], Tensor]  # a policy: states (R, B) -> orders (edges, B)


@dataclass(frozen=True)
class Guide:
    """A policy whose expected cost per store and period is known: a control variate."""

    orders: Orders
    cost: float


@dataclass(frozen=True)
class Demand:
    """Independent over periods: Poisson, or normal with one correlation between all stores."""

    mean: tuple[float, ...]
    std: tuple[float, ...] = ()  # normal demand; empty: Poisson
    correlation: float = 0.0
    clip: bool = True  # negative demand becomes 0

    def draw(self, rng: Generator, count: int, periods: int) -> NDArray[np.float32]:
        """Demand (periods, stores, count), units."""
        shape = (periods, len(self.mean), count)
        mean = np.array(self.mean, np.float32)[:, None]
        if not self.std:
            return rng.poisson(mean, shape).astype(np.float32)
        noise = rng.standard_normal(shape, np.float32)
        if self.correlation:
            common = rng.standard_normal((periods, 1, count), np.float32)
            own, shared = math.sqrt(1 - self.correlation), math.sqrt(self.correlation)
            noise = own * noise + shared * common
        demand = mean + np.array(self.std, np.float32)[:, None] * noise
        return demand.clip(min=0) if self.clip else demand
