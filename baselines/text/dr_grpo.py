"""Dr. GRPO: GRPO done right (Liu et al. 2025, arXiv 2503.20783).

Equations, numbered here; response i is one of the G of its prompt, Lmax the limit of its length:
  Eq. 1   A_i = R_i - mean of the prompt's rewards
  Eq. 2   L_it = max(-A_i rho_it, -A_i clip(rho_it, 1 - eps_low, 1 + eps_high))
  Eq. 3   L = 1/(N Lmax) sum_i sum_t L_it

What it takes out of GRPO: the division by the standard deviation, which weighs a prompt by how
hard it is, and the division by a response's own length, which makes long wrong answers cheap.

Departures: verl's form of Eq. 3, by the padded length of the batch and not by N, makes the loss
grow with the batch; here N stays. One optimiser step a batch by default, as for all of this
family. `dual` as in grpo.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import clip_share, clipped, less_group_mean
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


def dr_grpo_advantage(reward: Tensor, group: Tensor) -> Tensor:
    """Eq. 1: rewards (N,), the prompt of each (N,) -> (N,)."""
    # Rounding of the mean must not make a signal of equal rewards.
    return less_group_mean(reward, group)


class DrGRPO(GroupAlgorithm):
    """Steps on Eq. 3."""

    Config = Config

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,)."""
        return {"adv": dr_grpo_advantage(batch.reward, batch.group)}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 3."""
        c = self.config
        ratio = rows.ratio(logp).exp()
        loss = clipped(rows.adv, ratio, c.clip_low, c.clip_high, c.dual)  # Eq. 2
        share = clip_share(rows.adv, ratio, c.clip_low, c.clip_high, rows.mask)
        return rows.total(loss, "constant"), {"clip_share": share}
