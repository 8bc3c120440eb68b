"""One period of a supply network as a pure function of tensors, differentiable, on any device.

The order of events is that of Alvo et al. (arXiv:2306.11246) and their released simulator: all
orders of a period are fixed from the state at its start; demand is realised and stores pay; stock
leaves upstream locations, which pay for what stays; then everything in transit moves one period
on, and an order of lead time L enters column L - 1 of its target, so that it serves demand L
periods later.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pgbench.worlds.network import Network, Traces

TINY = 1e-10  # keeps a division by "nothing was ordered" finite


class Simulator:
    """The dynamics of `network`, for batches of any size B.

    The state (R, B) holds the inventory vectors of all locations, one after the other, each with
    the stock on hand first and then what arrives in 1, 2, ... periods.
    """

    def __init__(self, network: Network, device: torch.device | str = "cpu") -> None:
        self.network, self.device = network, torch.device(device)
        n, u = network, network.upstream
        self.holding_up = self._column(n.holding[:u])
        self.holding = self._column(n.holding[u:])
        self.penalty = self._column(n.penalty)
        self.order_cost = self._column([e.cost for e in n.edges])
        self.costly = any(e.cost for e in n.edges)
        inbound: list[list[int]] = [[] for _ in range(n.locations)]
        for i, edge in enumerate(n.edges):
            inbound[edge.target].append(i)
        # Where each location has one supplier, an order needs no sum on its way to its column.
        self.tree = all(len(edges) == 1 for edges in inbound)
        self.into = [edges[0] for edges in inbound]
        leads = [n.edges[i].lead for i in self.into]
        self.lead_up, self.lead = _only(leads[:u]), _only(leads[u:])
        if "lead" in n.varying:
            self.lead = None
        self.place_up = self._places(leads[:u], n.columns[0])
        self.place = self._places(leads[u:], n.columns[1])
        self.out = self._matrix(
            u, len(n.edges), [(e.source, i) for i, e in enumerate(n.edges) if e.source >= 0]
        )
        starts = [v * n.columns[0] for v in range(u)]
        starts += [u * n.columns[0] + k * n.columns[1] for k in range(n.stores)]
        self.scatter = self._matrix(
            n.stock, len(n.edges),
            [(starts[e.target] + e.lead - 1, i) for i, e in enumerate(n.edges)],
        )  # fmt: skip

    def _column(self, values: object) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device).reshape(-1, 1)

    def _matrix(self, rows: int, columns: int, ones: list[tuple[int, int]]) -> Tensor:
        matrix = torch.zeros(rows, columns, device=self.device)
        for at in ones:
            matrix[at] = 1.0
        return matrix

    def _places(self, leads: list[int], columns: int) -> Tensor:
        """(n, columns, 1): one where an order of that location's lead time enters."""
        k = torch.arange(columns, device=self.device)
        lead = torch.tensor(leads, dtype=torch.long, device=self.device)
        return (k == lead[:, None] - 1).float().unsqueeze(-1)

    def fixed(self, traces: Traces) -> dict[str, Tensor]:
        """What differs between the samples of `traces`, as `step` needs it."""
        out = {key: value for key, value in traces.fixed.items() if key != "lead"}
        if "lead" in traces.fixed:
            k = torch.arange(self.network.columns[1], device=self.device)[:, None]
            out["place"] = (k == traces.fixed["lead"][:, None] - 1).float()  # (K, Ls, B)
        return out

    def context(self, traces: Traces, t: int) -> Tensor | None:
        """What period t shows besides the inventory state, (d - R, B); None if nothing.

        An observation is the state and this below it, as `Network.rows` describes.
        """
        n = self.network
        rest = [traces.fixed[name] for name in n.varying]
        at = traces.shift + t
        if n.past:
            rest.append(traces.demand[at - n.past : at].flatten(0, 1))
        if n.clock:
            assert traces.clock is not None
            rest.append(traces.clock[at].expand(1, len(traces)))
        return torch.cat(rest) if rest else None

    def step(
        self, state: Tensor, orders: Tensor, demand: Tensor, fixed: Mapping[str, Tensor],
        each: bool = True,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The next state (R, B) and the cost of the period (B,), summed over locations.

        Without `each` the cost is that of the whole batch, a scalar: one reduction instead of two.
        `orders` (edges, B) are feasible: no location ships more than it has on hand.
        """
        n, u = self.network, self.network.upstream
        up, store = n.inventories(state)
        # One split, whose backward is one concatenation; slices would each cost a zero-filled copy.
        on_hand, arriving, later = torch.split_with_sizes(store, (1, 1, n.columns[1] - 2), 1)
        on_hand, arriving = on_hand.squeeze(1), arriving.squeeze(1)
        gap = on_hand - demand
        left = gap.clamp(min=0)
        penalty, holding = fixed.get("penalty", self.penalty), fixed.get("holding", self.holding)
        if n.profit:
            cost = holding * left - penalty * torch.minimum(on_hand, demand)
        else:
            cost = holding * left - penalty * gap.clamp(max=0)
        total = _sum(cost, each)
        parts = [(left if n.lost else gap) + arriving, later]
        if self.costly:
            total = total + _sum(self.order_cost * orders, each)
        blocks = [
            self._placed(parts, orders, self.into[u:], self.lead, fixed.get("place", self.place))
        ]
        if u:
            on_hand, arriving, later = torch.split_with_sizes(up, (1, 1, n.columns[0] - 2), 1)
            shipped = orders[: n.stores].sum(0, keepdim=True) if u == 1 else self.out @ orders
            post = on_hand.squeeze(1) - shipped
            total = total + _sum(self.holding_up * post.clamp(min=0), each)
            parts = [post + arriving.squeeze(1), later]
            blocks.insert(
                0, self._placed(parts, orders, self.into[:u], self.lead_up, self.place_up)
            )
        new = torch.cat(blocks) if u else blocks[0]
        return (new if self.tree else new + self.scatter @ orders), total

    def _placed(
        self, parts: list[Tensor], orders: Tensor, into: list[int], lead: int | None, place: Tensor
    ) -> Tensor:
        """Inventory vectors (n * L, B) one period on, with the orders that each location gets.

        `parts` are what is on hand next (n, B) and what arrives later (n, L - 2, B).
        """
        first, later = parts
        length = place.shape[1]
        first = first[:, None]
        last = torch.zeros_like(first)
        if not self.tree:
            return torch.cat([first, later, last], 1).flatten(0, 1)
        got = _rows(orders, into)[:, None]  # (n, 1, B)
        if lead is None:
            # Column by column: the compiler turns a sum of a concatenation into slow choices.
            head, middle, tail = torch.split_with_sizes(place, (1, length - 2, 1), 1)
            columns = [first + head * got, later + middle * got, tail * got]
            return torch.cat(columns, 1).flatten(0, 1)
        if lead == 1:
            return torch.cat([first + got, later, last], 1).flatten(0, 1)
        if lead == length:
            return torch.cat([first, later, got], 1).flatten(0, 1)
        before, at, after = torch.split_with_sizes(later, (lead - 2, 1, length - lead - 1), 1)
        return torch.cat([first, before, at + got, after, last], 1).flatten(0, 1)

    def feasible(self, state: Tensor, orders: Tensor, returns: bool = False) -> Tensor:
        """The nearest orders (edges, B) that stock allows: not negative, scaled down where short.

        A location that ships all that it has scales up too. With `returns`, stores may send stock
        back to the outer supplier: negative orders stay.
        """
        n = self.network
        orders = orders if returns else orders.clamp(min=0)
        if not n.upstream:
            return orders
        inside = len(n.internal)
        have = n.inventories(state)[0][:, 0].clamp(min=0)  # (U, B)
        share = have / (self.out[:, :inside] @ orders[:inside] + TINY)
        share = share if n.transship else share.clamp(max=1)
        return torch.cat([orders[:inside] * (self.out[:, :inside].T @ share), orders[inside:]])


def _sum(cost: Tensor, each: bool) -> Tensor:
    """Costs (n, B) over locations, or over all."""
    if not each:
        return cost.sum()
    return cost.sum(0) if len(cost) > 1 else cost.squeeze(0)


def _only(leads: list[int]) -> int | None:
    """The lead time that all locations share; None if they differ."""
    return leads[0] if len(set(leads)) == 1 else None


def _rows(orders: Tensor, index: list[int]) -> Tensor:
    """Rows of `orders`, as a view where they are neighbours."""
    if index == list(range(index[0], index[0] + len(index))):
        return orders[index[0] : index[0] + len(index)]
    return orders[index]
