"""What Gymnasium's users expect of every family: limits, modes, copies, generators, wrappers."""

import copy
import pickle
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as wrap

import pgbench
import pgbench.gym
from pgbench.catalogue.registry import ENVS

BASES = [s for s in ENVS.all() if not s.needs and not s.instance_of and s.extra is None]
ARRAYS = ["hopper", "ant", "reacher", "pendulum", "one-store-lost-sales", "seasonal-store"]
EACH = [*ARRAYS, "cartpole", "acrobot", "math-nano"]
TURNS = {"math-nano": {"turns": 2}}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def name(env):
    return f"pgbench/{env}-v0"


def actions(env, count, seed=0):
    """Actions of `count` steps; texts are short numbers, as those of a model are."""
    env.action_space.seed(seed)
    if isinstance(env.action_space, gymnasium.spaces.Text):
        return [str(i) for i in range(count)]
    if isinstance(env.action_space, gymnasium.spaces.Tuple):
        return [tuple(f"{i}{k}" for k in range(env.num_envs)) for i in range(count)]
    return [env.action_space.sample() for _ in range(count)]


def same(one, two):
    """Equal to the bit, `final_obs` by row and info where its mask says so."""
    if isinstance(one, dict):
        assert {k for k in one if not k.startswith("_")} == {
            k for k in two if not k.startswith("_")
        }
        for key in one:
            if key.startswith("_") or not isinstance(two.get(f"_{key}"), np.ndarray):
                same(one[key], two[key])
                continue
            same(one[f"_{key}"], two[f"_{key}"])
            if isinstance(one[key], dict):
                same(one[key], two[key])
                continue
            for i in one[f"_{key}"].nonzero()[0]:
                same(one[key][i], two[key][i])
    elif isinstance(one, tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            same(a, b)
    elif isinstance(one, np.ndarray) and one.dtype != object:
        assert one.shape == two.shape and one.dtype == two.dtype
        assert np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(two).tobytes()
    else:
        assert np.array_equal(one, two)


@pytest.mark.parametrize("spec", BASES, ids=lambda s: s.id)
def test_gymnasiums_checker_agrees(spec):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=ResourceWarning)
        # Unbounded observations and boxes in the environment's own units are what they are.
        warnings.filterwarnings("ignore", message=".*(infinity|symmetric).*")
        env = gymnasium.make(name(spec.id))
        check_env(env.unwrapped, skip_render_check=True)
    assert env.spec.max_episode_steps == spec.max_episode_steps
    env.close()


def test_the_stated_limit_is_the_environments_own():
    for spec in BASES:
        if spec.max_episode_steps is not None:
            assert pgbench.make(spec).default_episode_steps == spec.max_episode_steps


@pytest.mark.parametrize("env", ["hopper", "pendulum", "one-store-lost-sales", "seasonal-store"])
@pytest.mark.parametrize("limit", [7, 70])
def test_a_chosen_limit_truncates_at_exactly_that_step(env, limit):
    kwargs = {"terminate_when_unhealthy": False} if env == "hopper" else {}
    single = gymnasium.make(name(env), max_episode_steps=limit, **kwargs)
    batch = gymnasium.make_vec(name(env), 1, max_episode_steps=limit, **kwargs)
    same(single.reset(seed=3)[0], batch.reset(seed=3)[0][0])
    for step, action in enumerate(actions(single, limit), 1):
        one, many = single.step(action), batch.step(action[None])
        assert one[3] == many[3][0] == (step == limit) and not one[2]
        last = many[4]["final_obs"][0] if step == limit else many[0][0]
        same(one[0], last)
        assert one[1] == many[1][0]
    for each in (single, batch):
        each.close()


