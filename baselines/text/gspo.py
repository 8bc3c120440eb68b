"""GSPO: Group Sequence Policy Optimization (Zheng et al. 2025, arXiv 2507.18071).

Equations, numbered here; sg stops gradients, A_i is GRPO's advantage:
  Eq. 1   s_i = exp(1/l_i sum_t [log pi(o_it) - log pi_old(o_it)])
  Eq. 2   L_i = max(-A_i s_i, -A_i clip(s_i, 1 - eps_low, 1 + eps_high)),  L = 1/N sum_i L_i
  Eq. 3   form=token (GSPO-token): s_it = sg(s_i) pi(o_it) / sg(pi(o_it)) takes the place of the
          ratio in GRPO's token losses, L = 1/N sum_i 1/l_i sum_t L_it
Both forms have one value and one gradient, A_i s_i / l_i sum_t grad log pi(o_it), as long as all
tokens of a response share A_i.

Departures from the paper: one optimiser step a batch by default (paper: 4 minibatches), for which
s is 1 and the clip has no effect, as for all of this family; eps as in grpo.py; no KL term.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import clip_share, clipped, masked_mean_rows
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option

from .grpo import grpo_advantage


@dataclass(frozen=True)
class Config(GroupConfig):
    """The paper's clip; sizes as for all of the family."""

    least_group: ClassVar[int] = 2

    form: str = option("sequence", "Eq. 2 or Eq. 3", "", ("sequence", "token"))
    clip_low: float = option(3e-4, "eps_low of Eq. 2", "Section 5.1", within=(0, 1))
    clip_high: float = option(4e-4, "eps_high of Eq. 2", "Section 5.1", at_least=0)
    eps: float = option(1e-6, "added to the standard deviation of a prompt's rewards", at_least=0)


def sequence_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """Eq. 1: token log-ratios (n, T) -> (n,)."""
    return masked_mean_rows(log_ratio, mask).exp()


def token_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """Eq. 3: the value of Eq. 1 with the gradient of each token's own logarithm, (n, T)."""
    s = sequence_ratio(log_ratio, mask).detach()
    return s[:, None] * (log_ratio - log_ratio.detach()).exp()


class GSPO(GroupAlgorithm):
    """Steps on Eq. 2 or 3."""

    Config = Config

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,)."""
        return {"adv": grpo_advantage(batch.reward, batch.group, self.config.eps)}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 2 or 3."""
        c = self.config
        log_ratio, adv = rows.ratio(logp), rows["adv"]
        s = sequence_ratio(log_ratio, rows.mask)
        # A clipped response is all of its tokens, as the share of the other methods counts.
        share = clip_share(rows.adv, s.detach()[:, None], c.clip_low, c.clip_high, rows.mask)
        log = {"clip_share": share}
        if c.form == "sequence":
            return rows.total(clipped(adv, s, c.clip_low, c.clip_high, None)), log
        loss = clipped(rows.adv, token_ratio(log_ratio, rows.mask), c.clip_low, c.clip_high, None)
        return rows.total(loss, "seq-mean-token-mean"), log
