"""The synthetic instances of Alvo et al. (arXiv:2306.11246): networks, demand, exact references.

Where the paper draws an instance's costs, means and lead times at random, it does so from fixed
seeds of NumPy's legacy generator, and so do we: everybody has the same instance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator, RandomState
from numpy.typing import NDArray
from torch import Tensor

from pgbench.catalogue.capabilities import Optimum
from pgbench.errors import PgbenchError
from pgbench.worlds.network import OUTSIDE, Edge, Network, Traces

from . import balancing
from .demand import Demand, Guide
from .optima import clark_scarf, lost_sales, newsvendor, pooling
from .optima.cache import cached
from .optima.inputs import periods, positive

ECHELON_HOLDING = (0.1, 0.2, 0.25, 0.3, 0.4)  # upstream first
ECHELON_LEADS = (2, 4, 1, 3, 2)
# The paper's network of 2 warehouses and 10 stores: lead times [store][warehouse], 0 for no edge.
TWO_WAREHOUSES = (
    (0, 2), (0, 1), (6, 2), (6, 2), (6, 1), (0, 2), (6, 0), (5, 2), (6, 2), (0, 2),
)  # fmt: skip


@dataclass(frozen=True)
class Instance:
    """A network with its demand, and the best cost per store and period where it is known."""

    network: Network
    demand: Demand
    optimum: Callable[[], Optimum] | None = None
    guide: Callable[[], Guide] | None = None  # makes a good policy of known cost

    def draw(self, rng: Generator, count: int, periods: int, split: str) -> Traces:
        """Fresh traces; stores begin with U(0, 1) times their mean demand in every column."""
        n = self.network
        demand = self.demand.draw(rng, count, periods)
        start = np.zeros((n.stock, count), np.float32)
        share = rng.random((n.stores, n.columns[1], count), np.float32)
        stores = share * np.array(n.mean, np.float32)[:, None, None]
        start[n.upstream * n.columns[0] :] = stores.reshape(-1, count)
        return Traces(torch.from_numpy(demand), torch.from_numpy(start))


def _optimum(kind: str, origin: str, key: dict[str, object], value: Callable[[], float]) -> Optimum:
    found = cached({"origin": origin, **key}, lambda: {"value": value()})
    return Optimum(found["value"], kind, origin)


def one_store_lost(penalty: float, lead_time: int, holding: float, mean: float) -> Instance:
    """One store, Poisson demand, lost sales (Zipkin 2008): the optimum by value iteration."""
    positive(penalty=penalty, holding=holding, mean=mean)
    periods(lead_time=lead_time)
    network = Network(
        0, 1, (Edge(OUTSIDE, 0, lead_time),), (holding,), (penalty,), (mean,), (math.sqrt(mean),),
        (2, max(4, lead_time)), integer=True,
    )  # fmt: skip
    key = {"mean": mean, "penalty": penalty, "holding": holding, "lead_time": lead_time}

    def optimum() -> Optimum:
        solved = lambda: lost_sales.solve(mean, penalty, holding, lead_time).cost  # noqa: E731
        return _optimum("optimum", "relative value iteration", {"lost sales": key}, solved)

    def guide() -> Guide:
        table = torch.from_numpy(lost_sales.solve(mean, penalty, holding, lead_time).orders)
        last = torch.tensor(table.shape)[:, None] - 1

        def orders(state: Tensor) -> Tensor:
            held = state[:lead_time].round().long().cpu()
            found = table[tuple(torch.minimum(held, last))]
            return found.to(state)[None]

        return Guide(orders, optimum().value)

    return Instance(network, Demand((mean,)), optimum, guide)


def one_store_backlogged(
    penalty: float, lead_time: int, holding: float, mean: float, std: float
) -> Instance:
    """One store, normal demand, backlog: the newsvendor formula."""
    positive(penalty=penalty, holding=holding, mean=mean, std=std)
    periods(lead_time=lead_time)
    network = Network(
        0, 1, (Edge(OUTSIDE, 0, lead_time),), (holding,), (penalty,), (mean,), (std,),
        (2, max(4, lead_time)), lost=False,
    )  # fmt: skip

    def optimum() -> Optimum:
        cost = newsvendor.cost(mean, std, penalty, holding, lead_time)
        return Optimum(cost, "optimum", "newsvendor formula")

    def guide() -> Guide:
        level = newsvendor.level(mean, std, penalty, holding, lead_time)
        orders = lambda state: (level - state.sum(0, keepdim=True)).clamp(min=0)  # noqa: E731
        return Guide(orders, optimum().value)

    return Instance(network, Demand((mean,), (std,)), optimum, guide)


def serial(penalty: float, lead_time: int, locations: int, mean: float, std: float) -> Instance:
    """A chain of 3 to 7 locations, normal demand, backlog: Clark and Scarf's recursion."""
    positive(penalty=penalty, mean=mean, std=std)
    periods(lead_time=lead_time)
    if not 3 <= locations <= 2 + len(ECHELON_LEADS):
        raise PgbenchError(f"locations takes 3 to {2 + len(ECHELON_LEADS)}, not {locations}")
    up = locations - 1
    leads = (*ECHELON_LEADS[: up - 1], 3, lead_time)
    holding = (*ECHELON_HOLDING[: up - 1], 0.5, 1.0)
    inside = tuple(Edge(v, v + 1, leads[v + 1]) for v in range(up))
    network = Network(
        up, 1, (*inside, Edge(OUTSIDE, 0, leads[0])), holding, (penalty,), (mean,), (std,),
        (max(2, *leads[:-1]), max(4, lead_time)), lost=False,
    )  # fmt: skip
    key = {"mean": mean, "std": std, "penalty": penalty, "holding": holding, "leads": leads}

    def solved() -> clark_scarf.Serial:
        return clark_scarf.solve(mean, std, penalty, holding[::-1], leads[::-1])

    def optimum() -> Optimum:
        origin = "Clark-Scarf recursion"
        return _optimum("optimum", origin, {"serial": key}, lambda: solved().cost)

    def guide() -> Guide:
        levels = solved().levels[::-1]  # upstream first

        def orders(state: Tensor) -> Tensor:
            upstream, store = network.inventories(state)
            held = torch.cat([upstream.sum(1), store.sum(1)])
            echelon = held.flip(0).cumsum(0).flip(0)  # a location's and all below it
            wanted = (torch.tensor(levels).to(state)[:, None] - echelon).clamp(min=0)
            return torch.cat([torch.minimum(wanted[1:], upstream[:, 0]), wanted[:1]])

        return Guide(orders, optimum().value)

    return Instance(network, Demand((mean,), (std,)), optimum, guide)


