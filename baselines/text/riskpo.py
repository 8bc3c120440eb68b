"""RiskPO: Risk-based Policy Optimization (Ren et al. 2025, arXiv 2510.00911).

Equations, numbered here; x+ = max(x, 0); F is the distribution of bundle scores, a = F^-1(alpha)
and b = F^-1(beta) two of its quantiles:
  Eq. 1   S_j = sum over the B questions q of a bundle of R_qj, of the j-th response to each;
          consecutive questions of a batch make a bundle
  Eq. 2   maximised: the integral of F^-1 over [alpha, beta] + (1 + omega) that over [0, alpha],
          with RVaR the mean of F^-1 over an interval of levels:
          MVaR = (beta - alpha) RVaR_[alpha, beta] + (1 + omega) alpha RVaR_[0, alpha]
  Eq. 3   A(S) = (S - a)+ - (S - b)+ + a - b - (1 + omega) (a - S)+
          slope 1 + omega below a, 1 up to b, and zero above it: never positive.
          The gradient of Eq. 2 is E[A(S) sum_q grad log pi(y_q)] (Theorem 1); Eq. 5, whose s has
          the length taken out, divides the part of each response by its length
  Eq. 4   a <- a + eta (alpha - mean 1[S < a]) over all scores of the step, after their use, and b
          with beta likewise; at first both are the empirical quantiles of the first step
  Eq. 5   L = mean over responses of max(-A s, -A clip(s, 1 - eps_low, 1 + eps_high)), A that of the
          response's bundle sample, s = (pi / pi_old)^(1 / |y|) that of the whole response, its
          length taken out as in GSPO
  Eq. 6   form=released:  r(S) = ((S - a)+ - (S - b)+ + a - b) / (beta - alpha + eps),
          A = (r - w (a - S)+ / (alpha + eps)) / (1 + w),  then over the standard deviation of the
          bundle's scores + eps, then to its responses by `credit`; natural=false leaves out a - b
risk=seeking puts the weight on the upper tail, risk=mean on none: A = S - mean of the bundle.

Departures from the paper (alpha 0.2, beta 0.8, omega 0.5, B = 5) and the released code:
- eta, not found in the paper, is the released code's; eps are GRPO's 0.2 and 0.2: ours. ratio=token
  is the released loss, a mean over tokens, which also has dual=3. One step a batch by default;
- the paper pairs responses by an independent random permutation of each question's
  (pairing=random); by index, as here and in the released code, is equal to it in distribution;
- the released w = 1.5 (`mix`) is no omega: Eq. 6 divides both parts by their shares of the levels;
- sizes are the family's: 32 prompts are six bundles of five and one of two, whose scores are pooled
  with the others', which lowers a; prompts that are a multiple of B avoid it;
- quantiles of a step come from those before it. In the released trainer the tracked ones (of 19
  levels) do not reach the next batch, as far as it shows, and thresholds fall back to
  quantiles=bundle. Where tracking has made a exceed b, the two are used in order;
- equal scores have a standard deviation of 0, over which released advantages blow up: up to
  `std_floor` it counts as 1, as in the released code for questions (credit=std);
- A of Eq. 3 is negative or zero, so that without a baseline every sampled response is pushed down,
  the better ones less: unbiased, but noisy in small batches. `centred`, ours, takes its mean off;
- where more than alpha of the bundles have no right answer, a tends to 0, below which there is no
  score, and omega has nothing to weigh: A = min(S, b) - b. Between two whole numbers nothing draws
  a to a place, and the first batch decides;
- form=released changes the advantage alone. The released script for hard problems is form=released
  credit=sum-mean natural=false ratio=token dual=3 with quantiles=bundle (what its tracking falls
  back to), that for easy ones has credit=std, level_high=0.9 and natural=true instead;
- risk=seeking, ours, is the mirror image: (1 + omega) (S - b)+ for the last term of Eq. 3, in Eq. 6
  w (S - b)+ / (1 - beta + eps); risk=mean is ours.
Groups of different sizes have no bundle samples and are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import clip_share, clipped, group_sum, masked_mean, per_token
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option, other
from pgbench.settings.ranges import SettingError

from .gspo import sequence_ratio

EPS = 1e-6  # of the released code, wherever it divides
LOGGED = ("quantile_low", "quantile_high", "bundle_score")


TAIL = {"risk": other("mean")}  # risk=mean compares scores with their mean alone
PAPER, RELEASED = {"form": ("paper",), **TAIL}, {"form": ("released",)}


@dataclass(frozen=True)
class Config(GroupConfig):
    """Levels and bundles of the paper; sizes as for all of the family."""

    form: str = option("paper", "advantages by Eq. 3 or by Eq. 6", "", ("paper", "released"))
    bundle: int = option(5, "questions B of a bundle", at_least=1)
    pairing: str = option(
        "index",
        "which responses make a bundle sample: those of one index, or a random one of each "
        "question, none twice",
        "",
        ("index", "random"),
        only={"bundle": other(1), "group": other(1)},
    )
    level_low: float = option(0.2, "alpha of Eq. 2", at_least=0, below=1, only=TAIL)
    level_high: float = option(0.8, "beta of Eq. 2", above=0, at_most=1, only=TAIL)
    risk: str = option("averse", "which tail has weight", "", ("averse", "seeking", "mean"))
    omega: float = option(0.5, "weight of the tail in Eq. 2 is 1 + omega", at_least=0, only=PAPER)
    quantiles: str = option(
        "tracked",
        "a and b: by Eq. 4, of all scores of the step, of the bundle's own, or the mean of tracked "
        "and bundle",
        "",
        ("tracked", "batch", "bundle", "mean"),
        only=TAIL,
    )
    centred: bool = option(
        False,
        "form=paper: A less its mean over the step's n scores, which leaves 1 - 1/n of Eq. 3's "
        "gradient; ours",
        only=PAPER,
    )
    eta: float = option(0.1, "step of Eq. 4; the released code's", above=0, at_most=1,
                        only={"quantiles": ("tracked", "mean"), **TAIL})  # fmt: skip
    ratio: str = option(
        "sequence", "Eq. 5 with a ratio a response or a token", "", ("sequence", "token")
    )
    clip_low: float = option(0.2, "eps_low of Eq. 5; ours", within=(0, 1))
    clip_high: float = option(0.2, "eps_high of Eq. 5; ours", at_least=0)
    dual: float | None = option(None, "L is at most dual |A| where A < 0; none: unbounded", above=1)
    credit: str = option(
        "uniform",
        "form=released, what a response gets of A: A; over the standard deviation of its "
        "question; 1.5 A or, of a positive reward, 0.5 A; its share of the sum of R - mean of the "
        "question",
        "",
        ("uniform", "std", "score", "sum-mean"),
        only=RELEASED,
    )
    natural: bool = option(True, "form=released: the constant a - b in Eq. 6", only=RELEASED | TAIL)
    mix: float = option(
        1.5, "form=released: w of Eq. 6; 0: no tail", at_least=0, only=RELEASED | TAIL
    )
    std_floor: float | None = option(
        1e-3,
        "form=released: a standard deviation up to this counts as 1; none: as it is",
        at_least=0,
        only=RELEASED | {"group": other(1)},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.level_low >= self.level_high:
            raise SettingError(
                f"level_low ({self.level_low}) must be below level_high ({self.level_high})"
            )
        if self.risk == "mean" and self.group < 2:
            raise SettingError("risk=mean compares bundle samples: group must be at least 2")
        tail = {"averse": self.level_low, "seeking": 1 - self.level_high, "mean": 1}[self.risk]
        if self.form == "released" and self.mix and not tail:
            raise SettingError("form=released divides by the share of its tail, which is 0 here")
        scores = self.group * math.ceil(self.prompts / self.bundle)  # of a step
        alone = {"batch": scores == 1, "bundle": self.group == 1}.get(self.quantiles, False)
        if alone or (self.centred and scores == 1):
            what = f"quantiles={self.quantiles}" if alone else "centred=true"
            raise SettingError(f"{what} compares a score with itself alone: raise group or prompts")


def table(group: Tensor) -> Tensor:
    """Rows of the responses to each question, in their order: (N,) -> (P, G).

    Raises: PgbenchError for groups of different sizes.
    """
    sizes = group_sum(torch.ones_like(group), group)
    sizes = sizes[sizes > 0]
    low, high = int(sizes.min()), int(sizes.max())
    if low < high:
        raise PgbenchError(
            f"riskpo: groups of {low} and of {high} responses make no bundle samples; "
            "give every prompt as many"
        )
    return group.argsort(stable=True).reshape(len(sizes), high)


def bundle_scores(reward: Tensor, bundle: Tensor) -> Tensor:
    """Eq. 1: rewards (P, G), the bundle of each question (P,) -> one row a bundle, (K, G)."""
    return reward.new_zeros(int(bundle.max()) + 1, reward.shape[1]).index_add_(0, bundle, reward)


def tracked(q: Tensor, levels: Tensor, score: Tensor, eta: float) -> Tensor:
    """Eq. 4: quantiles (2,), their levels (2,), scores of any shape -> the next quantiles (2,)."""
    below = (score.reshape(-1, 1) < q).to(q.dtype).mean(0)
    return q + eta * (levels - below)


def middle(score: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(S - a)+ - (S - b)+ + a - b for a <= b, zero above b without rounding; shapes broadcast."""
    return torch.minimum(torch.maximum(score, a), b) - b


