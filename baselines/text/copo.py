"""COPO: Consistency-Aware Policy Optimization (Han et al. 2025, arXiv 2508.04138).

Equations, numbered here; response i is one of the G to its prompt q, f_a the share of them whose
final answer is a, rho_it the ratio of token t under the present policy and that of the rollout:
  Eq. 1   H_q = - sum_a f_a log2 f_a, in bits: 0 if all agree, log2 G if no two do
  Eq. 2   A_i = (R_i - mean of the prompt's rewards) / (their standard deviation + eps)     (local)
  Eq. 3   R'_q = (mean of the prompt's rewards) (1 - H_q (1 - 1/G) / log2 G)
          the factor is 1 where all answers agree and 1/G where no two do; consistency=false: no
          factor
  Eq. 4   A'_q = (R'_q - mean over prompts) / (standard deviation over prompts + eps)      (global)
  Eq. 5   w_i = gate_i sigmoid(gamma (H_q - rho))
  Eq. 6   L_it = w_i L(A_i, rho_it) + (1 - w_i) L(A'_q, rho_it), with
          L(A, r) = max(-A r, -A clip(r, 1 - eps_low, 1 + eps_high)), at most dual |A| where A < 0
  Eq. 7   L = 1/N sum_i 1/l_i sum_t L_it
Where answers differ a prompt learns from its own responses; where they agree, and Eq. 2 has nothing
to say, from how it does among the prompts of the batch. The gate is
  only-soft          1, the paper's
  soft-with-zero     [R_i != 0]: wrong responses have the global term only, as in the released run;
                     with rewards such as -1 and 1 it is always open
  soft-with-forced   [A_i != 0]
  only-zero, only-forced     w is that gate alone, without the sigmoid
  only-global, no-global     w = 0, w = 1; the latter is GRPO
  only-soft-with-coef        only-soft with `coef` times the global term, a later released version

Departures from the paper and the released code, which differ:
- gamma and rho are the ones reported for the paper, and the factor of Eq. 3 is taken for a part of
  the method; the released run has 5, 1 and no factor, and the gate soft-with-zero;
- answers are compared by value (1/2 and 0.5 agree), released: as written (`answers`). That
  responses that state none count as one answer is ours;
- G = 1 has no factor, and one prompt in a batch A' = 0 (released: not a number);
- both standard deviations are unbiased, eps is 1e-6 and dual is 3, as released; there is no KL
  term. Eq. 4 is of the whole batch, whatever minibatches follow;
- one optimiser step a batch by default (released: 16), for which rho_it is 1 and the clips have no
  effect, as for all of this family.
A verifier that finds no final answers, as of programs, leaves Eq. 1 without meaning: an error.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import (
    clipped,
    group_mean,
    group_size,
    is_constant,
    less_mean,
    masked_mean,
    per_token,
)
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option, other
from pgbench.settings.ranges import SettingError

from .grpo import grpo_advantage

GATES = (
    "only-soft", "soft-with-zero", "soft-with-forced", "only-zero", "only-forced", "only-global",
    "no-global", "only-soft-with-coef",
)  # fmt: skip
SOFT = tuple(gate for gate in GATES if "soft" in gate)
LOGGED = ("answer_entropy", "local_weight", "same_reward_share")
TINY = 1e-30  # an advantage that is zero by chance, not because there is nothing to learn


# The global term is there, and the responses to a prompt are several that may differ.
GLOBAL = {"gate": other("no-global"), "prompts": other(1), "group": other(1)}


@dataclass(frozen=True)
class Config(GroupConfig):
    """What is reported as the paper's best; sizes as for all of the family."""

    gamma: float = option(
        20.0, "slope of Eq. 5; released: 5 or 20", at_least=0, only={"gate": SOFT}
    )
    rho: float = option(
        1.5,
        "bits at which both terms of Eq. 6 weigh the same; released: 1",
        at_least=0,
        only={"gate": SOFT},
    )
    gate: str = option("only-soft", "gate of Eq. 5", "", GATES)
    coef: float = option(
        1.0,
        "gate=only-soft-with-coef: factor of the global term",
        above=0,
        only={"gate": ("only-soft-with-coef",)},
    )
    consistency: bool = option(True, "the factor of Eq. 3; released: off", only=GLOBAL)
    answers: str = option(
        "value",
        "answers agree by their value, or as written",
        "",
        ("value", "written"),
        only=({"gate": SOFT, "group": other(1)}, {"consistency": (True,), **GLOBAL}),
    )
    clip_low: float = option(0.2, "eps_low of Eq. 6", within=(0, 1))
    clip_high: float = option(0.2, "eps_high of Eq. 6", at_least=0)
    dual: float | None = option(3.0, "bound of Eq. 6 where A < 0; none: unbounded", above=1)
    eps: float = option(1e-6, "added to the standard deviations of Eq. 2 and 4", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gate == "no-global" and self.group < 2:
            raise SettingError("gate=no-global compares responses: group must be at least 2")
        if self.gate == "only-global" and self.prompts < 2:
            raise SettingError("gate=only-global compares prompts: prompts must be at least 2")
        if self.prompts * self.group == 1:
            raise SettingError("one response a step has nothing to be compared with: raise group")


def answer_entropy(answers: Tensor, group: Tensor) -> Tensor:
    """Eq. 1 in bits: numbers of the answers (N,), the prompt of each (N,) -> (N,)."""
    pairs = torch.stack([group, answers], -1)
    _, which, count = torch.unique(pairs, dim=0, return_inverse=True, return_counts=True)
    share = count[which].double() / group_size(group).double()
    # The mean over responses of -log2 f is the sum over answers of -f log2 f.
    return group_mean(-share.log2(), group)


def consistency(entropy: Tensor, group: Tensor) -> Tensor:
    """The factor of Eq. 3: entropies (N,) in bits, the prompt of each (N,) -> (N,)."""
    size = group_size(group).double()
    scale = (1 - 1 / size) / size.clamp(min=2).log2()
    return 1 - scale * entropy


def global_advantage(reward: Tensor, group: Tensor, eps: float = 1e-6) -> Tensor:
    """Eq. 4: R' of each row's prompt (N,), the prompt (N,) -> (N,); a prompt counts once."""
    prompts, which = torch.unique(group, return_inverse=True)
    each = reward.new_empty(len(prompts))
    each[which] = reward
    if len(prompts) < 2:
        return torch.zeros_like(reward)
    return (less_mean(each) / (each.std() + eps))[which]


def local_weight(
    entropy: Tensor, reward: Tensor, local: Tensor, gamma: float, rho: float, gate: str
) -> Tensor:
    """Eq. 5: entropies, rewards and local advantages (N,) -> (N,) in [0, 1]."""
    soft = torch.sigmoid(gamma * (entropy - rho))
    one = torch.ones_like(soft)
    weight: Tensor = {
        "only-soft": soft,
        "only-soft-with-coef": soft,
        "soft-with-zero": soft * (reward != 0),
        "soft-with-forced": soft * (local != 0),
        "only-zero": one * (reward != 0),
        "only-forced": one * (local != 0),
        "only-global": 0 * one,
        "no-global": one,
    }[gate]
    return weight


class COPO(GroupAlgorithm):
    """Steps on Eq. 7."""

    Config = Config
    advantages = ("adv", "loc", "glob")
    watched = LOGGED

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Both advantages and the weight, (N,) each.

        Raises: PgbenchError where the verifier finds no final answers.
        """
        c, group = self.config, batch.group
        if batch.answers is None:
            raise PgbenchError(
                "copo: the verifier of this environment gives no final answers; take an "
                "environment that has some, or another algorithm"
            )
        entropy = answer_entropy(batch.answers[:, 0 if c.answers == "value" else 1], group)
        shared = group_mean(batch.reward.double(), group)
        if c.consistency:
            shared = shared * consistency(entropy, group)
        loc = grpo_advantage(batch.reward, group, c.eps)
        glob = c.coef * global_advantage(shared, group, c.eps).float()
        w = local_weight(entropy, batch.reward, loc, c.gamma, c.rho, c.gate).float()
        adv = w * loc + (1 - w) * glob
        # Beyond the first step both terms are clipped for themselves: a row is passed over only
        # where neither has anything to say, not where they happen to cancel.
        speaks = (w * loc != 0) | ((1 - w) * glob != 0)
        mass = adv.abs().double()
        same = (mass * is_constant(batch.reward, group)).sum() / mass.sum().clamp(min=TINY)
        figures = (_prompt_mean(entropy, group), w.mean(), same)
        log = {k: x.float().expand(len(batch)) for k, x in zip(LOGGED, figures, strict=True)}
        adv = torch.where(speaks & (adv == 0), TINY, adv)
        return {"adv": adv, "loc": loc, "glob": glob, "w": w} | log

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 7."""
        c = self.config
        ratio = rows.ratio(logp).exp()
        w, terms, share = rows["w"], [], logp.new_zeros(())
        for name, weight in (("loc", w), ("glob", 1 - w)):
            adv = per_token(rows[name], rows.mask)
            loss = clipped(adv, ratio, c.clip_low, c.clip_high, c.dual)
            terms.append(weight[:, None] * loss)
            outside = ((adv > 0) & (ratio > 1 + c.clip_high)) | (
                (adv < 0) & (ratio < 1 - c.clip_low)
            )
            share = share + masked_mean(weight[:, None] * outside, rows.mask)
        log = {name: masked_mean(per_token(rows[name], rows.mask), rows.mask) for name in LOGGED}
        log["clip_share"] = share
        return rows.total(terms[0] + terms[1], "seq-mean-token-mean"), log


def _prompt_mean(x: Tensor, group: Tensor) -> Tensor:
    """Mean over prompts of what all rows of a prompt (N,) share."""
    return (x / group_size(group)).sum() / len(torch.unique(group))
