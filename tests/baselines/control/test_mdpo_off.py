"""Off-policy MDPO: worked numbers, limits, the age of pi_k, and an update written another way."""

import copy

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from pgbench.baselines.control.mdpo import q_log
from pgbench.baselines.control.mdpo_off import Config, MDPOOff, log_densities, mirror_loss
from pgbench.baselines.control.sac import squashed_log_prob
from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import Transitions

F64 = torch.float64


def make(**settings: object) -> MDPOOff:
    box = Box(-np.inf, np.inf, (3,)), Box(-1, 1, (2,))
    return MDPOOff(Config(**{"hidden": (16, 16), "batch": 32, **settings}), Setup(*box, 1000))


def transitions(seed: int = 0) -> Transitions:
    rng = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, 32, 3, generator=rng)
    action, reward = torch.rand(32, 2, generator=rng) * 2 - 1, torch.randn(32, generator=rng)
    return Transitions(obs, action, reward, next_obs, (torch.rand(32, generator=rng) < 0.2).float())


def log_q(x: float, q: float) -> torch.Tensor:
    return q_log(torch.tensor(x, dtype=F64).log(), q)


def test_worked_losses():
    one = mirror_loss(torch.tensor(-1.0), torch.tensor(-1.4), torch.tensor(3.0), 0.5, 0.2, 1.0)
    assert one.item() == pytest.approx(-3.08)
    for q, want in ((2.0, -2.85), (1.5, -2.917544)):
        loss = mirror_loss(log_q(0.4, q), log_q(0.25, q), torch.tensor(3.0), 0.5, 0.2, q)
        assert loss.item() == pytest.approx(want, abs=1e-6)


def test_densities_are_those_of_the_squashed_gaussian():
    rng = torch.Generator().manual_seed(0)
    mean, log_std, u = torch.randn(3, 7, 2, generator=rng, dtype=F64)
    want = squashed_log_prob(mean, log_std, u)
    ours = log_densities(mean, log_std, u).sum(-1)
    # The released code's 1e-6 in two places is the only difference.
    torch.testing.assert_close(ours, want, atol=1e-3, rtol=1e-4)


def policy_gradient(algorithm: MDPOOff, pi_k: torch.Tensor) -> torch.Tensor:
    noise = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
    theta_q1 = algorithm.split(algorithm.state["critics"])[0]
    return torch.func.grad(algorithm.policy_loss, has_aux=True)(
        algorithm.state["pi"], pi_k, theta_q1, transitions().obs, noise
    )[0]


def test_kappa_equal_to_lambda_removes_the_old_policy():
    algorithm = make(kappa=0.2, ent_coef=0.2)
    pi = algorithm.state["pi"]
    a, b = policy_gradient(algorithm, pi), policy_gradient(algorithm, pi + 0.1)
    torch.testing.assert_close(a, b, atol=0, rtol=0)
    c = policy_gradient(make(kappa=1.0), pi + 0.1)
    assert not torch.allclose(a, c)


def reference_gradient(algorithm: MDPOOff, ent_coef: float) -> torch.Tensor:
    """Gradient of mean[ent_coef log pi - Q_1] by plain autograd."""
    noise = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
    obs = transitions().obs
    theta = algorithm.state["pi"].clone().requires_grad_()
    mean, log_std = algorithm.heads(theta, obs)
    u = mean + log_std.exp() * noise
    theta_q1 = algorithm.split(algorithm.state["critics"])[0]
    q1 = algorithm.q(theta_q1, torch.cat([obs, torch.tanh(u)], -1)).squeeze(-1)
    (ent_coef * log_densities(mean, log_std, u).sum(-1) - q1).mean().backward()
    assert theta.grad is not None
    return theta.grad


@pytest.mark.parametrize("kappa", [0.5, 1.0, 7.0])
def test_after_a_copy_the_bregman_gradient_vanishes_in_expectation(kappa: float):
    """At pi = pi_k the term kappa (log pi - log pi_k) of the loss has slope zero at fixed a."""
    algorithm = make(kappa=kappa, reg=0.0)
    pi = algorithm.state["pi"]
    # log pi - log pi_k has the same slope in a for both at pi = pi_k, so what is left is the score
    # E[grad log pi(a)] at fixed a, which has mean zero: it is removed here exactly.
    noise = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
    obs = transitions().obs
    mean, log_std = algorithm.heads(pi, obs)
    u = mean + log_std.exp() * noise

    def score(theta: torch.Tensor) -> torch.Tensor:
        return log_densities(*algorithm.heads(theta, obs), u).sum(-1).mean()

    left = policy_gradient(algorithm, pi) - (kappa - 0.2) * torch.func.grad(score)(pi)
    want = reference_gradient(algorithm, 0.2)
    torch.testing.assert_close(left, want, atol=2e-5, rtol=1e-4)


def test_no_divergence_and_no_entropy_leave_minus_q():
    algorithm = make(kappa=0.0, ent_coef=0.0, reg=0.0)
    ours = policy_gradient(algorithm, algorithm.state["pi"])
    torch.testing.assert_close(ours, reference_gradient(algorithm, 0.0), atol=1e-6, rtol=1e-5)


