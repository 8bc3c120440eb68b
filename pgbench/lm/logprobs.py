"""Log-probabilities of chosen tokens without ever holding the logits of all of them.

The head of a language model makes V numbers of every hidden state; for V = 152,000 and 8,192 tokens
that is 5 GB, three times over with the softmax and its gradient. Here the head works on a chunk
of tokens at a time, in the forward and again in the backward pass: what is held besides the hidden
states is one chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 64 * 2**20  # held at a time, whatever the dtype of the head


def _logits(hidden: Tensor, weight: Tensor, temperature: float, cap: float | None) -> Tensor:
    """Logits (m, V) in float32, each operation in place of the last."""
    logits = (hidden @ weight.T).float()
    if cap is not None:
        logits.div_(cap).tanh_().mul_(cap)
    return logits if temperature == 1.0 else logits.div_(temperature)


class _TokenLogp(torch.autograd.Function):
    """Inputs: hidden (M, d), weight (V, d), target (M,); outputs: logp (M,), entropy (M,)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor, temperature: float,
        cap: float | None, chunk: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        count = len(hidden)
        logp = hidden.new_empty(count, dtype=torch.float32)
        entropy, lse = torch.empty_like(logp), torch.empty_like(logp)
        for at in range(0, count, chunk):
            part = slice(at, at + chunk)
            x = _logits(hidden[part], weight, temperature, cap)
            chosen = x.gather(-1, target[part, None]).squeeze(-1)
            # One buffer is logits, then exp(logits - max), then p, then -p log p.
            high = x.max(-1).values
            total = x.sub_(high[:, None]).exp_().sum(-1)
            lse[part] = high + total.log()
            logp[part] = chosen - lse[part]
            x.div_(total[:, None])
            entropy[part] = torch.special.entr(x, out=x).sum(-1)
            del x  # before the next chunk needs its room
        ctx.save_for_backward(hidden, weight, target, lse)
        ctx.temperature, ctx.cap, ctx.chunk = temperature, cap, chunk
        ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, target, lse = ctx.saved_tensors
        cap, temperature = ctx.cap, ctx.temperature
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for at in range(0, len(hidden), ctx.chunk):
            part = slice(at, at + ctx.chunk)
            x = _logits(hidden[part], weight, temperature, cap)
            # d cap tanh(z / cap) / dz = 1 - tanh^2, of the logits before the cap
            slope = None if cap is None else (x * (temperature / cap)).square_().neg_().add_(1)
            p = x.sub_(lse[part, None]).exp_()  # d logp_y / d logit_j = [j = y] - p_j
            p.scatter_add_(-1, target[part, None], p.new_full((len(p), 1), -1.0))
            p.mul_(-grads[0][part, None] / temperature)
            if slope is not None:
                p.mul_(slope)
            del x, slope
            p = p.to(hidden.dtype)
            grad_hidden[part] = p @ weight
            if grad_weight is not None:
                grad_weight.addmm_(p.T, hidden[part])
            del p
        return grad_hidden, grad_weight, None, None, None, None


def token_logp(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    temperature: float = 1.0,
    cap: float | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (M,) of the tokens `target` (M,), and the entropies (M,) in nats.

    `hidden` (M, d) are the last hidden states that predict them, `weight` (V, d) is the head,
    `cap` a model's soft cap of its logits. Entropies carry no gradient. `chunk` is in tokens; by
    default as many as CHUNK_BYTES hold.
    """
    # Logits in float32, in the head's own dtype before, and with a cap its slope beside them.
    held = 4 + (hidden.element_size() if hidden.dtype != torch.float32 else 0)
    held += 0 if cap is None else 4
    size = chunk or max(1, CHUNK_BYTES // (held * len(weight)))
    logp, entropy = _TokenLogp.apply(hidden, weight, target, temperature, cap, size)
    return logp, entropy
