"""TRPO: the Fisher product, the natural gradient, the line search."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from pgbench.baselines.control.trpo import TRPO, Config
from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import Rollout

F64 = torch.float64


def make(**settings: object) -> TRPO:
    box = Box(-np.inf, np.inf, (3,)), Box(-1, 1, (2,))
    small = {"horizon": 64, "num_envs": 4, "hidden": (8, 8)}
    return TRPO(Config(**{**small, **settings}), Setup(*box, 10_000))


def policy_data(algorithm: TRPO) -> tuple[Any, ...]:
    b = rollout()
    return algorithm.prepare(
        algorithm.state, b.obs, b.action, b.reward, b.next_obs, b.terminated, b.done
    )[0]


def rollout() -> Rollout:
    rng = torch.Generator().manual_seed(0)
    obs, next_obs = torch.randn(2, 16, 4, 3, generator=rng)
    action, reward = torch.randn(16, 4, 2, generator=rng), torch.randn(16, 4, generator=rng)
    terminated, truncated = torch.rand(2, 16, 4, generator=rng) < 0.1
    return Rollout(obs, action, reward, next_obs, terminated, truncated & ~terminated)


@pytest.fixture
def point():
    """Parameters away from their start (log-stds not 0), in float64."""
    algorithm = make()
    rng = torch.Generator().manual_seed(1)
    theta = algorithm.state["pi"].double()
    theta = theta + 0.3 * torch.randn(len(theta), generator=rng, dtype=F64)
    obs = torch.randn(40, 3, generator=rng, dtype=F64)
    pi = algorithm.pi(theta, obs)
    zero = torch.zeros(40, dtype=F64)

    def kl(other: torch.Tensor) -> torch.Tensor:
        return algorithm.surrogate_and_kl(other, obs, pi.mean, pi, zero, zero)[1]

    return algorithm, theta, obs, kl, rng


def test_fisher_product_is_the_hessian_of_the_kl(point):
    algorithm, theta, obs, kl, rng = point
    for _ in range(3):
        x = torch.randn(len(theta), generator=rng, dtype=F64)
        _, hessian_x = torch.func.jvp(torch.func.grad(kl), (theta,), (x,))
        torch.testing.assert_close(algorithm.fisher_product(theta, obs, x), hessian_x)


def test_kl_at_the_old_policy_is_zero_and_flat(point):
    _, theta, _, kl, _ = point
    assert kl(theta).item() == pytest.approx(0, abs=1e-12)
    assert torch.func.grad(kl)(theta).abs().max() < 1e-12


def test_conjugate_gradients_solve_the_system(point):
    _, theta, obs, kl, rng = point
    algorithm = make(cg_iterations=300)
    grad = torch.randn(len(theta), generator=rng, dtype=F64)
    fisher = torch.func.hessian(kl)(theta)
    want = torch.linalg.solve(fisher + 0.1 * torch.eye(len(theta), dtype=F64), grad)
    x = algorithm.natural_gradient(theta, obs, grad)
    torch.testing.assert_close(x, want, atol=1e-8, rtol=1e-6)


def test_step_improves_inside_the_trust_region():
    algorithm = make()
    data, before = policy_data(algorithm), algorithm.state["pi"].clone()
    start, _ = algorithm.surrogate_and_kl(before, *data)
    parts = algorithm.update(rollout())
    surrogate, kl = algorithm.surrogate_and_kl(algorithm.state["pi"], *data)
    assert surrogate > start
    assert 0.001 < kl.item() <= 0.01
    torch.testing.assert_close(parts["kl"], kl, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(parts["surrogate"], surrogate, atol=1e-6, rtol=1e-3)


def line_search(algorithm: TRPO, scale: float) -> tuple[float, torch.Tensor]:
    """Fraction taken along the gradient times `scale`, with the length of Eq. 5 switched off."""
    data, theta = policy_data(algorithm), algorithm.state["pi"].clone()
    x = scale * algorithm.gradient(theta, data)
    # f_x = x (2 delta) / x^T x makes the square root 1, so the full step is x itself.
    f_x = 2 * algorithm.config.max_kl * x / x.dot(x)
    return algorithm.line_search(theta, data, x, f_x)["step_fraction"].item(), theta


def test_line_search_takes_the_first_acceptable_step():
    algorithm = make()
    data = policy_data(algorithm)
    x = algorithm.gradient(algorithm.state["pi"], data)
    fractions = [0.8**j for j in range(10)]
    for scale in (1e-3, 0.1, 0.2, 0.4):
        taken, theta = line_search(algorithm, scale)
        fits = [
            f for f in fractions
            if algorithm.surrogate_and_kl(algorithm.state["pi"] + f * scale * x, *data)[1] <= 0.01
        ]  # fmt: skip
        assert taken == pytest.approx(max(fits, default=0.0))
        want = algorithm.state["pi"] + taken * scale * x
        torch.testing.assert_close(theta, want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e4, -0.1, float("nan"), float("inf")])
def test_line_search_stays_when_no_step_is_acceptable(scale: float):
    algorithm = make()
    taken, theta = line_search(algorithm, scale)
    assert taken == 0
    assert torch.equal(theta, algorithm.state["pi"])


def test_no_advantage_no_step():
    algorithm, b = make(gamma=0.0), rollout()
    algorithm.state["vf"].zero_()
    before = algorithm.state["pi"].clone()
    flat = Rollout(b.obs, b.action, torch.ones_like(b.reward), b.next_obs, b.terminated,
                   b.truncated)  # fmt: skip
    algorithm.update(flat)
    assert torch.equal(algorithm.state["pi"], before)
