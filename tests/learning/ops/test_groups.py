"""What group-based methods share: worked numbers, invariants, gradients against closed forms."""

import math

import pytest
import torch

from pgbench.learning.ops.groups import (
    AGGREGATIONS,
    Totals,
    aggregate,
    clip_share,
    clipped,
    group_mean,
    group_size,
    group_std,
    group_sum,
    is_constant,
    k3,
    kl_penalty,
    log_ratio,
    masked_mean,
    masked_mean_rows,
    per_token,
    rms,
    to_go,
    token_rewards,
    whiten,
)

REWARD = torch.tensor([1.0, 1, 0, 0, 0, 7, 7])
GROUP = torch.tensor([0, 0, 0, 0, 0, 1, 1])


def near(x, y, tolerance=1e-5):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), atol=tolerance, rtol=tolerance)


def test_groups_of_different_sizes():
    near(group_sum(REWARD, GROUP), [2, 14])
    near(group_size(GROUP), [5, 5, 5, 5, 5, 2, 2])
    near(group_mean(REWARD, GROUP), [0.4] * 5 + [7, 7])
    near(group_std(REWARD, GROUP), [math.sqrt(0.3)] * 5 + [0, 0])
    near(group_std(REWARD, GROUP, unbiased=False), [math.sqrt(0.24)] * 5 + [0, 0])
    assert is_constant(REWARD, GROUP).tolist() == [False] * 5 + [True] * 2


def test_order_of_the_rows_does_not_matter():
    order = torch.tensor([6, 2, 0, 4, 5, 1, 3])
    for f in (group_mean, group_std, is_constant):
        assert torch.allclose(
            f(REWARD[order], GROUP[order]).double(), f(REWARD, GROUP)[order].double()
        )


def test_group_of_one_and_a_number_without_rows():
    group = torch.tensor([0, 2, 2])
    x = torch.tensor([3.0, 1.0, 5.0])
    near(group_std(x, group), [0, math.sqrt(8), math.sqrt(8)])
    near(group_mean(x, group), [3, 3, 3])
    assert is_constant(x, group).tolist() == [True, False, False]
    assert len(group_sum(x[:0], group[:0])) == len(is_constant(x[:0], group[:0])) == 0


def test_log_ratio_is_cut():
    near(log_ratio(torch.tensor([0.3, 50, -50]), torch.zeros(3)), [0.3, 20, -20])


@pytest.mark.parametrize(
    ("adv", "ratio", "dual", "loss", "slope"),
    [
        # slope: d loss / d ratio; 0 is a dropped token
        (2.0, 1.0, None, -2.0, -2.0),
        (2.0, 1.3, None, -2.56, 0.0),
        (2.0, 0.5, None, -1.0, -2.0),
        (-2.0, 1.3, None, 2.6, 2.0),
        (-2.0, 0.5, None, 1.6, 0.0),
        (-2.0, 2.9, 3.0, 5.8, 2.0),
        (-2.0, 9.0, 3.0, 6.0, 0.0),
        (2.0, 9.0, 3.0, -2.56, 0.0),
    ],
)
def test_clipped_surrogate(adv, ratio, dual, loss, slope):
    r = torch.tensor([ratio], requires_grad=True)
    value = clipped(torch.tensor([adv]), r, 0.2, 0.28, dual)
    near(value.detach(), [loss])
    near(torch.autograd.grad(value.sum(), r)[0], [slope])


def test_clip_share_counts_valid_tokens_without_gradient():
    adv = torch.tensor([[1.0, 1.0, -1.0, -1.0, 1.0]])
    ratio = torch.tensor([[1.3, 0.5, 1.3, 0.5, 9.0]])
    mask = torch.tensor([[1.0, 1, 1, 1, 0]])
    assert clip_share(adv, ratio, 0.2, 0.28, mask) == 0.5
    assert clip_share(adv, ratio, 0.2, 0.28, torch.zeros(1, 5)) == 0


def test_k3_is_not_negative_and_its_gradient_is_one_minus_the_ratio():
    logp = torch.linspace(-3, 3, 61, dtype=torch.float64).requires_grad_()
    ref = torch.full_like(logp, 0.5).detach()
    value = k3(logp, ref)
    assert float(value.detach().min()) >= 0
    assert float(k3(ref, ref).abs().max()) == 0
    (grad,) = torch.autograd.grad(value.sum(), logp)
    near(grad, 1 - (ref - logp.detach()).exp(), 1e-10)


def test_k3_estimates_the_divergence():
    rng = torch.Generator().manual_seed(0)
    p, q = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.4, 0.4, 0.2])
    draws = torch.multinomial(p, 200_000, True, generator=rng)
    exact = float((p * (p / q).log()).sum())
    values = k3(p.log()[draws], q.log()[draws])
    assert abs(float(values.mean()) - exact) < 4 * float(values.std()) / math.sqrt(len(draws))


MASK = torch.tensor([[1.0, 0, 0], [1, 1, 1]])
LOSS = torch.tensor([[1.0, 9, 9], [0, 0, 0]])
TOTALS = Totals(2, 4, 4)


