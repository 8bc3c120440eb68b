"""SAC: the squashed density, the temperature, and an update written another way."""

import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from pgbench.baselines.control.sac import SAC, Config, squashed_log_prob, temperature_loss
from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import Transitions

F64 = torch.float64


def make(**settings: object) -> SAC:
    box = Box(-np.inf, np.inf, (3,)), Box(-1, 1, (2,))
    return SAC(Config(**{"hidden": (16, 16), "batch": 32, **settings}), Setup(*box, 1000))


def transitions(seed: int = 0) -> Transitions:
    rng = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, 32, 3, generator=rng)
    action, reward = torch.rand(32, 2, generator=rng) * 2 - 1, torch.randn(32, generator=rng)
    return Transitions(obs, action, reward, next_obs, (torch.rand(32, generator=rng) < 0.2).float())


def test_log_prob_equals_the_transformed_distribution():
    rng = torch.Generator().manual_seed(0)
    mean, log_std, u = torch.randn(3, 50, 2, generator=rng, dtype=F64)
    base = Normal(mean, log_std.exp())
    squashed = Independent(TransformedDistribution(base, [TanhTransform(cache_size=1)]), 1)
    want = squashed.log_prob(torch.tanh(u))
    torch.testing.assert_close(squashed_log_prob(mean, log_std, u), want, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 0.5), (-1.0, 0.2)])
def test_density_integrates_to_one(mean: float, std: float):
    action = torch.linspace(-1, 1, 200_001, dtype=F64)[1:-1, None]
    m, s = torch.tensor([mean], dtype=F64), torch.tensor([std], dtype=F64).log()
    density = squashed_log_prob(m, s, torch.atanh(action)).exp()
    assert torch.trapezoid(density, action[:, 0]).item() == pytest.approx(1, abs=1e-4)


def test_log_prob_stays_finite_where_tanh_saturates():
    u = torch.tensor([[-50.0], [50.0]])
    value = squashed_log_prob(torch.zeros(1), torch.zeros(1), u)
    assert value.isfinite().all()
    # log N - log(1 - tanh^2) with 1 - tanh^2 = 4 exp(-2|u|) far out
    want = -0.5 * 2500 - 0.5 * math.log(2 * math.pi) + 100 - math.log(4)
    assert value.tolist() == pytest.approx([want, want])


def test_temperature_falls_when_the_entropy_is_above_its_target():
    slope = torch.func.grad(temperature_loss)
    log_alpha = torch.tensor(0.0)
    assert slope(log_alpha, torch.tensor([-3.0]), -2.0).item() == pytest.approx(5.0)  # entropy 3
    assert slope(log_alpha, torch.tensor([4.0]), -2.0).item() == pytest.approx(-2.0)  # entropy -4


def test_target_entropy_and_fixed_temperature():
    assert make().target_entropy == -2
    assert make(target_entropy=-0.5).target_entropy == -0.5
    fixed, tuned = make(alpha=0.2), make()
    for algorithm in (fixed, tuned):
        algorithm.update(transitions())
    assert fixed.state["log_alpha"].exp().item() == pytest.approx(0.2)
    assert tuned.state["log_alpha"].item() == pytest.approx(-3e-4, rel=1e-3)


@pytest.mark.parametrize("alpha", [None, 0.2])
def test_update_equals_a_plain_implementation(alpha: float | None):
    """Separate leaf tensors, autograd and torch.optim, several updates."""
    algorithm = make(alpha=alpha, tau=0.1)
    draws = torch.Generator()
    draws.set_state(algorithm.rng.get_state())
    pi = algorithm.state["pi"].clone().requires_grad_()
    count = algorithm.q.count
    q1, q2 = (x.clone().requires_grad_() for x in torch.split(algorithm.state["critics"], count))
    t1, t2 = q1.detach().clone(), q2.detach().clone()
    log_alpha = torch.tensor(math.log(alpha or 1.0), requires_grad=True)
    adam = [torch.optim.Adam(x, 3e-4) for x in ([q1, q2], [pi], [log_alpha])]

    def sample(obs: torch.Tensor, eps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = algorithm.pi(pi, obs).chunk(2, -1)
        base = Normal(mean, log_std.clamp(-20, 2).exp())
        u = mean + base.stddev * eps
        a = torch.tanh(u)
        return a, (base.log_prob(u) - torch.log(1 - a**2)).sum(-1)

    def value(theta: torch.Tensor, obs: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return algorithm.q(theta, torch.cat([obs, a], -1))[:, 0]

    for i in range(4):
        b, eps = transitions(i), torch.randn(2, 32, 2, generator=draws)
        temperature = log_alpha.exp().detach()
        with torch.no_grad():
            a, logp = sample(b.next_obs, eps[1])
            low = torch.min(value(t1, b.next_obs, a), value(t2, b.next_obs, a))
            y = b.reward + 0.99 * (1 - b.terminated) * (low - temperature * logp)
        loss = sum(0.5 * ((value(q, b.obs, b.action) - y) ** 2).mean() for q in (q1, q2))
        q1.grad, q2.grad = torch.autograd.grad(loss, [q1, q2])
        adam[0].step()
        a, logp = sample(b.obs, eps[0])
        low = torch.min(value(q1, b.obs, a), value(q2, b.obs, a))
        (pi.grad,) = torch.autograd.grad((temperature * logp - low).mean(), [pi])
        adam[1].step()
        if alpha is None:
            loss = (-log_alpha.exp() * (logp.detach() - 2)).mean()
            (log_alpha.grad,) = torch.autograd.grad(loss, [log_alpha])
            adam[2].step()
        t1, t2 = ((0.9 * t + 0.1 * q).detach() for t, q in ((t1, q1), (t2, q2)))
        algorithm.update(b)

    close, state = {"atol": 2e-6, "rtol": 1e-4}, algorithm.state
    torch.testing.assert_close(state["critics"], torch.cat([q1, q2]).detach(), **close)
    torch.testing.assert_close(state["pi"], pi.detach(), **close)
    torch.testing.assert_close(state["log_alpha"], log_alpha.detach(), **close)
    torch.testing.assert_close(state["target"], torch.cat([t1, t2]), **close)


def test_actions_stay_in_range():
    obs = 100 * torch.randn(64, 3)
    assert make().act(obs).abs().max() <= 1
    assert torch.equal(make().act(obs, explore=False), make().act(obs, explore=False))