def _uniform(seed: int, low: float, high: float, size: int) -> NDArray[np.float64]:
    return RandomState(seed).uniform(low, high, size)


def _demand(stores: int, correlation: float, clip: bool) -> Demand:
    """Means U(2.5, 7.5), coefficients of variation U(0.25, 0.5), seeds 33 and 92."""
    if not 0 <= correlation <= 1:
        raise PgbenchError(f"correlation takes 0 to 1, not {correlation}")
    mean = _uniform(33, 2.5, 7.5, stores).round(3)
    std = (mean * _uniform(92, 0.25, 0.5, stores)).round(3)
    return Demand(tuple(mean.tolist()), tuple(std.tolist()), correlation, clip)


def transshipment(penalty: float, lead_time: int, stores: int, correlation: float) -> Instance:
    """A centre that holds nothing feeds equal-cost stores, backlog: the pooling lower bound."""
    positive(penalty=penalty)
    periods(lead_time=lead_time, stores=stores)
    demand = _demand(stores, correlation, clip=False)
    edges = (*(Edge(0, 1 + k, lead_time) for k in range(stores)), Edge(OUTSIDE, 0, 3))
    network = Network(
        1, stores, edges, (0.5, *[1.0] * stores), (penalty,) * stores, demand.mean, demand.std,
        (3, max(2, lead_time)), lost=False, transship=True,
    )  # fmt: skip

    def optimum() -> Optimum:
        value = pooling.bound(demand.std, correlation, penalty, 1.0, lead_time, 3)
        return Optimum(value, "bound", "Federgruen-Zipkin pooling")

    return Instance(network, demand, optimum, lambda: balancing.guide(network, demand))


def warehouses(
    lead_times: Sequence[Sequence[int]],
    holding: Sequence[float],
    order_cost: Sequence[float],
    lead_time: int,
    correlation: float,
) -> Instance:
    """Warehouses feed stores, lost sales, costs per store U(6.3, 11.7) and U(0.7, 1.3).

    `lead_times` (stores, warehouses), 0 for no edge; `holding` and `order_cost` per warehouse.

    Raises: PgbenchError naming the entry that is wrong, or the store that nothing reaches.
    """
    matrix, count = [list(row) for row in lead_times], len(holding)
    if not matrix or len(order_cost) != count:
        raise PgbenchError(
            f"lead_times needs a row a store, and order_cost {count} entries as holding has"
        )
    for k, row in enumerate(matrix):
        if len(row) != count:
            raise PgbenchError(
                f"lead_times[{k}] has {len(row)} entries, there are {count} warehouses"
            )
        for w, lead in enumerate(row):
            if not isinstance(lead, int) or lead < 0:
                raise PgbenchError(
                    f"lead_times[{k}][{w}] must be a whole number of periods from 1, or 0 for no "
                    f"edge, not {lead}"
                )
        if not any(row):
            raise PgbenchError(f"lead_times[{k}]: no warehouse reaches store {k}")
    for w in range(count):
        positive(**{f"holding[{w}]": holding[w]})
        if not any(row[w] for row in matrix):
            raise PgbenchError(f"lead_times: warehouse {w} serves no store; leave it out")
    periods(lead_time=lead_time)
    stores = len(matrix)
    demand = _demand(stores, correlation, clip=True)
    edges = [
        Edge(w, count + k, matrix[k][w])
        for w in range(count)
        for k in range(stores)
        if matrix[k][w]
    ]
    edges += [Edge(OUTSIDE, w, lead_time, order_cost[w]) for w in range(count)]
    store_holding = _uniform(73, 0.7, 1.3, stores).tolist()
    network = Network(
        count, stores, tuple(edges), (*holding, *store_holding),
        tuple(_uniform(28, 6.3, 11.7, stores).tolist()), demand.mean, demand.std,
        (max(2, lead_time), max(3, *map(max, matrix))),
    )  # fmt: skip
    return Instance(network, demand)


def store_leads(stores: int, low: int, high: int) -> list[list[int]]:
    """Lead times from one warehouse, low <= lead < high, seed 41."""
    periods(stores=stores, low=low)
    if high <= low:
        raise PgbenchError(f"lead times from {low} to below {high}: there are none")
    return [[int(lead)] for lead in RandomState(41).randint(low, high, stores)]
