"""PPO: Proximal Policy Optimization (Schulman et al. 2017, arXiv 1707.06347).

Equations, numbered as in the paper:
  Eq. 7   L_CLIP = E[min(r A, clip(r, 1 - eps, 1 + eps) A)],  r = pi(a|s) / pi_old(a|s)
  Eq. 9   L = E[L_CLIP - c1 L_VF + c2 S],  L_VF = (V(s) - R)^2,  S the policy's entropy
  Eq. 11  A_t by generalised advantage estimation; R = A + V_old

Departures from the paper, each the usual practice since:
- observations and rewards are normalised by running statistics (`normalize_*`; not in the paper,
  in its released code);
- advantages are standardised within a minibatch, gradients are clipped to a global norm;
- 2048 transitions an iteration come from `num_envs` environments in parallel (paper: one);
- a time limit bootstraps from the value of the final observation (released code: treated as an
  end of the task).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.learning.batches import Rollout
from pgbench.learning.nets import Distribution, Mlp, policy_net
from pgbench.learning.ops.returns import gae
from pgbench.learning.optim import adam_, clip_norm, with_adam
from pgbench.settings.config import Settings, option, other


@dataclass(frozen=True)
class Config(Settings):
    """Table 3 of the paper (MuJoCo, 1 million steps), where it gives a value."""

    horizon: int = option(
        2048, "transitions an iteration, over all environments", "Table 3: T", at_least=2
    )
    num_envs: int = option(8, "environments stepped in parallel; the paper's is 1", at_least=1)
    lr: float = option(3e-4, "Adam step size", "Table 3", above=0)
    epochs: int = option(10, "passes over the rollout", "Table 3", at_least=1)
    minibatch: int = option(64, "transitions a gradient step", "Table 3", at_least=2)
    gamma: float = option(0.99, "discount", "Table 3", within=(0, 1))
    lam: float = option(0.95, "GAE lambda", "Table 3", within=(0, 1), only={"gamma": other(0)})
    clip: float = option(0.2, "epsilon of Eq. 7", "Table 1: best of the tried", above=0)
    vf_coef: float = option(0.5, "c1 of Eq. 9; the networks share no parameters", at_least=0)
    ent_coef: float = option(0.0, "c2 of Eq. 9", "Section 6.1: no entropy bonus", at_least=0)
    max_grad_norm: float = option(0.5, "gradients are scaled to at most this norm", above=0)
    hidden: tuple[int, ...] = option((64, 64), "tanh units a layer", "Section 6.1", at_least=1)
    normalize_obs: bool = option(True, "running mean and std of observations, clipped to 10")
    normalize_reward: bool = option(True, "rewards over the running std of the discounted return")


def clipped_surrogate(ratio: Tensor, adv: Tensor, clip: float) -> Tensor:
    """Eq. 7, per sample: (B,)."""
    return torch.min(ratio * adv, ratio.clamp(1 - clip, 1 + clip) * adv)


class PPO(Algorithm):
    """Act by an MLP; learn by minibatch steps on Eq. 9."""

    Config = Config
    stacks: ClassVar[bool] = True

    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        init = torch.Generator().manual_seed(setup.seed)
        self.pi = policy_net(setup, config.hidden)
        self.vf = Mlp((setup.obs_dim, *config.hidden, 1))
        theta = torch.cat([self.pi.init(init), self.vf.init(init)]).to(self.device)
        self.state = with_adam("theta", theta)
        self.prepare = self.compiled(self._prepare)
        self.step = self.compiled(self._step)

    def nets(self, theta: Tensor, obs: Tensor) -> tuple[Distribution, Tensor]:
        """The policy's distributions and the value (B,)."""
        pi, vf = torch.split(theta, [self.pi.count, self.vf.count])
        return self.pi(pi, obs), self.vf(vf, obs).squeeze(-1)

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions before clipping to the box, or choices; sampled or the mode."""
        pi: Distribution = self.pi(self.state["theta"][: self.pi.count], obs)
        return pi.sample(self.drawn) if explore else pi.mode()

    def loss(
        self, theta: Tensor, obs: Tensor, action: Tensor, logp_old: Tensor, adv: Tensor, ret: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus Eq. 9 on a minibatch, and its parts."""
        c = self.config
        pi, value = self.nets(theta, obs)
        log_ratio = pi.log_prob(action) - logp_old
        ratio = log_ratio.exp()
        adv = (adv - adv.mean()) / (adv.std() + 1e-8)
        policy = clipped_surrogate(ratio, adv, c.clip).mean()
        value_loss = (value - ret).square().mean()
        entropy = pi.entropy().mean()
        parts = {
            "policy_loss": -policy.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "kl": (ratio - 1 - log_ratio).detach().mean(),
            "clip_share": ((ratio - 1).abs() > c.clip).to(ratio.dtype).detach().mean(),
        }
        return -(policy - c.vf_coef * value_loss + c.ent_coef * entropy), parts  # Eq. 9

    def _prepare(
        self, theta: Tensor, obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor,
        terminated: Tensor, done: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Old log-probabilities, advantages (Eq. 11) and returns, each (T, n)."""
        c = self.config
        pi, value = self.nets(theta, obs)
        next_value = self.nets(theta, next_obs)[1]
        adv = gae(reward, value, next_value, terminated, done, c.gamma, c.lam)
        return pi.log_prob(action), adv, adv + value

    def _step(
        self, state: dict[str, Tensor], data: tuple[Tensor, ...], index: Tensor
    ) -> dict[str, Tensor]:
        """One Adam step on the transitions at `index` (B,)."""
        batch = [x[index] for x in data]
        parts: dict[str, Tensor]
        grad, parts = torch.func.grad(self.loss, has_aux=True)(state["theta"], *batch)
        grad, parts["grad_norm"] = clip_norm(grad, self.config.max_grad_norm)
        adam_(state, "theta", grad, self.config.lr, eps=1e-5)
        return parts

    def update(self, batch: Rollout) -> dict[str, Tensor]:
        """Epochs of minibatch steps on one rollout."""
        c = self.config
        logp_old, adv, ret = self.prepare(
            self.state["theta"], batch.obs, batch.action, batch.reward, batch.next_obs,
            batch.terminated, batch.done,
        )  # fmt: skip
        data = tuple(x.flatten(0, 1) for x in (batch.obs, batch.action, logp_old, adv, ret))
        for index in self.minibatches(len(data[0]), c.minibatch, c.epochs):
            parts = self.step(self.state, data, index)
        return parts
