"""GRPO: Group Relative Policy Optimization (Shao et al. 2024, DeepSeekMath, arXiv 2402.03300).

Equations, numbered here; response i is one of the G of its prompt, rho_it the ratio of its token t
under the present policy and that of the rollout:
  Eq. 1   A_i = (R_i - mean of the prompt's rewards) / (their standard deviation + eps)
  Eq. 2   L_it = max(-A_i rho_it, -A_i clip(rho_it, 1 - eps_low, 1 + eps_high)) + beta k3_it
  Eq. 3   k3_it = pi_ref/pi - log(pi_ref/pi) - 1  of token t, which is never negative
  Eq. 4   L = 1/N sum_i 1/l_i sum_t L_it

Departures from the paper (outcome rewards):
- the standard deviation is the unbiased one and eps, which the paper lacks, is 1e-6: both as in
  verl. `--set unbiased=false` divides by G in place of G - 1;
- beta is 0 by default, as in most later work, so that no reference model is evaluated;
- one optimiser step a batch by default, for which the ratio is 1 and the clip has no effect: the
  same for every method of this family. `epochs` and `minibatches` give more;
- `dual` is verl's second bound, for A < 0, which the paper lacks; verl has it on, at 3.

Groups of equal rewards have A = 0, and so would a group of one (verl: A = R), which is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import (
    clip_share,
    clipped,
    group_mean,
    group_std,
    is_constant,
    k3,
    masked_mean,
)
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option


@dataclass(frozen=True)
class Config(GroupConfig):
    """Clip of the PPO surrogate; sizes as for all of the family."""

    least_group: ClassVar[int] = 2

    clip_low: float = option(0.2, "eps_low of Eq. 2", within=(0, 1))
    clip_high: float = option(0.2, "eps_high of Eq. 2", at_least=0)
    dual: float | None = option(
        None, "L_it is at most dual |A_i| where A_i < 0; none: unbounded", above=1
    )
    beta: float = option(0.0, "weight of the KL penalty of Eq. 3", at_least=0)
    eps: float = option(1e-6, "added to the standard deviation of Eq. 1", at_least=0)
    unbiased: bool = option(True, "standard deviation with G - 1 in place of G")


def grpo_advantage(
    reward: Tensor, group: Tensor, eps: float = 1e-6, unbiased: bool = True
) -> Tensor:
    """Eq. 1: rewards (N,), the prompt of each (N,) -> (N,)."""
    centred = reward - group_mean(reward, group)
    adv = centred / (group_std(reward, group, unbiased) + eps)
    # Exactly 0: dividing by eps would enlarge what rounding leaves of equal fractions.
    return torch.where(is_constant(reward, group), 0.0, adv)


class GRPO(GroupAlgorithm):
    """Steps on Eq. 4."""

    Config = Config

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,)."""
        c = self.config
        return {"adv": grpo_advantage(batch.reward, batch.group, c.eps, c.unbiased)}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 4."""
        c = self.config
        ratio = rows.ratio(logp).exp()
        loss = clipped(rows.adv, ratio, c.clip_low, c.clip_high, c.dual)  # Eq. 2
        log = {"clip_share": clip_share(rows.adv, ratio, c.clip_low, c.clip_high, rows.mask)}
        if rows.ref is not None:
            kl = k3(logp, rows.ref)
            loss = loss + c.beta * kl
            log["kl_ref"] = masked_mean(kl.detach(), rows.mask)
        return rows.total(loss, "seq-mean-token-mean"), log
