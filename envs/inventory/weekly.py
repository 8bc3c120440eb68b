"""Weekly retail sales as environments: a generated seasonal stand-in, or a recorded file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.worlds.network import Network, Traces

from . import justintime, recorded, seasonal
from .env import Inventory

Build = Callable[[Tensor, str], tuple[Network, Traces]]
PRODUCTS, STORES, WEEKS = 288, 21, 171  # the size of the recorded file
SEED = 20_260_101  # of the stand-in: everybody has the same weeks


class Weeks:
    """Fixed samples, split by weeks: the same products in training, development and test."""

    def __init__(self, demand: Tensor, build: Build) -> None:
        self._splits = {name: build(demand, name)[1] for name in recorded.WEEKS}
        self.network = build(demand, "train")[0]

    @cached_property
    def horizons(self) -> dict[str, tuple[int, int]]:
        """Periods and warm-up of every split."""
        return {name: (traces.periods, recorded.IGNORE) for name, traces in self._splits.items()}

    @property
    def recorded(self) -> int:
        """Weeks of a training episode that the recording has."""
        return self._splits["train"].periods

    def draw(self, rng: np.random.Generator, count: int, periods: int, split: str) -> Traces:
        """`count` of the samples without replacement, or all where there are fewer."""
        traces = self._splits[split]
        if periods > traces.periods:
            raise PgbenchError(f"split {split} has {traces.periods} weeks, not {periods}")
        index = torch.from_numpy(rng.permutation(len(traces))[:count])
        picked = traces.pick(index)
        demand = picked.demand[: picked.shift + periods]
        clock = None if picked.clock is None else picked.clock[: picked.shift + periods]
        return Traces(demand, picked.start, picked.fixed, clock, picked.shift)


@cache
def _demand(path: str | None) -> Tensor:
    """The file's sales, or the stand-in's, (products, stores, weeks)."""
    if path is None:
        return seasonal.generate(PRODUCTS, STORES, WEEKS, SEED)
    return recorded.read(path, weeks=WEEKS).demand


class _Weekly(Inventory):
    """What both settings have in common."""

    def __init__(self, num_envs: int, build: Build, path: str | None, **options: Any) -> None:
        for name in {"test_periods", "warm_up"} & set(options):
            raise PgbenchError(f"weekly sales are split by fixed weeks: they take no {name}")
        weeks = Weeks(_demand(path), build)
        super().__init__(num_envs, weeks, **options)
        self.horizons = weeks.horizons

    def yardstick(self, traces: Traces) -> Tensor:
        """Profit of the just-in-time oracle per store and period after the warm-up, (B,)."""
        return justintime.profit(self.network, traces, recorded.IGNORE)


class SeasonalStore(_Weekly):
    """One store without a warehouse, weekly sales, lost demand; the score is a share of profit.

    path: a file of recorded weekly sales (.pt, .npy or .csv of products x stores x 171 weeks); by
    default a generated stand-in with the seasons, promotions and gaps of retail sales.
    returns: orders may be negative (stock goes back at no cost): a bound, no admissible policy.

    Every series of every store is a sample. The price is U(6.3, 11.7) and the lead time 4, 5 or 6
    weeks, each a sample's own; holding costs 1 per unit and week. Observed besides the inventory:
    price, lead time, sales of the last 16 weeks, days from Christmas. Training has the weeks
    0-110, development 88-140, test 118-170 (16 of each are only seen, 16 warm up).
    """

    def __init__(self, num_envs: int, *, path: str | None = None, **options: Any) -> None:
        super().__init__(num_envs, recorded.one_store, path, **options)


class SeasonalWarehouses(_Weekly):
    """Three warehouses feed 21 stores, weekly sales, lost demand; the score is a share of profit.

    path: a file of recorded weekly sales of 21 stores, as with one store.

    Every product is a sample, with a price U(6.3, 11.7) for each store. The network (which
    warehouse reaches which store, and how fast) is the published one; warehouses pay for what
    they order.
    """

    def __init__(self, num_envs: int, *, path: str | None = None, **options: Any) -> None:
        super().__init__(num_envs, recorded.many_warehouses, path, **options)
