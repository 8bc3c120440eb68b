"""Single Gymnasium environments as a batch: the same numbers, and saved without being asked to."""

import copy
import functools
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from pgbench.catalogue.capabilities import make
from pgbench.errors import Breach, Misuse, PgbenchError
from pgbench.support.files import load_tensors, save_tensors
from pgbench.worlds.flat import flat_action, flat_observation
from pgbench.worlds.lanes import EPISODE, LIFE, Lanes, how_to_replay

N = 3


def made(id: str, **kwargs):
    return functools.partial(gymnasium.make, id, disable_env_checker=True, **kwargs)


def lanes(id: str, n: int = N, **kwargs) -> Lanes:
    return Lanes(made(id, **kwargs), n, name=id)


def some_actions(env, steps: int, seed: int = 5) -> list:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(steps)]


class Odd(gymnasium.Env):
    """Counts its steps; a subclass does something odd."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))
    action_space = spaces.Discrete(2, start=3)

    def __init__(self):
        self.count, self.age = 0, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.age = 0
        self.count = 0
        return self.see(), {}

    def see(self):
        return np.array([self.count, self.np_random.random()], np.float32)

    def step(self, action):
        assert type(action) is int and action in (3, 4)
        self.count += 1
        return self.see(), float(action), self.count >= 11, False, {}


class Curriculum(Odd):
    """Its episodes depend on how many there have been."""

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        self.age += 1
        return obs + self.age, info

    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs + self.age, reward + self.age, *rest


class OwnGenerator(Odd):
    """Draws from a generator of its own, which a seed seeds."""

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.own = np.random.RandomState(seed)
        return super().reset(seed=seed)

    def see(self):
        return np.array([self.count, self.own.rand()], np.float32)


class Global(Odd):
    """Draws from numpy's global generator, from the constructor on."""

    def __init__(self):
        super().__init__()
        self.made = np.random.rand()

    def see(self):
        return np.array([self.made, np.random.rand()], np.float32)


class Unseeded(Odd):
    def see(self):
        return np.random.default_rng().random(2).astype(np.float32)


class Wrong(Odd):
    def step(self, action):
        return np.zeros(3), 0.0, False, False, {}


class Vectors(Odd):
    def step(self, action):
        return self.see(), np.array([1.0, 2.0]), False, False, {}


@pytest.mark.parametrize("id", ["Pendulum-v1", "CartPole-v1", "InvertedPendulum-v5"])
def test_the_numbers_are_those_of_gymnasiums_own_batch(id):
    ours = lanes(id)
    theirs = SyncVectorEnv([made(id)] * N, autoreset_mode=AutoresetMode.SAME_STEP)
    assert np.array_equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
    ends = 0
    for actions in some_actions(theirs, 230):
        (*mine, info), (*other, their_info) = ours.step(actions), theirs.step(actions)
        for a, b in zip(mine, other, strict=True):
            assert np.array_equal(a, b) and a.dtype == b.dtype
        for i in np.flatnonzero(mine[2] | mine[3]):
            ends += 1
            assert np.array_equal(info["final_obs"][i], their_info["final_obs"][i])
    assert ends >= N


@pytest.mark.parametrize(
    ("id", "builtin"), [("Pendulum-v1", "pendulum"), ("InvertedPendulum-v5", "inverted-pendulum")]
)
def test_the_numbers_are_those_of_the_built_in_environment(id, builtin):
    ours, house = lanes(id), make(builtin, num_envs=N)
    assert np.array_equal(ours.reset(seed=[9, 2, 4])[0], house.reset(seed=[9, 2, 4])[0])
    returns = np.zeros((2, N))
    for actions in some_actions(house, 230):
        a, b = ours.step(actions), house.step(actions)
        returns += [a[1], b[1]]
        for one, two in zip(a[:4], b[:4], strict=True):
            assert np.array_equal(one, two)
    assert np.array_equal(*returns) and returns.any()


def test_discrete_observations_are_one_hot_and_a_time_limit_truncates():
    env = lanes("FrozenLake-v1", 1, is_slippery=False)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (1, 16) and obs[0].argmax() == 0 and obs.sum() == 1
    obs, *_ = env.step(np.array([2]))  # to the right
    assert obs[0].argmax() == 1
    for t in range(2, 101):
        obs, _, terminated, truncated, info = env.step(np.array([3]))  # up, into the wall
        assert not terminated[0] and truncated[0] == (t == 100)
    assert info["final_obs"][0].argmax() == 1 and obs[0].argmax() == 0


