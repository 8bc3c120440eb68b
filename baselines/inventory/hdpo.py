"""Hindsight differentiable policy optimisation (Alvo, Russo, Kanoria and Lee, arXiv:2306.11246).

Demand is exogenous: a recorded trace can be replayed under any policy, and the cost of a replay is
a piecewise smooth function of the policy's parameters. So its gradient is simply computed.

Equations, numbered here:
  Eq. 1   J(theta) = 1/(B T K) sum_b sum_{t < T} c(s_t, pi_theta(s_t), xi_t), s_{t+1} = f(s_t, .);
          B traces xi, T periods (the warm-up included), K stores, no discount
  Eq. 2   theta <- Adam(theta, dJ/dtheta), back through all T periods, nothing detached, no noise
  Eq. 3   the reported cost: Eq. 1 over the periods after the warm-up
  Eq. 4   the policy is the one of least Eq. 3 on held-out traces, looked at every few epochs

Departures from the paper:
- training ends with its budget; the released code stops after 500 epochs without improvement (and
  20,000 at most), so that runs are of unequal cost;
- a mini-batch that the number of traces does not fill is left out;
- traces come from seeds of the run, not from the one pair of seeds in the released code.
Step size, widths and clipping are the released code's for each policy; the paper tunes them.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.learning.ops.matmul import fast_matmul
from pgbench.learning.optim import adam_, clip_norm, with_adam
from pgbench.settings.config import Settings, option
from pgbench.worlds.network import Traces

from .policies import default_policy, make_policy, policy_options
from .replay import costs, frugal_gradient, keep_best_, segment


@dataclass(frozen=True)
class Config(Settings):
    """Defaults are the released code's where it has one value for all settings."""

    policy: str = option("", "order policy; empty: vanilla, or data_driven for weekly sales")
    traces: int = option(8192, "training traces", at_least=1)
    batch: int = option(1024, "traces an update", "released configs: 1024 or 8192", at_least=1)
    lr: float | None = option(
        None, "Adam step size; none: the policy's own in the released code", above=0
    )
    hidden: tuple[int, ...] = option((), "widths of the policy; empty: its own", at_least=1)
    steps: int | None = option(
        None,
        "message-passing steps of the gnn; none: by the network",
        at_least=1,
        only={"policy": ("gnn",)},
    )
    backend: str = option(
        "dense", "how the gnn is computed", choices=("dense", "pyg"), only={"policy": ("gnn",)}
    )
    max_grad_norm: float | None = option(
        None, "limit of the gradient norm; none: the policy's own", above=0
    )
    dev_traces: int = option(1024, "held-out traces that choose the policy (Eq. 4)", at_least=1)
    dev_every: int = option(10, "epochs between two looks at them", "released configs", at_least=1)
    recompute: bool = option(False, "replay again backwards: the memory of 10 periods, not of all")


class HDPO(Algorithm):
    """Order by a deterministic policy; learn by Eq. 2 on replayed traces."""

    Config = Config
    action_range = "free"
    explores = False

    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        network = setup.env.network
        self.sim = setup.env.simulator(self.device)
        name = config.policy or default_policy(network)
        self.pi = make_policy(name, network, self.device, **policy_options(config))
        self.lr = self.pi.lr if config.lr is None else config.lr
        self.clip = self.pi.clip if config.max_grad_norm is None else config.max_grad_norm
        theta = self.pi.init(torch.Generator().manual_seed(setup.seed)).to(self.device)
        self.state = {
            **with_adam("theta", theta),
            "best": theta.clone(),
            "best_cost": torch.tensor(float("inf"), device=self.device),
        }
        self.wide = fast_matmul if self.pi.wide else nullcontext
        self.replay = self.compiled(segment(self.sim, self.pi), grad=True)

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Orders (n, edges) of the best policy so far."""
        return self.pi(self.state["best"], obs.T).T

    def gradient(self, theta: Tensor, traces: Traces) -> tuple[Tensor, Tensor]:
        """dJ/dtheta (P,) and J of Eq. 1."""
        args = self.replay, self.sim, theta.detach().requires_grad_(), traces, self.pi.unroll
        with self.wide(self.device), torch.enable_grad():
            if self.config.recompute:
                return frugal_gradient(*args)
            cost = costs(*args).mean()  # Eq. 1
            (grad,) = torch.autograd.grad(cost, args[2])
        return grad, cost.detach()

    def update(self, batch: Traces) -> dict[str, Tensor]:
        """One Adam step on a batch of traces (Eq. 2)."""
        grad, cost = self.gradient(self.state["theta"], batch)
        norm = grad.norm()
        if self.clip is not None:
            grad, norm = clip_norm(grad, self.clip)
        with torch.no_grad():
            adam_(self.state, "theta", grad, self.lr)
        return {"cost": cost, "grad_norm": norm}

    @torch.no_grad()
    def validate(self, traces: Traces, warm_up: int) -> Tensor:
        """Eq. 3 of the present policy, which becomes the best one if it is (Eq. 4)."""
        with self.wide(self.device):
            per_period = costs(self.replay, self.sim, self.state["theta"], traces, self.pi.unroll)
        cost = per_period[warm_up:].mean()  # Eq. 3
        keep_best_(self.state, cost)
        return cost
