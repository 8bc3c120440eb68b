"""CISPO: Clipped IS-weight Policy Optimization (MiniMax 2025, MiniMax-M1, arXiv 2506.13585).

Equations, numbered here; sg stops gradients, A_i is GRPO's advantage:
  Eq. 1   w_it = min(rho_it, 1 + eps_high), and at least 1 - eps_low where that is set
  Eq. 2   L = - sum over all tokens of sg(w_it) A_i log pi(o_it) / their number
Where PPO's clip takes a token's gradient away, this one bounds its weight: no token is dropped.

Departures from the paper:
- it gives no value of eps_high. With 4, weights are at most 5, the bound that ScaleRL
  (arXiv 2510.13786) uses of this loss;
- its loss is a mean over the tokens of one prompt's responses, averaged over prompts; Eq. 2 is one
  mean over the tokens of the whole minibatch, in which prompts with long responses weigh more;
- it is said to train with DAPO's dynamic sampling and length penalty besides (that part of the
  paper was not read); both are left out, so that the loss alone is compared (`dapo` has them);
- one optimiser step a batch by default, for which w is 1 and the bound has no effect, as for all
  of this family. The bound is made for several steps: the paper is said to take 16 rounds of
  off-policy updates on a batch, `--set minibatches=16`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import masked_mean
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option

from .grpo import grpo_advantage


@dataclass(frozen=True)
class Config(GroupConfig):
    """Bounds of the weights; sizes as for all of the family."""

    least_group: ClassVar[int] = 2

    clip_low: float | None = option(
        None, "eps_low of Eq. 1; none: no lower bound, as in the paper", within=(0, 1)
    )
    clip_high: float = option(4.0, "eps_high of Eq. 1", at_least=0)
    eps: float = option(1e-6, "added to the standard deviation of a prompt's rewards", at_least=0)


def weight(ratio: Tensor, low: float | None, high: float) -> Tensor:
    """Eq. 1: ratios (n, T) -> (n, T), without gradient."""
    return ratio.detach().clamp(None if low is None else 1 - low, 1 + high)


class CISPO(GroupAlgorithm):
    """Steps on Eq. 2."""

    Config = Config

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,)."""
        return {"adv": grpo_advantage(batch.reward, batch.group, self.config.eps)}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 2."""
        ratio = rows.ratio(logp).detach().exp()
        w = weight(ratio, self.config.clip_low, self.config.clip_high)
        bounded = masked_mean((w != ratio).to(w.dtype), rows.mask)
        return rows.total(-w * rows.adv * logp, "token-mean"), {"bounded_share": bounded}
