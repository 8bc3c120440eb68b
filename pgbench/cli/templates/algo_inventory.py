"""own-algo: one line on what it is (authors, year, arXiv id).

Equations, numbered as in the paper:
  Eq. 1   q_t = f_theta(s_t): what is ordered on each edge of the network
  Eq. 2   J(theta) = mean over traces, periods and stores of the cost under Eq. 1
  Eq. 3   theta <- Adam(theta, dJ/dtheta), back through all periods of a replay
  Eq. 4   the policy of least cost on held-out traces

Departures from the paper:
- none yet: say here what differs from it, and why.

This file began as a network that orders, trained through replays of recorded demand. It runs as
it is:
  pgbench run --algo ./own_algo.py --env one-store-lost-sales-p9-l2 --budget smoke
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import pgbench
from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.learning.nets import Mlp
from pgbench.learning.optim import adam_, clip_norm, with_adam
from pgbench.settings.config import Settings, option
from pgbench.worlds.network import Traces


# 1. Settings: `--set lr=1e-3` changes one, `pgbench explain ./own_algo.py` lists them. Give the
#    paper's value as default, its section as third argument, and the range of every number. The
#    loop reads traces, batch, dev_traces and dev_every; the rest is yours.
@dataclass(frozen=True)
class Config(Settings):
    """Where the defaults come from."""

    traces: int = option(1024, "training traces", at_least=1)
    batch: int = option(256, "traces an update", at_least=1)
    dev_traces: int = option(256, "held-out traces that choose the policy (Eq. 4)", at_least=1)
    dev_every: int = option(5, "epochs between two looks at them", at_least=1)
    lr: float = option(3e-3, "Adam step size", above=0)
    max_grad_norm: float = option(1.0, "gradients are scaled to at most this norm", above=0)
    hidden: tuple[int, ...] = option((32, 32), "ELU units a layer", at_least=1)


class OwnAlgo(Algorithm):
    """Order by a network; learn by Eq. 3 on replayed traces."""

    Config = Config
    action_range = "free"  # orders are in units, and the environment makes them feasible
    explores = False

    # 2. Everything that learning changes is a named tensor in `self.state`: saving, resuming and
    #    checksums then work by themselves. The environment is there for its network and simulator.
    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        network = setup.env.network
        self.sim = setup.env.simulator(self.device)
        self.stores, self.unit = network.stores, float(sum(network.mean))
        self.net = Mlp((network.size, *config.hidden, len(network.edges)), "elu")
        theta = self.net.init_uniform(torch.Generator().manual_seed(setup.seed)).to(self.device)
        least = torch.tensor(torch.inf, device=self.device)
        self.state = {**with_adam("theta", theta), "best": theta.clone(), "best_cost": least}

    def orders(self, theta: Tensor, obs: Tensor) -> Tensor:
        """Eq. 1: orders (edges, B) for observations (d, B); what is not in stock is not shipped."""
        return F.softplus(self.net(theta, obs.T / self.unit).T) * self.unit

    # 3. How it acts, when it is judged.
    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Orders (n, edges) of the best policy so far for observations (n, d)."""
        return self.orders(self.state["best"], obs.T).T

    def costs(self, theta: Tensor, traces: Traces) -> Tensor:
        """Cost per store (T, B) of a replay of B traces: the sum in Eq. 2."""
        state, fixed, out = traces.start, self.sim.fixed(traces), []
        for t in range(traces.periods):
            rest = self.sim.context(traces, t)  # what is observed besides stock: past demand, say
            obs = state if rest is None else torch.cat([state, rest])
            orders = self.sim.feasible(state, self.orders(theta, obs))
            state, cost = self.sim.step(state, orders, traces.demand[traces.shift + t], fixed)
            out.append(cost / self.stores)
        return torch.stack(out)

    # 4. How it learns from a batch of traces. Return detached scalars, without `.item()`: they are
    #    logged, and one that is not finite ends the run as diverged.
    def update(self, batch: Traces) -> dict[str, Tensor]:
        """One step on Eq. 3."""
        theta = self.state["theta"].detach().requires_grad_()
        with torch.enable_grad():
            cost = self.costs(theta, batch).mean()  # Eq. 2
            (grad,) = torch.autograd.grad(cost, theta)
        with torch.no_grad():
            grad, norm = clip_norm(grad, self.config.max_grad_norm)
            adam_(self.state, "theta", grad, self.config.lr)
        return {"cost": cost.detach(), "grad_norm": norm}

    @torch.no_grad()
    def validate(self, traces: Traces, warm_up: int) -> Tensor:
        """The present policy's cost on held-out traces; the best policy so far is kept (Eq. 4)."""
        cost = self.costs(self.state["theta"], traces)[warm_up:].mean()
        best, least = self.state["best"], self.state["best_cost"]
        best.copy_(torch.where(cost < least, self.state["theta"], best))
        least.copy_(torch.minimum(cost, least))
        return cost


# 5. One registration a file. `requires` names what it needs of an environment.
pgbench.register_algo(
    "own-algo",
    OwnAlgo,
    family="inventory",
    loop="hindsight",
    summary="what it is, in one line",
    requires={"Differentiable", "Graph"},
)
