"""The on-policy four where actions are choices: their equations by numbers, a bandit, cartpole."""

import importlib

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch.distributions import Categorical, kl_divergence

from pgbench.api import run
from pgbench.catalogue.registry import ALGOS
from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import Rollout
from pgbench.learning.ops.returns import standardize
from pgbench.runs.contract import CHECKS, Bench

F64 = torch.float64
KINDS = {"mdpo": "MDPO", "ppo": "PPO", "reinforce": "REINFORCE", "trpo": "TRPO"}
SPACES = Box(-np.inf, np.inf, (3,)), Discrete(4, start=2)


@pytest.fixture(autouse=True)
def one_thread():
    """As the on-policy loop has it: networks of this size only wait for a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name, compile=False, **settings):
    module = importlib.import_module(f"pgbench.baselines.control.{name}")
    config = module.Config(**{"horizon": 64, "num_envs": 4, "hidden": (8, 8), **settings})
    return getattr(module, KINDS[name])(config, Setup(*SPACES, 640, compile=compile))


def rollout(seed=0):
    rng = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, 16, 4, 3, generator=rng)
    action = torch.randint(4, (16, 4), generator=rng)
    reward = torch.randn(16, 4, generator=rng)
    terminated, truncated = torch.rand(2, 16, 4, generator=rng) < 0.1
    return Rollout(obs, action, reward, next_obs, terminated, truncated & ~terminated)


def prepared(algorithm, b):
    """What TRPO's and MDPO's policy steps read."""
    return algorithm.prepare(
        algorithm.state, b.obs, b.action, b.reward, b.next_obs, b.terminated, b.done
    )[0]


def moved(theta, size=0.3):
    """Parameters away from `theta`."""
    rng = torch.Generator().manual_seed(1)
    return theta + size * torch.randn(len(theta), generator=rng)


def test_no_algorithm_is_left_out():
    either = {s.name for s in ALGOS.all() if "DiscreteActions" in "|".join(s.requires).split("|")}
    assert either == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_acts_by_choices_counted_from_0(name):
    algorithm, obs = make(name), torch.randn(4000, 3)
    drawn, mode = algorithm.act(obs), algorithm.act(obs, explore=False)
    assert drawn.dtype == mode.dtype == torch.int64 and drawn.shape == mode.shape == (4000,)
    # Nearly the same probabilities to begin with.
    assert (drawn.bincount(minlength=4) / 4000 - 0.25).abs().max() < 0.05
    assert torch.equal(mode, algorithm.act(obs, explore=False))


def test_ppos_loss_is_that_of_torchs_distributions():
    algorithm = make("ppo", ent_coef=0.3)
    rng = torch.Generator().manual_seed(0)
    obs, action = torch.randn(20, 3, generator=rng), torch.randint(4, (20,), generator=rng)
    adv, ret = torch.randn(2, 20, generator=rng)
    theta = algorithm.state["theta"]
    old = Categorical(logits=algorithm.nets(theta, obs)[0].logits).log_prob(action)
    free = moved(theta).requires_grad_()
    pi, value = algorithm.nets(free, obs)
    pi = Categorical(logits=pi.logits)
    ratio, scaled = (pi.log_prob(action) - old).exp(), (adv - adv.mean()) / adv.std()
    clipped = torch.min(ratio * scaled, ratio.clamp(0.8, 1.2) * scaled)
    loss = -clipped.mean() + 0.5 * (value - ret).square().mean() - 0.3 * pi.entropy().mean()
    loss.backward()
    args = free.detach(), obs, action, old, adv, ret
    grad, parts = torch.func.grad(algorithm.loss, has_aux=True)(*args)
    torch.testing.assert_close(algorithm.loss(*args)[0], loss.detach())
    torch.testing.assert_close(grad, free.grad, atol=1e-6, rtol=1e-4)
    assert 0 < parts["clip_share"] < 1


def test_reinforces_step_is_the_policy_gradient():
    algorithm, b = make("reinforce", gamma=0.0, max_grad_norm=1e9), rollout()
    theta = algorithm.state["pi"].clone().requires_grad_()
    adv = standardize(b.reward - algorithm.vf(algorithm.state["vf"], b.obs)[..., 0])
    logp = Categorical(logits=algorithm.pi(theta, b.obs).logits).log_prob(b.action)
    (-(adv * logp).mean()).backward()
    optimizer = torch.optim.Adam([theta], algorithm.config.lr, eps=1e-5)
    optimizer.step()
    algorithm.update(b)
    torch.testing.assert_close(algorithm.state["pi"], theta.detach(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("divergence", ["kl", "tsallis"])
def test_mdpos_loss_is_that_of_torchs_distributions(divergence):
    algorithm = make("mdpo", divergence=divergence, **({} if divergence == "kl" else {"q": 2.0}))
    data = prepared(algorithm, rollout())
    obs, action, pi_k, logp_k, adv = data
    old = Categorical(logits=pi_k.logits)
    torch.testing.assert_close(logp_k, old.log_prob(action))
    free = moved(algorithm.state["pi"]).requires_grad_()
    new = Categorical(logits=algorithm.pi(free, obs).logits)
    ratio = (new.log_prob(action) - logp_k).exp()
    if divergence == "kl":
        penalty = kl_divergence(new, old)  # the new policy first
    else:
        penalty = new.log_prob(action).exp() - logp_k.exp()  # q = 2: x - 1
    loss = -((ratio * adv).mean() - penalty.mean() / 0.5)
    loss.backward()
    grad, parts = torch.func.grad(algorithm.loss, has_aux=True)(
        free.detach(), torch.tensor(0.5), *data
    )
    torch.testing.assert_close(grad, free.grad, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(parts["kl"], kl_divergence(new, old).mean().detach())


def test_many_mdpo_steps_reach_the_closed_form_of_mirror_descent():
    """One state of which nothing is seen: pi is pi_k exp(t A), normalised."""
    algorithm = make("mdpo", m=400, lr=0.02, max_grad_norm=1e9, gamma=0.0, normalize_obs=False)
    obs, none = torch.zeros(16, 4, 3), torch.zeros(16, 4, dtype=torch.bool)
    action = torch.arange(4).repeat(16, 1)
    reward = torch.tensor([1.0, 0.5, -0.5, -1.0]).repeat(16, 1)
    algorithm.state["vf"].zero_()
    before = algorithm.pi(algorithm.state["pi"], obs[0, 0]).logits.log_softmax(-1)
    algorithm.update(Rollout(obs, action, reward, obs, none, none))
    # Each choice was taken as often as the others: weigh its ratio by 1/4, as pi_k does.
    want = (before + standardize(reward)[0]).softmax(-1)
    found = algorithm.pi(algorithm.state["pi"], obs[0, 0]).logits.softmax(-1)
    torch.testing.assert_close(found, want, atol=5e-3, rtol=0)


def test_trpos_fisher_product_is_the_hessian_of_the_kl():
    algorithm = make("trpo")
    theta = moved(algorithm.state["pi"]).double()
    rng = torch.Generator().manual_seed(2)
    obs = torch.randn(40, 3, generator=rng, dtype=F64)
    pi, zero = algorithm.pi(theta, obs), torch.zeros(40, dtype=F64)

    def kl(other):
        return algorithm.surrogate_and_kl(other, obs, pi.mode(), pi, zero, zero)[1]

    for _ in range(3):
        x = torch.randn(len(theta), generator=rng, dtype=F64)
        _, hessian_x = torch.func.jvp(torch.func.grad(kl), (theta,), (x,))
        torch.testing.assert_close(algorithm.fisher_product(theta, obs, x), hessian_x)


def test_trpos_step_improves_inside_the_trust_region():
    algorithm = make("trpo")
    data, before = prepared(algorithm, rollout()), algorithm.state["pi"].clone()
    start, _ = algorithm.surrogate_and_kl(before, *data)
    parts = algorithm.update(rollout())
    obs, action, pi_k, _, adv = data
    old, new = (
        Categorical(logits=x.logits) for x in (pi_k, algorithm.pi(algorithm.state["pi"], obs))
    )
    ratio = (new.log_prob(action) - old.log_prob(action)).exp()
    assert (ratio * adv).mean() > start and 0.001 < kl_divergence(old, new).mean() <= 0.01
    torch.testing.assert_close(parts["kl"], kl_divergence(old, new).mean(), atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(parts["entropy"], new.entropy().mean())


LIGHT = {
    "mdpo": {"vf_epochs": 1, "lr": 3e-2, "m": 5},
    "ppo": {"epochs": 2, "lr": 1e-2, "minibatch": 64},
    "trpo": {"vf_epochs": 1, "cg_iterations": 5, "max_kl": 0.05},
    "reinforce": {"vf_epochs": 1, "lr": 3e-2},
}


@pytest.mark.parametrize("name", KINDS)
def test_learns_a_bandit(name):
    """Reward 1 for the quadrant that a state lies in: at first 0.25 on average."""
    algorithm = make(name, horizon=128, num_envs=8, **LIGHT[name])
    rng = torch.Generator().manual_seed(0)
    yes = torch.ones(16, 8, dtype=torch.bool)
    scores = []
    for _ in range(30):
        obs = torch.rand(16, 8, 3, generator=rng) * 2 - 1
        with torch.no_grad():
            action = algorithm.act(obs)
        reward = (action == 2 * (obs[..., 0] > 0) + (obs[..., 1] > 0)).float()
        algorithm.update(Rollout(obs, action, reward, obs, yes, ~yes))
        scores.append(reward.mean().item())
    assert sum(scores[-5:]) / 5 > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_compilation_changes_nothing(name):
    plain, compiled = make(name), make(name, compile=True)
    for i in range(3):
        plain.update(rollout(i))
        compiled.update(rollout(i))
    for key, value in plain.state.items():
        torch.testing.assert_close(value, compiled.state[key], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(name, check, tmp_path):
    check(Bench(name, "cartpole", tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_solves_cartpole(name, tmp_path):
    """A random policy holds the pole for 22 steps of 500; Gymnasium calls 475 solved."""
    result = run(
        name, "cartpole", budget="40k", compile=False, threads=1, device="cpu", runs=tmp_path
    )
    assert result.score > 475
