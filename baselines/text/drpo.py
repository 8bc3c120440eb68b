"""DRPO: Decoupled Reward Policy Optimization (Li et al. 2025, arXiv 2510.04474).

Equations, numbered here; P_q and N_q are the right (R = 1) and the wrong (R = 0) responses of
prompt q, B all prompts, l_i the tokens of response i, C the most that one may take:
  Eq. 1   r_i = 1 - l_i / C
  Eq. 2   omega_i = exp(r_i / lam) / sum_{j in P_q} exp(r_j / lam),  i in P_q: the distribution near
          the right responses of the old policy that prefers short ones,
          argmax_P E_P[r] - lam KL(P || pi_old+), on the sample
  Eq. 3   s_i = 1/l_i sum_t log pi(o_it)
  Eq. 4   J = 1/B sum_q [ sum_{P_q} omega_i s_i - tau log mean_{N_q} exp(s_i / tau) ]
  Eq. 5   K = mean over all tokens of log pi_old - log pi (kl=k1) or rho - log rho - 1 (k3)
  Eq. 6   L = -J + beta/2 max(K - delta, 0)^2  (penalty=released), twice its last term (paper:
          as in that of DisCO)
Length moves weight among the right responses of a prompt and never makes one of them negative, as
a length reward within GRPO's advantage does: rewards (1, .9, .1, 0, 0, 0) give the third, a right
one, -.53 (population deviation). lam=none, which stands for infinity, is DisCO; lam -> 0 leaves the
shortest right answer.
A prompt whose responses are all of one class adds 0 to J and counts in B.

Departures from the paper and from the released code:
- lam (0.1, as of the released models), tau, beta, delta and k1 are the released script's values;
- C is the environment's limit, not the padded width of a batch; `longest` sets another. `base`,
  `score=ratio` and `count_all` are DisCO's switches;
- K and the sums of Eq. 4 are those of a whole minibatch, and the loss has the value of Eq. 6; the
  released log-mean-exp has only its gradient;
- one optimiser step a batch by default (released: 4), for which K = 0 and the penalty never acts,
  as for all of this family. A response whose reward is neither 0 nor 1 is in no class;
- another preference than length is another `preference`, in a subclass. equalise=true is as in
  disco.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import group_sum
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option, other

from .disco import classes, surrogate, uniform, weighed


@dataclass(frozen=True)
class Config(GroupConfig):
    """The released constants; sizes as for all of the family."""

    least_group: ClassVar[int] = 2

    lam: float | None = option(0.1, "lam of Eq. 2; none or inf: lengths do not count", above=0)
    longest: int = option(
        0,
        "C of Eq. 1 in tokens; 0: the most that a response may take",
        at_least=0,
        only={"lam": other(None)},
    )
    score: str = option("log-likelihood", "Eq. 3, or mean ratio", "", ("log-likelihood", "ratio"))
    base: str = option("disco", "log-mean-exp or mean of wrong scores", "", ("disco", "disco-b"))
    tau: float | None = option(
        None,
        "tau of Eq. 4; none: 10 for log-likelihoods, 1 for ratios",
        above=0,
        only={"base": ("disco",)},
    )
    kl_weight: float = option(1e3, "beta of Eq. 6", at_least=0)
    kl_radius: float = option(
        1e-4, "delta of Eq. 6, nats a token", at_least=0, only={"kl_weight": other(0)}
    )
    kl: str = option("k1", "estimate of Eq. 5", "", ("k1", "k3"), only={"kl_weight": other(0)})
    penalty: str = option(
        "released",
        "Eq. 6, or twice (paper)",
        "",
        ("released", "paper"),
        only={"kl_weight": other(0)},
    )
    count_all: bool = option(True, "B counts prompts without right or without wrong responses, too")

    def __post_init__(self) -> None:
        if self.lam == float("inf"):  # a record holds finite numbers only
            object.__setattr__(self, "lam", None)
        super().__post_init__()


def length_reward(lengths: Tensor, longest: int) -> Tensor:
    """Eq. 1: tokens of each response (N,) -> (N,)."""
    return 1 - lengths / longest


def omega(r: Tensor, right: Tensor, group: Tensor, lam: float | None) -> Tensor:
    """Eq. 2: rewards r (N,) of the right responses -> weights (N,), of sum 1 a prompt; 0 of others.

    Without `lam`, its limit, the right responses of a prompt weigh alike.
    """
    if lam is None or not len(group):
        return uniform(right, group)
    lowest = r.new_full((int(group.max()) + 1,), -torch.inf)
    best = lowest.scatter_reduce(0, group, torch.where(right > 0, r, -torch.inf), "amax")
    mass = torch.where(right > 0, ((r - best[group]).double() / lam).exp(), 0.0)
    total = group_sum(mass, group)[group]
    return torch.where(right > 0, mass / total, 0.0).to(r.dtype)


class DRPO(GroupAlgorithm):
    """Steps on Eq. 6."""

    Config = Config
    skips_zero = False
    watched = ("objective", "kl", "penalty_active")

    def preference(self, batch: TokenGroups) -> Tensor:
        """r of Eq. 1 or what takes its place, (N,)."""
        return length_reward(batch.lengths, self.config.longest or batch.limit)

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """omega, and who is wrong, (N,) each."""
        right, wrong = classes(batch.reward)
        share = omega(self.preference(batch), right, batch.group, self.config.lam)
        return {"share": share, "wrong": wrong, "correct": batch.correct.float()}

    @property
    def looks_ahead(self) -> bool:
        """Always: J and K are of a whole minibatch."""
        return True

    def ahead(self, logp: Tensor, rows: Rows) -> dict[str, Tensor]:
        """J with its slopes, and K."""
        return weighed(logp, rows, self.config)

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 6."""
        return surrogate(logp, rows, self.config)
