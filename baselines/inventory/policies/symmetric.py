"""Policies whose parameters do not depend on the number of stores (Alvo et al. 2023, v1 and v2).

One store network gives what each edge into a store asks for, one warehouse network what each
warehouse orders from outside; where a warehouse is short it ships in proportion:
  symmetry_aware   context = sigmoid of a network (256, 256) on all inventories
                   store (32, 32): softplus of [own inventory, mean, std, p, L, context]
                   warehouse (16, 16): 4 * mean demand * sigmoid of [own inventory, context]
  context_free     the same without context; store (64, 64), warehouse (32, 32)
What else is observed of a store follows its inventory. With several warehouses their networks also
read holding and order cost, without which all warehouses would look the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgbench.learning.nets import Mlp
from pgbench.worlds.network import Network

from . import OrderPolicy, allocate
from .graph import Take
from .layers import LIMIT, columns, init_linear, is_fork


class SymmetryAware(OrderPolicy):
    """Store and warehouse networks that share a context."""

    lr = 1e-3
    context = 256  # units of the context network, hidden and output
    store_hidden: tuple[int, ...] = (32, 32)
    warehouse_hidden: tuple[int, ...] = (16, 16)

    def __init__(self, network: Network, device: torch.device | str = "cpu") -> None:
        n, u, inside = network, network.upstream, network.internal
        self.network, self.rows, self.inside = n, n.rows, len(inside)
        self.leaves = allocate.leaves(n, device)
        self.limit = LIMIT * sum(n.mean)
        self.varying = [name for name in ("penalty", "holding", "lead") if name in n.varying]
        own = n.columns[1] + len(self.varying) + n.past + n.clock
        constant = {
            "mean": [n.mean[e.target - u] for e in inside],
            "std": [n.std[e.target - u] for e in inside],
            "penalty": [n.penalty[e.target - u] for e in inside],
            "lead": [float(e.lead) for e in inside],
        }
        rows = [values for name, values in constant.items() if name not in n.varying]
        self.of_store = torch.tensor(rows, device=device).T  # (edges, constants)
        costs = [[n.holding[e.target], e.cost] for e in n.supply] if u > 1 else [[]]
        self.of_warehouse = torch.tensor(costs, device=device)
        self.to_store = Take([e.target - u for e in inside], n.stores, device)
        self.nets = [
            Mlp((own + len(rows) + self.context, *self.store_hidden, 1), "elu"),
            Mlp((n.columns[0] + len(costs[0]) + self.context, *self.warehouse_hidden, 1), "elu"),
        ]
        if self.context:
            self.nets.append(Mlp((n.stock, self.context, self.context), "elu"))
        self.count = sum(net.count for net in self.nets)

    @staticmethod
    def misfit(network: Network) -> str:
        """Warehouses that supply stores."""
        return "" if is_fork(network) else "needs warehouses that supply stores"

    def init(self, rng: torch.Generator) -> Tensor:
        """PyTorch's default for linear layers (P,)."""
        return torch.cat([init_linear(net, rng) for net in self.nets])

    def scores(self, theta: Tensor, obs: Tensor) -> Tensor:
        """Network outputs, one an edge."""
        n = self.network
        store, warehouse, *rest = torch.split_with_sizes(theta, [net.count for net in self.nets])
        context = columns(self.nets[2], rest[0], obs[: n.stock]).sigmoid() if rest else None
        upstream = n.inventories(obs)[0]
        return torch.cat([
            shared(self.nets[0], store, self.stores(obs), self.of_store, context, self.to_store),
            shared(self.nets[1], warehouse, upstream, self.of_warehouse, context),
        ])  # fmt: skip

    def stores(self, obs: Tensor) -> Tensor:
        """What is observed of each store (K, own, B)."""
        n, rows = self.network, self.rows
        parts = [n.inventories(obs)[1], *(obs[rows[name]][:, None] for name in self.varying)]
        if n.past:
            parts.append(obs[rows["past"]].view(n.past, n.stores, -1).transpose(0, 1))
        if n.clock:
            parts.append(obs[rows["clock"]][None].expand(n.stores, -1, -1))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def orders(self, scores: Tensor, obs: Tensor) -> Tensor:
        """Squashed outputs; see the head of the file."""
        n, inside = self.network, self.inside
        have, want = allocate.on_hand(n, obs), F.softplus(scores[:inside])
        shipped = allocate.proportional(want, have, self.leaves, ship_all=n.transship)
        return torch.cat([shipped, scores[inside:].sigmoid() * self.limit])


class ContextFree(SymmetryAware):
    """Every location decides on its own state alone."""

    context = 0
    store_hidden = (64, 64)
    warehouse_hidden = (32, 32)


def shared(
    net: Mlp, theta: Tensor, own: Tensor, constant: Tensor, context: Tensor | None,
    take: Take | None = None,
) -> Tensor:  # fmt: skip
    """Outputs (n, B) of one network for n objects, from [own (n, i, B), constant (n, c), context].

    The first layer is split by its inputs: the context goes through once and not once an object,
    constants become a bias. `take` picks the objects' rows of `own`.
    """
    parts = torch.split_with_sizes(theta, net.lengths)
    i, c = own.shape[1], constant.shape[1]
    sizes = [i, c, net.sizes[0] - i - c]
    w_own, w_constant, w_context = torch.split_with_sizes(parts[0].view(net.shapes[0]), sizes, 1)
    first = own.transpose(1, 2) @ w_own.T
    first = first if take is None else take(first)
    first = first + F.linear(constant, w_constant, parts[1])[:, None]
    if context is not None:
        first = first + context.T @ w_context.T
    x = first.flatten(0, 1)  # a layer is then one product, and ELU works in place on no view
    for at in range(2, len(parts), 2):
        x = F.elu(x, inplace=at > 2)
        x = torch.addmm(parts[at + 1], x, parts[at].view(net.shapes[at]).T)
    return x.view(first.shape[:2])
