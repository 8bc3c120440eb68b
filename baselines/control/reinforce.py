"""REINFORCE with a learned baseline (Williams 1992, Machine Learning 8: 229-256).

Equations, numbered here:
  Eq. 1   G_t = r_t + gamma G_{t+1}; after the last step of the rollout or of an episode that a
          time limit cut, G is the value of the next observation; after a termination it is 0
  Eq. 2   A_t = G_t - V(s_t), standardised over the rollout
  Eq. 3   g = mean[A_t grad log pi(a_t|s_t)], one ascent step of Adam a rollout
  Eq. 4   value loss mean[max((V - G)^2, (V_old + clip(V - V_old, -c, c) - G)^2)]

Departures from the paper:
- its networks learn online from the reward of an episode; here one step follows each rollout, and
  each action is credited with the discounted rewards after it only;
- the baseline is a value network, fitted as in this library's MDPO, in place of a running average;
- Adam in place of plain ascent, standardised advantages, running normalisation of observations and
  rewards: the setting of the other on-policy algorithms, so that only the policy step differs.
"""

from __future__ import annotations

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
from pgbench.settings.config import Settings, option


@dataclass(frozen=True)
class Config(Settings):
    """No value is the paper's, which gives none for such tasks; the rest as in MDPO."""

    horizon: int = option(2048, "transitions an iteration, over all environments", at_least=2)
    num_envs: int = option(8, "environments stepped in parallel", at_least=1)
    lr: float = option(3e-3, "Adam step size of the policy: one step a rollout", above=0)
    max_grad_norm: float = option(0.5, "policy gradients are scaled to at most this norm", above=0)
    gamma: float = option(0.99, "discount", within=(0, 1))
    vf_lr: float = option(3e-4, "Adam step size of the value", above=0)
    vf_epochs: int = option(5, "passes over the rollout for the value", at_least=1)
    vf_minibatch: int = option(128, "transitions a value step", at_least=1)
    vf_clip: float = option(0.2, "c of Eq. 4", above=0)
    hidden: tuple[int, ...] = option((64, 64), "tanh units a layer", at_least=1)
    normalize_obs: bool = option(True, "running mean and std of observations, clipped to 10")
    normalize_reward: bool = option(True, "rewards over the running std of the discounted return")


class REINFORCE(Algorithm):
    """Act by an MLP; learn by one step on Eq. 3, then fit the baseline."""

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
        }
        self.prepare = self.compiled(self._prepare)
        self.policy_step = self.compiled(self._policy_step)
        self.value_step = self.compiled(self._value_step)

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions before clipping to the box, or choices; sampled or the mode."""
        pi: Distribution = self.pi(self.state["pi"], obs)
        return pi.sample(self.drawn) if explore else pi.mode()

    def _prepare(
        self, state: dict[str, Tensor], obs: Tensor, reward: Tensor, next_obs: Tensor,
        terminated: Tensor, done: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
        """Advantages (B,) and what the value steps read, B = T * n."""
        value = self.vf(state["vf"], obs).squeeze(-1)  # (T, n)
        next_value = self.vf(state["vf"], next_obs).squeeze(-1)
        # Eq. 1 minus V is generalised advantage estimation with lambda = 1.
        adv = gae(reward, value, next_value, terminated, done, self.config.gamma, 1.0)
        for_value = (obs.flatten(0, 1), value.flatten(), (adv + value).flatten())
        return standardize(adv).flatten(), for_value  # Eq. 2

    def loss(
        self, theta: Tensor, obs: Tensor, action: Tensor, adv: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A function whose gradient is minus Eq. 3, and what to log."""
        pi: Distribution = self.pi(theta, obs)
        return -(adv * pi.log_prob(action)).mean(), {"entropy": pi.entropy().mean().detach()}

    def _policy_step(
        self, state: dict[str, Tensor], obs: Tensor, action: Tensor, adv: Tensor
    ) -> dict[str, Tensor]:
        """One Adam step on the whole rollout."""
        parts: dict[str, Tensor]
        grad, parts = torch.func.grad(self.loss, has_aux=True)(state["pi"], obs, action, adv)
        grad, parts["grad_norm"] = clip_norm(grad, self.config.max_grad_norm)
        adam_(state, "pi", grad, self.config.lr, eps=1e-5)
        return parts

    def _value_step(
        self, state: dict[str, Tensor], data: tuple[Tensor, ...], index: Tensor
    ) -> Tensor:
        """One Adam step on Eq. 4 for the transitions at `index` (B,)."""
        obs, value_old, ret = (x[index] for x in data)

        def loss(theta: Tensor) -> Tensor:
            value = self.vf(theta, obs).squeeze(-1)
            return clipped_value_loss(value, value_old, ret, self.config.vf_clip)

        value_loss: Tensor
        grad, value_loss = torch.func.grad_and_value(loss)(state["vf"])
        adam_(state, "vf", grad, self.config.vf_lr, eps=1e-5)
        return value_loss

    def update(self, batch: Rollout) -> dict[str, Tensor]:
        """One policy step on the whole rollout, then the value epochs."""
        c = self.config
        adv, for_value = self.prepare(
            self.state, batch.obs, batch.reward, batch.next_obs, batch.terminated, batch.done
        )
        parts = self.policy_step(self.state, for_value[0], batch.action.flatten(0, 1), adv)
        for index in self.minibatches(len(for_value[0]), c.vf_minibatch, c.vf_epochs):
            parts["value_loss"] = self.value_step(self.state, for_value, index)
        return parts
