"""Advantages of the text family: worked numbers, limits, invariances."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_lm import make
from token_groups import batch

from pgbench.baselines.text.dapo import overlong_penalty
from pgbench.baselines.text.dr_grpo import dr_grpo_advantage
from pgbench.baselines.text.gpg import gpg_advantage, scale
from pgbench.baselines.text.grpo import grpo_advantage
from pgbench.baselines.text.ppo import token_gae, value_loss
from pgbench.baselines.text.reinforce import advantage as reinforce_advantage
from pgbench.baselines.text.reinforce_pp import credit
from pgbench.baselines.text.remax import remax_advantage
from pgbench.baselines.text.rloo import rloo_advantage
from pgbench.baselines.text.rloo_lp import RLOOLP, length_factor
from pgbench.learning.ops.groups import kl_penalty, to_go, token_rewards, whiten
from pgbench.lm.rows import Seen

ONE = torch.tensor([1.0, 1, 0, 0, 0])
G5 = torch.zeros(5, dtype=torch.long)
GROUP_METHODS = [grpo_advantage, dr_grpo_advantage, rloo_advantage, gpg_advantage]


def near(x, y, tolerance=1e-4):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), atol=tolerance, rtol=tolerance)


def draw(prompts=6, group=5, seed=0):
    rng = torch.Generator().manual_seed(seed)
    reward = torch.randint(2, (prompts * group,), generator=rng).float()
    return reward, torch.arange(prompts).repeat_interleave(group)


def test_two_of_five_right():
    near(grpo_advantage(ONE, G5), [1.0954, 1.0954, -0.7303, -0.7303, -0.7303])
    near(grpo_advantage(ONE, G5, unbiased=False), [1.2247, 1.2247, -0.8165, -0.8165, -0.8165])
    near(rloo_advantage(ONE, G5), [0.75, 0.75, -0.5, -0.5, -0.5])
    near(dr_grpo_advantage(ONE, G5), [0.6, 0.6, -0.4, -0.4, -0.4])
    near(reinforce_advantage(ONE, "none"), ONE)
    near(reinforce_advantage(ONE, "batch"), [0.6, 0.6, -0.4, -0.4, -0.4])


@pytest.mark.parametrize("method", GROUP_METHODS)
def test_groups_sum_to_zero_and_a_constant_added_changes_nothing(method):
    reward, group = draw()
    adv = method(reward, group)
    sums = torch.zeros(6).index_add_(0, group, adv)
    near(sums, torch.zeros(6), 1e-5)
    near(method(reward + 3, group), adv, 1e-5)


@pytest.mark.parametrize("method", GROUP_METHODS)
def test_equal_rewards_give_nothing(method):
    reward = torch.tensor([0.3] * 4 + [1.0, 0.0])
    group = torch.tensor([0] * 4 + [1, 1])
    adv = method(reward, group)
    near(adv[:4], torch.zeros(4), 1e-6)
    assert float(adv[4]) > 0 > float(adv[5])


def test_equal_fractions_give_grpo_nothing_either():
    """Eight rewards of 0.7 have a mean that differs from 0.7 in the last bit."""
    reward, group = torch.full((8,), 0.7), torch.zeros(8, dtype=torch.long)
    assert float((reward - reward.mean()).abs().max()) > 0 or float(reward.sum()) != 8 * 0.7
    assert float(grpo_advantage(reward, group).abs().max()) == 0


@pytest.mark.parametrize("method", [*GROUP_METHODS, lambda r, g: reinforce_advantage(r, "batch")])
def test_order_of_the_rows_does_not_matter(method):
    reward, group = draw(seed=1)
    order = torch.randperm(len(reward), generator=torch.Generator().manual_seed(2))
    near(method(reward[order], group[order]), method(reward, group)[order], 1e-6)


def test_grpo_does_not_see_the_scale_of_the_rewards():
    reward, group = draw(seed=3)
    near(grpo_advantage(1000 * reward, group), grpo_advantage(reward, group), 1e-5)
    # DAPO's rewards of -1 and 1 in place of 0 and 1, with the whole penalty in place of half of it
    penalty = -torch.rand(len(reward), generator=torch.Generator().manual_seed(4))
    near(
        grpo_advantage(2 * reward - 1 + penalty, group),
        grpo_advantage(reward + 0.5 * penalty, group),
    )
    near(dr_grpo_advantage(2 * reward, group), 2 * dr_grpo_advantage(reward, group))


@pytest.mark.parametrize("size", [2, 3, 8])
def test_rloo_is_dr_grpo_times_g_over_g_minus_one(size):
    """Claim 2: the two differ by a factor of the step size only."""
    reward, group = draw(group=size, seed=5)
    near(rloo_advantage(reward, group), size / (size - 1) * dr_grpo_advantage(reward, group), 1e-6)


def test_rloo_leaves_the_response_itself_out():
    reward = torch.tensor([3.0, 1.0, 2.0, 9.0])
    near(rloo_advantage(reward, torch.tensor([0, 0, 0, 1])), [1.5, -1.5, 0.0, 9.0])


def test_groups_of_one():
    reward, group = torch.tensor([1.0, 0.0]), torch.tensor([0, 1])
    near(rloo_advantage(reward, group), reward)
    near(grpo_advantage(reward, group), torch.zeros(2))
    near(dr_grpo_advantage(reward, group), torch.zeros(2))


@pytest.mark.parametrize("right", [1, 4, 8, 15])
def test_weight_of_a_prompt_by_its_pass_rate(right):
    """Claim 1: sum of |A| / 2 a response is sqrt(p(1-p)) for GRPO, p(1-p) for Dr. GRPO."""
    reward = (torch.arange(16) < right).float()
    group, p = torch.zeros(16, dtype=torch.long), right / 16
    near(grpo_advantage(reward, group, unbiased=False).abs().mean() / 2, math.sqrt(p * (1 - p)))
    near(dr_grpo_advantage(reward, group).abs().mean() / 2, p * (1 - p))


def test_gpg_scales():
    # Groups of 2: one mixed, one all right, one all wrong.
    reward, group = torch.tensor([1.0, 0, 1, 1, 0, 0]), torch.tensor([0, 0, 1, 1, 2, 2])
    assert float(scale(reward, group)) == 3.0  # 6 rows, 2 in a mixed group
    assert float(scale(reward, group, "released")) == 2.0  # 6 rows, 3 rewards that are not zero
    near(gpg_advantage(reward, group), [1.5, -1.5, 0, 0, 0, 0])
    near(gpg_advantage(reward, group, "released"), [1.0, -1.0, 0, 0, 0, 0])
    near(gpg_advantage(reward, group, norm="std"), 3 * grpo_advantage(reward, group))
    # A constant added changes verl's alpha, not the paper's; no mixed group is no division by zero.
    assert float(scale(reward + 1, group)) == 3.0
    assert float(scale(reward + 1, group, "released")) == 1.0
    assert float(gpg_advantage(torch.ones(6), group).abs().sum()) == 0


MASK = torch.tensor([[1.0, 1, 0, 1], [1, 0, 0, 0]])
NONE = torch.zeros(2, 4)


def test_remax():
    reward, group, greedy = torch.tensor([1.0, 0.0]), torch.tensor([1, 0]), torch.tensor([1.0, 0.0])
    near(remax_advantage(reward, MASK, NONE, group, greedy), [[1, 1, 0, 1], [-1, 0, 0, 0]])
    penalty = torch.tensor([[0.1, 0.2, 0, 0.3], [0.4, 0, 0, 0]])
    near(
        remax_advantage(reward, MASK, penalty, group, greedy),
        [[0.4, 0.5, 0, 0.7], [-1.4, 0, 0, 0]],
    )


def test_reinforce_pp():
    reward, group = torch.tensor([1.0, 0.0]), torch.tensor([0, 0])
    near(credit(reward, MASK, NONE, group), [[1, 1, 0, 1], [0, 0, 0, 0]])
    near(credit(reward, MASK, NONE, group, "group"), [[0.5, 0.5, 0, 0.5], [-0.5, 0, 0, 0]])
    old, ref = torch.full((2, 4), -1.0), torch.full((2, 4), -1.5)
    penalty = kl_penalty(old, ref, MASK, 0.2)  # 0.1 a token
    near(credit(reward, MASK, penalty, group), [[0.7, 0.8, 0, 0.9], [-0.1, 0, 0, 0]])
    near(credit(reward, MASK, penalty, group, "group"), [[0.4, 0.4, 0, 0.4], [-0.4, 0, 0, 0]])
    # Whitening counts tokens: of four, three have reward 1, so the mean is 3/4 and not 1/2.
    near(whiten(credit(reward, MASK, NONE, group), MASK), [[0.5, 0.5, 0, 0.5], [-1.5, 0, 0, 0]])


def test_gae_with_lambda_one_is_the_return_less_the_value():
    rng = torch.Generator().manual_seed(6)
    r, v = torch.randn(2, 2, 4, generator=rng)
    zero = torch.zeros(2, 4)
    near(token_gae(r, zero, MASK, 1.0, 1.0), to_go(r, MASK))
    near(token_gae(r, v, MASK, 1.0, 1.0), (to_go(r, MASK) - v) * MASK)


def test_gae_passes_over_masked_tokens():
    rng = torch.Generator().manual_seed(7)
    mask = (torch.rand(5, 9, generator=rng) < 0.6).float()
    mask[:, 0] = 1
    r, v = torch.randn(2, 5, 9, generator=rng)
    gamma, lam = 0.9, 0.8
    expected = torch.zeros(5, 9)
    for i in range(5):
        value = adv = 0.0
        for t in reversed(range(9)):
            if mask[i, t]:
                adv = r[i, t] + gamma * value - v[i, t] + gamma * lam * adv
                value = v[i, t]
                expected[i, t] = adv
    near(token_gae(r, v, mask, gamma, lam), expected, 1e-5)


def test_gae_worked_numbers():
    r, v = torch.tensor([[0.0, 0, 1]]), torch.tensor([[0.5, 0.6, 0.7]])
    # deltas with gamma = 0.5: 0.3 - 0.5, 0.35 - 0.6, 1 - 0.7; lam = 0.5 discounts by a quarter
    near(token_gae(r, v, torch.ones(1, 3), 0.5, 0.5), [[-0.24375, -0.175, 0.3]])


def test_value_loss_takes_the_worse_of_two():
    old, target = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, -1.0]])
    value = torch.tensor([[0.4, 0.9, 0.9]])
    near(value_loss(value, old, target, 0.5), [[0.18, 0.125, 1.805]])


def test_token_rewards_put_the_verdict_on_the_last_own_token():
    near(token_rewards(torch.tensor([1.0, 2.0]), MASK, NONE), [[0, 0, 0, 1], [2, 0, 0, 0]])


@pytest.mark.parametrize("value", [0.8, 0.9, 1 / 3])
@pytest.mark.parametrize("advantage", [grpo_advantage, dr_grpo_advantage, rloo_advantage])
def test_equal_rewards_are_no_signal_to_the_last_bit(advantage, value):
    """Eight times 0.8 have a mean that is not 0.8: such rows would be trained on for nothing."""
    reward = torch.tensor([value] * 8 + [1.0, 0.0])
    adv = advantage(reward, torch.tensor([0] * 8 + [1, 1]))
    assert adv[:8].tolist() == [0.0] * 8
    assert float(adv[8]) > 0 > float(adv[9])


def test_rloo_with_a_length_penalty_may_push_a_long_right_response_down(tiny):
    one = batch([[1, 1, 1, 1], [1, 1, 1, 1]], length=9)
    size = torch.tensor([1.0, 1, 1, 9, 5, 5, 5, 5])  # the second prompt has equal lengths
    mask = (torch.arange(9) < size[:, None]).float()
    algorithm = make(RLOOLP, tiny, alpha=0.4)
    adv = algorithm.prepare(algorithm.shape(replace(one, mask=mask)), Seen())["adv"]
    assert adv[:4].sign().tolist() == [1, 1, 1, -1] and adv[4:].tolist() == [0] * 4


def test_overlong_penalty():
    lengths = torch.tensor([0.0, 16384, 18432, 20480])
    near(overlong_penalty(lengths, 20480, 4096), [0.0, 0.0, -0.5, -1.0])


def test_rloo_with_a_length_penalty(tiny):
    lengths = torch.tensor([1.0, 3, 5, 9, 4, 2, 7, 7])
    right = torch.tensor([True, True, True, False, True, False, True, True])
    group = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    factor = length_factor(lengths, right, group, 0.4)
    std = math.sqrt(8 / 3)  # population, of 1, 3, 5: the wrong response does not count
    low, high = (1 / (1 + math.exp(x)) for x in (2 / std, -2 / std))
    want = [1 - 0.4 * low, 0.8, 1 - 0.4 * high, 1, 0.8, 1, 0.8, 0.8]
    near(factor, want, 1e-5)
    near(length_factor(lengths, ~right & right, group, 0.4), torch.ones(8))
    # Shorter right responses get more, all of them more than a wrong one.
    one = batch([[1, 1, 1, 0], [1, 0, 0, 0]], length=9)
    size = torch.tensor([1.0, 3, 5, 9, 4, 2, 7, 7])
    mask = (torch.arange(9) < size[:, None]).float()
    one = replace(one, mask=mask)
    shaped = make(RLOOLP, tiny, alpha=0.4).shape(one)
    near(shaped.reward, [*want[:3], 0, 0.8, 0, 0, 0], 1e-5)
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\), not 1"):
        RLOOLP.Config(alpha=1.0)
