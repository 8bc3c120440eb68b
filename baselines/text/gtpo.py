"""GTPO: Trajectory-Based Policy Optimization in Large Language Models (2025, arXiv 2508.03772).

Equations, numbered here; o_i is one of G responses to a prompt, l_i its tokens, H_it the entropy
(nats, whole vocabulary, at the temperature of sampling) of the present policy at token t, without
gradient:
  Eq. 1   A_i = scale (R_i - mean of the prompt's rewards), not divided by a standard deviation
  Eq. 2   conflict: a token is in conflict if it stands at the same place in a response of A > 0
          and in one of A < 0 to the prompt; a forward run is the conflict tokens that a response
          begins with, a backward run those it ends with, places counted from the last token
  Eq. 3   lambda_it = w_plus (A_i > 0) or 0 (A_i < 0) in a run, 1 elsewhere
  Eq. 4   H_i = mean of H_it over the response;  delta_i = 0 if H_i > threshold, otherwise 1; 1 for
          all responses if H_ini, the mean of H_i at the start of the run, is above the threshold
  Eq. 5   L = -1/N sum_i delta_i (A_i - gamma H_i) / l_i sum_t lambda_it rho_it
rho_it = pi / sg(pi) is 1 and has the gradient of log pi(o_it): there is no clip, no old policy and
no reference. H_i acts as a penalty on the reward. Responses of A = 0 are in no conflict; where all
rewards of a prompt are equal, only the penalty acts.

form=released is the released code: threshold 0.7, no H_ini, a token in both runs has the product of
their weights (4, not 2), each response's loss is divided by the length of the longer of its runs
(at least 1), and the G responses of a prompt are summed, not averaged. Every one of these is an
option of its own, too, which by default goes with the form.

Departures from the paper and from the released code:
- scale, ours: the released rewards go from 0 to 20 (format and answer 10 each) and gamma is tied to
  them. Those of the environments here go from 0 to 1; scale=20 gives Eq. 5 the published balance;
- a token in both runs has w_plus once (ours; the released code multiplies), and H_ini is taken on
  the first minibatch of the first batch (ours; the paper's way is not known);
- form=released has the released loss, not its run: AdamW with beta .999999 and weight decay .1, a
  gradient limit of .1, one prompt a step, rewards for parts of the format;
- a token that an environment said is in no conflict and ends a run;
- entropies are above the threshold if by more than 1e-6, so that rounding does not filter a
  response at the threshold itself;
- equalise=true scales delta_i (A_i - gamma H_i) lambda_it to a root mean square of one over the
  tokens of a minibatch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import (
    group_mean,
    group_size,
    is_constant,
    masked_mean_rows,
    per_token,
)
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import option, other
from pgbench.settings.ranges import SettingError

OWN = "as the form has it"
ROUNDING = 1e-6


@dataclass(frozen=True)
class Config(GroupConfig):
    """The paper's penalty and filter; sizes as for all of the family."""

    least_group: ClassVar[int] = 2

    form: str = option("paper", "Eq. 1 to 5, or the released code", "", ("paper", "released"))
    scale: float = option(20.0, "of Eq. 1, ours: the range of the released rewards", above=0)
    gamma: float = option(0.1, "weight of the entropy penalty of Eq. 5", at_least=0)
    conflict: bool = option(True, "Eq. 3; false: lambda is 1 everywhere")
    w_plus: float = option(
        2.0, "lambda of right conflict tokens, Eq. 3", at_least=0, only={"conflict": (True,)}
    )
    threshold: float | str = option(
        "form", "nats, of Eq. 4; none: no filter; form: ln 2 or 0.7", above=0
    )
    use_initial_entropy: bool | None = option(
        None, f"whether H_ini counts; none: {OWN}", only={"threshold": other("none")}
    )
    only_negative_filter: bool = option(
        False, "Eq. 4 filters responses of A < 0 alone", only={"threshold": other("none")}
    )
    double_run: str = option("form", f"lambda in both runs; form: {OWN}", "",
                             ("form", "max", "product"),
                             only={"conflict": (True,)})  # fmt: skip
    divide_by_conflict_count: bool | None = option(
        None, f"losses divided by the length of a response's longer run; none: {OWN}"
    )
    reduce: str = option("form", f"over a prompt's responses; form: {OWN}", "",
                         ("form", "mean", "sum"))  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        words = ("form", "none", "ln2")
        if isinstance(self.threshold, str) and self.threshold not in words:
            raise SettingError(f"threshold takes nats, ln2, none or form, not '{self.threshold}'")

    @property
    def released(self) -> bool:
        """Whether the options that go with the form are the released code's."""
        return self.form == "released"

    @property
    def nats(self) -> float | None:
        """The threshold; None: no filter."""
        given = self.threshold
        if given == "form":
            given = 0.7 if self.released else "ln2"
        if isinstance(given, str):
            return math.log(2) if given == "ln2" else None
        return given

    @property
    def looks_at_start(self) -> bool:
        """Whether H_ini counts."""
        own = self.use_initial_entropy
        return self.nats is not None and (not self.released if own is None else own)

    @property
    def product(self) -> bool:
        """Whether a token in both runs has the product of their weights."""
        return self.double_run == "product" or (self.double_run == "form" and self.released)

    @property
    def divides(self) -> bool:
        """Whether losses are divided by the length of the longer run."""
        own = self.divide_by_conflict_count
        return self.released if own is None else own

    @property
    def sums(self) -> bool:
        """Whether a prompt's responses are summed."""
        return self.reduce == "sum" or (self.reduce == "form" and self.released)


