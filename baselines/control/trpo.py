"""TRPO: Trust Region Policy Optimization (Schulman et al. 2015, arXiv 1502.05477), single path.

Equations, numbered here; pi_k is the policy that collected the rollout, g the gradient of Eq. 1:
  Eq. 1   maximise L(theta) = mean[r A],  r = pi(a|s) / pi_k(a|s)
  Eq. 2   subject to mean KL(pi_k(.|s) || pi(.|s)) <= delta  (the old policy comes first)
  Eq. 3   F = J^T M J, the Hessian of Eq. 2 at theta_k: J the Jacobian of mean and log-std, M the
          Fisher information of the Gaussian, 1 / sigma^2 for a mean and 2 for a log-std; where
          actions are discrete, J that of the logits, M = diag(p) - p p^T
  Eq. 4   x = (F + damping I)^-1 g by conjugate gradients
  Eq. 5   theta = theta_k + 0.8^j sqrt(2 delta / x^T (F + damping I) x) x, with the least j in
          0 .. backtracks - 1 for which Eq. 1 improves and Eq. 2 holds; if none, theta_k stays
  Eq. 6   value loss mean[max((V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2)], R = A + V_old

Departures from the paper, each the usual practice since:
- A by generalised advantage estimation (Schulman et al. 2016), standardised over the rollout; the
  value is fitted exactly as in this library's MDPO, so that the two differ in the policy step only;
- observations and rewards are normalised by running statistics;
- 2048 transitions an iteration from `num_envs` environments in parallel, tanh networks of 64-64;
- F is taken over the whole rollout, not over a subset of it;
- a time limit bootstraps from the value of the final observation.
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
from pgbench.learning.optim import adam_, with_adam
from pgbench.settings.config import Settings, option, other

TINY = 1e-20  # keeps the quotients of a zero gradient at zero


@dataclass(frozen=True)
class Config(Settings):
    """The paper's values where it gives one; the rest as in this library's MDPO."""

    max_kl: float = option(
        0.01, "delta of Eq. 2", "Table of parameters for continuous control", above=0
    )
    cg_iterations: int = option(10, "conjugate-gradient iterations, Eq. 4", at_least=1)
    damping: float = option(0.1, "added to the diagonal of F, Eq. 4", at_least=0)
    backtracks: int = option(10, "step sizes tried, Eq. 5", at_least=1)
    shrink: float = option(
        0.8, "factor between them", above=0, below=1, only={"backtracks": other(1)}
    )
    horizon: int = option(2048, "transitions an iteration, over all environments", at_least=2)
    num_envs: int = option(8, "environments stepped in parallel", at_least=1)
    gamma: float = option(
        0.99, "discount", "Table of parameters for continuous control", within=(0, 1)
    )
    lam: float = option(0.95, "GAE lambda", within=(0, 1), only={"gamma": other(0)})
    lr: float = option(3e-4, "Adam step size of the value", above=0)
    vf_epochs: int = option(5, "passes over the rollout for the value", at_least=1)
    vf_minibatch: int = option(128, "transitions a value step", at_least=1)
    vf_clip: float = option(0.2, "c of Eq. 6", above=0)
    hidden: tuple[int, ...] = option((64, 64), "tanh units a layer", at_least=1)
    normalize_obs: bool = option(True, "running mean and std of observations, clipped to 10")
    normalize_reward: bool = option(True, "rewards over the running std of the discounted return")


class TRPO(Algorithm):
    """Act by an MLP; learn by one natural-gradient step, then fit the value."""

    Config = Config
    stacks: ClassVar[bool] = True

    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        init = torch.Generator().manual_seed(setup.seed)
        self.pi = policy_net(setup, config.hidden)
        self.vf = Mlp((setup.obs_dim, *config.hidden, 1))
        self.state = {
            "pi": self.pi.init(init).to(self.device),
            **with_adam("vf", self.vf.init(init).to(self.device)),
        }
        # The zero after the last step size is the choice "stay".
        tries = [config.shrink**j for j in range(config.backtracks)]
        self.fractions = torch.tensor([*tries, 0.0], device=self.device)
        self.prepare = self.compiled(self._prepare)
        self.gradient = self.compiled(self._gradient)
        self.product = self.compiled(self._product)
        self.line_search = self.compiled(self._line_search)
        self.value_step = self.compiled(self._value_step)

    @property
    def trained(self) -> list[str]:
        """The policy too, though no Adam steps it."""
        return ["pi", "vf"]

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions before clipping to the box, or choices; sampled or the mode."""
        pi: Distribution = self.pi(self.state["pi"], obs)
        return pi.sample(self.drawn) if explore else pi.mode()

    def surrogate_and_kl(
        self, theta: Tensor, obs: Tensor, action: Tensor, pi_k: Distribution, logp_k: Tensor,
        adv: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Eq. 1 and the left side of Eq. 2."""
        pi: Distribution = self.pi(theta, obs)
        ratio = (pi.log_prob(action) - logp_k).exp()
        return (ratio * adv).mean(), pi_k.kl(pi).mean()

    def fisher_product(self, theta: Tensor, obs: Tensor, x: Tensor) -> Tensor:
        """Eq. 3: F x, exactly, by one forward-mode and one reverse-mode derivative: (P,)."""

        def pi(theta: Tensor) -> Distribution:
            return self.pi(theta, obs)

        at, along = torch.func.jvp(pi, (theta,), (x,))[:2]
        pullback = torch.func.vjp(pi, theta)[1]
        f_x: Tensor = pullback(at.fisher(along))[0]
        return f_x

    def _prepare(
        self, state: dict[str, Tensor], obs: Tensor, action: Tensor, reward: Tensor,
        next_obs: Tensor, terminated: Tensor, done: Tensor,
    ) -> tuple[tuple[Any, ...], tuple[Tensor, ...]]:  # fmt: skip
        """What the policy step and the value steps read, each (B, ...) with B = T * n."""
        c = self.config
        value = self.vf(state["vf"], obs).squeeze(-1)  # (T, n)
        next_value = self.vf(state["vf"], next_obs).squeeze(-1)
        adv = gae(reward, value, next_value, terminated, done, c.gamma, c.lam)
        obs, action = obs.flatten(0, 1), action.flatten(0, 1)
        pi_k: Distribution = self.pi(state["pi"].clone(), obs)  # no view of what will change
        frozen = (pi_k, pi_k.log_prob(action), standardize(adv).flatten())
        return (obs, action, *frozen), (obs, value.flatten(), (adv + value).flatten())

    def _gradient(self, theta: Tensor, data: tuple[Any, ...]) -> Tensor:
        """The gradient of Eq. 1: (P,)."""
        grad: Tensor = torch.func.grad(self.surrogate_and_kl, has_aux=True)(theta, *data)[0]
        return grad

    def _product(self, theta: Tensor, obs: Tensor, x: Tensor) -> Tensor:
        """(F + damping I) x: (P,)."""
        damping: float = self.config.damping
        return self.fisher_product(theta, obs, x) + damping * x

    def natural_gradient(self, theta: Tensor, obs: Tensor, grad: Tensor) -> Tensor:
        """Eq. 4: (P,)."""
        x: Tensor = torch.zeros_like(grad)
        r = p = grad
        rr = r.dot(r)
        for _ in range(self.config.cg_iterations):
            f_p = self.product(theta, obs, p)
            size = rr / p.dot(f_p).clamp(min=TINY)
            x = x + size * p
            r = r - size * f_p
            rr, rr_before = r.dot(r), rr
            p = r + rr / rr_before.clamp(min=TINY) * p
        return x

    def _line_search(
        self, theta: Tensor, data: tuple[Any, ...], x: Tensor, f_x: Tensor
    ) -> dict[str, Tensor]:
        """Eq. 5, all step sizes at once; changes `theta` (P,) in place."""
        max_kl = self.config.max_kl
        step = (2 * max_kl / x.dot(f_x).clamp(min=TINY)).sqrt() * x
        tries = theta + self.fractions[:, None] * step  # (backtracks + 1, P)
        surrogate, kl = torch.func.vmap(lambda one: self.surrogate_and_kl(one, *data))(tries)
        good = (surrogate > surrogate[-1]) & (kl <= max_kl)
        # How many come before the first good one; the last, which stays, ends the count.
        at = (~good[:-1]).long().cumprod(0).sum(0, keepdim=True)
        # A step that is not a number is never good: the `where` keeps it out of theta.
        theta.copy_(torch.where(good.any(), tries.index_select(0, at)[0], theta))
        chosen = [value.index_select(0, at)[0] for value in (surrogate, kl, self.fractions)]
        return {
            **dict(zip(("surrogate", "kl", "step_fraction"), chosen, strict=True)),
            "entropy": self.pi(theta, data[0]).entropy().mean(),
        }

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
        """One natural-gradient step on the whole rollout, then the value epochs."""
        c, theta = self.config, self.state["pi"]
        for_policy, for_value = self.prepare(
            self.state, batch.obs, batch.action, batch.reward, batch.next_obs, batch.terminated,
            batch.done,
        )  # fmt: skip
        grad = self.gradient(theta, for_policy).clone()
        x = self.natural_gradient(theta, for_policy[0], grad)
        parts = self.line_search(theta, for_policy, x, self.product(theta, for_policy[0], x))
        parts["grad_norm"] = grad.norm()
        for index in self.minibatches(len(for_value[0]), c.vf_minibatch, c.vf_epochs):
            parts["value_loss"] = self.value_step(self.state, for_value, index)
        return parts
