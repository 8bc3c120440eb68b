"""BAPO: Balanced Policy Optimization with Adaptive Clipping (Xi et al. 2025, arXiv 2510.18927).

Equations, numbered here; A is GRPO's advantage, copied to the tokens, r_t the ratio of token t
under the present policy and that of the rollout, w_t the latter's probability of it:
  Eq. 1   L = mean over all tokens of max(-A_t r_t, -A_t clip(r_t, c_low, c_high))
  Eq. 2   pos = sum_{A>0} w A min(r, c_high),  neg = sum_{A<0} w |A| max(r, c_low),
          share = pos / (pos + neg)
  Eq. 3   from (low_min, high_min), while share < rho: c_high + high_step up to high_max, then
          c_low + low_step up to low_max; anew for every minibatch, before its gradient
The bounds are ratios, not distances from one. In stale data tokens of A < 0 outweigh the others,
and a fixed clip takes out the unlikely tokens of A > 0 that would keep the entropy up.

No token with A < 0: share is 1 and nothing moves, also where no A differs from 0; none with A > 0:
share is 0 and both bounds go to their limits. By Eq. 2, share falls as c_low rises, so that moving
c_low never helps to reach rho.

Departures from the paper and from the released code, a port to verl:
- Eq. 2 is the statistic weighted by w, as a note on the version at ICLR 2026 restates it; the
  paper's own Eq. 8 was not read, in that version or an earlier one, which may differ;
- rho, steps and ranges are the paper's constants as a note on it gives them (0.4; the code's readme
  says 0.5, of which statistic is not known: pos/neg = 0.5 is a share of 1/3). The port's search is
  order=released weighting=none target=pos-over-neg dual=3 scope=microbatch with other constants:
  c_low moves first, pos/neg is compared with rho;
- statistic=gradient is ours: tokens that the clip leaves without gradient count 0 in Eq. 2, so that
  raising c_low does help;
- one optimiser step a batch by default, for which r is 1, share does not depend on the bounds, and
  these have no effect, as for all of this family; `epochs` and `minibatches` make batches stale. No
  response is continued by later policies (partial rollouts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pgbench.learning.algorithm import CPU
from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import masked_mean
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option
from pgbench.settings.ranges import SettingError

from .grpo import grpo_advantage


@dataclass(frozen=True)
class Config(GroupConfig):
    """The paper's ranges and steps, as restated; sizes as for all of the family."""

    least_group: ClassVar[int] = 2

    rho: float = option(
        0.4, "least share of Eq. 2, or least pos/neg", at_least=0, only={"mode": ("adaptive",)}
    )
    low_min: float = option(0.6, "c_low at first", at_least=0, below=1)
    low_max: float = option(0.9, "c_low at most", at_least=0, below=1)
    low_step: float = option(0.02, "step of c_low", above=0, only={"mode": ("adaptive",)})
    high_min: float = option(1.2, "c_high at first", above=1)
    high_max: float = option(3.0, "c_high at most", above=1)
    high_step: float = option(0.05, "step of c_high", above=0, only={"mode": ("adaptive",)})
    mode: str = option("adaptive", "Eq. 3, or the first bounds always", "", ("adaptive", "fixed"))
    order: str = option(
        "paper",
        "c_high first; released: c_low first",
        "",
        ("paper", "released"),
        only={"mode": ("adaptive",)},
    )
    target: str = option(
        "share",
        "what rho bounds from below",
        "",
        ("share", "pos-over-neg"),
        only={"mode": ("adaptive",)},
    )
    weighting: str = option(
        "rollout", "w of Eq. 2; none: 1", "", ("rollout", "none"), only={"mode": ("adaptive",)}
    )
    statistic: str = option(
        "value",
        "Eq. 2, or of tokens with gradient only",
        "",
        ("value", "gradient"),
        only={"mode": ("adaptive",)},
    )
    scope: str = option(
        "minibatch",
        "what is searched on",
        "",
        ("minibatch", "microbatch"),
        only={"mode": ("adaptive",)},
    )
    dual: float | None = option(
        None, "L_t is at most dual |A_t| where A_t < 0; none: unbounded", above=1
    )
    eps: float = option(1e-6, "added to the standard deviation of a prompt's rewards", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for low, high in (("low_min", "low_max"), ("high_min", "high_max")):
            first, last = getattr(self, low), getattr(self, high)
            if first > last:
                raise SettingError(f"{low} ({first}) must be at most {high} ({last})")
            if self.mode == "fixed" and last not in (first, getattr(Config, high)):
                raise SettingError(f"{high} is an option of mode=adaptive; leave it out")
        if self.target == "share" and self.rho > 1:
            raise SettingError(f"rho is a share and must be in [0, 1], not {self.rho}")


def grid(first: float, last: float, step: float) -> list[float]:
    """first, first + step, ... and last."""
    count = int((last - first) / step - 1e-9) + 1 if last > first else 0
    return [first + step * i for i in range(count)] + [last]


def path(
    lows: int, highs: int, order: str = "paper", device: torch.device = CPU
) -> tuple[Tensor, Tensor]:
    """The pairs of Eq. 3 in the order of the search: positions in grids of those many bounds."""
    at = torch.arange(lows + highs - 1, device=device)  # made there: nothing waits for a copy
    if order == "paper":
        return (at - highs + 1).clamp(min=0), at.clamp(max=highs - 1)
    return at.clamp(max=lows - 1), (at - lows + 1).clamp(min=0)


def sides(
    adv: Tensor, ratio: Tensor, weight: Tensor, lows: list[float], highs: list[float],
    statistic: str = "value", dual: float | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """pos at each of `highs` and neg at each of `lows` of Eq. 2, all else (n, T), adv 0 if masked.

    statistic=gradient: of the tokens that the surrogate has a gradient for.
    """
    up = (weight * adv.clamp(min=0)).double()
    down = (weight * (-adv).clamp(min=0)).double()
    r = ratio.double()
    if statistic == "value":
        pos = [(up * r.clamp(max=high)).sum() for high in highs]
        neg = [(down * r.clamp(min=low)).sum() for low in lows]
    else:
        down = down if dual is None else down * (r < dual)
        pos = [(up * r * (r < high)).sum() for high in highs]
        neg = [(down * r * (r > low)).sum() for low in lows]
    return torch.stack(pos), torch.stack(neg)


def balance(pos: Tensor, neg: Tensor) -> Tensor:
    """The share of Eq. 2; 1 where nothing is negative."""
    return torch.where(neg > 0, pos / torch.where(neg > 0, pos + neg, 1.0), 1.0)


def reaches(pos: Tensor, neg: Tensor, rho: float, target: str) -> Tensor:
    """Whether the search may stop."""
    if target == "share":
        return balance(pos, neg) >= rho
    return (neg == 0) | (pos / (neg + 1e-8) >= rho)


def search(
    adv: Tensor, ratio: Tensor, weight: Tensor, lows: list[float], highs: list[float],
    rho: float, order: str = "paper", target: str = "share", statistic: str = "value",
    dual: float | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Eq. 3 on tokens (n, T): c_low, c_high, their share, and whether both are at their limits."""
    i, j = path(len(lows), len(highs), order, adv.device)
    pos, neg = sides(adv, ratio, weight, lows, highs, statistic, dual)
    pos, neg = pos[j], neg[i]
    stop = reaches(pos, neg, rho, target)
    stop[-1] = True
    first = stop.int().argmax().view(1)
    low, high = (torch.stack([ratio.new_full((), x) for x in bounds]) for bounds in (lows, highs))
    return {
        "c_low": low[i[first]][0], "c_high": high[j[first]][0],
        "share": balance(pos, neg)[first][0].to(ratio.dtype),
        "at_limit": (first[0] == len(stop) - 1).to(ratio.dtype),
    }  # fmt: skip


def bounded(
    adv: Tensor, ratio: Tensor, low: Tensor, high: Tensor, dual: float | None
) -> tuple[Tensor, Tensor]:
    """The token losses of Eq. 1, and which of them the bounds leave without gradient; (n, T)."""
    loss = torch.maximum(-adv * ratio, -adv * ratio.clamp(low, high))
    if dual is not None:
        loss = torch.where(adv < 0, torch.minimum(loss, -adv * dual), loss)
    return loss, ((adv > 0) & (ratio > high)) | ((adv < 0) & (ratio < low))


class BAPO(GroupAlgorithm):
    """Steps on Eq. 1."""

    Config = Config
    watched = ("c_low", "c_high", "share", "at_limit")

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N,)."""
        return {"adv": grpo_advantage(batch.reward, batch.group, self.config.eps)}

    @property
    def looks_ahead(self) -> bool:
        """Whether the bounds are searched for on whole minibatches."""
        return bool(self.config.mode == "adaptive" and self.config.scope == "minibatch")

    def ahead(self, logp: Tensor, rows: Rows) -> dict[str, Tensor]:
        """The bounds by Eq. 3, and what is logged of them."""
        c = self.config
        lows = grid(c.low_min, c.low_max, c.low_step)
        highs = grid(c.high_min, c.high_max, c.high_step)
        old = logp if rows.old is None else rows.old
        weight = old.exp() if c.weighting == "rollout" else torch.ones_like(logp)
        return search(
            rows.adv, rows.ratio(logp).exp(), weight, lows, highs, c.rho, c.order, c.target,
            c.statistic, c.dual,
        )  # fmt: skip

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 1."""
        c = self.config
        if c.mode == "fixed":
            low, high = (logp.new_full((), x) for x in (c.low_min, c.high_min))
            log = {"c_low": low, "c_high": high}
        else:
            found = rows.extra if self.looks_ahead else self.ahead(logp.detach(), rows)
            log = {name: found[name] for name in self.watched}
            low, high = log["c_low"], log["c_high"]
        loss, cut = bounded(rows.adv, rows.ratio(logp).exp(), low, high, c.dual)
        log["clip_share"] = masked_mean(cut.to(logp.dtype), rows.mask)
        return rows.total(loss, "token-mean"), log
