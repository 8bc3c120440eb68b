"""Every control environment against Gymnasium's own, bit for bit, at one and two threads."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import pgbench
from pgbench.catalogue.registry import ENVS

SPECS = {spec.id: spec for spec in ENVS.all() if spec.underlying in gymnasium.registry}
NUMPY = {"pendulum", "cartpole", "acrobot", "mountain-car", "mountain-car-continuous"}
VARIANTS = [
    ("hopper", {"healthy_state_range": (-5.0, 5.0), "forward_reward_weight": 2.0}),
    ("hopper", {"terminate_when_unhealthy": False}),
    ("hopper", {"exclude_current_positions_from_observation": False}),
    ("ant", {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}),
    ("ant", {"include_cfrc_ext_in_observation": False}),
    ("humanoid", {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}),
    ("humanoid", {"include_cinert_in_observation": False, "include_cvel_in_observation": False}),
    ("humanoid-standup", {"impact_cost_weight": 0.5, "impact_cost_range": (0.0, 3.0)}),
    ("inverted-double-pendulum", {"healthy_reward": 3.0, "reset_noise_scale": 0.3}),
    ("pendulum", {"g": 9.81}),
    ("cartpole", {"sutton_barto_reward": True}),
    ("mountain-car", {"goal_velocity": 0.03}),
    ("mountain-car-continuous", {"goal_velocity": 0.03}),
]


def reference(env: str, n: int, **kwargs) -> SyncVectorEnv:
    make = [lambda: gymnasium.make(SPECS[env].underlying, **kwargs)] * n
    return SyncVectorEnv(make, autoreset_mode=AutoresetMode.SAME_STEP)


def same(one, two) -> None:
    assert one.dtype == two.dtype and one.shape == two.shape
    assert np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(two).tobytes()


def same_step(theirs, ours) -> None:
    for one, two in zip(theirs[:4], ours[:4], strict=True):
        same(one, two)
    assert ("final_obs" in theirs[4]) == ("final_obs" in ours[4])
    if "final_obs" in ours[4]:
        mask = ours[4]["_final_obs"]
        same(theirs[4]["_final_obs"], mask)
        same(np.stack(theirs[4]["final_obs"][mask]), ours[4]["final_obs"][mask])


def compare(env: str, steps: int, actions=None, n: int = 4, seed: int = 3, act=None, **kwargs):
    """Step both with the same seed and actions: how many episodes ended, how many by themselves.

    Actions are samples of the space, of another type where `actions` says so, or `act` of the
    observations and a sample.
    """
    theirs = reference(env, n, **kwargs)
    ours = [pgbench.make(env, num_envs=n, num_threads=threads, **kwargs) for threads in (1, 2)]
    assert ours[0].single_observation_space == theirs.single_observation_space
    assert ours[0].single_action_space == theirs.single_action_space
    obs, _ = theirs.reset(seed=seed)
    for batch in ours:
        same(obs, batch.reset(seed=seed)[0])
    theirs.action_space.seed(seed)
    ended = np.zeros(2, int)
    for _ in range(steps):
        action = theirs.action_space.sample()
        action = action.astype(actions or action.dtype) if act is None else act(obs, action)
        expected = theirs.step(action)
        obs = expected[0]
        for batch in ours:
            same_step(expected, batch.step(action))
        ended += (expected[2] | expected[3]).sum(), expected[2].sum()
    for batch in (theirs, *ours):
        batch.close()
    return ended.tolist()


@pytest.mark.parametrize("env", SPECS)
def test_equals_gymnasium_over_resets(env):
    steps = {"halfcheetah": 1100, "swimmer": 1100, "humanoid-standup": 1010}.get(env, 400)
    steps = {"acrobot": 700, "mountain-car-continuous": 1100}.get(env, steps)
    assert compare(env, steps)[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("env", SPECS)
def test_equals_gymnasium_for_long(env):
    assert compare(env, 5000, n=5)[0] > 0


# What gets there, or far: along the velocity; of forces some beyond the bounds, some on them.
FORCES = np.float32([-3.0, -1.0, 1.0, 2.0, 1.0 + 1e-6])
DRIVEN = {
    "cartpole": lambda obs, _: (obs[:, 2] + 0.2 * obs[:, 3] > 0).astype(int),
    "acrobot": lambda obs, _: 1 + np.sign(obs[:, 5]).astype(int),
    "mountain-car": lambda obs, _: 1 + np.sign(obs[:, 1]).astype(int),
    "mountain-car-continuous": lambda obs, action: np.where(
        action < 0.2, FORCES[(1e4 * np.abs(action)).astype(int) % 5], np.sign(obs[:, 1:])
    ).astype(np.float32),
}


@pytest.mark.parametrize("seed", [0, 2**31, 987_654_321])
@pytest.mark.parametrize("env", DRIVEN)
def test_classic_control_equals_gymnasium_where_it_is_driven(env, seed):
    ended, arrived = compare(env, 700, seed=seed, act=DRIVEN[env])
    assert ended > 0 and (arrived > 0 or env == "cartpole")


@pytest.mark.parametrize(("env", "kwargs"), VARIANTS)
def test_equals_gymnasium_with_other_settings(env, kwargs):
    compare(env, 150, n=3, **kwargs)


@pytest.mark.parametrize("env", ["hopper", "reacher", "pendulum", "humanoid"])
def test_equals_gymnasium_for_float64_actions(env):
    compare(env, 60, np.float64)


@pytest.mark.parametrize("value", [1e9, np.nan])
@pytest.mark.parametrize("env", [e for e in SPECS if e not in NUMPY])
def test_unstable_simulation_behaves_as_in_gymnasium(env, value):
    theirs, ours = reference(env, 3), pgbench.make(env, num_envs=3, num_threads=2)
    theirs.reset(seed=0)
    ours.reset(seed=0)
    theirs.action_space.seed(0)
    for step in range(12):
        action = theirs.action_space.sample()
        if step == 4:
            theirs.envs[1].unwrapped.data.qvel[0] = ours.qvel[1, 0] = value
        for one, two in zip(theirs.step(action)[:4], ours.step(action)[:4], strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("env", SPECS)
def test_full_info_equals_gymnasium(env):
    theirs, ours = reference(env, 3), pgbench.make(env, num_envs=3, full_info=True)
    (_, expected), (_, got) = theirs.reset(seed=1), ours.reset(seed=1)
    same_info(expected, got)
    theirs.action_space.seed(0)
    for _ in range(60):
        action = theirs.action_space.sample()
        same_info(theirs.step(action)[4], ours.step(action)[4])


def same_info(expected, got) -> None:
    for key, value in expected.items():
        if key.startswith("_"):
            np.testing.assert_array_equal(value, got[key], key)
        elif isinstance(value, dict):
            same_info(value, got[key])
        else:
            mask = expected[f"_{key}"]
            one, two = np.stack(value[mask]), got[key][mask]
            np.testing.assert_array_equal(one, two, key)
