"""Returns and advantages: numbers worked by hand, and a loop written the slow way."""

import pytest
import torch
from torch import Tensor

from pgbench.learning.ops.returns import discounted_sum, gae, standardize

F64 = torch.float64


def slow_gae(
    r: Tensor, v: Tensor, v_next: Tensor, term: Tensor, done: Tensor, gamma: float, lam: float
) -> Tensor:
    out = torch.zeros_like(r)
    for i in range(r.shape[1]):
        after = 0.0
        for t in reversed(range(len(r))):
            bootstrap = 0.0 if term[t, i] else float(v_next[t, i])
            delta = float(r[t, i]) + gamma * bootstrap - float(v[t, i])
            after = delta + (0.0 if done[t, i] else gamma * lam * after)
            out[t, i] = after
    return out


def test_gae_worked_numbers():
    r, v = torch.tensor([1.0, 0, 2], dtype=F64), torch.tensor([0.5, 0.4, 0.3], dtype=F64)
    v_next = torch.tensor([0.4, 0.3, 0.2], dtype=F64)
    no = torch.zeros(3, dtype=torch.bool)
    adv = gae(r, v, v_next, no, no, 0.9, 0.8)
    torch.testing.assert_close(adv, torch.tensor([1.740992, 1.2236, 1.88], dtype=F64))


def test_truncation_bootstraps_and_termination_does_not():
    r, v, v_next = torch.tensor([[1.0]]), torch.tensor([[0.5]]), torch.tensor([[10.0]])
    yes, no = torch.tensor([[True]]), torch.tensor([[False]])
    assert gae(r, v, v_next, no, yes, 0.9, 0.8).item() == pytest.approx(1 + 9 - 0.5)
    assert gae(r, v, v_next, yes, yes, 0.9, 0.8).item() == pytest.approx(1 - 0.5)


def test_nothing_leaks_over_an_episode_end():
    r = torch.tensor([1.0, 2.0, 100.0])[:, None]
    zero, end = torch.zeros(3, 1), torch.tensor([False, True, False])[:, None]
    adv = gae(r, zero, zero, ~end & end, end, 1.0, 1.0)
    assert adv.flatten().tolist() == [3.0, 2.0, 100.0]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_gae_equals_the_loop(seed: int, length: int):
    rng = torch.Generator().manual_seed(seed)
    r, v, v_next = torch.randn(3, length, 4, generator=rng, dtype=F64)
    term, trunc = torch.rand(2, length, 4, generator=rng) < (0.0 if seed == 0 else 0.2)
    if seed == 1:
        term = torch.ones_like(term)
    done = term | trunc
    gamma, lam = 0.97, (1.0, 0.0, 0.9)[seed % 3]
    fast = gae(r, v, v_next, term, done, gamma, lam)
    torch.testing.assert_close(fast, slow_gae(r, v, v_next, term, done, gamma, lam))


def test_lambda_one_is_the_return_minus_the_value():
    r, v = torch.randn(5, 1, dtype=F64), torch.randn(6, 1, dtype=F64)
    no = torch.zeros(5, 1, dtype=torch.bool)
    adv = gae(r, v[:-1], v[1:], no, no, 0.9, 1.0)
    g = v[5]
    for t in reversed(range(5)):
        g = r[t] + 0.9 * g
        torch.testing.assert_close(adv[t], g - v[t])


@pytest.mark.parametrize("length", [1, 2, 3, 8, 100])
def test_discounted_sum_equals_the_loop(length: int):
    rng = torch.Generator().manual_seed(length)
    x, c = torch.randn(2, length, 3, generator=rng, dtype=F64)
    y, after = torch.zeros_like(x), torch.zeros(3, dtype=F64)
    for t in reversed(range(length)):
        after = x[t] + c[t] * after
        y[t] = after
    torch.testing.assert_close(discounted_sum(x, c), y)


def test_standardize():
    out = standardize(torch.tensor([1.0, 2, 6], dtype=F64))
    want = torch.tensor([-0.925820, -0.462910, 1.388730], dtype=F64)
    torch.testing.assert_close(out, want, atol=1e-6, rtol=0)
    assert out.square().mean().item() == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1e8])
def test_standardize_of_a_constant_is_zero(value: float):
    assert standardize(torch.full((37, 3), value)).eq(0).all()
    assert standardize(torch.full((1,), value)).eq(0).all()


def test_standardize_keeps_small_but_real_differences():
    out = standardize(torch.tensor([1.0, 1.001]))
    torch.testing.assert_close(out, torch.tensor([-1.0, 1.0]), atol=1e-3, rtol=0)
