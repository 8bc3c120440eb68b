"""MDPO, on-policy: Mirror Descent Policy Optimization (Tomar et al. 2021, arXiv 2005.09814).

Equations, numbered here:
  Eq. 1   L(theta) = mean[r A] - (1 / t_k) mean[D],  r = pi(a|s) / pi_k(a|s), maximised by m
          gradient steps on the whole rollout; pi_k is the policy that collected it
  Eq. 2   D = KL(pi(.|s) || pi_k(.|s)), in closed form (the new policy comes first)
  Eq. 3   D = log_q pi(a|s) - log_q pi_k(a|s), the Tsallis form, over the actions taken
  Eq. 4   log_q(x) = (max(x, 1e-6)^(q-1) - 1) / (q - 1);  q = 1: ln(max(x, 1e-6))
  Eq. 5   t_k = 1 - k / K ("paper") or 1 - (k - 1) / K ("released"), k = 0 .. K - 1
  Eq. 6   value loss mean[max((V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2)], R = A + V_old

Departures:
- the paper says that t_k goes from 1 to 0; that it does so linearly is inferred from the code. It
  never reaches 0 here: its least value is 1 / K;
- a time limit bootstraps from the value of the final observation; the released code, and
  `form="released"`, treat it as an end of the task;
- the step size is constant, as in the released code (the paper lists annealing among its tricks);
- constant advantages standardise to zero (released: division by zero);
- 2048 transitions an iteration come from `num_envs` environments in parallel (paper: one);
- Eq. 3 carries no importance weight, as released, so it is biased; the paper did not test it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.learning.batches import Rollout
from pgbench.learning.nets import Distribution, Mlp, policy_net
from pgbench.learning.ops.fit import clipped_value_loss
from pgbench.learning.ops.returns import gae, standardize
from pgbench.learning.optim import adam_, clip_norm, with_adam
from pgbench.settings.config import Settings, option, other

LOG_FLOOR = math.log(1e-6)


@dataclass(frozen=True)
class Config(Settings):
    """Defaults are the paper's where it gives a value, else the released code's."""

    form: str = option(
        "paper",
        "follow the paper or the released code where the two disagree",
        choices=("paper", "released"),
    )
    divergence: str = option("kl", "D of Eq. 1: Eq. 2 or Eq. 3", choices=("kl", "tsallis"))
    q: float = option(
        1.5,
        "q of Eq. 4, in [1, 2]; read by the Tsallis form alone",
        within=(1, 2),
        only={"divergence": ("tsallis",)},
    )
    m: int = option(
        10, "gradient steps on each rollout, all of it in every step", "Paper", at_least=1
    )
    horizon: int = option(
        2048, "transitions an iteration, over all environments", "Paper", at_least=2
    )
    num_envs: int = option(8, "environments stepped in parallel; the paper's is 1", at_least=1)
    lr: float = option(3e-4, "Adam step size, of policy and value", "Released code", above=0)
    max_grad_norm: float = option(
        0.5,
        "policy gradients are scaled to at most this norm",
        "Released code",
        above=0,
    )
    gamma: float = option(0.99, "discount", "Paper", within=(0, 1))
    lam: float = option(0.95, "GAE lambda", "Paper", within=(0, 1), only={"gamma": other(0)})
    vf_epochs: int = option(5, "passes over the rollout for the value", "Released code", at_least=1)
    vf_minibatch: int = option(128, "transitions a value step", "Released code", at_least=1)
    vf_clip: float = option(0.2, "c of Eq. 6", "Released code", above=0)
    hidden: tuple[int, ...] = option((64, 64), "tanh units a layer", "Released code", at_least=1)
    normalize_obs: bool = option(True, "running mean and std of observations, clipped to 10")
    normalize_reward: bool = option(True, "rewards over the running std of the discounted return")


def q_log(log_x: Tensor, q: float) -> Tensor:
    """Eq. 4, of log x: exact for densities whose value overflows."""
    log_x = log_x.clamp(min=LOG_FLOOR)
    return log_x if q == 1 else torch.expm1((q - 1) * log_x) / (q - 1)


def step_size(k: Tensor, iterations: int, form: str) -> Tensor:
    """Eq. 5."""
    lag = 0 if form == "paper" else 1
    return (1 - (k - lag) / iterations).clamp(min=1 / iterations)


def objective(ratio: Tensor, adv: Tensor, divergence: Tensor, t: Tensor | float) -> Tensor:
    """Eq. 1, of (B,) each."""
    return (ratio * adv).mean() - divergence.mean() / t


class MDPO(Algorithm):
    """Act by an MLP; learn by m full-batch steps on Eq. 1, then fit the value."""

    Config = Config
    stacks: ClassVar[bool] = True

    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        init = torch.Generator().manual_seed(setup.seed)
        self.pi = policy_net(setup, config.hidden)
        self.vf = Mlp((setup.obs_dim, *config.hidden, 1))
        self.state = {
            **with_adam("pi", self.pi.init(init).to(self.device)),
            **with_adam("vf", self.vf.init(init).to(self.device)),
            "k": torch.zeros((), device=self.device),
        }
        self.iterations = max(1, setup.budget // config.horizon)
        self.prepare = self.compiled(self._prepare)
        self.policy_step = self.compiled(self._policy_step)
        self.value_step = self.compiled(self._value_step)

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions before clipping to the box, or choices; sampled or the mode."""
        pi: Distribution = self.pi(self.state["pi"], obs)
        return pi.sample(self.drawn) if explore else pi.mode()

    def loss(
        self, theta: Tensor, t: Tensor, obs: Tensor, action: Tensor, pi_k: Distribution,
        logp_k: Tensor, adv: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """Minus Eq. 1 on the rollout, and what to log."""
        pi: Distribution = self.pi(theta, obs)
        logp = pi.log_prob(action)
        ratio = (logp - logp_k).exp()
        kl = pi.kl(pi_k)  # Eq. 2
        if self.config.divergence == "kl":
            divergence = kl
        else:
            divergence = q_log(logp, self.config.q) - q_log(logp_k, self.config.q)  # Eq. 3
        parts = {
            "surrogate": (ratio * adv).detach().mean(),
            "kl": kl.detach().mean(),
            "t": t.detach(),
            "entropy": pi.entropy().mean().detach(),
        }
        return -objective(ratio, adv, divergence, t), parts

    def _prepare(
        self, state: dict[str, Tensor], obs: Tensor, action: Tensor, reward: Tensor,
        next_obs: Tensor, terminated: Tensor, done: Tensor,
    ) -> tuple[tuple[Any, ...], tuple[Tensor, ...]]:  # fmt: skip
        """What the policy steps and the value steps read, each (B, ...) with B = T * n."""
        c = self.config
        value = self.vf(state["vf"], obs).squeeze(-1)  # (T, n)
        next_value = self.vf(state["vf"], next_obs).squeeze(-1)
        adv = gae(reward, value, next_value, terminated, done, c.gamma, c.lam)
        obs, action = obs.flatten(0, 1), action.flatten(0, 1)
        pi_k: Distribution = self.pi(state["pi"].clone(), obs)  # no view of what will change
        frozen = (pi_k, pi_k.log_prob(action), standardize(adv).flatten())
        return (obs, action, *frozen), (obs, value.flatten(), (adv + value).flatten())

    def _policy_step(self, state: dict[str, Tensor], data: tuple[Any, ...]) -> dict[str, Tensor]:
        """One Adam step on the whole rollout."""
        t = step_size(state["k"], self.iterations, self.config.form)
        parts: dict[str, Tensor]
        grad, parts = torch.func.grad(self.loss, has_aux=True)(state["pi"], t, *data)
        grad, parts["grad_norm"] = clip_norm(grad, self.config.max_grad_norm)
        adam_(state, "pi", grad, self.config.lr, eps=1e-5)
        return parts

    def _value_step(
        self, state: dict[str, Tensor], data: tuple[Tensor, ...], index: Tensor
    ) -> Tensor:
        """One Adam step on Eq. 6 for the transitions at `index` (B,)."""
        obs, value_old, ret = (x[index] for x in data)

        def loss(theta: Tensor) -> Tensor:
            value = self.vf(theta, obs).squeeze(-1)
            return clipped_value_loss(value, value_old, ret, self.config.vf_clip)

        value_loss: Tensor
        grad, value_loss = torch.func.grad_and_value(loss)(state["vf"])
        adam_(state, "vf", grad, self.config.lr, eps=1e-5)
        return value_loss

    def update(self, batch: Rollout) -> dict[str, Tensor]:
        """m policy steps on the whole rollout, then the value epochs."""
        c = self.config
        terminated = batch.terminated if c.form == "paper" else batch.done
        for_policy, for_value = self.prepare(
            self.state, batch.obs, batch.action, batch.reward, batch.next_obs, terminated,
            batch.done,
        )  # fmt: skip
        for _ in range(c.m):
            parts = self.policy_step(self.state, for_policy)
        for index in self.minibatches(len(for_value[0]), c.vf_minibatch, c.vf_epochs):
            parts["value_loss"] = self.value_step(self.state, for_value, index)
        self.state["k"].add_(1)
        return parts
