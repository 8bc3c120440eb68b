"""Diagonal Gaussians: mean (..., a), log-std (a,) or (..., a); sums run over the last axis."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def log_prob(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """log N(action; mean, exp(log_std)^2), summed over dimensions: (...)."""
    z = (action - mean) * torch.exp(-log_std)
    return -(0.5 * z.square() + log_std + 0.5 * LOG_2PI).sum(-1)


def kl(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """KL(p || q) in closed form, summed over dimensions: (...)."""
    var_ratio = torch.exp(2 * (log_std_p - log_std_q))
    shift = ((mean_p - mean_q) * torch.exp(-log_std_q)).square()
    return (log_std_q - log_std_p + 0.5 * (var_ratio + shift) - 0.5).sum(-1)


def entropy(log_std: Tensor) -> Tensor:
    """Differential entropy in nats, summed over dimensions: (...)."""
    return (log_std + 0.5 * (1 + LOG_2PI)).sum(-1)