def test_four_aggregations_of_two_responses():
    expected = {
        "token-mean": 0.25, "seq-mean-token-mean": 0.5, "seq-mean-token-sum": 0.5,
        "constant": 0.125,
    }  # fmt: skip
    assert tuple(expected) == AGGREGATIONS
    for form, value in expected.items():
        assert float(aggregate(LOSS, MASK, form, TOTALS)) == value
    with pytest.raises(ValueError, match="unknown aggregation 'mean'; take token-mean, "):
        aggregate(LOSS, MASK, "mean", TOTALS)


@pytest.mark.parametrize("form", AGGREGATIONS)
def test_the_sum_over_micro_batches_is_the_minibatch(form):
    rng = torch.Generator().manual_seed(1)
    loss, mask = torch.randn(6, 5, generator=rng), (torch.rand(6, 5, generator=rng) < 0.6).float()
    mask[:, 0] = 1
    totals = Totals(6, int(mask.sum()), 8)
    parts = [aggregate(loss[i], mask[i], form, totals) for i in ([0, 3], [1], [2, 4, 5])]
    near(sum(parts), aggregate(loss, mask, form, totals), 1e-6)


def test_equal_lengths_make_token_mean_and_the_mean_of_means_equal():
    loss = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    mask, totals = torch.tensor([[1.0, 1, 1, 0]]).expand(3, 4), Totals(3, 9, 4)
    near(
        aggregate(loss, mask, "token-mean", totals),
        aggregate(loss, mask, "seq-mean-token-mean", totals),
        1e-6,
    )


@pytest.mark.parametrize("form", AGGREGATIONS)
def test_what_is_masked_counts_neither_forward_nor_backward(form):
    bad = torch.where(MASK > 0, LOSS, torch.tensor(float("nan"))).requires_grad_()
    value = aggregate(bad, MASK, form, TOTALS)
    (grad,) = torch.autograd.grad(value, bad)
    assert bool(value.isfinite()) and float(grad[MASK == 0].abs().sum()) == 0


def test_token_mean_weighs_long_responses_more():
    """Claim 3: the gradient of a response grows with its length under token-mean only."""
    norms = {}
    for form in ("token-mean", "seq-mean-token-mean"):
        logp = torch.zeros(2, 32, requires_grad=True)
        mask = (torch.arange(32) < torch.tensor([[4], [32]])).float()
        value = aggregate(-logp, mask, form, Totals(2, 36, 32))
        (grad,) = torch.autograd.grad(value, logp)
        norms[form] = grad.sum(-1)  # a response's share: its tokens' gradients added
    near(norms["token-mean"][1] / norms["token-mean"][0], 8.0)
    near(norms["seq-mean-token-mean"][1] / norms["seq-mean-token-mean"][0], 1.0)


def test_masked_means():
    near(masked_mean(LOSS, MASK), 0.25)
    near(masked_mean_rows(LOSS, MASK), [1.0, 0.0])
    assert masked_mean(LOSS, torch.zeros(2, 3)) == 0


def test_whitening_is_over_all_valid_tokens():
    x = torch.tensor([[1.0, 2.0, 99.0], [3.0, 4.0, 5.0]])
    mask = torch.tensor([[1.0, 1, 0], [1, 1, 1]])
    out = whiten(x, mask)
    near(out, ((x - 3) / math.sqrt(2.5) * mask))
    values = out[mask > 0]
    near(values.mean(), 0.0, 1e-6)
    near(values.var(), 1.0)
    # A response's advantage copied to its tokens counts once a token: means are length-weighted.
    rows = whiten(per_token(torch.tensor([1.0, 0.0]), MASK), MASK)
    near(rows[:, 0], [1.5, -0.5])


def test_whitening_what_does_not_vary_gives_zero():
    assert float(whiten(torch.ones(2, 3), torch.ones(2, 3)).abs().max()) < 1e-6
    assert float(whiten(torch.ones(2, 3), torch.zeros(2, 3)).abs().max()) == 0


def test_root_mean_square():
    adv = torch.tensor([3.0, -1.0])
    near(rms(adv, MASK), math.sqrt((9 + 3 * 1) / 4))
    near(rms(adv * 1000, MASK), 1000 * rms(adv, MASK))
    near(rms(per_token(adv, MASK), MASK), rms(adv, MASK))
    assert float(rms(torch.zeros(2), MASK)) == 1  # so that dividing leaves zeros


def test_token_rewards_and_sums_to_go():
    mask = torch.tensor([[1.0, 1, 0, 1, 0], [1, 0, 0, 0, 0]])
    penalty = torch.tensor([[0.1, 0.2, 9, 0.3, 9], [0.5, 9, 9, 9, 9]])
    r = token_rewards(torch.tensor([1.0, 2.0]), mask, penalty)
    near(r, [[-0.1, -0.2, 0, 0.7, 0], [1.5, 0, 0, 0, 0]])
    near(to_go(r, mask), [[0.4, 0.5, 0, 0.7, 0], [1.5, 0, 0, 0, 0]])


def test_kl_penalty():
    old, ref = torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.5, float("-inf")]])
    near(kl_penalty(old, ref, torch.tensor([[1.0, 0.0]]), 0.2), [[0.1, 0.0]])
    assert float(kl_penalty(None, None, torch.ones(1, 2), 0.0).abs().sum()) == 0


def test_per_token():
    near(per_token(torch.tensor([2.0, 3.0]), MASK), [[2, 0, 0], [3, 3, 3]])
    near(per_token(LOSS, MASK), [[1, 0, 0], [0, 0, 0]])
