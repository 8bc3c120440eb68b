"""own-algo: one line on what it is (authors, year, arXiv id).

Equations, numbered as in the paper:
  Eq. 1   g = mean[A_t grad log pi(a_t|s_t)], A_t by generalised advantage estimation
  Eq. 2   L_V = mean[(V(s_t) - R_t)^2], R_t = A_t + V(s_t) before the step

Departures from the paper:
- none yet: say here what differs from it, and why.

This file began as REINFORCE with a learned baseline. It runs as it is:
  pgbench run --algo ./own_algo.py --env inverted-pendulum --budget smoke
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import pgbench
from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.learning.batches import Rollout
from pgbench.learning.nets import GaussianMlp, Mlp
from pgbench.learning.ops import gaussian
from pgbench.learning.ops.returns import gae, standardize
from pgbench.learning.optim import adam_, clip_norm, with_adam
from pgbench.settings.config import Settings, option


# 1. Settings: `--set lr=1e-3` changes one, `pgbench explain ./own_algo.py` lists them. Give the
#    paper's value as default, its section as third argument, and the range of every number. The
#    loop reads horizon, num_envs, gamma, normalize_obs and normalize_reward; the rest is yours.
@dataclass(frozen=True)
class Config(Settings):
    """Where the defaults come from."""

    horizon: int = option(256, "transitions an iteration, over all environments", at_least=2)
    num_envs: int = option(8, "environments stepped in parallel", at_least=1)
    lr: float = option(3e-3, "Adam step size", above=0)
    gamma: float = option(0.99, "discount", within=(0, 1))
    lam: float = option(0.95, "GAE lambda", within=(0, 1))
    vf_coef: float = option(0.5, "weight of Eq. 2", at_least=0)
    max_grad_norm: float = option(0.5, "gradients are scaled to at most this norm", above=0)
    hidden: tuple[int, ...] = option((64, 64), "tanh units a layer", at_least=1)
    normalize_obs: bool = option(True, "running mean and std of observations, clipped to 10")
    normalize_reward: bool = option(True, "rewards over the running std of the discounted return")


# 2. The paper's mathematics as pure functions of tensors, each with its equation and its shapes:
#    easy to test with numbers worked by hand.
def policy_loss(logp: Tensor, adv: Tensor) -> Tensor:
    """A scalar whose gradient is minus Eq. 1; both arguments (B,)."""
    return -(adv * logp).mean()


class OwnAlgo(Algorithm):
    """Act with a Gaussian policy; learn by one step a rollout on Eq. 1 and Eq. 2."""

    Config = Config

    # 3. Everything that learning changes is a named tensor in `self.state`: saving, resuming and
    #    checksums then work by themselves. A network is a function of one flat vector.
    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        d, a = setup.box_dims
        init = torch.Generator().manual_seed(setup.seed)
        self.pi = GaussianMlp(Mlp((d, *config.hidden, a)))
        self.vf = Mlp((d, *config.hidden, 1))
        theta = torch.cat([self.pi.init(init), self.vf.init(init)]).to(self.device)
        self.state = with_adam("theta", theta)
        self.step = self.compiled(self._step)

    def nets(self, theta: Tensor, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (..., a), log-std (a,), value (...) for observations (..., d)."""
        pi, vf = theta.split([self.pi.count, self.vf.count])
        return *self.pi(pi, obs), self.vf(vf, obs).squeeze(-1)

    # 4. How it acts. Draw random numbers from `self.noise` or `self.rng` only.
    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions (n, a) for observations (n, d); `explore=False` gives the mode."""
        mean, log_std = self.pi(self.state["theta"][: self.pi.count], obs)
        return mean + log_std.exp() * self.noise(*mean.shape) if explore else mean

    # 5. How it learns from one rollout. Return detached scalars, without `.item()`: they are
    #    logged, and one that is not finite ends the run as diverged.
    def update(self, batch: Rollout) -> dict[str, Tensor]:
        """One step on the whole rollout."""
        return self.step(
            self.state, batch.obs, batch.action, batch.reward, batch.next_obs,
            batch.terminated, batch.done,
        )  # fmt: skip

    def _step(
        self, state: dict[str, Tensor], obs: Tensor, action: Tensor, reward: Tensor,
        next_obs: Tensor, terminated: Tensor, done: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        c = self.config
        value_old, next_value = (self.nets(state["theta"], x)[2] for x in (obs, next_obs))
        # A time limit (done, not terminated) bootstraps from the next value; a termination not.
        adv = gae(reward, value_old, next_value, terminated, done, c.gamma, c.lam)  # (T, n)
        ret = adv + value_old

        def loss(theta: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            mean, log_std, value = self.nets(theta, obs)
            logp = gaussian.log_prob(mean, log_std, action)
            policy = policy_loss(logp, standardize(adv))  # Eq. 1
            value_loss = (value - ret).square().mean()  # Eq. 2
            parts = {
                "policy_loss": policy.detach(),
                "value_loss": value_loss.detach(),
                "entropy": gaussian.entropy(log_std).detach(),
            }
            return policy + c.vf_coef * value_loss, parts

        parts: dict[str, Tensor]
        grad, parts = torch.func.grad(loss, has_aux=True)(state["theta"])
        grad, parts["grad_norm"] = clip_norm(grad, c.max_grad_norm)
        adam_(state, "theta", grad, c.lr)
        return parts


# 6. One registration a file. `requires` names what it needs of an environment.
pgbench.register_algo(
    "own-algo",
    OwnAlgo,
    family="control",
    loop="onpolicy",
    summary="what it is, in one line",
    requires={"ContinuousActions"},
)