def mvar_advantage(
    score: Tensor, a: Tensor, b: Tensor, omega: float, risk: str = "averse"
) -> Tensor:
    """Eq. 3, or its mirror image for risk=seeking: scores (K, G), quantiles (K, 1) -> (K, G)."""
    if risk == "mean":
        return score - score.mean(-1, keepdim=True)
    tail = (score - b).clamp(min=0) if risk == "seeking" else -(a - score).clamp(min=0)
    return middle(score, a, b) + (1 + omega) * tail


def spread(x: Tensor, floor: float | None) -> Tensor:
    """Unbiased standard deviation of each row, (K, G) -> (K, 1), 1 up to `floor` and for G = 1."""
    if x.shape[-1] == 1:
        return torch.ones_like(x)
    std = x.std(-1, keepdim=True)
    return std if floor is None else torch.where(std <= floor, 1.0, std)


def released_advantage(score: Tensor, a: Tensor, b: Tensor, c: Config) -> Tensor:
    """Eq. 6 before `credit`: scores (K, G), quantiles (K, 1) -> (K, G)."""
    if c.risk == "mean":
        adv = score - score.mean(-1, keepdim=True)
    else:
        adv = middle(score, a, b) + (0.0 if c.natural else b - a)
        adv = adv / (c.level_high - c.level_low + EPS)
        if c.risk == "seeking":
            tail = (score - b).clamp(min=0) / (1 - c.level_high + EPS)
        else:
            tail = -(a - score).clamp(min=0) / (c.level_low + EPS)
        adv = (c.mix * tail + adv) / (c.mix + 1)
    return adv / (spread(score, c.std_floor) + EPS)


