"""Returns and advantages over a rollout; time is the first axis."""

from __future__ import annotations

import torch
from torch import Tensor


def discounted_sum(x: Tensor, discount: Tensor) -> Tensor:
    """y_t = x_t + discount_t * y_{t+1} with y_T = 0, for x and discount of shape (T, ...).

    A scan by doubling: log2(T) vector operations instead of T small ones.
    """
    y, c, step = x, discount, 1
    while step < len(x):
        zeros = torch.zeros_like(x[:step])
        y = y + c * torch.cat([y[step:], zeros])
        c = c * torch.cat([c[step:], zeros])
        step *= 2
    return y


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    done: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, Eq. 16), all arguments (T, n).

    `next_value` is the value of the true successor (of the final observation where an episode
    ended), so a truncated step bootstraps and a terminated one does not; `done` = either, stops
    the sum.
    """
    live = 1 - terminated.to(value.dtype)
    delta = reward + gamma * live * next_value - value
    return discounted_sum(delta, gamma * lam * (1 - done.to(value.dtype)))


def standardize(x: Tensor, eps: float = 0.0) -> Tensor:
    """(x - mean) / (population std + eps) over all elements; zeros where x is constant."""
    centred = x - x.mean()
    std = centred.square().mean().sqrt()
    # A constant x leaves only the rounding error of its mean, which must not be blown up to 1.
    return torch.where(std > 1e-6 * x.abs().max(), centred / (std + eps), torch.zeros_like(x))
