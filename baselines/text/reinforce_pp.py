"""REINFORCE++ (Hu 2025, arXiv 2501.03262): rewards to go, standardised over the whole batch.

Equations, numbered here:
  Eq. 1   r_it = [t = l_i] R_i - beta (log pi_old(o_it) - log pi_ref(o_it))
  Eq. 2   x_it = sum over s >= t of r_is                       baseline=none: REINFORCE++
          x_it = (sum of response i's r) - mean of these over the prompt
                                                               baseline=group: REINFORCE++-baseline
  Eq. 3   A_it = (x_it - mean) / sqrt(variance + 1e-8)  over all tokens of the batch
  Eq. 4   L_it = max(-A_it rho_it, -A_it clip(rho_it, 1 - eps_low, 1 + eps_high))
  Eq. 5   L = sum of L_it over all tokens / their number

Departures from the paper:
- beta is 0 by default, so that no reference model is evaluated, as for all of this family;
- the KL penalty is in the reward, as in Eq. 1, for both forms. The author's library, OpenRLHF,
  trains the one with a baseline with a separate loss instead (--use_kl_loss --kl_estimator k2), the
  mean of (log pi - log pi_ref)^2 / 2 over tokens; ms-swift has it in the reward, as here;
- the variance of Eq. 3 is the unbiased one, as verl has it. It weighs responses by their length:
  the mean of A is zero over tokens, not over responses;
- one optimiser step a batch by default, for which rho is 1 and the clip has no effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import (
    clip_share,
    clipped,
    kl_penalty,
    less_group_mean,
    per_token,
    to_go,
    token_rewards,
    whiten,
)
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option
from pgbench.settings.ranges import SettingError


@dataclass(frozen=True)
class Config(GroupConfig):
    """Clip of the PPO surrogate; sizes as for all of the family."""

    baseline: str = option("none", "Eq. 2: none, or the prompt's mean", "", ("none", "group"))
    beta: float = option(0.0, "weight of the KL penalty in the reward, Eq. 1", at_least=0)
    clip_low: float = option(0.2, "eps_low of Eq. 4", within=(0, 1))
    clip_high: float = option(0.2, "eps_high of Eq. 4", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baseline == "group" and self.group < 2:
            raise SettingError("baseline=group compares responses: group must be at least 2")
        if self.prompts * self.group == 1 and not self.beta:
            raise SettingError("one response standardises to nothing: raise prompts or group")


def credit(
    reward: Tensor, mask: Tensor, penalty: Tensor, group: Tensor, baseline: str = "none"
) -> Tensor:
    """Eq. 1 and 2: rewards (N,), mask and penalty (N, T), the prompt of each row (N,) -> (N, T)."""
    r = token_rewards(reward, mask, penalty)
    if baseline == "none":
        return to_go(r, mask)
    total = r.sum(-1)
    return per_token(less_group_mean(total, group), mask)


class REINFORCEpp(GroupAlgorithm):
    """Steps on Eq. 5."""

    Config = Config

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """Both log-probabilities of Eq. 1, where it has a penalty."""
        return frozenset({"old", "ref"}) if config.beta else frozenset()

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N, T)."""
        c = self.config
        penalty = kl_penalty(seen.old, seen.ref, batch.mask, c.beta)
        x = credit(batch.reward, batch.mask, penalty, batch.group, c.baseline)
        return {"adv": whiten(x, batch.mask)}  # Eq. 3

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 5."""
        c = self.config
        ratio = rows.ratio(logp).exp()
        loss = clipped(rows.adv, ratio, c.clip_low, c.clip_high, None)  # Eq. 4
        share = clip_share(rows.adv, ratio, c.clip_low, c.clip_high, rows.mask)
        return rows.total(loss, "token-mean"), {"clip_share": share}
