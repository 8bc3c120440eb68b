"""Text environments as `gymnasium.vector.VectorEnv`, with conversations that are saved midway."""

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import pgbench


@pytest.fixture
def env():
    return pgbench.make("math-nano", num_envs=4, turns=3)


def right(env):
    return [task.answer for task in env.tasks]


def test_spaces_and_shapes(env):
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    obs, info = env.reset(seed=0)
    assert obs in env.observation_space and info == {}
    obs, reward, terminated, truncated, _ = env.step(["1", "2", "€", ""])
    assert obs in env.observation_space
    assert reward.shape == terminated.shape == truncated.shape == (4,)
    assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, bool, bool)
    assert env.action_space.contains(("1", "2", "€", ""))
    with pytest.raises(pgbench.PgbenchError, match="4 completions expected, 2 given"):
        env.step(["1", "2"])


def test_what_comes_in_the_wrong_order_or_number():
    env = pgbench.make("math-nano", num_envs=2)
    with pytest.raises(pgbench.PgbenchError, match="call reset before step"):
        env.step(["1", "2"])
    with pytest.raises(pgbench.PgbenchError, match="an int or 2 of them, not 3"):
        env.reset(seed=[1, 2, 3])
    env.reset(seed=0)
    with pytest.raises(pgbench.PgbenchError, match="2 completions expected, 1 given"):
        env.step(["1"])


def test_seeds_are_those_of_each_lane(env):
    """`seed=s` is `seed=[s, s+1, ...]`; a lane is what it would be alone; None goes on."""
    first = env.reset(seed=11)[0]
    assert env.reset(seed=[11, 12, 13, 14])[0] == first
    alone = pgbench.make("math-nano", num_envs=1)
    assert [alone.reset(seed=11 + lane)[0][0] for lane in range(4)] == list(first)
    following = env.reset()[0]
    assert following != first
    env.reset(seed=11)
    assert env.reset()[0] == following
    env.reset(seed=11)
    assert env.reset(seed=[None, 12, None, None])[0][1] == first[1]


def test_finished_lanes_go_on_in_the_same_step(env):
    first = env.reset(seed=3)[0]
    said = right(env)
    said[1] = said[2] = "7777"
    obs, reward, terminated, truncated, info = env.step(said)
    assert reward.tolist() == [1, 0, 0, 1] and terminated.tolist() == [True, False, False, True]
    assert not truncated.any()
    assert info["_final_obs"].tolist() == terminated.tolist()
    assert info["final_obs"][0] == f"{first[0]}\n{said[0]}" and info["final_obs"][1] is None
    assert obs[0] != first[0] and "\n" not in obs[0]
    assert obs[1] == f"{first[1]}\n7777\nwrong"
    assert info["correct"].tolist() == [True, False, False, True]


def test_turns(env):
    """Three turns at most; only the last gives a reward; the answer ends it."""
    prompt = env.reset(seed=3)[0][0]
    talk = prompt
    for turn in range(3):
        obs, reward, terminated, _, info = env.step(["x"] * 4)
        assert reward.tolist() == [0] * 4 and terminated.all() == (turn == 2)
        talk += "\nx"
        if turn < 2:
            talk += "\nmalformed"
            assert obs[0] == talk
    assert info["final_obs"][0] == talk
    env.step(["x"] * 4)
    _, reward, terminated, _, _ = env.step(right(env))
    assert reward.tolist() == [1] * 4 and terminated.all()


def test_one_turn_ends_at_once():
    env = pgbench.make("math-nano", num_envs=2, seed=0)
    _, reward, terminated, _, info = env.step(["x", env.tasks[1].answer])
    assert reward.tolist() == [0, 1] and terminated.all()
    assert info["_final_obs"].all()


def play(env, rng, steps):
    out = []
    for _ in range(steps):
        said = [t.answer if rng.random() < 0.4 else "12" for t in env.tasks]
        obs, reward, done, _, info = env.step(said)
        out.append((obs, reward.tolist(), done.tolist(), info["correct"].tolist()))
    return out


def test_a_saved_conversation_continues(env):
    env.reset(seed=9)
    play(env, random.Random(0), 4)
    assert any("\n" in text for text in env._texts())  # in the midst of one
    saved = json.loads(json.dumps(env.state_dict()))
    expected = play(env, random.Random(1), 20)
    other = pgbench.make("math-nano", num_envs=4, turns=3, seed=1)
    other.load_state_dict(saved)
    assert play(other, random.Random(1), 20) == expected


DIGEST = """
import hashlib, random, sys, pgbench
for name in sys.argv[1:]:
    env = pgbench.make(name)
    tasks = env.sample(20, random.Random(3)) + env.sample(3, random.Random(3), "test")
    text = repr([(t.id, t.messages, t.answer, t.level, t.demonstration, t.hints) for t in tasks])
    print(name, hashlib.sha256(text.encode()).hexdigest())
"""
GENERATED = ("math-nano", "code-nano")
REASONING = (
    "basic-arithmetic", "chain-sum", "products", "leg-counting", "simple-equations",
    "polynomial-equations", "countdown", "knights-knaves", "syllogism", "mini-sudoku", "maze",
    "tower-of-hanoi", "gsm-symbolic",
)  # fmt: skip


@pytest.mark.parametrize(
    "names", [GENERATED, pytest.param(REASONING, marks=pytest.mark.slow)], ids=["own", "gym"]
)
def test_tasks_are_the_same_in_every_process(names):
    runs = [
        subprocess.run(
            [sys.executable, "-c", DIGEST, *names], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1] and runs[0].count("\n") == len(names)
