"""Proposition 1 of DisCO: GRPO is a difference of scores, weighted by the spread of rewards."""

import math
from dataclasses import replace

import pytest
import torch
from near import near
from tiny_lm import make

from pgbench.baselines.text.disco import DisCO, uniform
from pgbench.baselines.text.grpo import GRPO
from pgbench.learning.ops.groups import Totals, clipped
from pgbench.lm.rows import Rows

F64 = torch.float64


def sequences(theta):
    """All responses of a policy of 3 symbols and at most 2 tokens, the third ends one.

    `theta` (4, 3): logits at first, and after each symbol. Tokens' log-probabilities (7, 2), mask.
    """
    logp = theta.log_softmax(-1)
    pairs = [(a, b) for a in range(2) for b in range(3)]
    rows = [torch.stack([logp[0, a], logp[1 + a, b]]) for a, b in pairs]
    rows.append(torch.stack([logp[0, 2], torch.zeros((), dtype=F64)]))
    mask = torch.ones(7, 2, dtype=F64)
    mask[6, 1] = 0
    return torch.stack(rows), mask


@pytest.mark.parametrize("eps", [0.2, 0.01, 1e3])
def test_proposition_1(eps):
    """E of GRPO's clipped surrogate = sqrt(p (1 - p)) x difference of scores, every response."""
    rng = torch.Generator().manual_seed(0)
    theta_old = torch.randn(4, 3, generator=rng, dtype=F64)
    theta = (theta_old + 0.5 * torch.randn(4, 3, generator=rng, dtype=F64)).requires_grad_()
    logp, mask = sequences(theta)
    old, _ = sequences(theta_old)
    chance = (old * mask).sum(-1).exp()
    near(chance.sum(), 1.0)
    reward = torch.tensor([1, 0, 0, 1, 0, 1, 0], dtype=F64)
    p = (chance * reward).sum()
    spread = (p * (1 - p)).sqrt()
    adv = ((reward - p) / spread)[:, None]
    rho, length = (logp - old).exp(), mask.sum(-1)
    low, high = min(eps, 1.0), eps
    surrogate = -(clipped(adv, rho, low, high, None) * mask).sum(-1) / length
    grpo = (chance * surrogate).sum()
    above = (rho.clamp(max=1 + high) * mask).sum(-1) / length
    below = (rho.clamp(min=1 - low) * mask).sum(-1) / length
    right, wrong = chance * reward / p, chance * (1 - reward) / (1 - p)
    disco = spread * ((right * above).sum() - (wrong * below).sum())
    near(grpo, disco, 1e-12)
    slopes = [torch.autograd.grad(x, theta, retain_graph=True)[0] for x in (grpo, disco)]
    near(slopes[0], slopes[1], 1e-12)
    assert float(slopes[0].abs().max()) > 1e-3


def test_proposition_1_of_a_sample(tiny):
    """Responses as often as a policy of halves and quarters draws them, by both algorithms."""
    theta_old = torch.tensor([[2.0, 1.0, 1.0]] * 4, dtype=F64).log()
    old, mask = sequences(theta_old)
    index = torch.arange(7).repeat_interleave((16 * (old * mask).sum(-1).exp()).round().long())
    assert len(index) == 16
    theta = (theta_old + torch.randn(4, 3, generator=torch.Generator().manual_seed(1))).double()
    right = torch.tensor([1, 0, 0, 1, 0, 1, 0], dtype=F64)[index]
    group, p = torch.zeros(16, dtype=torch.long), float(right.mean())
    values = []
    for name in ("grpo", "disco"):
        leaf = theta.clone().requires_grad_()
        logp = sequences(leaf)[0][index]
        share, wrong = uniform(right, group), 1 - right
        part = Rows(
            mask=mask[index], group=group, reward=right, finished=right > 0, old=old[index],
            ref=None, entropy=mask[index], totals=Totals(16, int(mask[index].sum()), 2),
            extra={"share": share, "wrong": wrong, "correct": right},
        )  # fmt: skip
        if name == "grpo":
            grpo = make(GRPO, tiny, unbiased=False, eps=0.0, clip_low=1.0, clip_high=1e6)
            adv = (right - p) / math.sqrt(p * (1 - p))
            loss, _ = grpo.loss(logp, replace(part, extra={"adv": adv}))
        else:
            algorithm = make(DisCO, tiny, score="ratio", base="disco-b", kl_weight=0.0)
            part = replace(part, extra=part.extra | algorithm.ahead(logp.detach(), part))
            loss, _ = algorithm.loss(logp, part)
            loss = math.sqrt(p * (1 - p)) * loss
        values.append((loss.detach(), torch.autograd.grad(loss, leaf)[0]))
    near(values[0][0], values[1][0], 1e-10)
    near(values[0][1], values[1][1], 1e-10)
