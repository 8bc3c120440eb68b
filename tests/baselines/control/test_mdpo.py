"""On-policy MDPO: worked numbers, the closed form of mirror descent, the first inner step."""

import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from pgbench.baselines.control.mdpo import MDPO, Config, objective, q_log, step_size
from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import Rollout
from pgbench.learning.ops import gaussian
from pgbench.learning.ops.returns import standardize

F64 = torch.float64


def make(budget: int = 2048 * 10, **settings: object) -> MDPO:
    box = Box(-np.inf, np.inf, (3,)), Box(-1, 1, (2,))
    return MDPO(Config(**{"horizon": 64, "num_envs": 4, **settings}), Setup(*box, budget))


def rollout(seed: int = 0) -> Rollout:
    rng = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, 16, 4, 3, generator=rng)
    action, reward = torch.randn(16, 4, 2, generator=rng), torch.randn(16, 4, generator=rng)
    terminated, truncated = torch.rand(2, 16, 4, generator=rng) < 0.1
    return Rollout(obs, action, reward, next_obs, terminated, truncated & ~terminated)


def prepared(algorithm: MDPO, batch: Rollout) -> tuple[torch.Tensor, ...]:
    return algorithm.prepare(
        algorithm.state, batch.obs, batch.action, batch.reward, batch.next_obs, batch.terminated,
        batch.done,
    )[0]  # fmt: skip


def test_worked_objective():
    action = torch.tensor([-1.0, 0, 2], dtype=F64)[:, None]
    old = torch.zeros(1, dtype=F64), torch.zeros(1, dtype=F64)
    new = torch.tensor([0.5], dtype=F64), torch.tensor([0.8], dtype=F64).log()
    adv = standardize(torch.tensor([1.0, 2, 6], dtype=F64))
    ratio = (gaussian.log_prob(*new, action) - gaussian.log_prob(*old, action)).exp()
    want = torch.tensor([0.355344, 1.028222, 1.592541], dtype=F64)
    torch.testing.assert_close(ratio, want, atol=1e-6, rtol=0)
    assert (ratio * adv).mean().item() == pytest.approx(0.468884, abs=1e-6)
    kl = gaussian.kl(*new, *old).expand(3)
    assert objective(ratio, adv, kl, 0.5).item() == pytest.approx(0.132597, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "q", "want"),
    [(0.3, 2, -0.7), (0.25, 1.5, -1.0), (0.3, 1, -1.203973), (4, 2, 3.0), (1e-9, 2, -0.999999)],
)
def test_worked_q_log(x: float, q: float, want: float):
    log_x = torch.tensor(x, dtype=F64).log()
    assert q_log(log_x, q).item() == pytest.approx(want, abs=1e-6)


def test_q_log_tends_to_the_logarithm_and_is_flat_below_its_floor():
    log_x = torch.tensor(0.3, dtype=F64).log()
    assert q_log(log_x, 1 + 1e-7).item() == pytest.approx(q_log(log_x, 1).item(), abs=1e-6)
    for q in (1.0, 1.5, 2.0):
        assert torch.func.grad(lambda z, q=q: q_log(z, q))(torch.tensor(-20.0)).item() == 0


def test_schedule():
    k = torch.arange(4.0)
    assert step_size(k, 4, "paper").tolist() == [1, 0.75, 0.5, 0.25]
    assert step_size(k, 4, "released").tolist() == [1.25, 1, 0.75, 0.5]
    # It never reaches zero, even past the end of the run.
    assert step_size(torch.tensor(9.0), 4, "paper").item() == 0.25
    assert step_size(torch.tensor(9.0), 4, "released").item() == 0.25


def mirror_step(pi_k: list[float], adv: list[float], t: float, steps: int = 1500) -> torch.Tensor:
    """Many gradient steps on `objective` with a softmax policy of one state, exact expectations."""
    old = torch.tensor(pi_k, dtype=F64)
    # Each action as often as pi_k takes it, so that the batch mean is the expectation.
    action = torch.repeat_interleave(torch.arange(3), (old * 10).round().long())
    a = torch.tensor(adv, dtype=F64)[action]

    def loss(logits: torch.Tensor) -> torch.Tensor:
        log_pi = logits.log_softmax(-1)
        ratio = (log_pi - old.log())[action].exp()
        kl = (log_pi.exp() * (log_pi - old.log())).sum().expand(len(action))
        return -objective(ratio, a, kl, t)

    logits = old.log()
    for _ in range(steps):
        logits = logits - min(t, 1.0) * torch.func.grad(loss)(logits)
    return logits.softmax(-1)


