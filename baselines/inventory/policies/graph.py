"""A supply network as a graph of embeddings (rows, B, H), for message passing with dense kernels.

Edges stand in four groups: internal and supply edges in the order of `Network.edges`, then a
self-loop of each upstream location (stock that stays; none in transshipment), then a demand edge of
each store. Where indices are regular, rows are taken and summed as they stand, as slices or by
broadcasting; elsewhere by 0/1 matrices, which unlike atomic additions give the same bits on every
run. Tensors are cut by splits: the gradient of a split is one concatenation, that of a slice a
zero-filled copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pgbench.worlds.network import OUTSIDE, Network


def ones(
    rows: int, columns: int, at: Iterable[tuple[int, int]], device: torch.device | str
) -> Tensor:
    """A matrix of zeros with ones at the pairs `at`."""
    matrix = torch.zeros(rows, columns)
    for pair in at:
        matrix[pair] = 1.0
    return matrix.to(device)


def product(matrix: Tensor, x: Tensor) -> Tensor:
    """`matrix` (m, n) times x (n, ...) along the first axis."""
    return (matrix @ x.reshape(len(x), -1)).view(-1, *x.shape[1:])


class Take:
    """Rows `index` of a tensor (n, B, H), as something that broadcasts against (index, B, H)."""

    def __init__(self, index: Sequence[int], n: int, device: torch.device | str) -> None:
        run = range(index[0], index[0] + len(index)) if index else range(0)
        self.run: slice | None = None
        if len(set(index)) == 1:
            self.run = slice(index[0], index[0] + 1)
        elif list(index) == list(run):
            self.run = slice(run.start, run.stop)
        self.all = self.run == slice(0, n)
        self.matrix = ones(len(index), n, enumerate(index), device)

    def __call__(self, x: Tensor) -> Tensor:
        """The rows."""
        if self.all:
            return x
        return x[self.run] if self.run else product(self.matrix, x)


class Gather:
    """Sums of edges at each location of `span`, over the square root of how many there are."""

    def __init__(
        self, groups: Sequence[Sequence[int]], span: range, device: torch.device | str
    ) -> None:
        """`groups` names for each edge the location where it counts, or OUTSIDE."""
        self.parts: list[tuple[int, slice | None, Tensor | None]] = []
        for which, ends in enumerate(groups):
            edges = [e for e, end in enumerate(ends) if end in span]
            if not edges:
                continue
            run = range(edges[0], edges[-1] + 1)
            pairs = [(ends[e] - span.start, e - run.start) for e in edges]
            same = [ends[e] for e in run] == list(span)
            self.parts.append((
                which,
                None if len(run) == len(ends) else slice(run.start, run.stop),
                None if same else ones(len(span), len(run), pairs, device),
            ))  # fmt: skip
        degree = torch.tensor([max(1, sum(list(ends).count(v) for ends in groups)) for v in span])
        self.even = bool((degree == 1).all())
        self.scale = degree.float().rsqrt().view(-1, 1, 1).to(device)

    def __call__(self, groups: Sequence[Tensor]) -> Tensor:
        """The sums (span, B, H) of edges (E, B, H) in groups."""
        total: Tensor | None = None
        for which, run, matrix in self.parts:
            x = groups[which] if run is None else groups[which][run]
            if matrix is not None:  # for one location the plain sum is faster
                x = x.sum(0, keepdim=True) if len(matrix) == 1 else product(matrix, x)
            total = x if total is None else total + x
        assert total is not None  # every location has edges in and out
        return total if self.even else total * self.scale


class Graph:
    """The edges of `network` with their ends, and how to get from nodes to edges and back."""

    def __init__(self, network: Network, device: torch.device | str = "cpu") -> None:
        u, k, n = network.upstream, network.stores, network.locations
        loops = [] if network.transship else list(range(u))
        stores, inside = list(range(u, n)), network.internal
        self.sources = [[e.source for e in inside], [OUTSIDE] * len(network.supply), loops, stores]
        self.targets = [
            [e.target for e in inside], [e.target for e in network.supply], loops, [OUTSIDE] * k
        ]  # fmt: skip
        self.nodes, self.sizes = [u, k], [len(group) for group in self.sources]
        blocks = [span for span in (range(u), range(u, n)) if span]
        self.into = [Gather(self.targets, span, device) for span in blocks]
        self.out = [Gather(self.sources, span, device) for span in blocks]
        self.from_upstream = Take(self.sources[0], u, device)
        # Supply and internal edges mostly end in one kind of location each: its block, as it is.
        self.to = [_Target(targets, u, n, device) for targets in self.targets[:2]]

    def split(self, edges: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Edges without those to customers, and all four groups."""
        internal, supply, loop, demand = self.sizes
        orders, last = torch.split_with_sizes(edges, [internal + supply + loop, demand])
        return orders, (*torch.split_with_sizes(orders, [internal, supply, loop]), last)

    def gather(self, groups: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Sums over the edges into and out of every node, each (N, B, H)."""
        into = [gather(groups) for gather in self.into]
        out = [gather(groups) for gather in self.out]
        return torch.cat(into), torch.cat(out)

    def ends(self, upstream: Tensor, target: Tensor, more: Sequence[Tensor | None]) -> Tensor:
        """Rows at both ends of every edge, added up: (E, B, H).

        `upstream` (U, B, H) is read at sources, `target` (N, B, H) at targets. `more` is added to
        each of the first three groups, and is itself the fourth; None stands for nothing.
        """
        blocks = torch.split_with_sizes(target, self.nodes)
        parts: list[Tensor | None] = [None, None, None, more[3]]
        if self.sizes[0]:
            parts[0] = self.from_upstream(upstream) + self.to[0](target, blocks)
        if self.sizes[1]:
            parts[1] = self.to[1](target, blocks)
        if self.sizes[2]:
            parts[2] = upstream + blocks[0]
        for i in range(3):
            part, extra = parts[i], more[i]
            if part is not None and extra is not None:
                parts[i] = part + extra
        return torch.cat([part for part in parts if part is not None])


class _Target:
    """Rows of the nodes where edges end: of one block if they all end there."""

    def __init__(self, targets: Sequence[int], u: int, n: int, device: torch.device | str) -> None:
        self.block: int | None = None
        if all(v < u for v in targets):
            self.block, first, size = 0, 0, u
        elif all(v >= u for v in targets):
            self.block, first, size = 1, u, n - u
        else:
            first, size = 0, n
        self.take = Take([v - first for v in targets], size, device)

    def __call__(self, nodes: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        return self.take(nodes if self.block is None else blocks[self.block])


def depth(network: Network) -> int:
    """Locations on the longest way from outside to a store, without the store."""
    longest = [1] * network.upstream
    for _ in range(network.upstream):  # as often as a way can be long
        for edge in network.internal:
            if edge.target < network.upstream:
                longest[edge.target] = max(longest[edge.target], longest[edge.source] + 1)
    return max(longest, default=0)