@pytest.mark.parametrize(
    ("make_one", "replays"),
    [
        (made("Pendulum-v1"), EPISODE),
        (made("InvertedPendulum-v5"), EPISODE),
        (made("Hopper-v5"), EPISODE),
        (made("CartPole-v1"), EPISODE),
        (Odd, EPISODE),
        (Curriculum, LIFE),
        (OwnGenerator, LIFE),
        (Global, EPISODE),
    ],
)
def test_a_saved_batch_goes_on_to_the_same_bits_in_a_fresh_one(make_one, replays, tmp_path):
    env = Lanes(make_one, 2)
    assert env.replays == replays and bool(env.note) == (replays == LIFE)
    env.reset(seed=1)
    actions = some_actions(env, 60)
    for action in actions[:33]:
        env.step(action)
    save_tensors(tmp_path / "state.pt", env.state_dict())
    fresh = Lanes(make_one, 2)
    fresh.load_state_dict(load_tensors(tmp_path / "state.pt"))
    again = fresh.state_dict()  # saved where it was loaded
    for action in actions[33:]:
        for a, b in zip(env.step(action)[:4], fresh.step(action)[:4], strict=True):
            assert np.array_equal(a, b)
    fresh.load_state_dict(again)
    env.load_state_dict(load_tensors(tmp_path / "state.pt"))
    for action in actions[33:]:
        for a, b in zip(env.step(action)[:4], fresh.step(action)[:4], strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_to_the_same_bits(copied):
    """Pickling a MuJoCo environment of Gymnasium starts it afresh; a batch of them does not."""
    env = lanes("InvertedPendulum-v5")
    env.reset(seed=1)
    actions = some_actions(env, 30)
    for action in actions[:20]:
        env.step(action)
    other = copied(env)
    for action in actions[20:]:
        for a, b in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
            assert np.array_equal(a, b)


def test_a_tape_that_leads_elsewhere_is_refused():
    env = lanes("Pendulum-v1")
    env.reset(seed=1)
    for actions in some_actions(env, 5):
        env.step(actions)
    heavier = lanes("Pendulum-v1", g=12.0)
    with pytest.raises(PgbenchError, match=r"does not come to where it was .* --fresh"):
        heavier.load_state_dict(env.state_dict())
    with pytest.raises(PgbenchError, match="the state is of 3 environments, this has 2"):
        lanes("Pendulum-v1", 2).load_state_dict(env.state_dict())


def test_what_no_seed_decides_is_refused():
    with pytest.raises(PgbenchError, match=r"dice gives other numbers .*reset\(seed=\.\.\.\)"):
        Lanes(Unseeded, 1, name="dice")


def test_numpys_global_generator_is_a_lanes_own_meanwhile():
    np.random.seed(3)
    expected = np.random.rand(2)
    np.random.seed(3)
    assert np.random.rand() == expected[0]
    one, three = Lanes(Global, 1), Lanes(Global, 3)
    assert np.array_equal(one.reset(seed=8)[0][0], three.reset(seed=[7, 8, 9])[0][1])
    for actions in some_actions(three, 40):
        three.step(actions)
        one.step(actions[1:2])
    assert np.array_equal(*(env.step(np.array([3] * env.num_envs))[0][i]
                            for env, i in ((one, 0), (three, 1))))  # fmt: skip
    assert np.random.rand() == expected[1]


def test_what_it_gives_must_be_of_its_space():
    with pytest.raises(Breach, match=r"an observation of shape \(3,\)"):
        how_to_replay(Wrong, "wrong")
    with pytest.raises(Breach, match="as a reward, not a number"):
        how_to_replay(Vectors, "vectors")
    assert Lanes(Vectors, 2, reward_size=2).reward_size == 2
    with pytest.raises(Breach, match="not a vector of 2 numbers"):
        how_to_replay(Odd, "odd", 2)
    with pytest.raises(PgbenchError, match="it is a vector environment"):
        Lanes(lambda: SyncVectorEnv([Odd]), 1, name="it")


def test_actions_that_are_none_are_refused():
    env = Lanes(Odd, 2)
    env.reset(seed=0)
    for actions in ([3], [3, 5], [3.0, 4.0], [2, 3]):
        with pytest.raises(Misuse, match="actions must be"):
            env.step(np.array(actions))
    box = lanes("Pendulum-v1", 1)
    box.reset(seed=0)
    with pytest.raises(Misuse, match="NaN"):
        box.step(np.array([[np.nan]]))


def test_some_of_the_environments_start_anew():
    env = lanes("Pendulum-v1")
    first, _ = env.reset(seed=1)
    mask = np.array([False, True, False])
    obs, _ = env.reset(seed=[None, 8, None], options={"reset_mask": mask})
    assert np.array_equal(obs[~mask], first[~mask])
    assert np.array_equal(obs[1], lanes("Pendulum-v1", 1).reset(seed=8)[0][0])


def test_spaces_become_vectors_or_are_refused_by_name():
    grid = spaces.Box(0, 1, (2, 3))
    box, flat = flat_observation(grid, "it")
    assert box.shape == (6,) and flat(np.arange(6).reshape(2, 3)).tolist() == list(range(6))
    space, own = flat_action(grid, "it")
    assert space.shape == (6,) and own(np.arange(6)).shape == (2, 3)
    _, hot = flat_observation(spaces.Discrete(4, start=-1), "it")
    assert hot(-1).tolist() == [1, 0, 0, 0]
    refused = [
        (spaces.Dict({"a": grid, "b": grid}), "it observes a Dict of a, b, no vector"),
        (spaces.Tuple((grid,)), "it observes a Tuple space"),
        (spaces.MultiDiscrete([2, 3]), "it observes a MultiDiscrete space"),
        (spaces.MultiBinary(4), "it observes a MultiBinary space"),
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), r"pictures, uint8 of shape \(8, 8, 3"),
        (spaces.Discrete(10**6), "one of 1,000,000 states"),
    ]
    for space, words in refused:
        with pytest.raises(PgbenchError, match=words):
            flat_observation(space, "it")
    for space in (spaces.MultiDiscrete([2, 3]), spaces.Box(0, 5, (2,), np.int64)):
        with pytest.raises(PgbenchError, match=r"it acts by a .*TransformAction"):
            flat_action(space, "it")
