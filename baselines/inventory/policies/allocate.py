"""Orders that stock allows: how a location divides what it has on hand among those it supplies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pgbench.worlds.network import Network

TINY = 1e-10  # keeps a division by "nothing was asked for" finite
KEEP = 1.0  # the constant logit of stock that stays, as in the released code


def proportional(
    want: Tensor, have: Tensor, leaves: Tensor, keep: Tensor | None = None, ship_all: bool = False
) -> Tensor:
    """`want` (n, B) scaled down, source by source, to what the sources have on hand (U, B).

    `leaves` (U, n) is one where a flow leaves a source; `keep` (U, B) is what a source wants for
    itself. With `ship_all` sources scale up too, until nothing is left.
    """
    one = len(leaves) == 1  # a sum is faster than a product with a row of ones
    total = want.sum(0, keepdim=True) if one else leaves @ want
    if keep is not None:
        total = total + keep
    share = have / (total + TINY)
    if not ship_all:
        share = share.clamp(max=1)
    return want * (share if one else leaves.T @ share)


@dataclass(frozen=True)
class Slots:
    """Where the flows of each source stand in a table with one line a source.

    `pick` (U, width) points into the flows, then a row of KEEP, then a row of minus infinity, which
    fills short lines; `place` (n,) points into the flattened table.
    """

    pick: Tensor
    place: Tensor

    @classmethod
    def of(cls, network: Network, device: torch.device | str = "cpu") -> Slots:
        """The table of the internal edges of `network`."""
        flows: list[list[int]] = [[] for _ in range(network.upstream)]
        for i, edge in enumerate(network.internal):
            flows[edge.source].append(i)
        n = len(network.internal)
        width = max(map(len, flows)) + 1
        stay = n + 1 if network.transship else n
        pick = [[*line, stay, *[n + 1] * (width - 1 - len(line))] for line in flows]
        place = {i: u * width + at for u, line in enumerate(flows) for at, i in enumerate(line)}
        return cls(
            torch.tensor(pick, device=device),
            torch.tensor([place[i] for i in range(n)], device=device),
        )


def softmax(logits: Tensor, have: Tensor, slots: Slots | None = None, keep: bool = True) -> Tensor:
    """Stock on hand (U, B), divided by a softmax over `logits` (n, B) of each source's flows.

    With `keep` one more logit, KEEP, is that of stock which stays. Without `slots` there is one
    source; with them, they say what stays.
    """
    batch = logits.shape[-1]
    if slots is None:
        if not keep:
            return logits.softmax(0) * have
        stay = logits.new_full((1, batch), KEEP)
        return torch.cat([logits, stay]).softmax(0)[:-1] * have
    stay, never = logits.new_full((1, batch), KEEP), logits.new_full((1, batch), -torch.inf)
    rows = torch.cat([logits, stay, never])
    table = rows.index_select(0, slots.pick.flatten()).view(*slots.pick.shape, batch)
    amounts = table.softmax(1) * have[:, None]
    return amounts.flatten(0, 1).index_select(0, slots.place)


def leaves(network: Network, device: torch.device | str = "cpu") -> Tensor:
    """(U, internal edges): one where an edge leaves an upstream location."""
    out = torch.zeros(network.upstream, len(network.internal), device=device)
    for i, edge in enumerate(network.internal):
        out[edge.source, i] = 1.0
    return out


def on_hand(network: Network, obs: Tensor) -> Tensor:
    """Stock on hand of the upstream locations (U, B)."""
    return obs[0 : network.upstream * network.columns[0] : network.columns[0]]
