"""One network for all orders: the `vanilla` and `data_driven` nets of Alvo et al. 2023.

Both read the whole observation. vanilla ends in what the structure of the network suggests:
  no upstream      order = softplus(out + 1)
  chain            order = sigmoid(out) times the supplier's stock on hand
  otherwise        a softmax divides the stock of each location among its targets and itself
  from outside     order = sigmoid(out) times 4 times the mean demand of all stores
data_driven ends in relu(out), scaled down in proportion where a location has less than that.

Departures from the released code:
- with several warehouses there is one output an edge, not one for each pair of warehouse and store,
  connected or not;
- its network for chains detaches the input (`torch.tensor` of a tensor), so that gradients pass by
  the stock on hand alone; here the whole gradient counts, as in all of its other policies.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgbench.learning.nets import Mlp
from pgbench.worlds.network import Network

from . import OrderPolicy, allocate
from .layers import LIMIT, columns, init_linear, is_chain


class Vanilla(OrderPolicy):
    """An ELU network whose outputs are squashed into feasible orders."""

    def __init__(
        self,
        network: Network,
        device: torch.device | str = "cpu",
        hidden: tuple[int, ...] | None = None,
    ) -> None:
        self.network = network
        self.chain = is_chain(network) and network.upstream > 1 and not network.transship
        widths: tuple[int, ...]
        if not network.upstream:
            widths, self.lr = (32, 32, 32), 3e-3
        elif self.chain:
            widths, self.lr = (32, 32), 1e-2
        elif network.transship:
            widths, self.lr = (256, 256, 256), 1e-4
        else:
            widths, self.lr = (512, 512, 512), 3e-4
        self.net = Mlp((network.size, *(hidden or widths), len(network.edges)), "elu")
        self.wide = min(hidden or widths) >= 128
        self.count = self.net.count
        self.inside = len(network.internal)
        self.limit = LIMIT * sum(network.mean)
        many = network.upstream > 1 and not self.chain
        self.slots = allocate.Slots.of(network, device) if many else None

    def init(self, rng: torch.Generator) -> Tensor:
        """PyTorch's default for linear layers (P,)."""
        return init_linear(self.net, rng)

    def scores(self, theta: Tensor, obs: Tensor) -> Tensor:
        """Network outputs, one an edge."""
        return columns(self.net, theta, obs)

    def orders(self, scores: Tensor, obs: Tensor) -> Tensor:
        """Squashed outputs; see the head of the file."""
        n = self.network
        if not n.upstream:
            return F.softplus(scores + 1)
        inside, outside = scores[: self.inside], scores[self.inside :].sigmoid() * self.limit
        have = allocate.on_hand(n, obs)
        if self.chain:
            shipped = inside.sigmoid() * have
        else:
            shipped = allocate.softmax(inside, have, self.slots, keep=not n.transship)
        return torch.cat([shipped, outside])


class DataDriven(OrderPolicy):
    """An ELU network for what varies between samples: past demand, costs, season, lead times."""

    lr = 3e-3

    def __init__(
        self,
        network: Network,
        device: torch.device | str = "cpu",
        hidden: tuple[int, ...] = (64, 64),
    ) -> None:
        self.network = network
        self.net = Mlp((network.size, *hidden, len(network.edges)), "elu")
        self.count = self.net.count
        self.inside = len(network.internal)
        self.leaves = allocate.leaves(network, device)

    @staticmethod
    def misfit(network: Network) -> str:
        """Past demand must be observed."""
        return "" if network.past else "needs a network whose past demand is observed"

    def init(self, rng: torch.Generator) -> Tensor:
        """PyTorch's default for linear layers (P,), output biases 1 so that relu passes."""
        return init_linear(self.net, rng, bias=1.0)

    def scores(self, theta: Tensor, obs: Tensor) -> Tensor:
        """Network outputs, one an edge."""
        return columns(self.net, theta, obs)

    def orders(self, scores: Tensor, obs: Tensor) -> Tensor:
        """Outputs above zero, in proportion where stock is short."""
        n, want = self.network, F.relu(scores)
        if not n.upstream:
            return want
        inside = self.inside
        have = allocate.on_hand(n, obs)
        shipped = allocate.proportional(want[:inside], have, self.leaves, ship_all=n.transship)
        return torch.cat([shipped, want[inside:]])
