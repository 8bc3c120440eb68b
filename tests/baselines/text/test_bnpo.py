"""BNPO: the fitted density, its limits, its degenerate cases, and what it claims to minimise."""

import math

import pytest
import torch
from near import near

from pgbench.baselines.text.bnpo import beta_parameters, bnpo_advantage, inverse_density
from pgbench.baselines.text.dr_grpo import dr_grpo_advantage
from pgbench.baselines.text.grpo import grpo_advantage

F64 = torch.float64


def rewards(*right, size=5):
    """Groups of `size` with so many right responses each."""
    group = torch.arange(len(right)).repeat_interleave(size)
    reward = torch.cat([(torch.arange(size) < n).float() for n in right])
    return reward, group


def number(x):
    return torch.tensor(x, dtype=F64)


def test_worked_numbers():
    p = torch.tensor([0.2, 0.6, 0.4], dtype=F64)
    alpha, beta = beta_parameters(p)  # mu .4, v .04, k 5, a 2, b 3
    near(alpha, 5 / 3)
    near(beta, 2.0)
    near(inverse_density(p, alpha, beta, None), [0.822380, 0.790718, 0.690756])
    reward, group = rewards(1, 3, 2)
    adv, log = bnpo_advantage(reward, group)
    weight = torch.tensor([0.822380, 0.790718, 0.690756]).repeat_interleave(5)
    near(adv, (reward - p.float().repeat_interleave(5)) * weight, 1e-5)
    assert float(log["alpha"][0]) == pytest.approx(5 / 3) and float(log["beta"][3]) == 2
    assert float(log["max_weight"][0]) == pytest.approx(0.822380, abs=1e-6)
    assert float(log["capped_share"].sum()) == 0


def test_density_of_beta_three_halves():
    near(1 / inverse_density(number(0.5), number(1.5), number(1.5), None), 4 / math.pi)


def test_parameters_by_moments_of_an_exact_sample():
    """Quantiles of Beta(a, b) give a and b back."""
    from scipy.stats import beta as distribution

    for a, b in ((2.0, 3.0), (0.5, 0.5), (6.0, 1.5)):
        p = torch.tensor(distribution.ppf((torch.arange(20_000) + 0.5).numpy() / 20_000, a, b))
        alpha, beta = beta_parameters(p)
        near(alpha, 1 + a / 3, 2e-3)
        near(beta, 1 + b / 3, 2e-3)


def test_one_one_is_dr_grpo_and_three_halves_is_grpo():
    reward, group = rewards(1, 4, 7, 9, size=10)
    p = torch.tensor([0.1, 0.4, 0.7, 0.9], dtype=F64).repeat_interleave(10)
    centred = reward - p
    near(centred * inverse_density(p, number(1.0), number(1.0), None), centred)
    near(centred.float(), dr_grpo_advantage(reward, group))
    half = (centred * inverse_density(p, number(1.5), number(1.5), None)).float()
    near(half, math.pi / 8 * grpo_advantage(reward, group, eps=0.0, unbiased=False))


def test_sums_and_signs():
    reward, group = rewards(1, 3, 2, 0, 5)
    adv, _ = bnpo_advantage(reward, group)
    near(torch.zeros(5).index_add_(0, group, adv), torch.zeros(5))
    p = torch.tensor([0.2, 0.6, 0.4, 0, 1]).repeat_interleave(5)
    assert torch.equal(adv.sign(), (reward - p).sign())
    assert bool(adv.isfinite().all()) and float(adv[15:].abs().sum()) == 0


def test_mirror_symmetry():
    reward, group = rewards(1, 3, 2, 4)
    adv, log = bnpo_advantage(reward, group)
    mirrored, swapped = bnpo_advantage(1 - reward, group)
    near(mirrored, -adv)
    near(swapped["alpha"], log["beta"])
    near(swapped["beta"], log["alpha"])