def conflicts(tokens: Tensor, own: Tensor, place: Tensor, group: Tensor, adv: Tensor) -> Tensor:
    """Eq. 2, bool (N, T): tokens, whether the policy chose them, and their places (N, T)."""
    # A number for each (prompt, place, token).
    width, words = int(place.max()) + 1, int(tokens.max()) + 1
    key = (group[:, None] * width + place) * words + tokens
    plus, minus = own & (adv > 0)[:, None], own & (adv < 0)[:, None]
    both = torch.isin(key, key[plus]) & torch.isin(key, key[minus])
    return both & (plus | minus)


def runs(
    tokens: Tensor, valid: Tensor, mask: Tensor, group: Tensor, adv: Tensor
) -> tuple[Tensor, Tensor]:
    """Forward and backward runs of Eq. 2, bool (N, T) each."""
    own = valid & (mask > 0)
    place = torch.arange(tokens.shape[1]).expand_as(tokens)
    forward = conflicts(tokens, own, place, group, adv).cumprod(-1).bool()
    end = valid.sum(-1, keepdim=True) - 1 - place  # 0 at the last token, padding below
    backward = conflicts(tokens, own, end.clamp(min=0), group, adv)
    # Padding goes on with a run that has not begun yet.
    return forward, (backward | ~valid).flip(-1).cumprod(-1).flip(-1).bool() & valid


def run_weights(
    forward: Tensor, backward: Tensor, adv: Tensor, w_plus: float = 2.0, product: bool = False
) -> Tensor:
    """Eq. 3: the runs (N, T), advantages (N,) -> lambda (N, T)."""
    times = forward.float() + backward.float()
    weight = torch.where(adv > 0, w_plus, 0.0)[:, None]
    return weight ** (times if product else times.clamp(max=1.0))  # 0 ** 0 is 1


