"""own-algo: one line on what it is (authors, year, arXiv id).

Equations, numbered as in the paper; response i is one of the G of its prompt:
  Eq. 1   A_i = R_i - mean of the prompt's rewards
  Eq. 2   g = 1/N sum_i A_i sum_t grad log pi(o_it | q_i, o_i<t)

Departures from the paper:
- none yet: say here what differs from it, and why.

This file began as REINFORCE with the prompt's mean as baseline. It runs as it is, with a model of
100,000 parameters that is made first:
  pgbench run --algo ./own_algo.py --env math-nano --budget smoke
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import pgbench
from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import group_mean, is_constant
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option


# 1. Settings besides those of the family (prompts, group, lr and so on), each with the range of
#    its numbers; `pgbench explain ./own_algo.py` lists them all.
@dataclass(frozen=True)
class Config(GroupConfig):
    """Where the defaults come from."""

    least_group: ClassVar[int] = 2  # responses to a prompt are compared with each other

    negative: float = option(1.0, "factor of advantages below 0", at_least=0)


# 2. The paper's mathematics as pure functions of tensors, each with its equation and its shapes:
#    easy to test with numbers worked by hand.
def advantage(reward: Tensor, group: Tensor) -> Tensor:
    """Eq. 1: rewards (N,) and the prompt of each (N,) -> (N,)."""
    centred = reward - group_mean(reward, group)
    return torch.where(is_constant(reward, group), 0.0, centred)  # exactly 0, whatever rounding


class OwnAlgo(GroupAlgorithm):
    """One step on Eq. 2 a batch; sampling, packing, optimiser and log are the base class's."""

    Config = Config

    # 3. Once a batch: what the loss needs, a row or a token each. `needs` of the class names what
    #    of the policy is wanted here: old, ref, entropy, value.
    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,)."""
        adv = advantage(batch.reward, batch.group)
        return {"adv": torch.where(adv < 0, self.config.negative * adv, adv)}

    # 4. Once a micro-batch: the loss of its rows over the whole minibatch's denominators, and what
    #    to log. `rows.ratio(logp)` is the log-ratio to the policy that wrote the responses.
    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """A function whose gradient is minus Eq. 2, for log-probabilities (n, T)."""
        return rows.total(-rows.adv * logp, "seq-mean-token-sum"), {}


# 5. One registration a file. `requires` names what it needs of an environment.
pgbench.register_algo(
    "own-algo",
    OwnAlgo,
    family="text",
    loop="group",
    summary="what it is, in one line",
    requires={"Text", "Groups", "Verifier"},
    extra="text",
)
