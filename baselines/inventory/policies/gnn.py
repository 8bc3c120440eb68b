"""The graph network policy of Alvo et al. 2023 (v3, 2025): message passing on the supply network.

Five networks (two hidden ELU layers of H units, H outputs, ELU at the end) share their weights over
all nodes and edges; n_v and m_e are embeddings of node v and edge e = (u, v):
  Eq. 1   n_v = NodeEncoder[inventory vector of v, parameters of v]
  Eq. 2   m_e = EdgeEncoder[n_u, n_v, lead time of e]; zeros for what is outside the network
  Eq. 3   in_v, out_v = sum of m_e over the edges into, out of v, over the root of their number
  Eq. 4   n_v <- n_v + NodeUpdate[n_v, in_v, out_v]
  Eq. 5   m_e <- m_e + EdgeUpdate[m_e, n_u, n_v]; Eq. 3 to 5 `steps` times
  Eq. 6   q_e = softplus(Output[m_e]), then in proportion to what each location has on hand, with
          what its self-loop asks for kept
Parameters of a node: holding cost and order cost upstream; holding, penalty, mean and standard
deviation of demand in stores, or past demand and the day where they are observed.

What makes it fast and changes no result: the first layer of Eq. 2, 4 and 5 is split by its inputs,
so that it runs once a node and not once an edge; constant inputs become a bias; the last Eq. 5 and
Eq. 6 skip demand edges, which order nothing.

Departures from the released code: orders are mapped to edges by location (the code writes the j-th
connected warehouse of a store to warehouse j); lead times that vary between samples are read for
each sample (the code takes those of the first).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pgbench.learning.nets import Mlp
from pgbench.worlds.network import Network

from . import OrderPolicy, allocate
from .graph import Graph, depth, ones
from .layers import init_linear

Parts = tuple[Tensor, ...]  # weights and biases of a network, layer by layer


class Features:
    """Inputs of the node encoder: inventories padded to the longest, then parameters.

    `constant` (N, F) holds what no sample changes, zero elsewhere; `varied` are the columns of a
    store that the observation fills.
    """

    def __init__(self, network: Network, device: torch.device | str) -> None:
        n, u, k = network, network.upstream, network.stores
        first = max(n.columns) if u else n.columns[1]
        names = ["holding", "penalty"]
        names += [*["past"] * n.past, *["clock"] * n.clock] if n.past else ["mean", "std"]
        self.network, self.rows, self.size = network, network.rows, first + len(names)
        constant = torch.zeros(n.locations, self.size)
        constant[:u, first] = torch.tensor(n.holding[:u])
        for v in range(u):
            constant[v, first + 1] = next(e.cost for e in n.edges if e.target == v)
        values = {"holding": n.holding[u:], "penalty": n.penalty, "mean": n.mean, "std": n.std}
        varied = list(range(n.columns[1]))
        for at, name in enumerate(names, first):
            if name in ("past", "clock") or name in n.varying:
                varied.append(at)
            else:
                constant[u:, at] = torch.tensor(values[name])
        self.constant = constant.to(device)
        self.varied = torch.tensor(varied, device=device)
        self.parts = [name for name in ("holding", "penalty") if name in n.varying]
        self.plain = not (self.parts or n.past)
        self.stores = k

    def store(self, obs: Tensor) -> Tensor:
        """What differs between samples of a store (K, varied, B)."""
        n, rows = self.network, self.rows
        inventory = n.inventories(obs)[1]
        if self.plain:
            return inventory
        parts = [inventory, *(obs[rows[name]][:, None] for name in self.parts)]
        if n.past:
            past = obs[rows["past"]].view(n.past, self.stores, -1)
            parts.append(past.transpose(0, 1))
            if n.clock:
                parts.append(obs[rows["clock"]][None].expand(self.stores, -1, -1))
        return torch.cat(parts, 1)


class GNN(OrderPolicy):
    """Message passing with dense kernels on (nodes or edges, B, H)."""

    lr = 1e-3
    clip = 1.0
    unroll = 1  # its graph is large: more would compile for minutes

    def __init__(
        self,
        network: Network,
        device: torch.device | str = "cpu",
        hidden: int | None = None,
        steps: int | None = None,
    ) -> None:
        """`hidden` is H: 32, or 64 where past demand is observed.

        `steps` defaults to the number of tiers above the stores: 1 with warehouses, and in a chain
        as many as locations upstream.
        """
        h = hidden or (64 if network.past else 32)
        self.network, self.width = network, h
        self.steps = steps or max(1, depth(network))
        self.graph = Graph(network, device)
        self.features = Features(network, device)
        self.nets = [
            Mlp((inputs, h, h, outputs), "elu")
            for inputs, outputs in (
                (self.features.size, h), (2 * h + 1, h), (3 * h, h), (3 * h, h), (h, 1)
            )
        ]  # fmt: skip
        self.count = sum(net.count for net in self.nets)
        self.bias = 1.0 if network.past else 5.0
        u = network.upstream
        self.ways = len(network.edges)
        varies = ["lead" in network.varying and e.target >= u for e in network.edges]
        leads = [0 if v else e.lead for e, v in zip(network.edges, varies, strict=True)]
        self.lead = torch.tensor(leads, dtype=torch.float32, device=device)[:, None]
        pairs = [(i, e.target - u) for i, e in enumerate(network.edges) if varies[i]]
        self.lead_of = ones(self.ways, network.stores, pairs, device) if pairs else None
        self.leaves = allocate.leaves(network, device)

    def init(self, rng: torch.Generator) -> Tensor:
        """PyTorch's default for linear layers (P,), the output bias high: see `bias`."""
        biases = [None] * 4 + [self.bias]
        return torch.cat(
            [init_linear(net, rng, bias) for net, bias in zip(self.nets, biases, strict=True)]
        )

    def split(self, theta: Tensor) -> list[Parts]:
        """The weights and biases of the five networks."""
        shapes = [shape for net in self.nets for shape in net.shapes]
        flat = torch.split_with_sizes(theta, [math.prod(shape) for shape in shapes])
        parts = [x.view(shape) for x, shape in zip(flat, shapes, strict=True)]
        return [tuple(parts[i : i + 6]) for i in range(0, 30, 6)]

    def leads(self, obs: Tensor) -> Tensor:
        """Lead times of `Network.edges` (edges, 1), or (edges, B) where they vary."""
        if self.lead_of is None:
            return self.lead
        return self.lead + self.lead_of @ obs[self.features.rows["lead"]]

    def scores(self, theta: Tensor, obs: Tensor) -> Tensor:
        """Outputs (edges + self-loops, B) of Eq. 6 before softplus."""
        node_enc, edge_enc, node_upd, edge_upd, output = self.split(theta)
        h, graph = self.width, self.graph
        first = self.encode(node_enc, obs)
        nodes = after(first, node_enc, first.shape)

        w_source, w_target, w_lead = columns_of(edge_enc[0], [h, h, 1])
        upstream, store = torch.split_with_sizes(nodes, graph.nodes)
        lead = self.leads(obs)[..., None] * w_lead[:, 0]  # (edges, 1 or B, H)
        first = graph.ends(
            F.linear(upstream, w_source),
            F.linear(nodes, w_target, edge_enc[1]),
            [
                *torch.split_with_sizes(lead, graph.sizes[:2]),
                None,
                F.linear(store, w_source, edge_enc[1]),
            ],
        )
        orders, groups = graph.split(after(first, edge_enc, first.shape))  # Eq. 2

        for step in range(1, self.steps + 1):
            into, out = graph.gather(groups)  # Eq. 3
            w_node, w_in, w_out = columns_of(node_upd[0], [h, h, h])
            first = plus(F.linear(nodes, w_node, node_upd[1]), into, w_in)
            first = plus(first, out, w_out)
            nodes = nodes + after(first, node_upd, nodes.shape)  # Eq. 4

            last = step == self.steps
            w_edge, w_source, w_target = columns_of(edge_upd[0], [h, h, h])
            upstream, store = torch.split_with_sizes(nodes, graph.nodes)
            first = graph.ends(
                F.linear(upstream, w_source),
                F.linear(nodes, w_target, edge_upd[1]),
                [None, None, None, None if last else F.linear(store, w_source, edge_upd[1])],
            )
            edges = orders if last else torch.cat(groups)
            edges = edges + after(plus(first, edges, w_edge), edge_upd, edges.shape)  # Eq. 5
            if not last:
                orders, groups = graph.split(edges)

        x = F.elu(torch.addmm(output[1], edges.flatten(0, 1), output[0].T), inplace=True)
        x = F.elu(torch.addmm(output[3], x, output[2].T), inplace=True)
        return torch.addmm(output[5], x, output[4].T).view(edges.shape[:2])

    def encode(self, parts: Parts, obs: Tensor) -> Tensor:
        """The first layer of Eq. 1 (N, B, H), with what is constant as a bias of each node."""
        n, u = self.network, self.network.upstream
        weight = parts[0]
        bias = F.linear(self.features.constant, weight, parts[1])[:, None]  # (N, 1, H)
        varied = self.features.varied
        chosen = weight[:, : n.columns[1]] if self.features.plain else weight[:, varied]
        store = rows_times(bias[u:], self.features.store(obs), chosen)
        if not u:
            return store
        upstream = n.inventories(obs)[0]
        return torch.cat([rows_times(bias[:u], upstream, weight[:, : n.columns[0]]), store])

    def orders(self, scores: Tensor, obs: Tensor) -> Tensor:
        """Eq. 6: what each edge asks for, scaled to what is on hand."""
        n, want = self.network, F.softplus(scores)
        if not n.upstream:
            return want
        inside, outside, keep = torch.split_with_sizes(want, self.graph.sizes[:3])
        have = allocate.on_hand(n, obs)
        asked = None if n.transship else keep
        shipped = allocate.proportional(inside, have, self.leaves, asked, n.transship)
        return torch.cat([shipped, outside])


def after(first: Tensor, parts: Parts, shape: torch.Size) -> Tensor:
    """What a network makes of its first layer `first`, which is overwritten; in `shape`.

    ELU works in place, since its gradient follows from its output alone, and never on a view, for
    which autograd would copy. Hence the flat tensors.
    """
    x = F.elu(first, inplace=True).flatten(0, -2)
    x = F.elu(torch.addmm(parts[3], x, parts[2].T), inplace=True)
    return F.elu(torch.addmm(parts[5], x, parts[4].T), inplace=True).view(shape)


def columns_of(weight: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    """A first layer's weights by input."""
    return torch.split_with_sizes(weight, sizes, dim=1)


def plus(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """x + y weight^T in one pass: (rows * B, H) from (rows, B, H)."""
    return torch.addmm(x.flatten(0, -2), y.flatten(0, -2), weight.T)


def rows_times(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """bias (n, 1, H) + x (n, inputs, B), times weight (H, inputs): (n, B, H)."""
    return torch.baddbmm(bias, x.transpose(1, 2), weight.T.expand(len(x), -1, -1))
