"""The settings of the family, one class each; their keywords choose the instance.

Costs are per unit, or per unit and period; lead times are periods; demand is units per period.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pgbench.settings.ranges import Bounds, Count, Positive, Share

from . import instances
from .env import Inventory, Solved

Locations = Annotated[int, Bounds(at_least=3, at_most=7)]
Leads = Annotated[Sequence[Sequence[int]], Bounds(at_least=0)]
Prices = Annotated[Sequence[float], Bounds(above=0)]
Costs = Annotated[Sequence[float], Bounds(at_least=0)]


class OneStoreLostSales(Solved):
    """One store, Poisson demand, unmet demand is lost; the optimum is known by value iteration.

    penalty: cost of a unit of lost demand. lead_time: an order arrives so many periods later.
    holding: cost of a unit on hand at the end of a period. mean: of demand.

    Zipkin's instances (2008) have holding 1, mean 5, penalty 4, 9, 19, 39 and lead time 1 to 4.
    Orders are whole units.
    """

    def __init__(
        self, num_envs: int, *, penalty: Positive = 9.0, lead_time: Count = 2,
        holding: Positive = 1.0, mean: Positive = 5.0, **options: Any,
    ) -> None:  # fmt: skip
        problem = instances.one_store_lost(penalty, lead_time, holding, mean)
        super().__init__(num_envs, problem, **options)


class OneStoreBacklogged(Solved):
    """One store, normal demand clipped at 0, unmet demand waits; the newsvendor solves it.

    penalty: cost of a waiting unit and period. lead_time, holding: as with lost sales.
    mean, std: of demand.
    """

    def __init__(
        self, num_envs: int, *, penalty: Positive = 9.0, lead_time: Count = 4,
        holding: Positive = 1.0, mean: Positive = 5.0, std: Positive = 1.6, **options: Any,
    ) -> None:  # fmt: skip
        problem = instances.one_store_backlogged(penalty, lead_time, holding, mean, std)
        super().__init__(num_envs, problem, **options)


class SerialSystem(Solved):
    """A chain of locations down to one store, backlog; Clark and Scarf's recursion solves it.

    penalty: of the store. lead_time: of the store (upstream ones are the paper's).
    locations: 3 to 7, the store included. mean, std: of the store's normal demand, clipped at 0.
    """

    def __init__(
        self, num_envs: int, *, penalty: Positive = 9.0, lead_time: Count = 4,
        locations: Locations = 4, mean: Positive = 5.0, std: Positive = 2.0, **options: Any,
    ) -> None:  # fmt: skip
        problem = instances.serial(penalty, lead_time, locations, mean, std)
        super().__init__(num_envs, problem, **options)


class Transshipment(Solved):
    """A centre that cannot hold stock feeds stores, backlog; pooling bounds the cost from below.

    stores: their number K. penalty, lead_time: of every store; the centre's lead time is 3.
    correlation: of the normal demands (not clipped, so possibly negative) of any two stores.
    """

    def __init__(
        self, num_envs: int, *, stores: Count = 5, penalty: Positive = 9.0, lead_time: Count = 4,
        correlation: Share = 0.5, **options: Any,
    ) -> None:  # fmt: skip
        problem = instances.transshipment(penalty, lead_time, stores, correlation)
        super().__init__(num_envs, problem, **options)


class OneWarehouse(Inventory):
    """One warehouse feeds stores that lose unmet demand; no optimum is known.

    stores: their number K. low, high: lead times from the warehouse are drawn from low to below
    high. holding, lead_time: of the warehouse. correlation: of any two stores' normal demands.
    """

    def __init__(
        self, num_envs: int, *, stores: Count = 10, low: Count = 2, high: Count = 4,
        holding: Positive = 0.3, lead_time: Count = 3, correlation: Share = 0.5, **options: Any,
    ) -> None:  # fmt: skip
        leads = instances.store_leads(stores, low, high)
        problem = instances.warehouses(leads, [holding], [0.0], lead_time, correlation)
        super().__init__(num_envs, problem, **options)


class ManyWarehouses(Inventory):
    """Warehouses feed the stores that they are connected to, lost sales; no optimum is known.

    lead_times: a row a store with one lead time a warehouse, 0 for no connection.
    holding, order_cost: one a warehouse. lead_time: of every warehouse.
    correlation: of any two stores' normal demands.

    The defaults are the paper's network of 2 warehouses and 10 stores.
    """

    def __init__(
        self, num_envs: int, *, lead_times: Leads = instances.TWO_WAREHOUSES,
        holding: Prices = (0.3, 0.4), order_cost: Costs = (0.5, 1.5), lead_time: Count = 3,
        correlation: Share = 0.5, **options: Any,
    ) -> None:  # fmt: skip
        problem = instances.warehouses(lead_times, holding, order_cost, lead_time, correlation)
        super().__init__(num_envs, problem, **options)
