"""The just-in-time oracle: it knows the future and lets every unit arrive in the week it is sold.

It is the yardstick for profit on recorded demand: no unit waits, none is lost. With one route to
every store and no returns no policy earns more. Two things can beat it by a little: a cheaper route
than the shortest (`cheapest` takes that one), and returned units, which it never sells again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.worlds.network import OUTSIDE, Edge, Network, Traces

from .simulator import Simulator


def profit(network: Network, traces: Traces, ignore: int, cheapest: bool = False) -> Tensor:
    """Profit of the oracle on each trace (B,): a store's average in the periods from `ignore` on.

    An edge carries, for every store behind it, the demand of the period in which a unit that is
    ordered now reaches that store; negative demand counts as none. Stores are supplied along the
    edges of the shortest lead time, or with `cheapest` of the least cost. Orders past the end of
    the recording repeat its last period.

    Raises: PgbenchError where unmet demand is backlogged: what was short at the start stays short.
    """
    if not network.lost:
        raise PgbenchError("the just-in-time oracle is defined for lost demand only")
    device = traces.demand.device
    edges, store, offset = _plan(network, traces, cheapest)
    carry = torch.zeros(len(network.edges), len(edges), device=device)
    carry[edges, torch.arange(len(edges), device=device)] = 1.0
    simulator = Simulator(network, device)
    fixed, state = simulator.fixed(traces), traces.start
    sample, last = torch.arange(len(traces), device=device), len(traces.demand) - 1
    total = torch.zeros(len(traces), device=device)
    for t in range(traces.periods):
        at = (traces.shift + t + offset).clamp(max=last)
        needed = traces.demand[at, store[:, None], sample].clamp(min=0)
        orders = simulator.feasible(state, carry @ needed)
        state, cost = simulator.step(state, orders, traces.demand[traces.shift + t], fixed)
        if t >= ignore:
            total -= cost
    return total / ((traces.periods - ignore) * network.stores)


def _plan(network: Network, traces: Traces, cheapest: bool) -> tuple[Tensor, Tensor, Tensor]:
    """What the edges carry: edge (n,), for which store (n,), needed how much later (n, B)."""

    def cost(edge: Edge) -> float:
        return edge.cost + (0.0 if edge.source == OUTSIDE else min(map(cost, into(edge.source))))

    def into(location: int) -> list[Edge]:
        return [edge for edge in network.edges if edge.target == location]

    device, shape = traces.demand.device, (len(traces),)
    edges, stores, offsets = [], [], []
    for k in range(network.stores):
        location, later = network.upstream + k, torch.zeros(shape, dtype=torch.long, device=device)
        while location != OUTSIDE:
            edge = min(into(location), key=cost if cheapest else lambda e: e.lead)
            varies = "lead" in traces.fixed and location >= network.upstream
            later = later + (traces.fixed["lead"][k].long() if varies else edge.lead)
            edges.append(network.edges.index(edge))
            stores.append(k)
            offsets.append(later)
            location = edge.source
    index = torch.tensor([edges, stores], device=device)
    return index[0], index[1], torch.stack(offsets)