def test_kappa_equal_to_lambda_is_soft_actor_critic_on_the_first_critic():
    algorithm = make(kappa=0.2, ent_coef=0.2, reg=0.0)
    ours = policy_gradient(algorithm, algorithm.state["pi"] + 1.0)
    torch.testing.assert_close(ours, reference_gradient(algorithm, 0.2), atol=1e-6, rtol=1e-5)


def test_the_old_policy_is_renewed_every_m_updates_from_the_first():
    algorithm = make(m=3)
    start = algorithm.state["pi"].clone()
    algorithm.state["pi_k"].fill_(7)
    seen = []
    for i in range(7):
        before = algorithm.state["pi"].clone()
        algorithm.update(transitions(i))
        seen.append(torch.equal(algorithm.state["pi_k"], before))
        if i < 3:
            assert torch.equal(algorithm.state["pi_k"], start)
    assert seen == [True, False, False, True, False, False, True]


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0])
def test_update_equals_a_plain_implementation(q: float):
    """Separate leaf tensors, autograd and torch.optim, several updates."""
    algorithm = make(q=q, kappa=0.5, m=2, tau=0.1)
    c, state = algorithm.config, {k: v.clone() for k, v in algorithm.state.items()}
    rng = copy.deepcopy(algorithm.rng.get_state())
    pi = state["pi"].requires_grad_()
    q1, q2, v = (x.clone().requires_grad_() for x in algorithm.split(state["critics"]))
    target, old = state["target"], state["pi"].detach().clone()
    for_pi, for_critics = torch.optim.Adam([pi], c.lr), torch.optim.Adam([q1, q2, v], c.lr)
    draws = torch.Generator()
    draws.set_state(rng)

    def tsallis(theta: torch.Tensor, obs: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        mean, log_std = algorithm.pi(theta, obs).chunk(2, -1)
        log_std = log_std.clamp(-20, 2)
        z = (u - mean) / (log_std.exp() + 1e-6)
        l_j = -0.5 * (z**2 + 2 * log_std + np.log(2 * np.pi))
        x = (l_j - torch.log(1 - torch.tanh(u) ** 2 + 1e-6)).exp().clamp(min=1e-6)
        return (x.log() if q == 1 else (x ** (q - 1) - 1) / (q - 1)).sum(-1)

    for i in range(5):
        if i % 2 == 0:
            old = pi.detach().clone()
        b, eps = transitions(i), torch.randn(32, 2, generator=draws)
        mean, log_std = algorithm.pi(pi, b.obs).chunk(2, -1)
        log_std = log_std.clamp(-20, 2)
        u = mean + log_std.exp() * eps
        x = torch.cat([b.obs, torch.tanh(u)], -1)
        q1_pi, q2_pi = algorithm.q(q1, x)[:, 0], algorithm.q(q2, x)[:, 0]
        l_new = tsallis(pi, b.obs, u)
        loss = (0.5 * l_new + q * (0.2 - 0.5) * tsallis(old, b.obs, u) - q1_pi).mean()
        loss = loss + 1e-3 * (mean**2).mean() + 1e-3 * (log_std**2).mean()
        y_v = (torch.min(q1_pi, q2_pi) - 0.2 * l_new).detach()
        (pi.grad,) = torch.autograd.grad(loss, [pi])
        for_pi.step()

        next_v = algorithm.v(target, b.next_obs)[:, 0]
        y_q = b.reward + 0.99 * (1 - b.terminated) * next_v
        xa = torch.cat([b.obs, b.action], -1)
        loss = 0.5 * ((algorithm.v(v, b.obs)[:, 0] - y_v) ** 2).mean()
        for theta in (q1, q2):
            loss = loss + 0.5 * ((algorithm.q(theta, xa)[:, 0] - y_q) ** 2).mean()
        for_critics.zero_grad()
        loss.backward()
        for_critics.step()
        target = (0.9 * target + 0.1 * v).detach()
        algorithm.update(b)

    close = {"atol": 2e-6, "rtol": 1e-4}
    torch.testing.assert_close(algorithm.state["pi"], pi.detach(), **close)
    torch.testing.assert_close(algorithm.state["critics"], torch.cat([q1, q2, v]).detach(), **close)
    torch.testing.assert_close(algorithm.state["target"], target, **close)
    torch.testing.assert_close(algorithm.state["pi_k"], old, **close)


def test_released_form_collects_with_the_mode():
    obs = torch.randn(4, 3)
    released, paper = make(form="released"), make()
    assert torch.equal(released.act(obs), released.act(obs, explore=False))
    assert torch.equal(released.act(obs, explore=False), paper.act(obs, explore=False))
    assert not torch.equal(paper.act(obs), paper.act(obs, explore=False))
    assert paper.act(obs * 100).abs().max() <= 1


@pytest.mark.parametrize("wrong", [{"q": 0.5}, {"q": 2.5}, {"m": 0}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="must be"):
        Config(**wrong)
