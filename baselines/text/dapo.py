"""DAPO: Decoupled Clip and Dynamic sAmpling Policy Optimization (Yu et al. 2025, arXiv 2503.14476).

Equations, numbered here; response i has l_i tokens of at most Lmax, k of them are the soft end:
  Eq. 1   P_i = 0 if l_i <= Lmax - k, otherwise (Lmax - k - l_i) / k, which is -1 at Lmax
  Eq. 2   A_i = GRPO's, of R_i + w P_i: less the prompt's mean, over its standard deviation
  Eq. 3   L_it = max(-A_i rho_it, -A_i clip(rho_it, 1 - eps_low, 1 + eps_high)), eps_high > eps_low
  Eq. 4   L = sum of L_it over all tokens / their number
  Dynamic sampling: prompts whose responses are all correct or all wrong are replaced by others.

Departures from the paper:
- its rewards are -1 and 1 and w is 1. Eq. 2 does not change with a constant added to the rewards or
  (up to eps) a positive factor: for the rewards 0 and 1 of the environments here, w = 1/2 gives the
  paper's advantages;
- its loss is a mean over the tokens of one prompt's responses, averaged over prompts; Eq. 4 is one
  mean over the tokens of the whole minibatch, as its code (verl) has it, in which prompts with long
  responses weigh more. So are the unbiased standard deviation and the eps of Eq. 2;
- k is a share of Lmax, by default the released script's 4096 of 20480; `--set overlong=0` leaves
  Eq. 1 out. Where the environment's limit cuts a response, l_i = Lmax and P_i = -1;
- after `max_rounds` rounds of generation a batch is trained on as it is, however small. Every round
  counts towards the budget;
- one optimiser step a batch by default (released script: 16), for which rho is 1 and the clip does
  nothing, as for all of this family; so are the numbers of prompts and responses (there 512, 16).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import clip_share, clipped, is_constant
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option, other

from .grpo import grpo_advantage


@dataclass(frozen=True)
class Config(GroupConfig):
    """The released script's values where they do not depend on the model's size."""

    least_group: ClassVar[int] = 2

    clip_low: float = option(0.2, "eps_low of Eq. 3", "released script", within=(0, 1))
    clip_high: float = option(0.28, "eps_high of Eq. 3", "released script", at_least=0)
    max_rounds: int = option(
        10, "generation rounds at most for one batch; 1: no replacement", at_least=1
    )
    overlong: float = option(
        0.2,
        "k of Eq. 1 as a share of Lmax; 0: no penalty",
        "released script",
        within=(0, 1),
        only={"overlong_weight": other(0)},
    )
    overlong_weight: float = option(
        0.5,
        "w of Eq. 2: half the gap between right and wrong",
        at_least=0,
        only={"overlong": other(0)},
    )
    eps: float = option(1e-6, "added to the standard deviation of Eq. 2", at_least=0)


def overlong_penalty(lengths: Tensor, limit: int, soft: float) -> Tensor:
    """Eq. 1: tokens of each response (N,), Lmax, k > 0 in tokens -> (N,) in [-1, 0]."""
    return ((limit - soft - lengths) / soft).clamp(-1.0, 0.0)


class DAPO(GroupAlgorithm):
    """Steps on Eq. 4."""

    Config = Config

    def keep(self, batch: TokenGroups) -> Tensor | None:
        """Prompts (B,) with a correct and a wrong response."""
        if self.config.max_rounds == 1:
            return None
        mixed = ~is_constant(batch.correct.float(), batch.group)
        kept = mixed.new_zeros(len(batch.prompts))
        kept[batch.group] = mixed
        return kept

    def shape(self, batch: TokenGroups) -> TokenGroups:
        """The rewards of Eq. 2."""
        c = self.config
        if not c.overlong:
            return batch
        penalty = overlong_penalty(batch.lengths, batch.limit, c.overlong * batch.limit)
        return replace(batch, reward=batch.reward + c.overlong_weight * penalty)

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,)."""
        return {"adv": grpo_advantage(batch.reward, batch.group, self.config.eps)}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 4."""
        c = self.config
        ratio = rows.ratio(logp).exp()
        loss = clipped(rows.adv, ratio, c.clip_low, c.clip_high, None)  # Eq. 3
        share = clip_share(rows.adv, ratio, c.clip_low, c.clip_high, rows.mask)
        return rows.total(loss, "token-mean"), {"clip_share": share}
