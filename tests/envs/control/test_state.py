"""A saved state continues to the same bits, in this and in a new process."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import pgbench
from pgbench.catalogue.registry import ENVS

IDS = [
    spec.id
    for spec in ENVS.all()
    if spec.family == "control" and "Tabular" not in spec.capabilities
]
CONTINUE = """
import pickle, sys
import pgbench
saved = pickle.load(open(sys.argv[1], "rb"))
trail = {}
for name, (state, actions) in saved.items():
    env = pgbench.make(name, num_envs=3, num_threads=2)
    env.load_state_dict(state)
    trail[name] = [env.step(action)[:4] for action in actions]
pickle.dump(trail, open(sys.argv[2], "wb"))
"""


def started(name: str, steps: int = 30):
    env = pgbench.make(name, num_envs=3, num_threads=1, seed=7)
    env.action_space.seed(1)
    for _ in range(steps):
        env.step(env.action_space.sample())
    return env


def same_trail(one, two) -> None:
    for first, second in zip(one, two, strict=True):
        for a, b in zip(first[:4], second[:4], strict=True):
            assert a.tobytes() == b.tobytes()


def test_continues_in_a_new_process(tmp_path):
    saved, expected = {}, {}
    for name in IDS:
        env = started(name)
        state = env.state_dict()
        actions = [env.action_space.sample() for _ in range(60)]
        saved[name] = state, actions
        expected[name] = [env.step(action)[:4] for action in actions]
    (tmp_path / "saved").write_bytes(pickle.dumps(saved))
    command = [sys.executable, "-c", CONTINUE, str(tmp_path / "saved"), str(tmp_path / "trail")]
    subprocess.run(command, check=True)
    trail = pickle.loads((tmp_path / "trail").read_bytes())
    for name in IDS:
        same_trail(expected[name], trail[name])


@pytest.mark.parametrize("name", IDS)
def test_goes_back_to_a_saved_state(name):
    env = started(name)
    state = env.state_dict()
    actions = [env.action_space.sample() for _ in range(40)]
    expected = [env.step(action) for action in actions]
    env.load_state_dict(state)
    same_trail(expected, [env.step(action) for action in actions])


@pytest.mark.parametrize("name", ["ant", "reacher", "pendulum", "cartpole"])
def test_partial_reset_right_after_loading(name):
    env, other = started(name), pgbench.make(name, num_envs=3)
    other.load_state_dict(env.state_dict())
    options = {"reset_mask": np.array([False, True, False])}
    assert env.reset(options=options)[0].tobytes() == other.reset(options=options)[0].tobytes()


def test_state_of_another_size_is_refused():
    with pytest.raises(pgbench.PgbenchError, match="3 environments, this batch has 2"):
        pgbench.make("hopper", num_envs=2).load_state_dict(started("hopper").state_dict())
