"""The catalogue under Gymnasium's names."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import pgbench
import pgbench.gym
from pgbench.catalogue.registry import ENVS


def test_every_environment_is_registered_and_nothing_heavy_imported():
    for spec in ENVS.all():
        assert f"pgbench/{spec.name}" in gymnasium.registry
    code = (
        "import sys, gymnasium, pgbench.gym;"
        "assert 'pgbench/hopper-v0' in gymnasium.registry;"
        "assert not {'torch', 'mujoco'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    before = dict(gymnasium.registry)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pgbench.gym.register_envs()
    assert gymnasium.registry == before


def test_make_vec_gives_the_batch():
    env = gymnasium.make_vec("pgbench/hopper-v0", num_envs=8, reset_noise_scale=0.0)
    assert type(env).__name__ == "Hopper" and env.num_envs == 8
    observations, _ = env.reset(seed=0)
    assert (observations == observations[0]).all()


@pytest.mark.parametrize("name", ["hopper", "pendulum", "reacher", "inverted-pendulum"])
def test_single_environment_passes_gymnasiums_check(name):
    with warnings.catch_warnings():
        # Unbounded observations and actions beyond 1 are Gymnasium's own here.
        warnings.filterwarnings("ignore", message=".*(infinity|symmetric).*")
        check_env(gymnasium.make(f"pgbench/{name}-v0").unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", ["hopper", "reacher", "pendulum", "cartpole", "acrobot"])
def test_single_environment_equals_gymnasiums_own(name):
    spec = next(s for s in ENVS.all() if s.id == name)
    theirs, ours = gymnasium.make(spec.underlying), gymnasium.make(f"pgbench/{spec.name}")
    theirs.action_space.seed(0)
    assert np.array_equal(theirs.reset(seed=2)[0], ours.reset(seed=2)[0])
    ended = 0
    while ended < 3:
        action = theirs.action_space.sample()
        one, two = theirs.step(action), ours.step(action)
        assert np.array_equal(one[0], two[0]) and one[1:4] == two[1:4]
        if one[2] or one[3]:
            ended += 1
            if one[2]:
                with pytest.raises(gymnasium.error.ResetNeeded):
                    ours.step(action)
            assert np.array_equal(theirs.reset()[0], ours.reset()[0])
    assert np.array_equal(theirs.reset(seed=5)[0], ours.reset(seed=5)[0])


def test_single_environment_reports_info():
    env = gymnasium.make("pgbench/hopper-v0")
    _, info = env.reset(seed=0)
    assert info["x_position"] == pytest.approx(0, abs=0.01)
    terminated = False
    while not terminated:
        _, reward, terminated, _, info = env.step(env.action_space.sample())
        parts = info["reward_forward"] + info["reward_ctrl"] + info["reward_survive"]
        assert reward == pytest.approx(parts)


def test_catalogue_names_work_in_pgbench_too():
    assert pgbench.make("hopper-v0").num_envs == 1
