"""RLOO-LP: RLOO with a length penalty in the reward (Arora and Zanette 2025, arXiv 2502.04463).

Equations, numbered here; response i is one of the G of its prompt, l_i its tokens:
  Eq. 1   R_i = r_i (1 - alpha sigmoid((l_i - mean) / (std + 1e-7))) of a right response, r_i of a
          wrong one; mean and population standard deviation of the lengths of the right responses
          to the prompt; the only right one, and ones of one length, get r_i (1 - alpha / 2)
  Eq. 2   A_i = R_i - 1/(G-1) sum over the other responses j of the prompt of R_j
  Eq. 3   g = 1/N sum_i A_i sum_t grad log pi(o_it | q_i, o_i<t)
A long right response may have A < 0, where the others are right and shorter.

Departures from the paper and the released code, whose 1e-7 Eq. 1 has: no KL term; AdamW and a limit
of the gradient norm, as for all of this family; alpha = 0.1 is ours, the paper tries several.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import group_mean, group_std
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option

from .rloo import rloo_advantage


@dataclass(frozen=True)
class Config(GroupConfig):
    """Sizes as for all of the family."""

    least_group: ClassVar[int] = 2

    alpha: float = option(
        0.1, "weight of the penalty of Eq. 1; the value is ours", at_least=0, below=1
    )


def length_factor(lengths: Tensor, right: Tensor, group: Tensor, alpha: float) -> Tensor:
    """What Eq. 1 multiplies rewards with: lengths, right or not, the prompt of each, (N,) -> (N,).

    1 for a wrong response.
    """
    factor = torch.ones_like(lengths)
    if bool(right.any()):
        own, prompt = lengths[right], group[right]
        std = group_std(own, prompt, unbiased=False)
        gap = (own - group_mean(own, prompt)) / (std + 1e-7)
        factor[right] = 1 - alpha * torch.sigmoid(gap)
    return factor


class RLOOLP(GroupAlgorithm):
    """One step on Eq. 3 a batch."""

    Config = Config

    def shape(self, batch: TokenGroups) -> TokenGroups:
        """The rewards of Eq. 1."""
        factor = length_factor(batch.lengths, batch.correct, batch.group, self.config.alpha)
        return replace(batch, reward=batch.reward * factor)

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,)."""
        return {"adv": rloo_advantage(batch.reward, batch.group)}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """A function whose gradient is minus Eq. 3."""
        return rows.total(-rows.adv * logp, "seq-mean-token-sum"), {}
