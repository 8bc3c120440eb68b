"""What an algorithm on groups reads: of a batch before the update, of a micro-batch in its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from pgbench.learning.ops.groups import Totals, aggregate, log_ratio, masked_mean_rows, per_token


@dataclass(frozen=True)
class Seen:
    """What the policy of the rollout says of a batch, (N, T) each; None where nobody asked."""

    old: Tensor | None = None  # log-probabilities
    ref: Tensor | None = None  # those of the frozen reference
    entropy: Tensor | None = None
    value: Tensor | None = None


@dataclass(frozen=True)
class Rows:
    """The rows (n of them) of a micro-batch: what `loss` gets besides log-probabilities."""

    mask: Tensor  # (n, T) float
    group: Tensor  # (n,)
    reward: Tensor  # (n,)
    finished: Tensor  # (n,) bool
    old: Tensor | None  # (n, T); None in the first step on a batch: the policy itself
    ref: Tensor | None  # (n, T)
    entropy: Tensor  # (n, T) of the present policy, without gradient
    totals: Totals  # denominators of the whole minibatch
    extra: dict[str, Tensor] = field(default_factory=dict)  # what `prepare` returned
    value: Tensor | None = None  # (n, T) with gradient, where there is a value head
    importance: Tensor | None = None  # (n, T) truncated weights of the engine's mismatch

    def __getitem__(self, name: str) -> Tensor:
        return self.extra[name]

    @staticmethod
    def joined(parts: Sequence[Rows]) -> Rows:
        """The rows of several micro-batches of one minibatch."""

        def cat(values: list[Any]) -> Any:
            return torch.cat(values) if isinstance(values[0], Tensor) else values[0]

        names = [f.name for f in fields(Rows) if f.name != "extra"]
        extra = {k: cat([part.extra[k] for part in parts]) for k in parts[0].extra}
        return Rows(**{k: cat([getattr(part, k) for part in parts]) for k in names}, extra=extra)

    @property
    def adv(self) -> Tensor:
        """Advantages, one a token (n, T)."""
        return per_token(self.extra["adv"], self.mask)

    def total(self, loss: Tensor, form: str = "token-mean") -> Tensor:
        """Token losses (n, T) as a scalar by `aggregate`, or row losses (n,) as their mean."""
        if loss.dim() == 1:
            if self.importance is not None:
                loss = loss * masked_mean_rows(self.importance, self.mask)
            return loss.sum() / self.totals.rows
        weighted = loss if self.importance is None else self.importance * loss
        return aggregate(weighted, self.mask, form, self.totals)

    def ratio(self, logp: Tensor) -> Tensor:
        """log(pi_theta / pi_old), (n, T); zero, but with its gradient, in the first step."""
        return log_ratio(logp, logp.detach() if self.old is None else self.old)
