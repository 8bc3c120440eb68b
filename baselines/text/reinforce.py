"""REINFORCE on whole responses (Williams 1992, Machine Learning 8: 229-256).

Equations, numbered here; a response i of l_i tokens is one action of reward R_i:
  Eq. 1   A_i = R_i - b,  b = 0 or the mean reward of the batch
  Eq. 2   g = 1/N sum_i A_i grad log pi(o_i | q_i),
          log pi(o_i | q_i) = sum_t log pi(o_it | q_i, o_i<t)

Departures from the paper:
- the baseline is by default the mean over the present batch (the paper's is any number that does
  not depend on the action, a running average say). It holds R_i itself with weight 1/N, which
  scales the expected gradient by (N-1)/N. Rewards of 0 and 1 without a baseline only ever raise
  probabilities: `--set baseline=none` is the plain form;
- AdamW and a limit of the gradient norm in place of plain ascent, as for all of this family.

One step a batch by default, for which Eq. 2 holds; later ones are not corrected for the change of
the policy.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import less_mean
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option
from pgbench.settings.ranges import SettingError


@dataclass(frozen=True)
class Config(GroupConfig):
    """The paper has no such task; what is common to the family keeps its values."""

    baseline: str = option("batch", "b of Eq. 1: none or the batch's mean", "", ("none", "batch"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baseline == "batch" and self.prompts * self.group == 1:
            raise SettingError(
                "baseline=batch leaves nothing of one response: raise prompts or group"
            )


def advantage(reward: Tensor, baseline: str) -> Tensor:
    """Eq. 1: rewards (N,) -> (N,)."""
    return less_mean(reward) if baseline == "batch" else reward


class REINFORCE(GroupAlgorithm):
    """One step on Eq. 2 a batch."""

    Config = Config

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,)."""
        return {"adv": advantage(batch.reward, self.config.baseline)}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """A function whose gradient is minus Eq. 2."""
        return rows.total(-rows.adv * logp, "seq-mean-token-sum"), {}
