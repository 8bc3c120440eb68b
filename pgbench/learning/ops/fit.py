"""Fitting a value function to a rollout: the order of minibatches and the loss."""

from __future__ import annotations

import torch
from torch import Tensor


def shuffled(total: int, size: int, epochs: int, rng: torch.Generator) -> Tensor:
    """Indices of minibatches, (epochs * (total // size), size); each epoch drops its remainder.

    A rollout smaller than `size` gives one minibatch an epoch, of all that there is.
    """
    size = min(size, total)
    keep = total - total % size
    orders = [torch.randperm(total, generator=rng, device=rng.device) for _ in range(epochs)]
    return torch.cat([order[:keep] for order in orders]).view(-1, size)


def clipped_value_loss(value: Tensor, value_old: Tensor, ret: Tensor, clip: float) -> Tensor:
    """mean max((V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2), all arguments (B,)."""
    near = value_old + (value - value_old).clamp(-clip, clip)
    return torch.max((value - ret).square(), (near - ret).square()).mean()