class GTPO(GroupAlgorithm):
    """Steps on Eq. 5."""

    Config = Config
    skips_zero = True  # where `prepare` gives `adv`: without an entropy penalty
    watched = ("filtered", "conflict", "response_entropy")

    on_host = frozenset({"h_known"})

    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        # H_ini, and on the CPU whether it is known: asking costs no synchronisation.
        self.state["h_ini"] = torch.full((), float("nan"), device=self.device)
        self.state["h_known"] = torch.zeros((), dtype=torch.bool)
        self._tally: dict[str, Tensor] = {}  # of the present update

    @property
    def wants_start(self) -> bool:
        """Whether H_ini counts and is not known yet."""
        return self.config.looks_at_start and not bool(self.state["h_known"])

    @property
    def looks_ahead(self) -> bool:
        """Whether there is something to find in the whole minibatch."""
        return self.wants_start or self.config.equalise

    def update(self, batch: TokenGroups) -> dict[str, Tensor]:
        """Learn from one batch of the loop."""
        self._tally = {}
        log = super().update(batch)
        count = {name: x.clamp(min=1) for name, x in self._tally.items()}
        for name, of in (("filtered", "rows"), ("response_entropy", "rows"),
                         ("wrong_sign", "right")):  # fmt: skip
            if of in count:
                log[name] = self._tally[name] / count[of]
        if self.config.looks_at_start and bool(self.state["h_known"]):
            log["h_ini"] = self.state["h_ini"].clone()
        return log

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """A (N,), what a response counts (N,), lambda (N, T) and the share of conflict tokens."""
        c = self.config
        centred = c.scale * (batch.reward - group_mean(batch.reward, batch.group))  # Eq. 1
        # Not what rounding leaves of it: the sign counts.
        centred = torch.where(is_constant(batch.reward, batch.group), 0.0, centred)
        forward, backward = runs(batch.tokens, batch.valid, batch.mask, batch.group, centred)
        lam = run_weights(forward, backward, centred, c.w_plus, c.product)
        if not c.conflict:
            lam = torch.ones_like(lam)
        counts = group_size(batch.group) if c.sums else torch.ones(len(batch))
        if c.divides:
            counts = counts / torch.maximum(forward.sum(-1), backward.sum(-1)).clamp(min=1)
        share = (forward | backward).sum() / batch.mask.sum().clamp(min=1)
        out = {
            "centred": centred, "counts": counts, "lam": lam, "right": batch.correct,
            "conflict": share.expand(len(batch)),
        }  # fmt: skip
        # With a penalty every response has a gradient, and H_ini is the mean of all of them.
        return out if c.gamma or self.wants_start else out | {"adv": centred}

    def pushes(self, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Factors of the score function (n, T) in Eq. 5, and what to count, (n,) each."""
        c = self.config
        centred, entropy = rows["centred"], masked_mean_rows(rows.entropy, rows.mask)
        filtered = torch.zeros_like(entropy, dtype=torch.bool)
        if c.nats is not None:  # Eq. 4
            filtered = entropy > c.nats + ROUNDING
            if c.looks_at_start:
                filtered = filtered & ~(self.state["h_ini"] > c.nats + ROUNDING)
            if c.only_negative_filter:
                filtered = filtered & (centred < 0)
        signed = centred - c.gamma * entropy
        push = torch.where(filtered, 0.0, signed) * rows["counts"]
        right = rows["right"]
        tally = {
            "rows": torch.ones_like(entropy), "filtered": filtered, "response_entropy": entropy,
            "right": right, "wrong_sign": right & (signed < 0),
        }  # fmt: skip
        return per_token(push, rows.mask) * rows["lam"], tally

    def ahead(self, logp: Tensor, rows: Rows) -> dict[str, Tensor]:
        """H_ini, kept from here on, and the scale of `equalise`."""
        if self.wants_start:
            self.state["h_ini"].copy_(masked_mean_rows(rows.entropy, rows.mask).mean())
            self.state["h_known"] |= True
        if not self.config.equalise:
            return {}
        # Rows left out have no push; they count all the same.
        size = (self.pushes(rows)[0].square().sum() / max(rows.totals.tokens, 1)).sqrt()
        return {"size": torch.where(size > 0, size, torch.ones_like(size))}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 5."""
        push, tally = self.pushes(rows)
        for name, value in tally.items():
            self._tally[name] = self._tally.get(name, 0) + value.float().sum()
        if "size" in rows.extra:
            push = push / rows["size"]
        loss = -push * (logp - logp.detach()).exp()
        return rows.total(loss, "seq-mean-token-mean"), {"conflict": rows["conflict"].mean()}
