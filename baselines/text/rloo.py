"""RLOO: REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740).

Equations, numbered here; response i is one of the G of its prompt:
  Eq. 1   R_i = r_i - beta sum_t [log pi_old(o_it) - log pi_ref(o_it)]
  Eq. 2   A_i = R_i - 1/(G-1) sum over the other responses j of the prompt of R_j
              = G/(G-1) (R_i - mean of the prompt's rewards);  a group of one has A_i = R_i
  Eq. 3   g = 1/N sum_i A_i sum_t grad log pi(o_it | q_i, o_i<t)

Departures from the paper:
- beta is 0: rewards are a verifier's, not a learned model's, and no method of the family has a
  reference by default. `--set beta=...` restores Eq. 1;
- AdamW and a limit of the gradient norm, as for all of this family.

With beta = 0, A is G/(G-1) times the advantage of Dr. GRPO.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import group_mean, group_size, is_constant, kl_penalty
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option


@dataclass(frozen=True)
class Config(GroupConfig):
    """Sizes as for all of the family."""

    beta: float = option(0.0, "weight of the KL penalty in the reward, Eq. 1", at_least=0)


def rloo_advantage(reward: Tensor, group: Tensor) -> Tensor:
    """Eq. 2: rewards (N,), the prompt of each (N,) -> (N,)."""
    size = group_size(group)
    others = (group_mean(reward, group) * size - reward) / (size - 1).clamp(min=1)
    # Rounding of the mean must not make a signal of equal rewards.
    adv = torch.where(is_constant(reward, group), 0.0, reward - others)
    return torch.where(size > 1, adv, reward)


class RLOO(GroupAlgorithm):
    """One step on Eq. 3 a batch."""

    Config = Config

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """Both log-probabilities of Eq. 1, where it has a penalty."""
        return frozenset({"old", "ref"}) if config.beta else frozenset()

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,)."""
        penalty = kl_penalty(seen.old, seen.ref, batch.mask, self.config.beta).sum(-1)
        return {"adv": rloo_advantage(batch.reward - penalty, batch.group)}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """A function whose gradient is minus Eq. 3."""
        return rows.total(-rows.adv * logp, "seq-mean-token-sum"), {}
