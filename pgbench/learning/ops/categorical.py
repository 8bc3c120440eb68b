"""Choices among n by logits (..., n), not normalised; choices int64 (...) counted from 0."""

from __future__ import annotations

import torch
from torch import Tensor

from pgbench.learning.ops.draws import Drawn


def sample(logits: Tensor, drawn: Drawn) -> Tensor:
    """A choice for each row, by exponential races (Gumbel's trick): (...)."""
    shape, device = logits.shape, logits.device
    race = drawn(lambda rng: torch.empty(shape, device=device).exponential_(generator=rng))
    return (logits - race.log()).argmax(-1)


def log_prob(logits: Tensor, action: Tensor) -> Tensor:
    """log p(action): (...)."""
    return logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(p || q) in closed form: (...)."""
    log_p, log_q = logits_p.log_softmax(-1), logits_q.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def entropy(logits: Tensor) -> Tensor:
    """In nats: (...)."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)
