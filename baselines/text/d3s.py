"""D3S: Dynamic Dual-Level Down-Sampling (Learning More with Less, 2025, arXiv 2509.22115).

Equations, numbered here; A_i is GRPO's advantage on the full groups, l_i the tokens of response i,
H_it the entropy (nats, whole vocabulary, at the temperature of sampling) of the policy that wrote
token t:
  Eq. 1   S = the N_s of all N responses of the batch whose A have the largest variance: the k
          smallest and the N_s - k largest, for the best k. A is not normalised again
  Eq. 2   T = the share K of all tokens of S, taken together, with the largest |A_i| H_it
  Eq. 3   [N_s, K](p) = (1 - p) [N_init, K_init] + p [N_final, K_final],  p = step / (steps - 1)
  Eq. 4   L = 1/N_s sum_{i in S} 1/n_i sum_{t in T} L_it,  n_i the tokens of i in T
with L_it the host's token loss: the clipped surrogate with GRPO's token ratio (host=grpo), or with
GSPO's ratio of the whole response, its tokens outside T included (host=gspo, its form=token).
It is a filter around a host, not a new loss: N_s = N and K = 1 are the host itself.

Variants: scope=intra takes Eq. 1 inside each prompt (D3S-I); with schedule=none and k_init=1 that
is D1S, with scope=cross D1S-Cross; schedule=none alone is D2S.

Departures, all where the paper (abstract and reviews are public, no code) leaves cases open:
- the four budgets are ours: a quarter of the responses and a tenth of their tokens at first, all
  of them at the end; p is step / steps in the paper, so that its last step falls short of those;
- so is the mean of Eq. 4, the host's over the tokens that are left, which gives a token more weight
  where few of its response are left. normaliser=lengths divides by l_i, constant by Lmax, so that
  only what is left out changes. The number of rows in the denominator is N_s, in all three;
- H is found by a pass over S before the update; entropy_source=current saves that pass and takes
  the entropies, and the share K, of each minibatch when it is trained on;
- ties: of equal advantages the earlier rows count as smaller, and the smallest k is taken; of equal
  tokens the earlier. Both are compared after rounding to five decimals, so that what is equal but
  for the order of its sums (two prompts with the same rewards) is a tie. If all A are equal, S is
  the first N_s rows. K times the number of tokens is rounded up, N_s to the nearest, for
  scope=intra in each prompt;
- one optimiser step a batch by default, for which the clip has no effect, as for all of this
  family. Several minibatches split S by prompts and each divides by its own rows.

Responses of A = 0 are taken only to fill S up, or where all others have one sign. A response
without a token in T has no gradient. random_control draws responses (rows), or responses and
tokens (both), at random from those of A other than 0, in the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import clip_share, clipped
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option, other
from pgbench.settings.ranges import SettingError

from .grpo import grpo_advantage
from .gspo import token_ratio

DECIMALS = 5  # of advantages and keys, when they are compared
CLIPS = {"grpo": (0.2, 0.2), "gspo": (3e-4, 4e-4)}  # each host's own


# Where tokens are left out in some step or other.
FEWER_TOKENS = ({"k_init": other(1)}, {"k_final": other(1), "schedule": ("linear",)})


@dataclass(frozen=True)
class Config(GroupConfig):
    """Budgets of the two filters, ours; the rest is the host's."""

    least_group: ClassVar[int] = 2

    host: str = option("grpo", "whose loss L_it is", "", ("grpo", "gspo"))
    scope: str = option("cross", "Eq. 1 over the batch, or intra: in each prompt", "",
                        ("cross", "intra"))  # fmt: skip
    n_init: float = option(
        0.25, "N_s of the first step: a share of the rows, or above 1 a number", above=0
    )
    n_final: float = option(
        1.0, "N_s of the last step, likewise", above=0, only={"schedule": ("linear",)}
    )
    k_init: float = option(0.1, "K of the first step", within=(0, 1))
    k_final: float = option(
        1.0, "K of the last step", within=(0, 1), only={"schedule": ("linear",)}
    )
    schedule: str = option("linear", "Eq. 3, or none: the first step's budgets throughout", "",
                           ("linear", "none"))  # fmt: skip
    normaliser: str = option("kept", "what token losses are divided by: n_i, l_i or Lmax", "",
                             ("kept", "lengths", "constant"))  # fmt: skip
    entropy_source: str = option("old", "H of the policy of the rollout, or of the present one", "",
                                 ("old", "current"),
                                 only=tuple({**case, "random_control": ("none", "rows")}
                                            for case in FEWER_TOKENS))  # fmt: skip
    random_control: str = option("none", "rows, or rows and tokens, drawn at random in place of "
                                 "Eq. 1 and 2", "", ("none", "rows", "both"))  # fmt: skip
    clip_low: float | None = option(
        None, "eps_low of the surrogate; none: the host's own", within=(0, 1)
    )
    clip_high: float | None = option(
        None, "eps_high of the surrogate; none: the host's own", at_least=0
    )
    eps: float = option(1e-6, "added to the standard deviation of a prompt's rewards", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("n_init", "n_final"):
            value = getattr(self, name)
            if value > 1 and value != int(value):
                raise SettingError(f"{name} must be a share in (0, 1] or whole rows, not {value}")
            if self.scope == "intra" and value > 1:
                raise SettingError(f"{name} must be a share of a prompt's rows for scope=intra, "
                                 f"not {value:g} rows")  # fmt: skip
        if self.k_init == 0 and (self.schedule == "none" or self.k_final == 0):
            raise SettingError(
                "K is 0 in every step, so that no token is learnt from: raise k_init"
            )

    @property
    def clip(self) -> tuple[float, float]:
        """eps_low and eps_high."""
        low, high = CLIPS[self.host]
        return (
            low if self.clip_low is None else self.clip_low,
            high if self.clip_high is None else self.clip_high,
        )


def budgets(config: Config, step: int, steps: int, rows: int) -> tuple[int, float]:
    """Eq. 3: N_s of `rows` and K in step `step` (from 0) of `steps`; p is cut to [0, 1]."""
    p = min(max(step / max(steps - 1, 1), 0.0), 1.0) if config.schedule == "linear" else 0.0
    first, last = (n * rows if n <= 1 else n for n in (config.n_init, config.n_final))
    # Sums of shares may miss a half by rounding.
    count = math.floor((1 - p) * first + p * last + 0.5 + 1e-9)
    return min(max(count, 1), rows), (1 - p) * config.k_init + p * config.k_final


def most_varied(adv: Tensor, size: int) -> Tensor:
    """Eq. 1: advantages (N,) -> the rows (size,), ascending, whose variance is largest."""
    count = len(adv)
    adv = adv.double().round(decimals=DECIMALS)
    if size >= count or bool((adv == adv[0]).all()):
        return torch.arange(min(size, count))
    x, order = adv.sort(stable=True)
    ends = torch.stack([x, x.square()]).cumsum(-1)
    ends = torch.cat([ends.new_zeros(2, 1), ends], -1)  # sums of the first 0, 1, ... N
    low = torch.arange(size + 1)  # k
    first, second = (ends[:, low] + ends[:, -1:] - ends[:, count - size + low]) / size
    variance = second - first.square()
    # The first of those that differ by rounding alone: of squares, whose differences variances are.
    k = int((variance >= variance.max() - 1e-12 * second.max()).nonzero()[0])
    return torch.cat([order[:k], order[count - size + k :]]).sort().values


def top_tokens(key: Tensor, mask: Tensor, count: int) -> Tensor:
    """The `count` valid tokens with the largest keys as a mask (N, T); the earlier of equals."""
    flat = torch.where(mask > 0, key.double().round(decimals=DECIMALS), -1.0).flatten()
    chosen = flat.argsort(descending=True, stable=True)[:count]
    return torch.zeros_like(mask.flatten()).index_fill_(0, chosen, 1.0).view_as(mask) * mask


def share_of(share: float, tokens: int) -> int:
    """How many of `tokens` the share K is, rounded up."""
    return math.ceil(share * tokens - 1e-9)  # 0.55 * 100 is a little above 55


class D3S(GroupAlgorithm):
    """Steps on Eq. 4."""

    Config = Config
    needs = frozenset({"entropy"})
    watched = ("rows_share", "useful", "adv_variance", "kept_tokens", "kept_share")

    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        self.state["updates"] = torch.zeros((), dtype=torch.int64)  # where Eq. 3 stands
        self._kept = torch.zeros((), device=self.device)  # of the present update

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """Entropies, where tokens are chosen by them before the update."""
        last = config.k_init if config.schedule == "none" else config.k_final
        every = config.k_init == last == 1
        by_entropy = config.entropy_source == "old" and config.random_control != "both"
        return cls.needs if by_entropy and not every else frozenset()

    def rows_of(self, count: int) -> int:
        """N_s of the present step, of so many rows."""
        return budgets(self.config, int(self.state["updates"]), self.setup.budget, count)[0]

    @property
    def share(self) -> float:
        """K of the present step."""
        return budgets(self.config, int(self.state["updates"]), self.setup.budget, 1)[1]

    def pick(self, adv: Tensor, size: int) -> Tensor:
        """Eq. 1, or its random control: `size` rows, ascending."""
        if self.config.random_control == "none":
            return most_varied(adv, size)
        order = torch.randperm(len(adv), generator=self.rng, device=self.rng.device).cpu()
        return order[(adv[order] == 0).long().argsort(stable=True)[:size]].sort().values

    def shape(self, batch: TokenGroups) -> TokenGroups:
        """The rows of S, with their advantages in the whole batch and its size."""
        c = self.config
        adv = grpo_advantage(batch.reward, batch.group, c.eps)
        if c.scope == "cross":
            index = self.pick(adv, self.rows_of(len(batch)))
        else:
            count = int(batch.group.max()) + 1
            own = [(batch.group == g).nonzero().squeeze(-1) for g in range(count)]
            parts = [
                rows[self.pick(adv[rows], self.rows_of(len(rows)))] for rows in own if len(rows)
            ]
            index = torch.cat(parts).sort().values
        size = torch.tensor([float(len(batch)), float(batch.mask.sum())]).expand(len(batch), 2)
        return replace(batch, notes={"adv": adv, "size": size}).rows(index)

    def update(self, batch: TokenGroups) -> dict[str, Tensor]:
        """Learn from S; a batch that has not been through `shape` goes through it."""
        if "adv" not in batch.notes:
            batch = self.shape(batch)
        self._kept.zero_()
        log = super().update(batch)
        self.state["updates"] += 1
        adv, (rows, tokens) = batch.notes["adv"], batch.notes["size"][0]
        return log | {
            "rows_share": len(batch) / rows,
            "useful": (adv != 0).float().mean(),
            "adv_variance": adv.double().var(unbiased=False).float(),
            "kept_tokens": self._kept.clone(),
            "kept_share": self._kept / float(tokens * self.config.epochs),
        }

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Advantages (N_s,), and of the tokens (N_s, T) those of Eq. 2 and those of a response."""
        c, adv, mask, share = self.config, batch.notes["adv"], batch.mask, self.share
        out: dict[str, Tensor] = {"adv": adv}
        if self.looks_ahead:
            return out  # the tokens are chosen there
        if share < 1:
            if c.random_control == "both":
                draw = torch.rand(mask.shape, generator=self.rng, device=self.rng.device).cpu()
                key = draw * (adv != 0)[:, None]
            elif seen.entropy is None:  # no token is asked for
                key = mask
            else:
                key = adv.abs()[:, None] * seen.entropy
            keep = top_tokens(key, mask, share_of(share, int(mask.sum())))
            # Rows without a token left have no gradient: no forward pass, no step of the optimiser.
            out = {"adv": adv * (keep.sum(-1) > 0), "weight": keep, "whole": mask}
            if c.host == "grpo":  # GSPO's ratio is of all tokens of the response
                out["reads"] = keep
            mask = keep
        self._kept += c.epochs * (mask * (adv != 0)[:, None]).sum()
        return out

    @property
    def looks_ahead(self) -> bool:
        """Whether tokens are chosen by the present policy's entropies."""
        c = self.config
        current = c.entropy_source == "current" and c.random_control != "both"
        return current and 0 < self.share < 1

    def ahead(self, logp: Tensor, rows: Rows) -> dict[str, Tensor]:
        """Eq. 2 on a minibatch by the present policy, (n, T)."""
        count = share_of(self.share, rows.totals.tokens)
        keep = top_tokens(rows.adv.abs() * rows.entropy, rows.mask, count)
        self._kept += keep.sum()
        return {"keep": keep}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 4."""
        c = self.config
        whole = rows.extra.get("whole", rows.mask)
        rows = replace(rows, mask=rows.extra.get("keep", rows.mask))
        log_ratio = rows.ratio(logp)
        ratio = log_ratio.exp() if c.host == "grpo" else token_ratio(log_ratio, whole)
        low, high = c.clip
        loss = clipped(rows.adv, ratio, low, high, None)
        log = {"clip_share": clip_share(rows.adv, ratio, low, high, rows.mask)}
        if c.normaliser == "constant":
            return rows.total(loss, "constant"), log
        if c.normaliser == "lengths":
            kept, length = rows.mask.sum(-1, keepdim=True), whole.sum(-1, keepdim=True)
            loss = loss * (kept / length.clamp(min=1))
        return rows.total(loss, "seq-mean-token-mean"), log
