"""What group-based methods for language models share; notation of their cards.

A batch has N rows (responses); row i answers prompt `group[i]` of B prompts. T is the padded
response length, `mask` (N, T) is 1 on the tokens that the policy chose, EOS included. Groups may
differ in size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RATIO_LIMIT = 20.0  # |log ratio| above this is cut, as verl does
AGGREGATIONS = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "constant")


@dataclass(frozen=True)
class Totals:
    """Denominators of a whole minibatch, whatever micro-batches it is computed in."""

    rows: int  # N
    tokens: int  # sum of the mask
    limit: int  # Lmax, the generation budget of a response


def group_sum(x: Tensor, group: Tensor) -> Tensor:
    """Sum over each group, one value a prompt: (N,) -> (B,), B = the largest index + 1."""
    count = int(group.max()) + 1 if len(group) else 0
    return x.new_zeros(count).index_add_(0, group, x)


def group_size(group: Tensor) -> Tensor:
    """Rows of each row's group, (N,) float."""
    return group_sum(torch.ones_like(group, dtype=torch.float32), group)[group]


def group_mean(x: Tensor, group: Tensor) -> Tensor:
    """Mean of each row's group, (N,)."""
    return group_sum(x, group)[group] / group_size(group)


def group_std(x: Tensor, group: Tensor, unbiased: bool = True) -> Tensor:
    """Standard deviation of each row's group, (N,); 0 for a group of one."""
    size = group_size(group)
    squares = group_sum((x - group_mean(x, group)).square(), group)[group]
    return (squares / (size - float(unbiased)).clamp(min=1.0)).sqrt()


def is_constant(x: Tensor, group: Tensor) -> Tensor:
    """Whether all rows of each row's group have one value, (N,) bool."""
    count = int(group.max()) + 1 if len(group) else 0
    low = x.new_full((count,), float("inf")).scatter_reduce_(0, group, x, "amin")
    high = x.new_full((count,), float("-inf")).scatter_reduce_(0, group, x, "amax")
    return (low == high)[group]


def less_mean(x: Tensor) -> Tensor:
    """x (N,) less its mean; exactly zero where all are equal, of which a mean may be off by a bit.

    Every advantage that compares rewards goes through this or `less_group_mean`: where there is
    nothing to compare there must be no step, and Adam makes a full one of the smallest gradient.
    """
    return x - x if bool((x == x[:1]).all()) else x - x.mean()


def less_group_mean(x: Tensor, group: Tensor) -> Tensor:
    """x (N,) less the mean of each row's group; exactly zero where a group's are all equal."""
    return torch.where(is_constant(x, group), 0.0, x - group_mean(x, group))


def log_ratio(logp: Tensor, old: Tensor) -> Tensor:
    """log pi_theta - log pi_old, cut to +-RATIO_LIMIT."""
    return (logp - old).clamp(-RATIO_LIMIT, RATIO_LIMIT)


def clipped(adv: Tensor, ratio: Tensor, low: float, high: float, dual: float | None) -> Tensor:
    """The clipped surrogate as a loss: max(-A r, -A clamp(r, 1-low, 1+high)).

    With `dual` (c > 1), for A < 0 at most -A c. Shapes broadcast.
    """
    loss = torch.maximum(-adv * ratio, -adv * ratio.clamp(1 - low, 1 + high))
    return loss if dual is None else torch.where(adv < 0, torch.minimum(loss, -adv * dual), loss)


def clip_share(adv: Tensor, ratio: Tensor, low: float, high: float, mask: Tensor) -> Tensor:
    """Share of the valid tokens whose surrogate has no gradient because of the clip."""
    outside = ((adv > 0) & (ratio > 1 + high)) | ((adv < 0) & (ratio < 1 - low))
    return (outside * mask).sum() / mask.sum().clamp(min=1)


def k3(logp: Tensor, ref: Tensor) -> Tensor:
    """The estimator exp(ref-logp) - (ref-logp) - 1 >= 0 of KL(pi || ref), the exponent cut."""
    gap = (ref - logp).clamp(-RATIO_LIMIT, RATIO_LIMIT)
    return gap.expm1() - gap


def kl_penalty(old: Tensor | None, ref: Tensor | None, mask: Tensor, beta: float) -> Tensor:
    """What a KL term takes from the reward of each token, beta (old - ref), (N, T)."""
    if not beta:
        return torch.zeros_like(mask)
    assert old is not None and ref is not None, "a KL term needs both log-probabilities"
    return beta * torch.where(mask > 0, old - ref, torch.zeros_like(mask))


def token_rewards(reward: Tensor, mask: Tensor, penalty: Tensor) -> Tensor:
    """A row's reward (N,) on its last valid token, less the penalty (N, T) of each: (N, T)."""
    steps = torch.arange(1, mask.shape[-1] + 1, device=mask.device)
    last = (mask * steps).argmax(-1, keepdim=True)
    return (-penalty).scatter_add(-1, last, reward[:, None].to(penalty.dtype)) * mask


def to_go(x: Tensor, mask: Tensor) -> Tensor:
    """Sum from each valid token on, (N, T); 0 elsewhere."""
    masked = x * mask
    return masked.flip(-1).cumsum(-1).flip(-1) * mask


def aggregate(loss: Tensor, mask: Tensor, form: str, totals: Totals) -> Tensor:
    """A scalar of the token losses (n, T) of some rows of a minibatch.

    Denominators are the whole minibatch's, so the sum over its micro-batches is its loss. Forms:
    token-mean sum/tokens; seq-mean-token-mean (sum/length of each row) summed / N;
    seq-mean-token-sum sum/N; constant sum/(N Lmax).
    """
    masked = torch.where(mask > 0, loss, torch.zeros_like(loss))
    if form == "token-mean":
        return masked.sum() / max(totals.tokens, 1)
    if form == "seq-mean-token-mean":
        return masked_mean_rows(loss, mask).sum() / totals.rows
    if form == "seq-mean-token-sum":
        return masked.sum() / totals.rows
    if form == "constant":
        return masked.sum() / (totals.rows * totals.limit)
    raise ValueError(f"unknown aggregation '{form}'; take {', '.join(AGGREGATIONS)}")


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid elements; 0 where there is none."""
    return torch.where(mask > 0, x, torch.zeros_like(x)).sum() / mask.sum().clamp(min=1)


def masked_mean_rows(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid tokens of each row (n, T) -> (n,); 0 for a row without any."""
    return torch.where(mask > 0, x, torch.zeros_like(x)).sum(-1) / mask.sum(-1).clamp(min=1)


def whiten(x: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    """(x - mean) / sqrt(unbiased variance + eps) over all valid elements; 0 elsewhere, and
    everywhere if they are equal.
    """
    valid = x[mask > 0]
    if bool((valid == valid[:1]).all()):
        return torch.zeros_like(x)
    count = mask.sum()
    mean = masked_mean(x, mask)
    var = ((x - mean).square() * mask).sum() / (count - 1).clamp(min=1)
    return (x - mean) * (var + eps).rsqrt() * mask


def rms(adv: Tensor, mask: Tensor) -> Tensor:
    """Root mean square of advantages (N,) or (N, T) on the valid tokens; 1 where it is 0."""
    size = masked_mean(per_token(adv, mask).square(), mask).sqrt()
    return torch.where(size > 0, size, torch.ones_like(size))


def per_token(adv: Tensor, mask: Tensor) -> Tensor:
    """A row's advantage (N,) on each of its tokens (N, T); what is (N, T) already is masked."""
    return (adv if adv.dim() == 2 else adv[:, None]) * mask
