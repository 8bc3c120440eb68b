"""Gymnasium environments of one's own, side by side: what makes them trainable as they are.

`Lanes(make_one, num_envs)` is the vector environment that a run asks for (docs/plugins.md) made
of single environments, stepped one after the other. Seeds, autoreset and episodes are those of
`gymnasium.vector.SyncVectorEnv` with same-step autoreset.

**Saved without being asked to.** A single environment has no state that could be saved: pickling
some of Gymnasium's silently starts them afresh. What is saved instead is how each lane came to
where it stands: the state of its generator at the last reset and the actions since. To restore is
to play them again, on a fresh environment, and to see that the observation is the same bit for bit.
`how_to_replay` finds out, once for each kind of environment, whether an episode is determined by
that. Where something else outlives a reset (a curriculum, a generator of its own), the tape begins
at the first reset with a seed. Where not even the seed decides, the environment is refused.

Some environments draw from numpy's global generator. While a lane's environment works, that is one
of the lane's own, seeded with it: so they, too, keep to their seeds, and the process's own global
generator is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import DependencyNotInstalled, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from pgbench.errors import Misuse, PgbenchError
from pgbench.worlds.batch_env import each_seed, reset_mask
from pgbench.worlds.copying import Copied
from pgbench.worlds.flat import flat_action, flat_observation
from pgbench.worlds.lane import EPISODE, LIFE, Lane, drawing_from

Make: TypeAlias = Callable[[], gymnasium.Env[Any, Any]]

TRIAL = (200, 25, 15)  # steps at most of the episodes of `how_to_replay`, before a tape's start
MORE = (20, 10)  # and after it
_found: dict[Any, str] = {}  # what `how_to_replay` found in this process, by the lanes' key


class Lanes(Copied, VectorEnv[Any, Any, Any]):
    """`num_envs` environments of `make_one()`, a function that makes a `gymnasium.Env`, as one.

    What the spaces become is in `pgbench.worlds.flat`. Rewards are float64 (n,), or (n, k) with
    `reward_size` k, where each step's reward is a vector.

    name: what error messages call it.
    registered: what a record is to say of where it comes from.
    key: under which this process remembers `how_to_replay`; None: it is found out for these lanes.

    Raises: PgbenchError if `make_one` does not give an environment with such spaces.
    """

    def __init__(
        self,
        make_one: Make,
        num_envs: int,
        *,
        name: str = "the environment",
        reward_size: int = 0,
        registered: dict[str, Any] | None = None,
        key: Any = None,
    ) -> None:
        if num_envs < 1:
            raise PgbenchError(f"num_envs must be at least 1, not {num_envs}")
        self.num_envs, self.name, self.reward_size = num_envs, name, reward_size
        self._make_one, self.registered = make_one, registered
        self.replays = _found.get(key) or how_to_replay(make_one, name, reward_size)
        if key is not None:
            _found[key] = self.replays
        self._lanes = [self._lane() for _ in range(num_envs)]
        one = self._lanes[0].env
        self.single_observation_space, _ = flat_observation(one.observation_space, name)
        self.single_action_space, _ = flat_action(one.action_space, name)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {**one.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode, self.spec = one.render_mode, one.spec
        self._obs: NDArray[Any] | None = None  # (n, d), the last that was given

    @property
    def note(self) -> str:
        """What whoever starts a run should know; empty if there is nothing."""
        if self.replays == EPISODE:
            return ""
        return (
            f"more than its generator outlives a reset of {self.name}: a run that resumes plays "
            "all its steps again first"
        )

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start new episodes: the observations (n, d) of all environments.

        seed: an int s seeds environment i with s + i; a sequence gives one seed each.
        options: `{"reset_mask": bool (n,)}` restarts only the environments where it is true.

        Raises: Misuse for other options.
        """
        mask = reset_mask(options, self.num_envs)
        seeds = each_seed(seed, self.num_envs)
        if self._obs is None and not mask.all():
            raise ResetNeeded("the first reset() must be of all environments")
        obs = self._blank() if self._obs is None else self._obs.copy()
        for i in np.flatnonzero(mask).tolist():
            obs[i] = self._lanes[i].begin(seeds[i])
        self._obs = obs
        return obs.copy(), {}

    def step(
        self, actions: Any
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Advance every environment by one step; see `BatchEnv` for what is returned.

        Raises: Misuse for actions that are none, ResetNeeded before the first reset.
        """
        if self._obs is None:
            raise ResetNeeded("call reset() before step()")
        given = self._checked(actions)
        obs = self._blank()
        rewards = np.empty((self.num_envs, self.reward_size or 1))
        rewards = rewards if self.reward_size else rewards[:, 0]
        terminated, truncated = np.empty((2, self.num_envs), bool)
        for i, lane in enumerate(self._lanes):
            obs[i], rewards[i], terminated[i], truncated[i] = lane.step(given[i])
        info = {}
        done = terminated | truncated
        if done.any():
            info = {"final_obs": obs, "_final_obs": done}
            obs = obs.copy()
            for i in np.flatnonzero(done).tolist():
                obs[i] = self._lanes[i].begin()
        self._obs = obs
        return obs.copy(), rewards, terminated, truncated, info

    def render(self) -> tuple[Any, ...]:
        """What each environment renders.

        Raises: PgbenchError if a package is missing for it.
        """
        try:
            return tuple(lane.env.render() for lane in self._lanes)
        except (DependencyNotInstalled, ImportError) as error:
            raise PgbenchError(f"{self.name} cannot be drawn: {error}") from error

    def close_extras(self, **kwargs: Any) -> None:
        """Close every environment; `close` calls it once."""
        for lane in self._lanes:
            lane.env.close()

    def state_dict(self) -> dict[str, Any]:
        """How each environment came to where it stands, as arrays and plain values."""
        obs = None if self._obs is None else self._obs.copy()
        return {"obs": obs, "lanes": [lane.tape() for lane in self._lanes]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, in this or another process.

        Raises: PgbenchError if the state is of another number of environments, or if its tape
        leads elsewhere here.
        """
        if len(state["lanes"]) != self.num_envs:
            raise PgbenchError(
                f"the state is of {len(state['lanes'])} environments, this has {self.num_envs}"
            )
        for lane in self._lanes:
            lane.env.close()
        self._lanes = [self._lane() for _ in range(self.num_envs)]  # nothing of before is left
        if state["obs"] is None:
            self._obs = None
            return
        obs = self._blank()
        for i, (lane, tape) in enumerate(zip(self._lanes, state["lanes"], strict=True)):
            obs[i] = lane.play(tape)
        if obs.tobytes() != np.asarray(state["obs"]).tobytes():
            raise PgbenchError(
                f"{self.name} does not come to where it was when the actions since its last reset "
                "are played again (its package changed, or it keeps something that no seed "
                "decides); start over with --fresh"
            )
        self._obs = obs

    def _lane(self) -> Lane:
        return Lane(_one(self._make_one, self.name), self.name, self.replays, self.reward_size)

    def _blank(self) -> NDArray[Any]:
        space = self.observation_space
        assert isinstance(space, spaces.Box)
        return np.empty(space.shape, space.dtype)

    def _checked(self, actions: Any) -> NDArray[Any]:
        """`actions` as an array of its own, of the right shape and kind, none of them NaN."""
        given, space = np.array(actions), self.single_action_space
        discrete = isinstance(space, spaces.Discrete)
        shape = self.action_space.shape
        if given.shape != shape or given.dtype.kind not in ("iu" if discrete else "iuf"):
            kind = "whole numbers" if discrete else "numbers"
            raise Misuse(
                f"actions must be {kind} of shape {shape}, not {given.dtype} of {given.shape}"
            )
        if isinstance(space, spaces.Discrete):
            first, last = int(space.start), int(space.start + space.n) - 1
            if given.min() < first or given.max() > last:
                raise Misuse(f"actions must be from {first} to {last}, not {given.tolist()}")
        elif np.isnan(given).any():
            raise Misuse("actions are NaN; look for the division or the overflow that made them")
        return given


def how_to_replay(make_one: Make, name: str, reward_size: int = 0) -> str:
    """`EPISODE` or `LIFE`: where a tape must begin so that playing it again gives the same bits.

    Plays a few short episodes of random actions on fresh environments.

    Raises: PgbenchError if the same seed and actions do not give the same numbers, or if stepping
    fails.
    """
    lanes = [Lane(_one(make_one, name), name, EPISODE, reward_size) for _ in range(3)]
    first, again, other = lanes
    space, _ = flat_action(first.env.action_space, name)
    space.seed(0)
    try:
        seed: int | None = 7
        for length in TRIAL:
            actions = [space.sample() for _ in range(length)]
            one, two = (_episode(lane, actions, seed) for lane in (first, again))
            if one != two:
                raise PgbenchError(
                    f"{name} gives other numbers for the same seed and the same actions, so that "
                    "no result on it could be checked; it must draw all that is random from the "
                    "generator that reset(seed=...) seeds (self.np_random)"
                )
            seed = None
        if one[-1].over:
            first.begin()
        other.play(first.tape())
        for length in MORE:
            actions = [space.sample() for _ in range(length)]
            one, two = ([*_steps(lane, actions), _begun(lane)] for lane in (first, other))
            if one != two:
                return LIFE
        return EPISODE
    except PgbenchError:
        raise
    except Exception as error:
        raise PgbenchError(
            f"{name} fails when it is stepped: {type(error).__name__}: {error}"
        ) from error
    finally:
        for lane in lanes:
            lane.env.close()


class Seen(NamedTuple):
    """What a step or a reset gave, to the bit."""

    bits: bytes
    over: bool


def _episode(lane: Lane, actions: list[Any], seed: int | None) -> list[Seen]:
    return [_begun(lane, seed), *_steps(lane, actions)]


def _begun(lane: Lane, seed: int | None = None) -> Seen:
    return Seen(lane.begin(seed).tobytes(), False)


def _steps(lane: Lane, actions: list[Any]) -> Iterator[Seen]:
    """Everything that the actions give, up to the episode's end."""
    for action in actions:
        obs, reward, terminated, truncated = lane.step(action)
        bits = obs.tobytes() + np.asarray(reward).tobytes() + bytes([terminated])
        yield Seen(bits, terminated or truncated)
        if terminated or truncated:
            return


def _one(make_one: Make, name: str) -> gymnasium.Env[Any, Any]:
    with drawing_from(np.random.MT19937(0)):
        env = make_one()
    if not isinstance(env, gymnasium.Env):
        what = "a vector environment" if hasattr(env, "num_envs") else f"{type(env).__name__}"
        raise PgbenchError(
            f"{name} is {what}, not a gymnasium.Env; lanes are made of single environments"
        )
    return env
