"""What every control algorithm owes: resume, compilation, degenerate batches, learning a bandit."""

import dataclasses
import importlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.learning.batches import Rollout, Transitions

ON = {"mdpo": "MDPO", "ppo": "PPO", "trpo": "TRPO", "reinforce": "REINFORCE"}
OFF = {"mdpo_off": "MDPOOff", "sac": "SAC"}
ALL = {**ON, **OFF}
BOX = Box(-np.inf, np.inf, (3,)), Box(-1, 1, (2,))


def make(name: str, compile: bool = False, seed: int = 0, **settings: object) -> Algorithm:
    module = importlib.import_module(f"pgbench.baselines.control.{name}")
    hidden = {"hidden": (16, 16)}
    config = module.Config(**{**hidden, **settings})
    return getattr(module, ALL[name])(config, Setup(*BOX, 20_480, seed, compile=compile))


def batch(name: str, seed: int = 0, ends: float = 0.1, reward: float | None = None):
    rng = torch.Generator().manual_seed(seed)
    shape = (64, 4) if name in ON else (64,)
    obs, next_obs = torch.randn(2, *shape, 3, generator=rng)
    action = torch.rand(*shape, 2, generator=rng) * 2 - 1
    r = torch.randn(*shape, generator=rng)
    r = r if reward is None else torch.full_like(r, reward)
    terminated, truncated = torch.rand(2, *shape, generator=rng) < ends
    if name in OFF:
        return Transitions(obs, action, r, next_obs, terminated.float())
    return Rollout(obs, action, r, next_obs, terminated, truncated & ~terminated)


def assert_same(a: Algorithm, b: Algorithm, **tolerance: float) -> None:
    for key, value in a.state.items():
        torch.testing.assert_close(value, b.state[key], **(tolerance or {"atol": 0, "rtol": 0}))


@pytest.mark.parametrize("name", ALL)
def test_a_restored_algorithm_continues_to_the_same_bits(name: str):
    one, two = make(name), make(name, seed=1)
    for i in range(2):
        one.update(batch(name, i))
    one.act(torch.zeros(3, 3))
    two.load_state_dict(one.state_dict())
    for algorithm in (one, two):
        algorithm.update(batch(name, 9))
    assert_same(one, two)
    assert torch.equal(one.act(torch.ones(5, 3)), two.act(torch.ones(5, 3)))


@pytest.mark.parametrize("name", ALL)
def test_a_state_of_other_sizes_is_refused(name: str):
    with pytest.raises(PgbenchError, match="does not fit"):
        make(name).load_state_dict(make(name, hidden=(8,)).state_dict())


@pytest.mark.parametrize("name", ALL)
def test_actions(name: str):
    algorithm, obs = make(name), torch.randn(5, 3)
    assert algorithm.act(obs).shape == (5, 2)
    assert algorithm.act(obs).dtype == torch.float32
    assert torch.equal(algorithm.act(obs, explore=False), algorithm.act(obs, explore=False))
    assert not torch.equal(algorithm.act(obs), algorithm.act(obs))
    assert algorithm.action_range == ("scale" if name in OFF else "clip")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "case", [{"ends": 0.0}, {"ends": 1.1}, {"reward": 0.0}, {"reward": 1.0, "ends": 1.1}]
)
def test_degenerate_batches_stay_finite(name: str, case: dict[str, float]):
    algorithm = make(name)
    for i in range(2):
        metrics = algorithm.update(batch(name, i, **case))
    assert all(value.isfinite().all() for value in algorithm.state.values())
    assert all(value.isfinite() for value in metrics.values())


@pytest.mark.parametrize("name", ALL)
def test_metrics_are_detached_scalars(name: str):
    for value in make(name).update(batch(name)).values():
        assert value.shape == ()
        assert not value.requires_grad


LIGHT = {
    "mdpo": {"vf_epochs": 1, "lr": 1e-3},
    "ppo": {"epochs": 4, "lr": 1e-3},
    "trpo": {"vf_epochs": 1, "cg_iterations": 5},
    "reinforce": {"vf_epochs": 1, "lr": 1e-2},
}


@pytest.mark.parametrize("name", LIGHT)
def test_on_policy_learns_a_bandit(name: str):
    """Reward -|a - s|^2 on states in [-1, 1]^2: an untrained policy scores about -2.7."""
    algorithm = make(name, horizon=256, num_envs=8, seed=3, **LIGHT[name])
    rng = torch.Generator().manual_seed(0)
    yes = torch.ones(32, 8, dtype=torch.bool)
    scores = []
    for _ in range(30):
        obs = torch.rand(32, 8, 3, generator=rng) * 2 - 1
        with torch.no_grad():
            action = algorithm.act(obs)
        reward = -(action - obs[..., :2]).square().sum(-1)
        algorithm.update(Rollout(obs, action, reward, obs, yes, ~yes))
        scores.append(reward.mean().item())
    assert sum(scores[-3:]) / 3 > scores[0] + 0.4


@pytest.mark.parametrize("name", OFF)
def test_off_policy_learns_a_bandit(name: str):
    algorithm = make(name, hidden=(32, 32), lr=3e-3, tau=0.05)
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        obs = torch.rand(64, 3, generator=rng) * 2 - 1
        action = torch.rand(64, 2, generator=rng) * 2 - 1
        reward = -4 * (action - obs[:, :2]).square().sum(-1)
        algorithm.update(Transitions(obs, action, reward, obs, torch.ones(64)))
    obs = torch.rand(256, 3, generator=rng) * 2 - 1
    with torch.no_grad():
        error = (algorithm.act(obs, explore=False) - obs[:, :2]).square().sum(-1).mean()
    assert error < 0.15  # an action of 0 has 0.67


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_compilation_changes_nothing(name: str):
    plain, compiled = make(name), make(name, compile=True)
    for i in range(3):
        plain.update(batch(name, i))
        compiled.update(batch(name, i))
    assert_same(plain, compiled, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_every_option_has_a_doc(name: str):
    config = make(name).config
    for field in dataclasses.fields(config):
        assert field.metadata["doc"], field.name


def test_the_catalogue_imports_no_torch():
    code = "import sys, pgbench.baselines; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
