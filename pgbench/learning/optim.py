"""Adam on flat parameter vectors, in place, free of host synchronisation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

SLICE = 2**18  # elements; the five vectors of a step together are 5 MB


def with_adam(name: str, theta: Tensor) -> dict[str, Tensor]:
    """State entries of a trained vector: itself, its moments (`.m`, `.v`) and step count (`.t`)."""
    return {
        name: theta,
        f"{name}.m": torch.zeros_like(theta),
        f"{name}.v": torch.zeros_like(theta),
        f"{name}.t": torch.zeros((), device=theta.device),
    }


_copying = False


@contextmanager
def as_copies() -> Iterator[None]:
    """A block in which `lerp_` and `addcmul_` copy a result: `torch.vmap` does those at once.

    It takes the methods row by row. Eager bits are the same, compiled ones are not quite.
    """
    global _copying
    _copying, before = True, _copying
    try:
        yield
    finally:
        _copying = before


def lerp_(x: Tensor, y: Tensor, weight: float) -> None:
    """x <- x + weight (y - x), as `Tensor.lerp_`."""
    if _copying:
        x.copy_(torch.lerp(x, y, weight))
    else:
        x.lerp_(y, weight)


def addcmul_(x: Tensor, y: Tensor, z: Tensor, value: float) -> None:
    """x <- x + value y z, as `Tensor.addcmul_`."""
    if _copying:
        x.copy_(torch.addcmul(x, y, z, value=value))
    else:
        x.addcmul_(y, z, value=value)


def adam_(
    state: dict[str, Tensor],
    name: str,
    grad: Tensor,
    lr: float | Tensor,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> None:
    """One Adam step (Kingma & Ba 2015, Algorithm 1) on `state[name]` (P,), in place."""
    m, v, t = state[f"{name}.m"], state[f"{name}.v"], state[f"{name}.t"]
    t.add_(1)
    lerp_(m, grad, 1 - betas[0])
    v.mul_(betas[1])
    addcmul_(v, grad, grad, 1 - betas[1])
    m_hat = m / (1 - betas[0] ** t)
    v_hat = v / (1 - betas[1] ** t)
    state[name].sub_(lr * m_hat / (v_hat.sqrt() + eps))


def adamw_(
    state: dict[str, Tensor],
    name: str,
    grad: Tensor,
    lr: float,
    decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
) -> None:
    """One AdamW step (Loshchilov & Hutter 2019) on `state[name]` (P,), in place.

    In slices that fit into the cache, so that millions of parameters pass memory once.
    """
    t = state[f"{name}.t"]
    for at in range(0, len(grad), SLICE):
        part = slice(at, at + SLICE)
        piece = {key: state[key][part] for key in (name, f"{name}.m", f"{name}.v")}
        piece[f"{name}.t"] = t.clone()
        if decay:
            piece[name].mul_(1 - lr * decay)
        adam_(piece, name, grad[part], lr, betas)
    t.add_(1)


def clip_norm(grad: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """The gradient scaled to a Euclidean norm of at most `limit`, and its norm before."""
    norm = grad.norm()
    return grad * torch.clamp(limit / (norm + 1e-6), max=1.0), norm