def test_limits_that_are_none():
    for bad in (0, -5, 2.5, True):
        with pytest.raises(pgbench.PgbenchError, match="max_episode_steps"):
            pgbench.make("hopper", max_episode_steps=bad)
    with pytest.raises(pgbench.PgbenchError, match="at most 95, the recorded weeks"):
        pgbench.make("seasonal-store", max_episode_steps=96)
    env = gymnasium.make(name("seasonal-store"), max_episode_steps=-1)
    env.reset(seed=0)
    ends = [env.step(np.ones(1))[3] for _ in range(95)]
    assert ends == [False] * 94 + [True]  # the recording ends
    free = gymnasium.make_vec(name("pendulum"), 2, max_episode_steps=-1)
    free.reset(seed=0)
    assert not any(free.step(np.zeros((2, 1)))[3].any() for _ in range(250))


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda m: m.value)
@pytest.mark.parametrize("env", EACH)
def test_every_autoreset_mode_is_gymnasiums(env, mode):
    n, kwargs = 3, dict(TURNS.get(env, {}))
    if env not in TURNS:
        kwargs["max_episode_steps"] = 13
    theirs = SyncVectorEnv([lambda: gymnasium.make(name(env), **kwargs)] * n, autoreset_mode=mode)
    ours = gymnasium.make_vec(name(env), n, autoreset_mode=mode, **kwargs)
    assert ours.metadata["autoreset_mode"] is mode
    same(theirs.reset(seed=5), ours.reset(seed=5))
    assert theirs.np_random_seed == ours.np_random_seed if env in ARRAYS else True
    ended = 0
    for action in actions(ours, 60):
        one, two = theirs.step(action), ours.step(action)
        same(one[:4], two[:4])
        if not (env == "math-nano" and mode is AutoresetMode.SAME_STEP):  # more than Gymnasium's
            same(one[4], two[4])
        over = one[2] | one[3]
        ended += over.sum()
        if mode is AutoresetMode.DISABLED and over.any():
            with pytest.raises(ResetNeeded):
                ours.step(action)
            masks = {"reset_mask": over.copy()}, {"reset_mask": over.copy()}
            same(theirs.reset(options=masks[0]), ours.reset(options=masks[1]))
    assert ended > 3
    theirs.close()
    ours.close()


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("env", EACH)
@pytest.mark.parametrize("way", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_a_copy_of_a_batch_goes_on_to_the_same_bits(env, mode, way):
    kwargs = dict(TURNS.get(env, {})) or {"max_episode_steps": 13}
    batch = gymnasium.make_vec(name(env), 2, autoreset_mode=mode, **kwargs)
    batch.reset(seed=4)
    made = actions(batch, 40)
    for action in made[:13]:  # NEXT_STEP: all wait for their reset
        batch.step(action)
    other = way(batch)
    assert other.metadata == batch.metadata and other.spec == batch.spec
    for action in made[13:]:
        same(batch.step(action), other.step(action))
    batch.close()
    with pytest.raises(pgbench.PgbenchError, match="closed environment cannot be copied"):
        copy.copy(batch)
    other.close()


@pytest.mark.parametrize("env", EACH)
def test_a_single_environment_copies_pickles_and_saves_its_state(env):
    one = gymnasium.make(name(env), **TURNS.get(env, {}))
    one.reset(seed=4)
    made = actions(one, 30)
    one.step(made[0])
    copies = [copy.deepcopy(one), pickle.loads(pickle.dumps(one))]
    fresh = gymnasium.make(name(env), **TURNS.get(env, {}))
    fresh.reset(seed=9)
    fresh.unwrapped.load_state_dict(one.unwrapped.state_dict())
    for action in made[1:]:
        found = one.step(action)
        for other in (*copies, fresh):
            same(found, other.step(action))
        if found[2] or found[3]:
            first = one.reset()
            for other in (*copies, fresh):
                same(first, other.reset())
    assert copies[0].unwrapped.np_random_seed == 4


def test_settings_and_sampling_are_copied_too():
    env = pgbench.make("hopper", num_envs=2, seed=0)
    env.forward_reward_weight = 3.0
    env.action_space.seed(1)
    other = copy.deepcopy(env)
    assert other.forward_reward_weight == 3.0
    same(env.action_space.sample(), other.action_space.sample())


@pytest.mark.parametrize("env", ARRAYS)
def test_np_random_is_what_episodes_are_drawn_from(env):
    one, two = gymnasium.make(name(env)), gymnasium.make(name(env))
    one.reset(seed=7)
    assert one.unwrapped.np_random_seed == 7
    two.unwrapped.np_random = copy.deepcopy(one.unwrapped.np_random)
    assert two.unwrapped.np_random_seed == -1
    same(one.reset()[0], two.reset()[0])
    one.unwrapped.np_random.random(3)
    assert not np.array_equal(one.reset()[0], two.reset()[0])
    new = gymnasium.make(name(env)).unwrapped
    assert not np.array_equal(new.reset()[0], gymnasium.make(name(env)).reset()[0])
    same(new.reset(seed=new.np_random_seed)[0], gymnasium.make(name(env)).reset(
        seed=new.np_random_seed)[0])  # fmt: skip


def test_texts_are_drawn_by_another_generator():
    env = gymnasium.make(name("math-nano")).unwrapped
    first = env.reset()[0]
    assert env.reset(seed=env.np_random_seed)[0] == first
    with pytest.raises(pgbench.PgbenchError, match="draws from no numpy generator"):
        _ = env.np_random
    with pytest.raises(pgbench.PgbenchError, match="draws from no numpy generator"):
        env.np_random = np.random.default_rng(0)


def test_reset_options():
    theirs, ours = gymnasium.make("Pendulum-v1"), gymnasium.make(name("pendulum"))
    for options in ({"x_init": 0.5}, {"x_init": 0.1, "y_init": np.float32(2)}, {}):
        same(theirs.reset(seed=1, options=options)[0], ours.reset(seed=1, options=options)[0])
        same(theirs.reset()[0], ours.reset()[0])
    for bad in ("a", None, np.nan, [1, 2]):
        with pytest.raises(ValueError, match="'x_init' must be a finite number"):
            ours.reset(options={"x_init": bad})
    for env in ("cartpole", "acrobot", "mountain-car", "mountain-car-continuous"):
        spec = next(spec for spec in BASES if spec.id == env)
        theirs, ours = gymnasium.make(spec.underlying), gymnasium.make(name(env))
        for options in ({"low": -0.7}, {"low": 0.1, "high": np.float32(0.2)}, {"high": 0.4}, {}):
            same(theirs.reset(seed=1, options=options)[0], ours.reset(seed=1, options=options)[0])
            same(theirs.reset()[0], ours.reset()[0])
        for bad in ({"low": "a"}, {"high": np.inf}, {"low": 1, "high": 0}):
            with pytest.raises(ValueError, match=r"reset option '(low|high)'"):
                ours.reset(options=bad)
    with pytest.raises(ValueError, match=r"within .-100"):  # it would turn for ever
        gymnasium.make(name("acrobot")).reset(options={"high": 1e9})
    for env in EACH:
        with pytest.raises(ValueError, match="unknown reset option 'level'"):
            gymnasium.make(name(env)).reset(seed=0, options={"level": 1})
        with pytest.raises(ValueError, match="unknown reset option 'level'"):
            pgbench.make(env).reset(seed=0, options={"level": 1})


@pytest.mark.parametrize("env", ARRAYS)
def test_what_is_no_action_is_refused(env):
    batch, single = pgbench.make(env, num_envs=3, seed=0), gymnasium.make(name(env)).unwrapped
    single.reset(seed=0)
    good = np.zeros(batch.action_space.shape, np.float32)
    wide = good.shape[1]
    nan = good.copy()
    nan[1, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN in environments \[1\]"):
        batch.step(nan)
    with pytest.raises(ValueError, match="NaN"):
        single.step(nan[1])
    for bad in (good[:, :, None], good[0], 0.0, np.zeros((3, wide + 1)), [[0.0]] * 2, [[0.0], []]):
        with pytest.raises(ValueError, match="actions must have shape"):
            batch.step(bad)
    for bad in (0.0, np.zeros(wide + 1), np.zeros((1, wide))):
        with pytest.raises(ValueError, match="actions must have shape"):
            single.step(bad)
    with pytest.raises(ValueError, match="must be numbers"):
        batch.step(good.astype(str))
    other = pgbench.make(env, num_envs=3, seed=0)
    same(batch.step(good.astype(float).tolist()), other.step(good.astype(float)))


def test_what_is_no_completion_is_refused():
    env = pgbench.make("math-nano", num_envs=2, seed=0)
    for bad, words in (("12", "2 completions"), ([1, 2], "not int"), ([None, "1"], "not NoneType")):
        with pytest.raises(pgbench.PgbenchError, match=words):
            env.step(bad)


def test_seeds_of_numpy_and_what_is_none():
    for env in ("math-nano", "pendulum"):
        batch = pgbench.make(env, num_envs=2)
        first = batch.reset(seed=np.int64(3))[0]
        same(first, batch.reset(seed=np.array([3, 4]))[0])
        same(first, batch.reset(seed=3)[0])
        for bad in (1.5, "3", [1, 2.5]):
            with pytest.raises(ValueError, match="a seed is a whole number"):
                batch.reset(seed=bad)


def test_render_modes():
    talk = gymnasium.make(name("math-nano"), render_mode="ansi", turns=2)
    first, _ = talk.reset(seed=0)
    assert talk.render() == first
    assert talk.render() == talk.unwrapped.batch.render()[0]
    for env, mode in (("math-nano", "rgb_array"), ("one-store-lost-sales", "rgb_array"),
                      ("math-nano", "human"), ("hopper", "depth")):  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(pgbench.PgbenchError, match=f"render_mode takes .*not '{mode}'"):
                gymnasium.make(name(env), render_mode=mode)
            with pytest.raises(pgbench.PgbenchError, match="render_mode"):
                gymnasium.make_vec(name(env), 2, render_mode=mode)
    for spec in BASES:
        env = pgbench.make(spec)
        shows = env.metadata["render_modes"]
        family = "tabular" if "Tabular" in spec.capabilities else spec.family
        assert shows == {"control": ["rgb_array"], "text": ["ansi"]}.get(family, [])
        env.close()
    env = gymnasium.make(name("pendulum"), render_mode="rgb_array", width=120, height=80)
    env.reset(seed=0)
    assert env.render().shape == (80, 120, 3)


@pytest.mark.parametrize("env", ["hopper", "one-store-lost-sales"])
def test_wrappers_work(env):
    next_step = gymnasium.make_vec(name(env), 2, autoreset_mode="NextStep", max_episode_steps=9)
    wrapped = wrap.RecordEpisodeStatistics(wrap.NormalizeObservation(next_step))
    plain = gymnasium.make_vec(name(env), 2, max_episode_steps=9)
    single = gymnasium.wrappers.NormalizeObservation(gymnasium.make(name(env)))
    for each in (wrapped, wrap.RecordEpisodeStatistics(plain)):
        each.reset(seed=0)
        lengths = []
        for action in actions(each, 25):
            info = each.step(action)[4]
            lengths += info["episode"]["l"][info["_episode"]].tolist() if "episode" in info else []
        assert lengths and set(lengths) == {9}
    single.reset(seed=0)
    assert np.isfinite(single.step(actions(single, 1)[0])[0]).all()


def test_gymnasiums_own_vectors_of_ours():
    made = [lambda: gymnasium.make(name("reacher"))] * 2
    one, two = SyncVectorEnv(made), AsyncVectorEnv(made)
    same(one.reset(seed=0), two.reset(seed=0))
    for action in actions(one, 60):
        same(one.step(action), two.step(action))
    two.close()


DRAWS = """
import gymnasium, sys, pgbench.gym
env = gymnasium.make("pgbench/hopper-v0", render_mode="rgb_array", width=64, height=32)
env.reset(seed=0)
try:
    frame = env.render()
except pgbench.PgbenchError as error:
    sys.exit(77)
assert frame.shape == (32, 64, 3)
other = gymnasium.make_vec("pgbench/reacher-v0", 2, render_mode="rgb_array")
other.reset(seed=0)
other.render()
"""


def test_nothing_is_printed_at_exit_after_drawing():
    done = subprocess.run([sys.executable, "-c", DRAWS], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("no OpenGL here")
    assert (done.returncode, done.stderr) == (0, "")
