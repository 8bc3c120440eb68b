"""DisCO: Discriminative Constrained Optimization (Li et al. 2025, arXiv 2505.12366).

Equations, numbered here; P_q and N_q are the right (R = 1) and the wrong (R = 0) responses of
prompt q, B all prompts, rho_it the ratio of token t under the present and the last policy:
  Eq. 1   s_i = 1/l_i sum_t log pi(o_it)  (score=log-likelihood),  1/l_i sum_t rho_it  (ratio)
  Eq. 2   J = 1/B sum_q [ mean_{P_q} s - tau log mean_{N_q} exp(s / tau) ],  wrong responses of high
          score weigh most; base=disco-b is the limit of large tau: mean_{N_q} s in its place
  Eq. 3   K = mean over all tokens of log pi_old - log pi (kl=k1) or rho - log rho - 1 (k3), of
          KL(pi_old || pi)
  Eq. 4   L = -J + beta max(K - delta, 0)^2  (penalty=paper), half of the last term (released)
A prompt whose responses are all of one class adds 0 to J and counts in B. Proposition 1: for binary
rewards and their population deviation GRPO maximises E_q sqrt(p (1 - p)) [E_{P_q} s+ - E_{N_q} s-],
the ratio scores clipped; the weight of a prompt by its pass rate p and the clip are what DisCO
takes out.
There is no advantage, and inside the trust region, K <= delta, no pull to the old policy.

Departures from the paper and from the released code:
- tau (10 for log-likelihoods, 1 for ratios), beta, delta and k1 are the released scripts' values.
  Its penalty is sg(beta max(K - delta, 0)) K, which has half the gradient of the paper's Eq. 4;
- K and the sums of Eq. 2 are those of a whole minibatch, whatever its micro-batches: released per
  micro-batch, which must hold whole groups;
- the loss has the value of Eq. 4: the released S / sg(S) in place of log S has only its gradient;
- the released switch takes score=ratio to a function without tau, the DisCO-b scripts to DisCO;
  here each name is what its function computes;
- one optimiser step a batch by default (released: 4), for which K = 0 and the penalty never acts,
  as for all of this family. A response whose reward is neither 0 nor 1 is in no class;
- equalise=true scales N dJ/ds_i to a root mean square of one over the tokens of a minibatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import group_sum, k3, masked_mean_rows, rms
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option, other

TAU = {"log-likelihood": 10.0, "ratio": 1.0}  # of the released scripts


@dataclass(frozen=True)
class Config(GroupConfig):
    """The released constants; sizes as for all of the family."""

    least_group: ClassVar[int] = 2

    score: str = option("log-likelihood", "s of Eq. 1", "", ("log-likelihood", "ratio"))
    base: str = option("disco", "log-mean-exp or mean of wrong scores", "", ("disco", "disco-b"))
    tau: float | None = option(
        None,
        "tau of Eq. 2; none: 10 for log-likelihoods, 1 for ratios",
        above=0,
        only={"base": ("disco",)},
    )
    kl_weight: float = option(1e3, "beta of Eq. 4", at_least=0)
    kl_radius: float = option(
        1e-4, "delta of Eq. 4, nats a token", at_least=0, only={"kl_weight": other(0)}
    )
    kl: str = option("k1", "estimate of Eq. 3", "", ("k1", "k3"), only={"kl_weight": other(0)})
    penalty: str = option(
        "released", "Eq. 4 (paper) or half", "", ("released", "paper"), only={"kl_weight": other(0)}
    )
    count_all: bool = option(True, "B counts prompts without right or without wrong responses, too")


def classes(reward: Tensor) -> tuple[Tensor, Tensor]:
    """Membership of P and N, float: rewards (N,) -> (N,), (N,)."""
    return (reward == 1).float(), (reward == 0).float()


def uniform(right: Tensor, group: Tensor) -> Tensor:
    """1/|P_q| on the right responses of each prompt, 0 elsewhere, (N,)."""
    return right / group_sum(right, group)[group].clamp(min=1)


def scores(logp: Tensor, rows: Rows, form: str) -> Tensor:
    """Eq. 1: (n, T) -> (n,)."""
    terms = logp if form == "log-likelihood" else rows.ratio(logp).exp()
    return masked_mean_rows(terms, rows.mask)


def numbered(group: Tensor) -> Tensor:
    """The prompts of some rows (n,) numbered from 0 without gaps, and without a sync."""
    order = group.argsort()
    ordered = group[order]
    steps = torch.zeros_like(ordered)
    steps[1:] = (ordered[1:] != ordered[:-1]).long()
    return torch.empty_like(order).scatter_(0, order, steps.cumsum(0))


def objective(
    s: Tensor, share: Tensor, wrong: Tensor, group: Tensor, tau: float | None, count_all: bool
) -> tuple[Tensor, Tensor]:
    """Eq. 2 with weights `share` of right responses (of sum 1 a prompt), and dJ/ds (n,).

    Without `tau` the mean of the wrong scores takes the place of their log-mean-exp.
    """
    q, n = numbered(group), len(s)  # n places are enough for the prompts

    def total(x: Tensor) -> Tensor:
        return s.new_zeros(n).index_add_(0, q, x)

    size = total(wrong)
    mixed = (total(share) > 0) & (size > 0)
    count = ((q.max() + 1) if count_all else mixed.sum()).clamp(min=1)
    if tau is None:
        mass, hard = wrong, total(wrong * s) / size.clamp(min=1)
    else:
        lowest = torch.full_like(s, -torch.inf)
        top = lowest.scatter_reduce(0, q, torch.where(wrong > 0, s, lowest), "amax")
        mass = torch.where(wrong > 0, ((s - top[q]) / tau).exp(), 0.0)
        hard = top + tau * (total(mass) / size).log()
    value = torch.where(mixed, total(share * s) - hard, 0.0).sum() / count
    slope = torch.where(mixed[q], share - mass / total(mass)[q], 0.0) / count
    return value, slope


def kl_terms(logp: Tensor, rows: Rows, form: str) -> Tensor:
    """The terms of Eq. 3, (n, T)."""
    old = logp.detach() if rows.old is None else rows.old
    return old - logp if form == "k1" else k3(old, logp)


LOGGED = ("objective", "kl", "penalty_active", "wrong_sign")


def weighed(logp: Tensor, rows: Rows, c: Any) -> dict[str, Tensor]:
    """What `surrogate` needs of a minibatch, N dJ/ds (n,) among it, and what is logged.

    `c` is the config of DisCO or of a method that only has other weights of right responses.
    """
    tau = None if c.base == "disco-b" else TAU[c.score] if c.tau is None else c.tau
    s, kl = scores(logp, rows, c.score), rows.total(kl_terms(logp, rows, c.kl))
    value, slope = objective(s, rows["share"], rows["wrong"], rows.group, tau, c.count_all)
    gain = rows.totals.rows * slope
    scale = rms(gain, rows.mask) if c.equalise else torch.ones_like(value)
    gain = gain / scale
    excess = (kl - c.kl_radius).clamp(min=0)
    slope_kl = (1 if c.penalty == "released" else 2) * c.kl_weight * excess  # of Eq. 4 in K
    right = rows["correct"]
    negative = (right * (gain < 0)).sum() / right.sum().clamp(min=1)
    return {
        "gain": gain, "slope_kl": slope_kl, "value": slope_kl * excess / 2 - value / scale,
        "objective": value, "kl": kl, "penalty_active": (excess > 0).float(),
        "wrong_sign": negative,
    }  # fmt: skip


def surrogate(logp: Tensor, rows: Rows, c: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 4 of some rows: its exact gradient, their share of its value; and the log."""
    s, kl = scores(logp, rows, c.score), rows.total(kl_terms(logp, rows, c.kl))
    step = rows.total(-rows["gain"] * s) + rows["slope_kl"] * kl
    value = rows["value"] * (len(s) / rows.totals.rows)
    return step - step.detach() + value, {name: rows[name] for name in LOGGED}


class DisCO(GroupAlgorithm):
    """Steps on Eq. 4."""

    Config = Config
    skips_zero = False
    watched = ("objective", "kl", "penalty_active")

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Weights of the right responses, and who is wrong, (N,) each."""
        right, wrong = classes(batch.reward)
        share = uniform(right, batch.group)
        return {"share": share, "wrong": wrong, "correct": batch.correct.float()}

    @property
    def looks_ahead(self) -> bool:
        """Always: J and K are of a whole minibatch."""
        return True

    def ahead(self, logp: Tensor, rows: Rows) -> dict[str, Tensor]:
        """J with its slopes, and K."""
        return weighed(logp, rows, self.config)

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 4."""
        return surrogate(logp, rows, self.config)
