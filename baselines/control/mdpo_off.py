"""MDPO, off-policy: Mirror Descent Policy Optimization (Tomar et al. 2021, arXiv 2005.09814).

Equations, numbered here; a = tanh(u), u = mu(s) + sigma(s) eps; kappa = 1 / t_k, fixed; pi_k is a
copy of the policy, renewed every m steps; log_q as in the on-policy file (its Eq. 4):
  Eq. 1   l_j = log N(u_j; mu_j, sigma_j^2) - log(1 - a_j^2 + 1e-6), for each action dimension
  Eq. 2   L(pi) = sum_j log_q(exp(l_j)); q = 1 is MDPO-KL, q in (1, 2] is MDPO-Tsallis
  Eq. 3   J_pi = mean[kappa L(pi) + q (lambda - kappa) L(pi_k) - Q_1(s, a)]
               + c mean[mu^2] + c mean[log_sigma^2]
  Eq. 4   J_V = 1/2 mean (V(s) - [min(Q_1, Q_2)(s, a) - lambda L(pi)])^2
  Eq. 5   J_Q = 1/2 mean (Q_i(s, a) - [r + gamma (1 - d) V'(s')])^2, i = 1, 2
  Eq. 6   V' <- tau V + (1 - tau) V'
kappa = lambda drops pi_k and leaves SAC's loss (with Q_1 for the minimum); kappa = lambda = 0
leaves a deterministic-gradient loss, -Q_1. An update takes the policy first, then Q and V; Eq. 3
and Eq. 4 share one draw of a.

Departures:
- the released code collects with the mode of the policy after the random phase, which the paper
  does not mention: `form="released"` does so, the default samples;
- linear layers start from PyTorch's default (released: TensorFlow's);
- pi_k is renewed before the update of its step, counted from the first update;
- a time limit bootstraps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.learning.batches import Transitions
from pgbench.learning.nets import Mlp
from pgbench.learning.ops.gaussian import LOG_2PI
from pgbench.learning.ops.matmul import fast_matmul
from pgbench.learning.optim import adam_, lerp_, with_adam
from pgbench.settings.config import Settings, option, other
from pgbench.settings.ranges import SettingError

from .mdpo import q_log


@dataclass(frozen=True)
class Config(Settings):
    """Defaults are the paper's where it gives a value, else the released code's."""

    form: str = option(
        "paper",
        "collect with samples (paper) or with the mode (released)",
        choices=("paper", "released"),
    )
    q: float = option(
        1.0,
        "q of Eq. 2, in [1, 2]; 1 is MDPO-KL, more is MDPO-Tsallis",
        within=(1, 2),
        only=({"kappa": other(0)}, {"ent_coef": other(0)}),
    )
    kappa: float = option(
        1.0,
        "1 / t_k, fixed; the paper sets it for each task",
        "Released code: README",
        at_least=0,
    )
    ent_coef: float = option(
        0.2, "lambda, weight of the entropy in the reward", "Paper: all tasks", at_least=0
    )
    m: int = option(1000, "environment steps between copies to pi_k", "Paper", at_least=1)
    reg: float = option(1e-3, "c of Eq. 3", "Released code", at_least=0)
    lr: float = option(3e-4, "Adam step size", "Released code", above=0)
    gamma: float = option(0.99, "discount", within=(0, 1))
    buffer: int = option(1_000_000, "transitions kept", "Released code", at_least=1)
    batch: int = option(256, "transitions an update", "Paper", at_least=1)
    tau: float = option(
        0.005,
        "step of the target value, Eq. 6",
        "Released code",
        above=0,
        at_most=1,
        only={"gamma": other(0)},
    )
    start: int = option(
        10_000,
        "environment steps of uniformly random actions at the start",
        "Released code",
        at_least=0,
    )
    hidden: tuple[int, ...] = option((256, 256), "ReLU units a layer", "Paper", at_least=1)
    num_envs: int = option(
        1, "environments stepped in parallel, with one update for each step", at_least=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kappa == self.ent_coef and self.m != Config.m:
            raise SettingError(
                "kappa = ent_coef drops pi_k from Eq. 3: m does nothing, leave it out"
            )


def log_densities(mean: Tensor, log_std: Tensor, u: Tensor) -> Tensor:
    """Eq. 1, one a dimension: (B, a)."""
    z = (u - mean) / (log_std.exp() + 1e-6)
    gauss = -0.5 * (z.square() + 2 * log_std + LOG_2PI)
    return gauss - (1 - torch.tanh(u).square() + 1e-6).log()


def mirror_loss(
    l_new: Tensor, l_old: Tensor, q1: Tensor, kappa: float, ent_coef: float, q: float
) -> Tensor:
    """Eq. 3 without its regularisers, per sample: (B,)."""
    return kappa * l_new + q * (ent_coef - kappa) * l_old - q1


class MDPOOff(Algorithm):
    """Act with a tanh-squashed Gaussian MLP; learn by one step on Eq. 3, 4, 5 and 6 a batch."""

    Config = Config
    stacks: ClassVar[bool] = True
    action_range: ClassVar[str] = "scale"

    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        d, a = setup.box_dims
        init = torch.Generator().manual_seed(setup.seed)
        self.pi = Mlp((d, *config.hidden, 2 * a), "relu")
        self.q = Mlp((d + a, *config.hidden, 1), "relu")
        self.v = Mlp((d, *config.hidden, 1), "relu")
        self.act_dim = a
        pi = self.pi.init_uniform(init).to(self.device)
        parts = [net.init_uniform(init) for net in (self.q, self.q, self.v)]
        # One vector for Q_1, Q_2 and V: they are stepped together.
        critics = torch.cat(parts).to(self.device)
        self.state = {
            **with_adam("pi", pi), "pi_k": pi.clone(),
            **with_adam("critics", critics), "target": self.split(critics)[2].clone(),
            "updates": torch.zeros((), dtype=torch.int64, device=self.device),
        }  # fmt: skip
        self.step = self.compiled(self._step)

    def split(self, critics: Tensor) -> tuple[Tensor, ...]:
        """Parameters of Q_1, Q_2 and V."""
        return torch.split(critics, [self.q.count, self.q.count, self.v.count])

    def heads(self, theta: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-std before squashing, (B, a) each."""
        mean, log_std = self.pi(theta, obs).chunk(2, -1)
        return mean, log_std.clamp(-20, 2)

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions in [-1, 1], sampled or the squashed mean."""
        mean, log_std = self.heads(self.state["pi"], obs)
        if explore and self.config.form == "paper":
            mean = mean + log_std.exp() * self.noise(*mean.shape)
        return torch.tanh(mean)

    def policy_loss(
        self, theta: Tensor, pi_k: Tensor, theta_q1: Tensor, obs: Tensor, noise: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Eq. 3, and its action (B, a), Q_1, L(pi) and L(pi_k), (B,) each."""
        c = self.config
        mean, log_std = self.heads(theta, obs)
        u = mean + log_std.exp() * noise
        action = torch.tanh(u)
        l_new = q_log(log_densities(mean, log_std, u), c.q).sum(-1)  # Eq. 2
        l_old = q_log(log_densities(*self.heads(pi_k, obs), u), c.q).sum(-1)
        q1 = self.q(theta_q1, torch.cat([obs, action], -1)).squeeze(-1)
        loss = mirror_loss(l_new, l_old, q1, c.kappa, c.ent_coef, c.q).mean()
        loss = loss + c.reg * (mean.square().mean() + log_std.square().mean())
        return loss, tuple(x.detach() for x in (action, q1, l_new, l_old))

    def critic_loss(
        self, critics: Tensor, obs: Tensor, action: Tensor, y_q: Tensor, y_v: Tensor
    ) -> Tensor:
        """Eq. 4 + Eq. 5."""
        one, two, three = self.split(critics)
        x = torch.cat([obs, action], -1)
        loss = (self.v(three, obs).squeeze(-1) - y_v).square().mean()
        for theta in (one, two):
            loss = loss + (self.q(theta, x).squeeze(-1) - y_q).square().mean()
        return 0.5 * loss

    def _step(
        self, state: dict[str, Tensor], batch: tuple[Tensor, ...], noise: Tensor
    ) -> dict[str, Tensor]:
        """One update; `noise` (B, a) for the actions at s."""
        c = self.config
        obs, action, reward, next_obs, terminated = batch
        due = state["updates"] % c.m == 0
        state["pi_k"].copy_(torch.where(due, state["pi"], state["pi_k"]))
        state["updates"].add_(1)

        theta_q1, theta_q2, theta_v = self.split(state["critics"])
        # Only the actor's parameters are differentiated: Q_1 passes the gradient through.
        grad, (policy_loss, (a, q1, l_new, l_old)) = torch.func.grad_and_value(
            self.policy_loss, has_aux=True
        )(state["pi"], state["pi_k"], theta_q1, obs, noise)
        q2 = self.q(theta_q2, torch.cat([obs, a], -1)).squeeze(-1)
        y_v = torch.min(q1, q2) - c.ent_coef * l_new
        next_v = self.v(state["target"], next_obs).squeeze(-1)
        y_q = reward + c.gamma * (1 - terminated) * next_v
        adam_(state, "pi", grad, c.lr)

        grad, critic_loss = torch.func.grad_and_value(self.critic_loss)(
            state["critics"], obs, action, y_q, y_v
        )
        adam_(state, "critics", grad, c.lr)
        lerp_(state["target"], theta_v, c.tau)  # Eq. 6
        return {
            "policy_loss": policy_loss, "critic_loss": critic_loss, "q1": q1.mean(),
            "entropy": -l_new.mean(), "bregman": (l_new - c.q * l_old).mean(),
        }  # fmt: skip

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """One step of actor, critics and target; pi_k renewed where due."""
        noise = self.noise(len(batch.reward), self.act_dim)
        with fast_matmul(self.device):
            return self.step(self.state, batch.tensors(), noise)
