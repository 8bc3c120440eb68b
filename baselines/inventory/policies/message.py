"""The graph network policy on PyTorch Geometric: the same function of the same parameters.

The network is a heterogeneous graph with four relations: `internal` among locations, `supply` from
the outside, `self` of what stays, `demand` to the customers; what is outside has zeros as its
embedding. Tensors keep the batch as their second axis, so the edge lists are built once and serve
every batch size. The equations are numbered as in `gnn.py`; nothing is split or folded here, which
makes this form the readable one and the check of the other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgbench.errors import PgbenchError, install
from pgbench.worlds.network import Network

from .gnn import GNN, Parts

try:
    from torch_geometric.nn import MessagePassing
except ImportError as error:
    raise PgbenchError(
        f"backend pyg of policy gnn needs PyTorch Geometric: {install('inventory')}"
    ) from error


class Relation(MessagePassing):  # type: ignore[misc]  # its package has no annotations
    """Edges of one kind: sums over them at either end, and what their ends hold."""

    def __init__(self, flow: str) -> None:
        super().__init__(aggr="sum", flow=flow, node_dim=0)

    def forward(self, index: Tensor, edge: Tensor, size: tuple[int, int]) -> Tensor:
        """Sums of `edge` (E, B, H) at the nodes that the flow ends in."""
        out: Tensor = self.propagate(index, edge=edge, size=size)
        return out

    def message(self, edge: Tensor) -> Tensor:
        """What an edge contributes."""
        return edge

    def ends(self, index: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Embeddings (nodes, B, H) of source and target, side by side for every edge (E, B, 2H)."""
        out: Tensor = self.edge_updater(index, x=(source, target))
        return out

    def edge_update(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """What `ends` collects for every edge."""
        return torch.cat([x_j, x_i], -1)


class MessageGNN(GNN):
    """Message passing through `torch_geometric.nn.MessagePassing`."""

    def __init__(
        self,
        network: Network,
        device: torch.device | str = "cpu",
        hidden: int | None = None,
        steps: int | None = None,
    ) -> None:
        super().__init__(network, device, hidden, steps)
        self.into, self.out = Relation("source_to_target"), Relation("target_to_source")
        names = ("internal", "supply", "self", "demand")
        graph, n = self.graph, network.locations
        self.index: dict[str, Tensor] = {}
        self.size: dict[str, tuple[int, int]] = {}  # nodes at either end; outside is one node
        self.span: dict[str, slice] = {}
        in_degree, out_degree = torch.zeros(2, n)
        start = 0
        for name, sources, targets in zip(names, graph.sources, graph.targets, strict=True):
            if not sources:
                continue
            self.span[name] = slice(start, start := start + len(sources))
            self.size[name] = (1 if name == "supply" else n, 1 if name == "demand" else n)
            index = torch.tensor([sources, targets]).clamp(min=0)
            self.index[name] = index.to(device)
            if name != "supply":
                out_degree += index[0].bincount(minlength=n)
            if name != "demand":
                in_degree += index[1].bincount(minlength=n)
        degrees = torch.stack([in_degree, out_degree]).clamp(min=1).sqrt()
        self.root = degrees[..., None, None].to(device)  # (2, N, 1, 1)

    def inputs(self, obs: Tensor) -> Tensor:
        """Features of all locations (N, B, F)."""
        n, batch, features = self.network, obs.shape[-1], self.features
        x = features.constant[:, :, None].expand(-1, -1, batch).clone()
        x[n.upstream :, features.varied] = features.store(obs)
        if n.upstream:
            x[: n.upstream, : n.columns[0]] = n.inventories(obs)[0]
        return x.transpose(1, 2)

    def ends(self, nodes: Tensor) -> Tensor:
        """Embeddings of both ends of every edge (E, B, 2H)."""
        outside = torch.zeros_like(nodes[:1])
        parts = []
        for name, index in self.index.items():
            source = outside if name == "supply" else nodes
            target = outside if name == "demand" else nodes
            parts.append(self.into.ends(index, source, target))
        return torch.cat(parts)

    def scores(self, theta: Tensor, obs: Tensor) -> Tensor:
        """Outputs (edges + self-loops, B) of Eq. 6 before softplus."""
        node_enc, edge_enc, node_upd, edge_upd, output = self.split(theta)
        nodes = through(node_enc, self.inputs(obs))  # Eq. 1
        ends = self.ends(nodes)
        lead = ends.new_zeros(*ends.shape[:2], 1)
        lead[: self.ways, :, 0] = self.leads(obs)
        edges = through(edge_enc, torch.cat([ends, lead], -1))  # Eq. 2
        for _ in range(self.steps):
            sums = [torch.zeros_like(nodes), torch.zeros_like(nodes)]
            for name, index in self.index.items():
                part = edges[self.span[name]]
                if name != "demand":
                    sums[0] = sums[0] + self.into(index, part, self.size[name])
                if name != "supply":
                    sums[1] = sums[1] + self.out(index, part, self.size[name])
            into, out = (x / root for x, root in zip(sums, self.root, strict=True))  # Eq. 3
            nodes = nodes + through(node_upd, torch.cat([nodes, into, out], -1))  # Eq. 4
            edges = edges + through(edge_upd, torch.cat([edges, self.ends(nodes)], -1))  # Eq. 5
        return through(output, edges[: sum(self.graph.sizes[:3])], last=False).squeeze(-1)


def through(parts: Parts, x: Tensor, last: bool = True) -> Tensor:
    """A network with ELU after every layer; without `last`, not after the output."""
    for i in range(0, 6, 2):
        x = F.linear(x, parts[i], parts[i + 1])
        if i < 4 or last:
            x = F.elu(x)
    return x
