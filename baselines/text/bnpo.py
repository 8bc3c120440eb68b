"""BNPO: Beta Normalization Policy Optimization (Xiao et al. 2025, arXiv 2506.02864).

Equations, numbered here; R_i in [0, 1], p_q the mean reward of prompt q's responses:
  Eq. 1   a, b by moments of p over the prompts: mu, v its mean and unbiased variance,
          k = mu (1 - mu) / v - 1,  a = k mu,  b = k (1 - mu)
  Eq. 2   alpha = 1 + a/3,  beta = 1 + b/3
  Eq. 3   A_i = (R_i - p_q) / f(p_q),  f the density of Beta(alpha, beta)
  Eq. 4   L = 1/N sum_i sum_t L_it,  L_it the clipped surrogate of A_i
  Eq. 5   decompose=true: A_i = 1/K sum_k A_i^(k) of K binary rewards, each with its own Eq. 1-3
alpha = beta = 1 is the advantage of Dr. GRPO; alpha = beta = 3/2 is GRPO's with the population
standard deviation, times pi/8. Eq. 2 makes E[A^2] smallest where p follows Beta(a, b) and the
score function is uncorrelated with A.

Departures from the paper, where its equations leave cases open, and from the released code:
- 1/f is at most `cap`, the released 1e6; a prompt with p of 0 or 1 has A = 0;
- alpha = beta = 1 for one prompt, and where v exceeds what a Beta distribution allows (a, b < 0),
  both as released; also where all p are equal, for which the released code divides by zero;
- a reward that is not 0 or 1 is mapped from [low, high] to [0, 1] first;
- decomposition (Eq. 5) is a flag of the released code, off in the released scripts as here, where
  the reward is by default the environment's own sum of its parts;
- at least two responses a prompt are asked for: of one, the released code takes p = 0.
Loss, clip and dual clip (0.2, 0.28, 10), which one step a batch leaves without effect, are those of
the released code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import clip_share, clipped, group_mean, masked_mean, per_token
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option
from pgbench.settings.ranges import SettingError


@dataclass(frozen=True)
class Config(GroupConfig):
    """The released code's loss; sizes as for all of the family."""

    least_group: ClassVar[int] = 2

    cap: float | None = option(1e6, "1/f is at most this; none: unbounded", above=0)
    decompose: bool = option(False, "Eq. 5, over the parts of the reward")
    low: float = option(
        0.0, "the least reward", within=(-math.inf, math.inf), only={"decompose": (False,)}
    )
    high: float = option(
        1.0, "the greatest reward", within=(-math.inf, math.inf), only={"decompose": (False,)}
    )
    clip_low: float = option(0.2, "eps_low of the surrogate", within=(0, 1))
    clip_high: float = option(0.28, "eps_high of the surrogate", at_least=0)
    dual: float | None = option(
        10.0, "L_it is at most dual |A_i| where A_i < 0; none: unbounded", above=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise SettingError(f"low ({self.low}) must be below high ({self.high})")


def beta_parameters(p: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 1 and 2: mean rewards of the prompts (B,) -> alpha, beta, at least 1."""
    one = torch.ones((), dtype=p.dtype, device=p.device)
    if len(p) < 2:
        return one, one
    mu, v = p.mean(), p.var()
    k = torch.where(v < 1e-12, 0.0, mu * (1 - mu) / v.clamp(min=1e-12) - 1).clamp(min=0.0)
    return one + k * mu / 3, one + k * (1 - mu) / 3


def inverse_density(p: Tensor, alpha: Tensor, beta: Tensor, cap: float | None) -> Tensor:
    """1 / f(p), at most `cap`; 0 at p = 0 and 1, where A is 0 whatever the weight. Shape of p."""
    log_b = torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta)
    inside = (p > 0) & (p < 1)
    safe = torch.where(inside, p, 0.5)
    weight = (log_b - (alpha - 1) * safe.log() - (beta - 1) * (-safe).log1p()).exp()
    return torch.where(inside, weight if cap is None else weight.clamp(max=cap), 0.0)


def bnpo_advantage(
    reward: Tensor, group: Tensor, cap: float | None = 1e6
) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 3: rewards (N,) in [0, 1], each row's prompt (N,) -> (N,), and what to log, (N,) each."""
    x = reward.double()
    p = group_mean(x, group)
    a_row = torch.zeros(int(group.max()) + 1, dtype=torch.long, device=group.device)
    a_row[group] = torch.arange(len(group), device=group.device)
    alpha, beta = beta_parameters(p[a_row[torch.unique(group)]])
    weight = inverse_density(p, alpha, beta, cap)
    log = {"alpha": alpha, "beta": beta, "max_weight": weight.max()}
    log["capped_share"] = torch.zeros_like(p) if cap is None else (weight >= cap).double()
    adv = ((x - p) * weight).to(reward.dtype)
    return adv, {name: value.expand_as(p).float() for name, value in log.items()}


class BNPO(GroupAlgorithm):
    """Steps on Eq. 4."""

    Config = Config

    def rewards(self, batch: TokenGroups) -> Tensor:
        """The rewards in [0, 1] that Eq. 3 is applied to, (N, K).

        Raises: PgbenchError for rewards outside the configured bounds.
        """
        c = self.config
        if c.decompose:
            return batch.parts
        low, high = float(batch.reward.min()), float(batch.reward.max())
        if low < c.low or high > c.high:
            raise PgbenchError(
                f"bnpo: rewards from {low:g} to {high:g} leave [{c.low:g}, {c.high:g}]; "
                "set low and high to the bounds of the reward"
            )
        scaled: Tensor = (batch.reward - c.low) / (c.high - c.low)
        return scaled[:, None]

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,) by Eq. 5 (K = 1: Eq. 3), and the means over K of what is logged."""
        parts = [bnpo_advantage(r, batch.group, self.config.cap) for r in self.rewards(batch).T]
        out = {name: torch.stack([log[name] for _, log in parts]).mean(0) for name in parts[0][1]}
        return {"adv": torch.stack([adv for adv, _ in parts]).mean(0)} | out

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 4."""
        c = self.config
        ratio = rows.ratio(logp).exp()
        loss = clipped(rows.adv, ratio, c.clip_low, c.clip_high, c.dual)
        log = {"clip_share": clip_share(rows.adv, ratio, c.clip_low, c.clip_high, rows.mask)}
        for name in ("alpha", "beta", "max_weight", "capped_share"):
            log[name] = masked_mean(per_token(rows[name], rows.mask), rows.mask)
        return rows.total(loss, "seq-mean-token-sum"), log
