"""Every control environment against Gymnasium's own, bit for bit, at one and two threads."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import pgbench
from pgbench.catalogue.registry import ENVS

SPECS = {spec.id: spec for spec in ENVS.all() if spec.underlying in gymnasium.registry}
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


def compare(env: str, steps: int, actions=np.float32, n: int = 4, **kwargs) -> int:
    """Step both with the same seed and actions; how many episodes ended."""
    theirs = reference(env, n, **kwargs)
    ours = [pgbench.make(env, num_envs=n, num_threads=threads, **kwargs) for threads in (1, 2)]
    assert ours[0].single_observation_space == theirs.single_observation_space
    assert ours[0].single_action_space == theirs.single_action_space
    first, _ = theirs.reset(seed=3)
    for batch in ours:
        same(first, batch.reset(seed=3)[0])
    theirs.action_space.seed(0)
    ended = 0
    for _ in range(steps):
        action = theirs.action_space.sample().astype(actions)
        expected = theirs.step(action)
        for batch in ours:
            same_step(expected, batch.step(action))
        ended += int((expected[2] | expected[3]).sum())
    for batch in (theirs, *ours):
        batch.close()
    return ended


@pytest.mark.parametrize("env", SPECS)
def test_equals_gymnasium_over_resets(env):
    steps = {"halfcheetah": 1100, "swimmer": 1100, "humanoid-standup": 1010}.get(env, 400)
    assert compare(env, steps) > 0


@pytest.mark.slow
@pytest.mark.parametrize("env", SPECS)
def test_equals_gymnasium_for_long(env):
    assert compare(env, 5000, n=5) > 0


@pytest.mark.parametrize(("env", "kwargs"), VARIANTS)
def test_equals_gymnasium_with_other_settings(env, kwargs):
    compare(env, 150, n=3, **kwargs)


@pytest.mark.parametrize("env", ["hopper", "reacher", "pendulum", "humanoid"])
def test_equals_gymnasium_for_float64_actions(env):
    compare(env, 60, np.float64)


@pytest.mark.parametrize("value", [1e9, np.nan])
@pytest.mark.parametrize("env", [e for e in SPECS if e != "pendulum"])
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
