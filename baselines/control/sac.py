"""SAC: Soft Actor-Critic (Haarnoja et al. 2018, arXiv 1812.05905), temperature tuned or fixed.

Equations, numbered here; a = tanh(u), u ~ N(mu(s), sigma(s)^2):
  Eq. 1   log pi(a|s) = sum_j log N(u_j; mu_j, sigma_j^2) - log(1 - tanh(u_j)^2)
  Eq. 2   y = r + gamma (1 - d) (min_i Q'_i(s', a') - alpha log pi(a'|s')),  a' ~ pi(.|s')
  Eq. 3   J_Q = 1/2 mean (Q_i(s, a) - y)^2, i = 1, 2
  Eq. 4   J_pi = mean[alpha log pi(a|s) - min_i Q_i(s, a)],  a reparameterised
  Eq. 5   J_alpha = mean[-alpha (log pi(a|s) + H)],  H the target entropy
  Eq. 6   Q'_i <- tau Q_i + (1 - tau) Q'_i
One update takes them in that order; every use of alpha in it is the value before its own step.

Departures from the paper, each the usual practice since: alpha is learned as log alpha; `start`
uniformly random actions come first; log sigma is clipped to [-20, 2]; a time limit bootstraps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.learning.batches import Transitions
from pgbench.learning.nets import Mlp
from pgbench.learning.ops import gaussian
from pgbench.learning.ops.matmul import fast_matmul
from pgbench.learning.optim import adam_, lerp_, with_adam
from pgbench.settings.config import Settings, option, other


@dataclass(frozen=True)
class Config(Settings):
    """Table 1 of the paper, where it gives a value."""

    lr: float = option(
        3e-4, "Adam step size, of actor, critics and temperature", "Table 1", above=0
    )
    gamma: float = option(0.99, "discount", "Table 1", within=(0, 1))
    buffer: int = option(1_000_000, "transitions kept", "Table 1", at_least=1)
    batch: int = option(256, "transitions an update", "Table 1", at_least=1)
    tau: float = option(
        0.005,
        "step of the target critics, Eq. 6",
        "Table 1",
        above=0,
        at_most=1,
        only={"gamma": other(0)},
    )
    hidden: tuple[int, ...] = option((256, 256), "ReLU units a layer", "Table 1", at_least=1)
    alpha: float | None = option(
        None, "a fixed temperature; none: tuned by Eq. 5, from 1", at_least=0
    )
    target_entropy: float | None = option(
        None,
        "H of Eq. 5; none: minus the action size",
        "Table 1",
        within=(-math.inf, math.inf),
        only={"alpha": (None,)},
    )
    start: int = option(
        10_000, "environment steps of uniformly random actions at the start", at_least=0
    )
    num_envs: int = option(
        1, "environments stepped in parallel, with one update for each step", at_least=1
    )


def squashed_log_prob(mean: Tensor, log_std: Tensor, u: Tensor) -> Tensor:
    """Eq. 1 for the action tanh(u), all arguments (..., a): (...)."""
    # log(1 - tanh(u)^2) in a form that does not underflow for large |u|.
    log_slope = 2 * (math.log(2) - u - softplus(-2 * u))
    return gaussian.log_prob(mean, log_std, u) - log_slope.sum(-1)


def temperature_loss(log_alpha: Tensor, logp: Tensor, target_entropy: float) -> Tensor:
    """Eq. 5: its slope lowers alpha where the entropy is above its target."""
    return (-log_alpha.exp() * (logp + target_entropy)).mean()


class SAC(Algorithm):
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
        self.act_dim = a
        self.target_entropy = -float(a) if config.target_entropy is None else config.target_entropy
        pi = self.pi.init_uniform(init).to(self.device)
        critics = torch.cat([self.q.init_uniform(init) for _ in range(2)]).to(self.device)
        start = 1.0 if config.alpha is None else config.alpha
        log_start = math.log(start) if start else -math.inf  # exp gives 0 again
        log_alpha = torch.tensor(log_start, device=self.device)
        self.state = {
            **with_adam("pi", pi), **with_adam("critics", critics), "target": critics.clone(),
            **with_adam("log_alpha", log_alpha),
        }  # fmt: skip
        self.step = self.compiled(self._step)

    def heads(self, theta: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-std before squashing, (B, a) each."""
        mean, log_std = self.pi(theta, obs).chunk(2, -1)
        return mean, log_std.clamp(-20, 2)

    def twins(self, theta: Tensor, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Q_1 and Q_2, (B,) each."""
        x = torch.cat([obs, action], -1)
        one, two = torch.split(theta, self.q.count)
        return self.q(one, x).squeeze(-1), self.q(two, x).squeeze(-1)

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions in [-1, 1], sampled or the squashed mean."""
        mean, log_std = self.heads(self.state["pi"], obs)
        return torch.tanh(mean + log_std.exp() * self.noise(*mean.shape) if explore else mean)

    def critic_loss(self, theta: Tensor, obs: Tensor, action: Tensor, y: Tensor) -> Tensor:
        """Eq. 3, both critics."""
        q1, q2 = self.twins(theta, obs, action)
        return 0.5 * ((q1 - y).square().mean() + (q2 - y).square().mean())

    def policy_loss(
        self, theta: Tensor, critics: Tensor, alpha: Tensor, obs: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Eq. 4, and log pi (B,)."""
        mean, log_std = self.heads(theta, obs)
        u = mean + log_std.exp() * noise
        logp = squashed_log_prob(mean, log_std, u)
        q = torch.min(*self.twins(critics, obs, torch.tanh(u)))
        return (alpha * logp - q).mean(), logp.detach()

    def _step(
        self, state: dict[str, Tensor], batch: tuple[Tensor, ...], noise: Tensor
    ) -> dict[str, Tensor]:
        """One update; `noise` (2, B, a) for the actions at s and s'."""
        c = self.config
        obs, action, reward, next_obs, terminated = batch
        alpha = state["log_alpha"].exp()
        mean, log_std = self.heads(state["pi"], next_obs)
        u = mean + log_std.exp() * noise[1]
        next_q = torch.min(*self.twins(state["target"], next_obs, torch.tanh(u)))
        next_v = next_q - alpha * squashed_log_prob(mean, log_std, u)
        y = reward + c.gamma * (1 - terminated) * next_v  # Eq. 2

        grad, critic_loss = torch.func.grad_and_value(self.critic_loss)(
            state["critics"], obs, action, y
        )
        adam_(state, "critics", grad, c.lr)

        # Only the actor's parameters are differentiated: the critics pass the gradient through.
        grad, (policy_loss, logp) = torch.func.grad_and_value(self.policy_loss, has_aux=True)(
            state["pi"], state["critics"], alpha, obs, noise[0]
        )
        adam_(state, "pi", grad, c.lr)

        if c.alpha is None:
            slope = torch.func.grad(temperature_loss)(state["log_alpha"], logp, self.target_entropy)
            adam_(state, "log_alpha", slope, c.lr)
        lerp_(state["target"], state["critics"], c.tau)  # Eq. 6
        return {
            "critic_loss": critic_loss, "policy_loss": policy_loss, "alpha": alpha,
            "entropy": -logp.mean(), "target_q": y.mean(),
        }  # fmt: skip

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """One step of critics, actor, temperature and targets."""
        noise = self.noise(2, len(batch.reward), self.act_dim)
        with fast_matmul(self.device):
            return self.step(self.state, batch.tensors(), noise)
