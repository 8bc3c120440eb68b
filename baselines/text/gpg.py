"""GPG: Group Policy Gradient (Chu et al. 2026, arXiv 2504.02546).

Equations, numbered here; of the B prompts of a batch, M have equal rewards:
  Eq. 1   A_i = alpha (R_i - mean of the prompt's rewards) / F,  F = 1 or their standard deviation
  Eq. 2   alpha = B / (B - M), as rows: N over those of prompts whose rewards differ
  Eq. 3   L = - sum over all tokens of A_i log pi(o_it) / their number;  no ratio, clip or KL
Prompts with equal rewards give no gradient but count in the denominator; alpha takes them out.

form=released is verl's alpha, N over the number of rewards that are not zero, in place of Eq. 2:
the two agree where every reward is non-zero exactly if its prompt is mixed, which is rare.

Departures from the paper (the equations as restated by others):
- its loss is a mean over the tokens of one prompt's responses, averaged over prompts; Eq. 3 is one
  mean over the tokens of the whole minibatch, as verl has it, in which prompts with long responses
  weigh more;
- its further variant, which samples again while too few prompts are mixed (beta_th), is left out;
- one step a batch by default; later ones are not corrected for the change of the policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import is_constant, less_group_mean
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option

from .grpo import grpo_advantage


@dataclass(frozen=True)
class Config(GroupConfig):
    """The paper's best row without resampling; sizes as for all of the family."""

    least_group: ClassVar[int] = 2

    form: str = option("paper", "alpha of Eq. 2, or verl's", "", ("paper", "released"))
    norm: str = option("none", "F of Eq. 1: 1 or the standard deviation", "", ("none", "std"))


def scale(reward: Tensor, group: Tensor, form: str = "paper") -> Tensor:
    """Eq. 2: rewards (N,), the prompt of each (N,) -> a number."""
    counted = ~is_constant(reward, group) if form == "paper" else reward != 0
    return len(reward) / counted.sum().clamp(min=1).to(reward.dtype)


def gpg_advantage(reward: Tensor, group: Tensor, form: str = "paper", norm: str = "none") -> Tensor:
    """Eq. 1: rewards (N,), the prompt of each (N,) -> (N,)."""
    if norm == "std":
        return scale(reward, group, form) * grpo_advantage(reward, group)
    return scale(reward, group, form) * less_group_mean(reward, group)


class GPG(GroupAlgorithm):
    """One step on Eq. 3 a batch."""

    Config = Config

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,), and alpha for the log."""
        c = self.config
        alpha = scale(batch.reward, batch.group, c.form)
        adv = gpg_advantage(batch.reward, batch.group, c.form, c.norm)
        return {"adv": adv, "alpha": torch.full_like(adv, float(alpha))}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 3."""
        return rows.total(-rows.adv * logp, "token-mean"), {"alpha": rows["alpha"].mean()}
