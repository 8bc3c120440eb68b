"""Supply networks as data: what the capabilities Graph and Differentiable speak of.

Locations are numbered: the upstream ones (echelons and warehouses, which only pass stock on) from
0, then the stores (which sell). Tensors of this family are feature-first: the batch is the last
axis, so that every operation of a period runs over contiguous memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from pgbench.errors import PgbenchError

Change = Callable[[Tensor], Tensor]
OUTSIDE = -1  # the source of an edge from the outer supplier, whose stock is unlimited


@dataclass(frozen=True)
class Edge:
    """A way for stock: an order of period t is on hand at `target` at the start of t + lead."""

    source: int  # a location, or OUTSIDE
    target: int
    lead: int  # periods, at least 1; the longest one where it varies between samples
    cost: float = 0.0  # per unit ordered


@dataclass(frozen=True)
class Network:
    """An instance: locations, edges, costs and demand, in units, periods and cost per period.

    `edges` holds the internal edges (by source, then target), then those from OUTSIDE. `varying`
    names what differs between samples and is therefore observed: "penalty", "holding" (one row a
    store), "lead" (one row a store). Where it varies, the field here holds a typical value.
    """

    upstream: int
    stores: int
    edges: tuple[Edge, ...]
    holding: tuple[float, ...]  # per unit on hand and period, of every location
    penalty: tuple[float, ...]  # per unit of unmet demand, of every store; with profit: the price
    mean: tuple[float, ...]  # of a store's demand in a period
    std: tuple[float, ...]
    columns: tuple[int, int]  # length of an inventory vector upstream and in stores
    lost: bool = True  # unmet demand is lost, not backlogged
    profit: bool = False  # the cost is holding minus sales times price
    transship: bool = False  # upstream locations ship all that they have
    integer: bool = False  # whole units are ordered (not while differentiating)
    past: int = 0  # periods of past demand that are observed
    clock: bool = False  # days from Christmas are observed
    varying: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = self.upstream + self.stores
        for i, e in enumerate(self.edges):
            if e.lead < 1:
                raise PgbenchError(f"edge {i} ({e.source} to {e.target}): lead time {e.lead} < 1")
            if not (e.source == OUTSIDE or 0 <= e.source < self.upstream) or not 0 <= e.target < n:
                raise PgbenchError(f"edge {i}: no stock flows from {e.source} to {e.target}")
            if e.lead > self.columns[e.target >= self.upstream]:
                raise PgbenchError(f"edge {i}: lead time {e.lead} exceeds the inventory vector")
        for v in range(n):
            if all(e.target != v for e in self.edges):
                what = f"store {v - self.upstream}" if v >= self.upstream else f"location {v}"
                raise PgbenchError(f"{what} is reached by no edge: nothing can supply it")
        sizes = {"holding": n, "penalty": self.stores, "mean": self.stores, "std": self.stores}
        for name, size in sizes.items():
            values = getattr(self, name)
            if len(values) != size:
                raise PgbenchError(f"{name} has {len(values)} entries, the network needs {size}")
        if self.columns[1] < 2 or (self.upstream and self.columns[0] < 2):
            raise PgbenchError("an inventory vector has at least 2 columns")

    @property
    def locations(self) -> int:
        """Number of locations N, upstream ones first."""
        return self.upstream + self.stores

    @cached_property
    def internal(self) -> tuple[Edge, ...]:
        """Edges between locations."""
        return tuple(e for e in self.edges if e.source != OUTSIDE)

    @cached_property
    def supply(self) -> tuple[Edge, ...]:
        """Edges from the outer supplier."""
        return tuple(e for e in self.edges if e.source == OUTSIDE)

    @cached_property
    def rows(self) -> Mapping[str, slice]:
        """Where an observation (d, B) holds what, in this order; empty parts are left out.

        "upstream": upstream * columns[0], location by location, on hand first; "store": likewise;
        "penalty", "holding", "lead": one row a store, if they vary; "past": past * stores, oldest
        period first, all stores of a period together; "clock": one row.
        """
        sizes = {
            "upstream": self.upstream * self.columns[0],
            "store": self.stores * self.columns[1],
        }
        sizes.update({name: self.stores for name in self.varying})
        sizes["past"] = self.past * self.stores
        sizes["clock"] = int(self.clock)
        out, at = {}, 0
        for name, size in sizes.items():
            if size:
                out[name] = slice(at, at + size)
            at += size
        return out

    @property
    def stock(self) -> int:
        """Rows R of the inventory state, which an observation begins with."""
        return self.upstream * self.columns[0] + self.stores * self.columns[1]

    @property
    def size(self) -> int:
        """Rows d of an observation."""
        return int(max(rows.stop for rows in self.rows.values()))

    def inventories(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Views of the inventory vectors: upstream (U, Lu, B) and stores (K, Ls, B)."""
        (lu, ls), batch = self.columns, obs.shape[-1]
        edge = self.upstream * lu
        up = obs[:edge].view(self.upstream, lu, batch)
        return up, obs[edge : self.stock].view(self.stores, ls, batch)


@dataclass(frozen=True)
class Traces:
    """B samples of everything exogenous: the same trace can be replayed under any policy.

    `demand` begins `shift` periods before the simulation does (what is observed as past).
    """

    demand: Tensor  # (shift + T, K, B), units
    start: Tensor  # (R, B), the inventory state before the first period
    fixed: Mapping[str, Tensor] = field(default_factory=dict)  # what varies: name -> (K, B)
    clock: Tensor | None = None  # (shift + T,) days from Christmas
    shift: int = 0

    @property
    def periods(self) -> int:
        """Number of periods T that can be simulated."""
        return self.demand.shape[0] - self.shift

    def __len__(self) -> int:
        return self.demand.shape[-1]

    def pick(self, index: Tensor | slice) -> Traces:
        """Some of the samples."""
        return self._with(lambda x: x[..., index].contiguous(), lambda x: x)

    def to(self, device: torch.device | str) -> Traces:
        """The same samples on another device."""
        return self._with(lambda x: x.to(device), lambda x: x.to(device))

    def _with(self, samples: Change, weeks: Change) -> Traces:
        fixed = {key: samples(value) for key, value in self.fixed.items()}
        clock = None if self.clock is None else weeks(self.clock)
        return Traces(samples(self.demand), samples(self.start), fixed, clock, self.shift)

    @staticmethod
    def joined(parts: Sequence[Traces]) -> Traces:
        """The samples of all parts, which have one clock and horizon."""
        first = parts[0]
        fixed = {key: torch.cat([p.fixed[key] for p in parts], -1) for key in first.fixed}
        demand = torch.cat([p.demand for p in parts], -1)
        start = torch.cat([p.start for p in parts], -1)
        return Traces(demand, start, fixed, first.clock, first.shift)
