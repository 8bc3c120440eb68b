"""Categorical distributions against torch.distributions and by worked numbers."""

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from pgbench.learning.ops import categorical

F64 = torch.float64
RNG = torch.Generator().manual_seed(0)
P, Q = 3 * torch.randn(2, 6, 4, generator=RNG, dtype=F64)
ACTION = torch.randint(4, (6,), generator=RNG)


def test_equals_torch():
    p, q = Categorical(logits=P), Categorical(logits=Q)
    torch.testing.assert_close(categorical.log_prob(P, ACTION), p.log_prob(ACTION))
    torch.testing.assert_close(categorical.entropy(P), p.entropy())
    torch.testing.assert_close(categorical.kl(P, Q), kl_divergence(p, q))


@pytest.mark.parametrize("what", ["log_prob", "entropy", "kl"])
def test_gradients_equal_those_of_torch(what):
    ours, theirs = (P.clone().requires_grad_() for _ in range(2))
    other = {"log_prob": (ACTION,), "entropy": (), "kl": (Q,)}[what]
    getattr(categorical, what)(ours, *other).square().sum().backward()
    p = Categorical(logits=theirs)
    value = kl_divergence(p, Categorical(logits=Q)) if what == "kl" else getattr(p, what)(*other)
    value.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_worked_numbers():
    p, q = torch.tensor([0.5, 0.3, 0.2], dtype=F64), torch.tensor([0.2, 0.2, 0.6], dtype=F64)
    assert categorical.kl(p.log() + 7, q.log() - 3).item() == pytest.approx(0.360063, abs=1e-6)
    assert categorical.entropy(p.log()).item() == pytest.approx(1.029653, abs=1e-6)
    chosen = categorical.log_prob(p.log(), torch.tensor(2))
    assert chosen.item() == pytest.approx(-1.609438, abs=1e-6)
    assert categorical.kl(p.log(), p.log()).item() == pytest.approx(0, abs=1e-15)


def test_a_sure_choice_stays_finite():
    sure = torch.tensor([0.0, -200.0, 300.0], requires_grad=True)
    value = categorical.entropy(sure) + categorical.kl(sure, sure.detach().flip(0))
    value.backward()
    assert value.isfinite() and sure.grad.isfinite().all()


def seeded(seed):
    rng = torch.Generator().manual_seed(seed)
    return lambda draw: draw(rng)


def test_choices_are_drawn_as_often_as_they_are_probable():
    p = torch.tensor([0.05, 0.6, 0.35, 0.0])
    drawn = categorical.sample(p.log().expand(40_000, 4), seeded(0))
    assert drawn.dtype == torch.int64 and drawn.shape == (40_000,)
    share = drawn.bincount(minlength=4) / 40_000
    assert (share - p).abs().max() < 0.01 and share[3] == 0
    again = categorical.sample(p.log().expand(40_000, 4), seeded(0))
    assert torch.equal(drawn, again)