def test_inner_steps_reach_the_closed_form():
    pi = mirror_step([0.5, 0.3, 0.2], [1, 0, -1], 0.5)
    want = torch.tensor([0.661783, 0.240835, 0.097382], dtype=F64)
    torch.testing.assert_close(pi, want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_inner_steps_reach_the_closed_form_of_random_states(seed: int):
    rng = torch.Generator().manual_seed(seed)
    pi_k = [[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.4, 0.5, 0.1]][seed]
    adv, t = torch.randn(3, generator=rng, dtype=F64), 0.3 + 0.4 * seed
    want = (torch.tensor(pi_k, dtype=F64).log() + t * adv).softmax(-1)
    pi = mirror_step(pi_k, adv.tolist(), t)
    assert (pi * (pi / want).log()).sum().item() < 1e-6


def test_a_constant_added_to_the_advantage_changes_nothing():
    a, b = (mirror_step([0.5, 0.3, 0.2], adv, 0.5) for adv in ([1, 0, -1], [8, 7, 6]))
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_a_step_size_near_zero_leaves_the_policy():
    pi = mirror_step([0.5, 0.3, 0.2], [1, 0, -1], 1e-4)
    torch.testing.assert_close(pi, torch.tensor([0.5, 0.3, 0.2], dtype=F64), atol=1e-4, rtol=0)


@pytest.mark.parametrize("t", [1.0, 1e-3])
def test_at_the_old_policy_the_gradient_is_the_policy_gradient(t: float):
    algorithm, batch = make(), rollout()
    data = prepared(algorithm, batch)
    theta = algorithm.state["pi"]
    ours, parts = torch.func.grad(algorithm.loss, has_aux=True)(theta, torch.tensor(t), *data)
    obs, action, *_, adv = data

    free = theta.clone().requires_grad_()
    (-(adv * gaussian.log_prob(*algorithm.pi(free, obs), action)).mean()).backward()
    torch.testing.assert_close(ours, free.grad, atol=1e-6, rtol=1e-5)
    assert abs(parts["kl"].item()) < 1e-7


def test_with_one_inner_step_the_schedule_is_irrelevant():
    one, two = make(m=1, budget=640), make(m=1, budget=640)
    two.state["k"].fill_(9)
    for algorithm in (one, two):
        algorithm.update(rollout())
    torch.testing.assert_close(one.state["pi"], two.state["pi"], atol=1e-6, rtol=0)


def test_a_small_step_size_holds_the_policy_closer():
    kl = []
    for k in (0, 99):
        algorithm = make(m=40, lr=5e-3, budget=6400, max_grad_norm=1e9)
        algorithm.state["k"].fill_(k)
        kl.append(algorithm.update(rollout())["kl"].item())
    assert kl[1] < 0.2 * kl[0]


def test_released_form_ends_the_task_at_a_time_limit():
    batch = rollout()
    all_end = Rollout(batch.obs, batch.action, batch.reward, batch.next_obs, batch.done,
                      torch.zeros_like(batch.done))  # fmt: skip
    same = [make(form="released"), make(form="released")]
    for algorithm, b in zip(same, (batch, all_end), strict=True):
        algorithm.update(b)
    assert torch.equal(same[0].state["vf"], same[1].state["vf"])
    other = [make(), make()]
    for algorithm, b in zip(other, (batch, all_end), strict=True):
        algorithm.update(b)
    assert not torch.equal(other[0].state["vf"], other[1].state["vf"])


def test_tsallis_form_penalises_the_q_log_of_the_actions_taken():
    algorithm = make(divergence="tsallis", q=2.0)
    data = prepared(algorithm, rollout())
    theta = algorithm.state["pi"] + 0.01
    obs, action, _, logp_k, adv = data
    logp = gaussian.log_prob(*algorithm.pi(theta, obs), action)
    ratio = (logp - logp_k).exp()
    want = -((ratio * adv).mean() - (logp.exp() - logp_k.exp()).mean() / 0.5)
    loss, _ = algorithm.loss(theta, torch.tensor(0.5), *data)
    torch.testing.assert_close(loss, want)


@pytest.mark.parametrize("wrong", [{"q": 0.9}, {"q": 2.1}, {"q": math.nan}, {"m": 0}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="must be"):
        Config(**wrong)
