"""REINFORCE on replayed demand traces: the score-function counterpart of HDPO.

Williams (1992, Machine Learning 8: 229-256). Policy, traces, budget and optimiser are HDPO's
(arXiv:2306.11246, which compares with such training; its settings were not found); only the
gradient differs: nothing is differentiated but the policy.

Equations, numbered here:
  Eq. 1   z_t = f_theta(s_t) + sigma eps, eps ~ N(0, I); the orders are g(z_t), g the squashing that
          makes them feasible (softplus, allocation): noise enters where HDPO's policy is linear
  Eq. 2   G_t = sum_{u >= t} c_u, undiscounted, to the end of the trace
  Eq. 3   A_t = G_t - mean over the batch of G_t
  Eq. 4   dJ/dtheta = 1/(B T K) sum_b sum_t A_t grad log pi_theta(z_t | s_t)
  Eq. 5   the policy without noise of least cost on held-out traces, looked at every few epochs

Departures from the paper: Adam in place of plain ascent; the baseline is the batch's mean cost to
go of each period in place of a running average.
"""

from __future__ import annotations

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
from .replay import costs, keep_best_, segment


@dataclass(frozen=True)
class Config(Settings):
    """As HDPO's; the noise is ours, because the paper's settings were not found."""

    policy: str = option("", "order policy; empty: vanilla, or data_driven for weekly sales")
    traces: int = option(8192, "training traces", at_least=1)
    batch: int = option(1024, "traces an update", at_least=1)
    lr: float | None = option(
        None, "Adam step size; none: the policy's own in HDPO's code", above=0
    )
    sigma: float = option(0.3, "standard deviation of the noise of Eq. 1", above=0)
    hidden: tuple[int, ...] = option((), "widths of the policy; empty: its own", at_least=1)
    max_grad_norm: float | None = option(
        None, "limit of the gradient norm; none: the policy's own", above=0
    )
    dev_traces: int = option(1024, "held-out traces that choose the policy (Eq. 5)", at_least=1)
    dev_every: int = option(10, "epochs between two looks at them", at_least=1)


def cost_to_go(cost: Tensor) -> Tensor:
    """Eq. 2: (T, B) for the costs (T, B) of the periods."""
    return cost.flip(0).cumsum(0).flip(0)


class REINFORCE(Algorithm):
    """Order with noise; learn by Eq. 4 on replayed traces."""

    Config = Config
    action_range = "free"

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
        # Number M of scores, to which the noise is added.
        self.outputs = len(self.pi.scores(theta, torch.zeros(network.size, 1, device=self.device)))
        self.replay = self.compiled(segment(self.sim, self.pi))
        self.period = self.compiled(self._period)
        self.step = self.compiled(self._step)

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Orders (n, edges): with noise, or the best policy's without."""
        if not explore:
            return self.pi(self.state["best"], obs.T).T
        scores = self.pi.scores(self.state["theta"], obs.T)
        return self.pi.orders(scores + self.config.sigma * self.noise(*scores.shape), obs.T).T

    def _period(
        self, theta: Tensor, obs: Tensor, noise: Tensor, state: Tensor, demand: Tensor,
        fixed: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The next state (R, B) and the cost (B,) under Eq. 1."""
        scores = self.pi.scores(theta, obs) + self.config.sigma * noise
        stepped: tuple[Tensor, Tensor]
        stepped = self.sim.step(state, self.pi.orders(scores, obs), demand, fixed)
        return stepped

    def surrogate(self, theta: Tensor, obs: Tensor, noise: Tensor, adv: Tensor) -> Tensor:
        """A function whose gradient is Eq. 4; obs (d, N), noise (M, N), adv (N,) of N = T B."""
        scores = self.pi.scores(theta, obs)
        z = (scores + self.config.sigma * noise).detach()
        logp = -0.5 * ((z - scores) / self.config.sigma).square().sum(0)
        loss: Tensor = (adv * logp).mean() / self.sim.network.stores
        return loss

    def _step(
        self, state: dict[str, Tensor], obs: Tensor, noise: Tensor, adv: Tensor
    ) -> dict[str, Tensor]:
        """One Adam step on all periods of a batch."""
        grad = torch.func.grad(self.surrogate)(state["theta"], obs, noise, adv)
        norm = grad.norm()
        if self.clip is not None:
            grad, norm = clip_norm(grad, self.clip)
        adam_(state, "theta", grad, self.lr)
        return {"grad_norm": norm}

    @torch.no_grad()
    def update(self, batch: Traces) -> dict[str, Tensor]:
        """Replay a batch with noise, then one step on it."""
        state, fixed = batch.start, self.sim.fixed(batch)
        seen, noises, paid = [], [], []
        for t in range(batch.periods):
            rest = self.sim.context(batch, t)
            obs = state if rest is None else torch.cat([state, rest])
            noise = self.noise(self.outputs, len(batch))
            seen.append(obs)
            noises.append(noise)
            demand = batch.demand[batch.shift + t]
            state, cost = self.period(self.state["theta"], obs, noise, state, demand, fixed)
            paid.append(cost)
        cost = torch.stack(paid)  # (T, B)
        to_go = cost_to_go(cost)
        adv = (to_go - to_go.mean(1, keepdim=True)).flatten()  # Eq. 3
        with fast_matmul(self.device):
            metrics = self.step(self.state, torch.cat(seen, 1), torch.cat(noises, 1), adv)
        return {"cost": cost.mean() / self.sim.network.stores, **metrics}

    @torch.no_grad()
    def validate(self, traces: Traces, warm_up: int) -> Tensor:
        """Cost after the warm-up of the policy without noise; it may become the best (Eq. 5)."""
        per_period = costs(self.replay, self.sim, self.state["theta"], traces, self.pi.unroll)
        cost = per_period[warm_up:].mean()
        keep_best_(self.state, cost)
        return cost
