"""ReMax (Li et al. 2024, arXiv 2310.10505): the reward of the greedy response as baseline.

Equations, numbered here; b_q is the reward of the most likely response to prompt q, token by token:
  Eq. 1   r_it = [t = l_i] R_i - beta (log pi_old(o_it) - log pi_ref(o_it))
  Eq. 2   A_it = sum over s >= t of r_is - b_q;  with beta = 0 this is R_i - b_q
  Eq. 3   g = 1/N sum_i sum_t A_it grad log pi(o_it | q_i, o_i<t)

Departures from the paper:
- beta is 0 by default, so that no reference model is evaluated, as for all of this family;
- AdamW and a limit of the gradient norm, as for all of this family.

The greedy response costs a generation and no training. To make as many as the other methods, 256 a
step, the defaults are 128 prompts with one sampled response each, as in the paper one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import kl_penalty, to_go, token_rewards
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option


@dataclass(frozen=True)
class Config(GroupConfig):
    """128 prompts, for each a sampled and a greedy response."""

    prompts: int = option(128, "prompts B of a step", at_least=1)
    group: int = option(1, "responses G to each prompt, besides the greedy one", at_least=1)
    beta: float = option(0.0, "weight of the KL penalty in the reward, Eq. 1", at_least=0)


def remax_advantage(
    reward: Tensor, mask: Tensor, penalty: Tensor, group: Tensor, greedy: Tensor
) -> Tensor:
    """Eq. 2: rewards (N,), mask and penalty (N, T), each row's prompt (N,), b (B,) -> (N, T)."""
    return (to_go(token_rewards(reward, mask, penalty), mask) - greedy[group, None]) * mask


class ReMax(GroupAlgorithm):
    """One step on Eq. 3 a batch."""

    Config = Config
    greedy = True

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """Both log-probabilities of Eq. 1, where it has a penalty."""
        return frozenset({"old", "ref"}) if config.beta else frozenset()

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N, T)."""
        assert batch.greedy is not None
        penalty = kl_penalty(seen.old, seen.ref, batch.mask, self.config.beta)
        adv = remax_advantage(batch.reward, batch.mask, penalty, batch.group, batch.greedy)
        return {"adv": adv}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """A function whose gradient is minus Eq. 3."""
        return rows.total(-rows.adv * logp, "seq-mean-token-sum"), {}