def credited(adv: Tensor, reward: Tensor, bundle: Tensor, credit: str) -> Tensor:
    """What responses get of their bundle sample's A (K, G); rewards (P, G), (P,) -> (P, G)."""
    own = adv[bundle]
    if credit == "std":
        return own / (spread(reward, 1e-3) + EPS)
    if credit == "score":
        return own * torch.where(reward > 0, 0.5, 1.5)
    if credit == "sum-mean":
        above = reward - reward.mean(-1, keepdim=True)
        total = bundle_scores(above, bundle)[bundle]
        equal = 1 / torch.bincount(bundle)[bundle, None].to(own.dtype)
        flat = total.abs() <= 1e-6
        return own * torch.where(flat, equal, above / torch.where(flat, 1.0, total))
    return own


class RiskPO(GroupAlgorithm):
    """Steps on Eq. 5."""

    Config = Config
    watched = LOGGED

    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        # Not numbers until there are scores.
        nothing = torch.full((2,), float("nan"), dtype=torch.float64, device=self.device)
        self.state["quantiles"] = nothing

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,) by the quantiles so far, which then take this step's scores in."""
        c = self.config
        rows = table(batch.group)
        if c.pairing == "random":
            noise = torch.rand(rows.shape, generator=self.rng, device=self.rng.device)
            rows = rows.gather(1, noise.cpu().argsort(-1))
        bundle = torch.arange(len(rows)) // c.bundle
        reward = batch.reward.double()[rows]
        score = bundle_scores(reward, bundle)
        a, b = self.thresholds(score)
        if c.form == "paper":
            adv = mvar_advantage(score, a, b, c.omega, c.risk)
            adv = adv - adv.mean() if c.centred else adv
        else:
            adv = released_advantage(score, a, b, c)
        out = torch.empty(len(batch), dtype=torch.float64)
        out[rows] = credited(adv, reward, bundle, c.credit)
        figures = zip(LOGGED, (a, b, score), strict=True)
        log = {name: value.mean().expand(len(batch)) for name, value in figures}
        return {name: value.float() for name, value in ({"adv": out} | log).items()}

    def thresholds(self, score: Tensor) -> tuple[Tensor, Tensor]:
        """a and b of each bundle, (K, 1) each, for scores (K, G); Eq. 4 follows their use."""
        c = self.config
        levels = torch.tensor([c.level_low, c.level_high], dtype=score.dtype)
        pooled = score.flatten().quantile(levels)
        before = self.state["quantiles"].cpu().clone()
        first = bool(before.isnan().any())
        q = pooled if first else before
        after = pooled if first else tracked(q, levels, score, c.eta)
        self.state["quantiles"].copy_(after)
        # Scores that are all one number lie between the two and draw them past each other.
        common = q.sort().values[:, None].expand(2, len(score))
        own = score.quantile(levels, dim=-1)
        chosen = {
            "tracked": common,
            "batch": pooled[:, None].expand_as(common),
            "bundle": own,
            "mean": (common + own) / 2,
        }[c.quantiles]
        return chosen[0, :, None], chosen[1, :, None]

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 5."""
        c = self.config
        log_ratio = rows.ratio(logp)
        log = {name: masked_mean(per_token(rows[name], rows.mask), rows.mask) for name in LOGGED}
        if c.ratio == "token":
            ratio = log_ratio.exp()
            total = rows.total(clipped(rows.adv, ratio, c.clip_low, c.clip_high, c.dual))
        else:
            s = sequence_ratio(log_ratio, rows.mask)
            total = rows.total(clipped(rows["adv"], s, c.clip_low, c.clip_high, c.dual))
            ratio = s[:, None]
        share = clip_share(rows.adv, ratio.detach(), c.clip_low, c.clip_high, rows.mask)
        return total, log | {"clip_share": share}
