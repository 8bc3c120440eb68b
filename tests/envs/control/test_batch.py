"""Seeds, masks, time limit, freshness and errors of the batch environments."""

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

import pgbench

EACH = pytest.mark.parametrize("name", ["hopper", "pendulum", "cartpole"])


def zeros(env) -> np.ndarray:
    return np.zeros(env.action_space.shape, env.action_space.dtype)


@EACH
def test_seed_s_gives_environment_i_seed_s_plus_i(name):
    env = pgbench.make(name, num_envs=3)
    by_int, _ = env.reset(seed=5)
    by_list, _ = env.reset(seed=[5, 6, 7])
    last, _ = pgbench.make(name, num_envs=1).reset(seed=7)
    assert by_int.tobytes() == by_list.tobytes()
    assert by_int[2].tobytes() == last[0].tobytes()
    assert env.reset()[0].tobytes() != by_int.tobytes()
    with pytest.raises(ValueError, match="3 of them, not 2"):
        env.reset(seed=[1, 2])


@EACH
def test_reset_mask_restarts_only_those(name):
    env = pgbench.make(name, num_envs=3, seed=0)
    before = env.step(zeros(env))[0]
    mask = np.array([True, False, True])
    after, _ = env.reset(seed=9, options={"reset_mask": mask})
    fresh, _ = pgbench.make(name, num_envs=3).reset(seed=9)
    assert after[~mask].tobytes() == before[~mask].tobytes()
    assert after[mask].tobytes() == fresh[mask].tobytes()
    for bad in (np.zeros(3, bool), np.ones(2, bool), np.ones(3)):
        with pytest.raises(ValueError, match="reset_mask"):
            env.reset(options={"reset_mask": bad})


@EACH
def test_truncates_at_the_time_limit_and_starts_again(name):
    env = pgbench.make(name, num_envs=2, max_episode_steps=3, seed=0)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    for step in range(1, 7):
        obs, _, terminated, truncated, info = env.step(zeros(env))
        assert not terminated.any()
        assert (truncated == (step % 3 == 0)).all()
        assert ("final_obs" in info) == (step % 3 == 0)
        if info:
            assert info["final_obs"].dtype == obs.dtype and info["final_obs"].shape == obs.shape
            assert not np.array_equal(info["final_obs"], obs)


@EACH
def test_returned_arrays_are_the_callers_to_keep(name):
    env = pgbench.make(name, num_envs=2, seed=0)
    kept = [env.reset(seed=0)[0]]
    copies = [kept[0].copy()]
    for _ in range(5):
        for array in env.step(zeros(env))[:4]:
            kept.append(array)
            copies.append(array.copy())
    for array, copy in zip(kept, copies, strict=True):
        assert array.tobytes() == copy.tobytes()


@EACH
def test_misuse_is_refused(name):
    env = pgbench.make(name, num_envs=2)
    with pytest.raises(ResetNeeded):
        env.step(zeros(env))
    with pytest.raises(ResetNeeded):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="actions must have shape"):
        env.step(zeros(env)[:1])
    with pytest.raises(pgbench.PgbenchError, match="render_mode"):
        pgbench.make(name, render_mode="human")
    with pytest.raises(pgbench.PgbenchError, match="num_envs"):
        pgbench.make(name, num_envs=0)


def test_a_choice_is_a_whole_number_of_the_space():
    env, other = (pgbench.make("acrobot", num_envs=3, seed=0) for _ in range(2))
    for bad, words in (
        ([0, 3, -1], r"from 0 to 2; not so in environments \[1, 2\]"),
        ([0.0, 1.0, 2.0], "whole numbers, not of type float64"),
        ([True, False, True], "whole numbers, not of type bool"),
        ([[0], [1], [2]], r"shape \(3,\), not \(3, 1\)"),
        (1, r"shape \(3,\), not \(\)"),
    ):
        with pytest.raises(pgbench.PgbenchError, match=words):
            env.step(np.array(bad))
    assert env.step([0, 1, 2])[0].tobytes() == other.step(np.uint8([0, 1, 2]))[0].tobytes()


def test_close_ends_the_threads_and_may_be_repeated():
    env = pgbench.make("hopper", num_envs=4, num_threads=2, seed=0)
    env.close()
    env.close()


def test_every_control_environment_keeps_its_origin_and_anchor():
    from pgbench.catalogue.registry import ENVS

    specs = [
        spec
        for spec in ENVS.all()
        if spec.family == "control" and "Tabular" not in spec.capabilities
    ]
    assert len(specs) == 16
    assert len({spec.origin for spec in specs}) == 16
    assert all(spec.anchors["random"].origin and spec.budgets["smoke"] for spec in specs)
