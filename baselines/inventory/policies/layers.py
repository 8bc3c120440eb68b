"""What the policies share: networks with the batch on the last axis, and what kind a network is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgbench.learning.nets import Mlp
from pgbench.worlds.network import OUTSIDE, Network

LIMIT = 4.0  # orders from outside stay below so many times the mean demand of a period


def columns(net: Mlp, theta: Tensor, x: Tensor) -> Tensor:
    """`net` (ELU) for features in rows: (out, B) from (in, B), contiguous."""
    parts = torch.split_with_sizes(theta, net.lengths)
    for i in range(0, len(parts), 2):
        x = torch.addmm(parts[i + 1][:, None], parts[i].view(net.shapes[i]), x)
        if i < len(parts) - 2:
            # In place: the gradient then follows from the output, with no second exponential.
            x = F.elu(x, inplace=True)
    return x


def init_linear(net: Mlp, rng: torch.Generator, bias: float | None = None) -> Tensor:
    """PyTorch's default initialisation (P,), with output biases at `bias` if given."""
    theta = net.init_uniform(rng)
    if bias is not None:
        theta[-net.sizes[-1] :] = bias
    return theta


def is_chain(network: Network) -> bool:
    """Whether stock passes all locations one after the other, down to one store."""
    u = network.upstream
    ways = [(e.source, e.target) for e in network.edges]
    return u > 0 and network.stores == 1 and ways == [*((i, i + 1) for i in range(u)), (OUTSIDE, 0)]


def is_fork(network: Network) -> bool:
    """Whether warehouses supply stores and are themselves supplied from outside."""
    inside = all(e.target >= network.upstream for e in network.internal)
    outside = [e.target for e in network.supply] == list(range(network.upstream))
    return network.upstream > 0 and inside and outside


def is_direct(network: Network) -> bool:
    """Whether every store orders from outside, and from there only."""
    return network.upstream == 0 and [e.target for e in network.edges] == list(
        range(network.stores)
    )
