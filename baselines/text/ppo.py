"""PPO on tokens (Schulman et al. 2017, arXiv 1707.06347), with a value head on the model.

Equations, numbered here; a state is a prompt and the tokens so far, an action is a token:
  Eq. 1   r_it = [t = l_i] R_i - beta (log pi_old(o_it) - log pi_ref(o_it))
  Eq. 2   delta_it = r_it + gamma V_i,t+1 - V_it,  A_it = delta_it + gamma lam A_i,t+1; V and A are
          0 after the last token, and tokens that the policy did not choose are passed over
  Eq. 3   G_it = A_it + V_it (before A is standardised over the tokens of the batch)
  Eq. 4   L_it = max(-A_it rho_it, -A_it clip(rho_it, 1 - eps_low, 1 + eps_high))
  Eq. 5   U_it = 1/2 max((v - G)^2, (clip(v, V - c, V + c) - G)^2),  v the present value
  Eq. 6   L = mean over tokens of L_it + c1 U_it

Departures from the paper:
- gamma = lam = 1, as usual for responses with one reward at their end: A = R - V without a KL term;
- standardised advantages and the clipped Eq. 5, neither in the paper, are common practice (verl);
- the value is a linear function of the model's last hidden states, which its loss changes, too:
  the released codes for language models have a second model in its place. c1 = 0.1 keeps the share
  of Eq. 5 in the common gradient small;
- no entropy bonus; beta is 0 by default, so that no reference model is evaluated;
- one optimiser step a batch by default, for which rho is 1 and neither clip has an effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import (
    aggregate,
    clip_share,
    clipped,
    kl_penalty,
    masked_mean,
    token_rewards,
    whiten,
)
from pgbench.learning.ops.returns import discounted_sum
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option, other


@dataclass(frozen=True)
class Config(GroupConfig):
    """Sizes as for all of the family, which the paper has no task of."""

    gamma: float = option(1.0, "discount a token", within=(0, 1))
    lam: float = option(1.0, "lambda of Eq. 2", within=(0, 1), only={"gamma": other(0)})
    clip_low: float = option(0.2, "eps_low of Eq. 4", "Table 1: best of the tried", within=(0, 1))
    clip_high: float = option(0.2, "eps_high of Eq. 4", "Table 1: best of the tried", at_least=0)
    vf_clip: float = option(0.5, "c of Eq. 5", above=0, only={"vf_coef": other(0)})
    vf_coef: float = option(0.1, "c1 of Eq. 6", at_least=0)
    beta: float = option(0.0, "weight of the KL penalty in the reward, Eq. 1", at_least=0)


def token_gae(reward: Tensor, value: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Eq. 2: all (N, T) -> (N, T), zero where `mask` is."""
    # Valid tokens come first, in their order; so passing over the others is no special case.
    order = (mask > 0).sort(dim=-1, descending=True, stable=True).indices
    live = mask.gather(-1, order)
    r, v = reward.gather(-1, order) * live, value.gather(-1, order) * live
    delta = r + gamma * torch.cat([v[:, 1:], torch.zeros_like(v[:, :1])], -1) - v
    adv = discounted_sum(delta.T, torch.full_like(delta.T, gamma * lam)).T
    return torch.zeros_like(adv).scatter(-1, order, adv * live)


def value_loss(value: Tensor, old: Tensor, target: Tensor, clip: float) -> Tensor:
    """Eq. 5, all (n, T)."""
    near = old + (value - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((value - target).square(), (near - target).square())


class PPO(GroupAlgorithm):
    """Steps on Eq. 6."""

    Config = Config
    needs = frozenset({"value"})
    skips_zero = False  # the value learns from every row

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """Values, and both log-probabilities of Eq. 1 where it has a penalty."""
        return cls.needs | ({"old", "ref"} if config.beta else frozenset())

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages, targets of the value and the value itself, (N, T) each."""
        c = self.config
        assert seen.value is not None
        penalty = kl_penalty(seen.old, seen.ref, batch.mask, c.beta)
        r = token_rewards(batch.reward, batch.mask, penalty)
        adv = token_gae(r, seen.value, batch.mask, c.gamma, c.lam)
        return {"adv": whiten(adv, batch.mask), "target": adv + seen.value, "value": seen.value}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 6."""
        c = self.config
        ratio = rows.ratio(logp).exp()
        loss = clipped(rows.adv, ratio, c.clip_low, c.clip_high, None)  # Eq. 4
        assert rows.value is not None
        error = value_loss(rows.value, rows["value"], rows["target"], c.vf_clip)
        log = {
            "clip_share": clip_share(rows.adv, ratio, c.clip_low, c.clip_high, rows.mask),
            "value_loss": masked_mean(error.detach(), rows.mask),
        }
        value = aggregate(error, rows.mask, "token-mean", rows.totals)
        return rows.total(loss, "token-mean") + c.vf_coef * value, log