def test_parameters_count_prompts_not_rows():
    reward, group = rewards(1, 3, 2)
    keep = torch.tensor([i for i in range(15) if i not in (3, 4)])  # the first group has 3 rows
    _, log = bnpo_advantage(reward[keep], group[keep])
    near(log["alpha"][0], beta_parameters(torch.tensor([1 / 3, 0.6, 0.4], dtype=F64))[0].float())
    # The numbers of the prompts may have gaps, as in a minibatch.
    _, gaps = bnpo_advantage(reward, group * 3 + 2)
    near(gaps["alpha"][0], 5 / 3)


@pytest.mark.parametrize(
    "p",
    [
        [0.3],  # one prompt
        [0.25, 0.25, 0.25],  # no spread: the released code divides by zero
        [0.0, 1.0],  # more spread than a Beta distribution allows: a, b < 0
        [0.0, 0.0, 1.0, 1.0, 1.0],
    ],
)
def test_degenerate_batches_are_dr_grpo(p):
    alpha, beta = beta_parameters(torch.tensor(p, dtype=F64))
    assert float(alpha) == float(beta) == 1.0
    reward, group = rewards(*(int(20 * x) for x in p), size=20)
    near(bnpo_advantage(reward, group)[0], dr_grpo_advantage(reward, group))


def test_cap_and_its_hits():
    # Nearly one pass rate: a narrow density, which a stray prompt hardly has any of.
    reward, group = rewards(*[32] * 60, 1, size=64)
    free, _ = bnpo_advantage(reward, group, None)
    _, released = bnpo_advantage(reward, group)
    assert float(released["capped_share"].sum()) == 64
    adv, log = bnpo_advantage(reward, group, 10.0)
    assert float(log["max_weight"][0]) == 10 and float(log["capped_share"].sum()) == 64
    near(adv[-1], -10 / 64)
    near(adv[:-64], free[:-64])
    assert abs(float(free[-1])) > 1e6 / 64


PAIRS = [(2.0, 3.0), (1.0, 1.0), (4.0, 2.0)]


def log_beta(a, b):
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def second_moment(a, b, alpha, beta):
    """V = B(alpha, beta)^2 B(a+3-2 alpha, b+3-2 beta) / B(a, b)."""
    return math.exp(
        2 * log_beta(alpha, beta) + log_beta(a + 3 - 2 * alpha, b + 3 - 2 * beta) - log_beta(a, b)
    )


def test_closed_form_of_the_second_moment():
    assert second_moment(2, 3, 1, 1) == pytest.approx(0.2)
    best = second_moment(2, 3, 5 / 3, 2)
    assert best == pytest.approx(0.136687, abs=1e-6)
    assert best == pytest.approx(math.exp(3 * log_beta(5 / 3, 2) - log_beta(2, 3)))


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_the_choice_of_alpha_and_beta_is_the_best_of_a_grid(a, b):
    """Claim 1, where it is exact."""
    best = second_moment(a, b, 1 + a / 3, 1 + b / 3)
    grid = [1 + 0.05 * i for i in range(0, 40)]
    others = [
        second_moment(a, b, x, y) for x in grid for y in grid if x < (a + 3) / 2 and y < (b + 3) / 2
    ]
    assert len(others) > 100 and best <= min(others)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_the_choice_of_alpha_and_beta_in_simulation(a, b):
    """Claim 1 with drawn pass rates and responses: below (1, 1) and (1.5, 1.5) by > 3 errors."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        p = torch.distributions.Beta(number(a), number(b)).sample((200_000,))
        right = torch.bernoulli(p)

    def squares(alpha, beta):
        return ((right - p) * inverse_density(p, number(alpha), number(beta), None)).square()

    best = squares(1 + a / 3, 1 + b / 3)
    error = float(best.std()) / math.sqrt(len(p))
    assert abs(float(best.mean()) - second_moment(a, b, 1 + a / 3, 1 + b / 3)) < 4 * error
    for alpha, beta in ((1.0, 1.0), (1.5, 1.5)):
        gap = squares(alpha, beta) - best
        assert float(gap.mean()) > 3 * float(gap.std()) / math.sqrt(len(p))
