"""What every array-valued batch environment shares: seeds, time limit, autoreset, info, state.

A subclass says how all environments advance, how some of them start afresh and what they observe.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias, TypedDict

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from pgbench.errors import Misuse, PgbenchError
from pgbench.settings.ranges import Count, Natural
from pgbench.worlds.copying import Copied

Floats: TypeAlias = NDArray[Any]
Bools: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = slice | NDArray[np.intp]
Info: TypeAlias = dict[str, Any]

EVERY = slice(None)


class Options(TypedDict, total=False):
    """Constructor options of every batch environment.

    num_threads: native threads that step the batch, 0 for all CPUs; results do not depend on it.
    render_mode: None, or "rgb_array" where the environment can be drawn.
    render_envs: how many environments, from the first, `render` draws; None for all.
    width, height: of a picture, pixels; None for the environment's own.
    max_episode_steps: time limit, None for the environment's own.
    full_info: return Gymnasium's info terms at every step, as arrays with `_key` masks.
    """

    num_threads: int
    render_mode: str | None
    render_envs: int | None
    width: int | None
    height: int | None
    max_episode_steps: int | None
    full_info: bool


class BatchEnv(Copied, VectorEnv[Floats, Floats, Floats]):
    """A vector environment whose environments advance together.

    `reset` and `step` return fresh arrays, which the caller may keep:
    observations (n, d), rewards float64 (n,), terminated and truncated bool (n,).
    When an episode ends, its row of the observations is the first one of the next episode, and
    `info["final_obs"]` (n, d) holds the last one where `info["_final_obs"]` (n,) is true.
    `info` is empty when no episode ends, unless `full_info`.
    That is same-step autoreset, which every training loop here asks for. `set_autoreset_mode`
    chooses another one, with the meaning that it has in `gymnasium.vector.SyncVectorEnv`.

    Actions are an array, or nested lists, of exactly the action space's shape: nothing is
    broadcast, and NaN is refused. Infinite ones mean what the environment's bounds make of them.
    Discrete actions (n,) are whole numbers of the space.
    """

    default_episode_steps: ClassVar[int]
    render_modes: ClassVar[tuple[str, ...]] = ("rgb_array",)  # empty where nothing is drawn
    reset_options: ClassVar[tuple[str, ...]] = ()  # what `reset` takes besides `reset_mask`

    def __init__(
        self,
        num_envs: int,
        action: spaces.Box | spaces.Discrete,
        *,
        render_fps: int,
        num_threads: Natural = 0,
        render_mode: str | None = None,
        render_envs: Count | None = None,
        width: Count | None = None,
        height: Count | None = None,
        max_episode_steps: Count | None = None,
        full_info: bool = False,
    ) -> None:
        if render_mode is not None and render_mode not in self.render_modes:
            takes = " or ".join(["None", *map(repr, self.render_modes)])
            raise PgbenchError(f"render_mode must be {takes}, not {render_mode!r}")
        if num_envs < 1:
            raise PgbenchError(f"num_envs must be at least 1, not {num_envs}")
        for name, size in (("width", width), ("height", height)):
            if size is not None and size < 1:
                raise PgbenchError(f"{name} must be at least 1 pixel, not {size}")
        if max_episode_steps is None:
            max_episode_steps = self.default_episode_steps
        if type(max_episode_steps) is not int or max_episode_steps < 1:
            raise PgbenchError(
                f"max_episode_steps must be a whole number from 1, not {max_episode_steps!r}"
            )
        self.num_envs = num_envs
        self.num_threads = min(num_threads or _cpus(), num_envs)
        self.metadata = {
            "render_modes": list(self.render_modes),
            "render_fps": render_fps,
            "autoreset_mode": AutoresetMode.SAME_STEP,
        }
        self.render_mode = render_mode
        self.render_envs = num_envs if render_envs is None else min(render_envs, num_envs)
        self.width, self.height = width, height
        self.max_episode_steps = max_episode_steps
        self.full_info = full_info
        self.single_action_space = action
        self.action_space = batch_space(action, num_envs)
        self._action_shape = self.action_space.shape
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self._seeds: list[int | None] = [None] * num_envs
        self._elapsed = np.full(num_envs, -1)  # steps of each episode; -1 before the first reset
        self._over = np.zeros(num_envs, np.bool_)  # episodes that wait for their reset
        self._options: Info = {}  # of the reset in progress

    def set_observation_space(self, space: spaces.Box) -> None:
        """Say what one environment observes; a subclass calls it at the end of its constructor."""
        self.single_observation_space = space
        self.observation_space = batch_space(space, self.num_envs)

    # What a subclass provides.

    def observe(self, rows: Rows) -> Floats:
        """The current observations of `rows`, (k, d), a fresh array."""
        raise NotImplementedError

    def advance(self, actions: Floats) -> tuple[Floats, Bools, Info]:
        """Take one step with actions (n, a): rewards (n,), terminated (n,), info terms (n, ...).

        Discrete actions are int64 (n,).
        """
        raise NotImplementedError

    def restart(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """Start a new episode in the environments `ids` (k,), drawing from `rngs`, one each."""
        raise NotImplementedError

    def pose_info(self, rows: Rows) -> Info:
        """The info terms that a reset also reports, (k, ...) each."""
        return {}

    def save(self) -> Info:
        """The state of the dynamics, copied."""
        raise NotImplementedError

    def load(self, state: Info) -> None:
        """Put back what `save` returned."""
        raise NotImplementedError

    def longest_episode(self) -> int:
        """Steps after which an episode ends whatever the limit, because its data do."""
        return sys.maxsize

    # What a caller uses.

    def set_autoreset_mode(self, mode: AutoresetMode | str) -> None:
        """Choose when the environments whose episodes end start anew, as Gymnasium defines it."""
        self.metadata["autoreset_mode"] = AutoresetMode(mode)

    def lift_limit(self) -> None:
        """Set no time limit: whoever steps the environment counts."""
        self.max_episode_steps = self.longest_episode()

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Info | None = None,
    ) -> tuple[Floats, Info]:
        """Start new episodes and return the observations of all environments, (n, d).

        seed: an int s seeds environment i with s + i; a sequence gives one seed each (None keeps
            that environment's generator), as in `gymnasium.vector.SyncVectorEnv`.
        options: `{"reset_mask": bool (n,)}` restarts only the environments where it is true, and
            what the class names in `reset_options`.

        Raises: Misuse, a ValueError, for other options.
        """
        mask = reset_mask(options, self.num_envs, self.reset_options)
        if not mask.all() and self._elapsed.min() < 0:
            raise ResetNeeded("the first reset() must be of all environments")
        ids = np.flatnonzero(mask)
        self._seed(seed, ids)
        self._options = options or {}
        try:
            self._restart(ids)
        finally:
            self._options = {}
        return self.observe(EVERY), self._masked(self.pose_info(EVERY), mask)

    def step(self, actions: Floats) -> tuple[Floats, Floats, Bools, Bools, Info]:
        """Advance every environment by one step with actions (n, a); see the class for the rest.

        Raises: Misuse, a ValueError, for actions that are none; ResetNeeded before the first reset,
            and after the end of an episode where environments are not reset by themselves.
        """
        actions = self._checked(actions)
        if self._elapsed[0] < 0:
            raise ResetNeeded("call reset() before step()")
        mode = self.metadata["autoreset_mode"]
        waiting = self._over.copy()  # for a reset at this step
        if mode is AutoresetMode.DISABLED and waiting.any():
            raise ResetNeeded(
                f"the episode is over in environments {waiting.nonzero()[0].tolist()}: call "
                "reset(), with options={'reset_mask': ...} for some of them"
            )
        rewards, terminated, terms = self.advance(actions)
        self._elapsed += 1
        truncated = self._elapsed >= self.max_episode_steps
        if waiting.any():
            rewards[waiting], terminated[waiting], truncated[waiting] = 0.0, False, False
            self._restart(waiting.nonzero()[0])
        done = terminated | truncated
        observations = self.observe(EVERY)
        if mode is not AutoresetMode.SAME_STEP or not done.any():
            info = self._step_info(terms, ~waiting)
            if mode is not AutoresetMode.SAME_STEP:
                self._over = done.copy()
            return observations, rewards, terminated, truncated, info
        info = {"final_obs": observations, "_final_obs": done}
        observations = observations.copy()
        ids = done.nonzero()[0]
        self._restart(ids)
        observations[ids] = self.observe(ids)
        if self.full_info:
            info["final_info"], info["_final_info"] = self._masked(terms, done), done
            info |= self._step_info(terms, ~done)
        return observations, rewards, terminated, truncated, info

    @property  # type: ignore[misc]  # as in SyncVectorEnv, it cannot be set
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generator of each environment, as `SyncVectorEnv` gives them."""
        self._seed(None, np.arange(self.num_envs))
        return tuple(rng for rng in self._rngs if rng is not None)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each environment's generator; -1 where it is not known."""
        self._seed(None, np.arange(self.num_envs))
        return tuple(-1 if seed is None else seed for seed in self._seeds)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the future depends on, as numpy arrays and plain Python, copied."""
        return {
            "elapsed": self._elapsed.copy(),
            "rngs": [None if rng is None else rng.bit_generator.state for rng in self._rngs],
            **({"over": self._over.copy()} if self._over.any() else {}),
            **self.save(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, in this or another process.

        Raises: PgbenchError if the state is of another number of environments.
        """
        if len(state["rngs"]) != self.num_envs:
            raise PgbenchError(
                f"the state is of {len(state['rngs'])} environments, this batch has {self.num_envs}"
            )
        self._elapsed[:] = state["elapsed"]
        self._over = np.array(state.get("over", np.zeros(self.num_envs, np.bool_)))
        for i, saved in enumerate(state["rngs"]):
            bits = np.random.PCG64()
            if saved is not None:
                bits.state = saved
            self._rngs[i] = None if saved is None else np.random.Generator(bits)
            if saved is None:
                self._elapsed[i] = -1
        self.load(state)

    def _seed(self, seed: int | Sequence[int | None] | None, ids: NDArray[np.intp]) -> None:
        seeds = each_seed(seed, self.num_envs)
        for i in ids:
            if seeds[i] is not None or self._rngs[i] is None:
                self._rngs[i], self._seeds[i] = np_random(seeds[i])

    def _restart(self, ids: NDArray[np.intp]) -> None:
        rngs = [rng for i in ids.tolist() if (rng := self._rngs[i]) is not None]
        self._elapsed[ids] = 0
        self._over[ids] = False
        self.restart(ids, rngs)

    def _checked(self, actions: Any) -> Floats:
        """`actions` as an array of numbers of the right shape, none of them NaN."""
        try:
            found = np.asarray(actions)
        except ValueError as error:  # rows of different lengths
            raise Misuse(f"actions must have shape {self._action_shape}: {error}") from None
        if found.shape != self._action_shape:
            raise Misuse(f"actions must have shape {self._action_shape}, not {found.shape}")
        if found.dtype.kind not in "fiub":
            raise Misuse(f"actions must be numbers, not of type {found.dtype}")
        if isinstance(self.single_action_space, spaces.Discrete):
            return _chosen(found, self.single_action_space)
        if np.isnan(found.min()):
            raise Misuse(
                f"actions are NaN in environments {np.isnan(found).any(1).nonzero()[0].tolist()}; "
                "look for the division or the overflow that made them"
            )
        return found

    def _step_info(self, terms: Info, stepped: Bools) -> Info:
        """Info terms of the environments that stepped; of the others what a reset reports."""
        if not self.full_info or stepped.all():
            return self._masked(terms, stepped)
        pose = self.pose_info(EVERY)
        info = self._masked({k: v for k, v in terms.items() if k not in pose}, stepped)
        return info | self._masked(pose, np.ones_like(stepped))

    def _masked(self, terms: Info, mask: Bools) -> Info:
        """`terms` (n, ...) with a `_key` mask (n,) each, where full info is wanted."""
        if not self.full_info or not mask.any():
            return {}
        return {
            k: v for key, term in terms.items() for k, v in ((key, term), (f"_{key}", mask))
        }  # fmt: skip


def _chosen(actions: Floats, space: spaces.Discrete) -> NDArray[np.int64]:
    """Discrete `actions` (n,) as int64, all of them in the space."""
    first, last = int(space.start), int(space.start + space.n) - 1
    if actions.dtype.kind not in "iu":
        raise Misuse(f"actions must be whole numbers, not of type {actions.dtype}")
    if actions.min() < first or actions.max() > last:
        bad = ((actions < first) | (actions > last)).nonzero()[0].tolist()
        raise Misuse(f"actions must be from {first} to {last}; not so in environments {bad}")
    return actions.astype(np.int64, copy=False)


def each_seed(seed: int | Sequence[int | None] | None, n: int) -> list[int | None]:
    """The seed of each of n environments: s + i for a whole number s, of whatever type.

    Raises: Misuse for a seed that is no whole number, and for another number of them.
    """
    if seed is None:
        return [None] * n
    try:
        if not isinstance(seed, Sequence) and np.ndim(seed) == 0:
            first = operator.index(seed)
            return [first + i for i in range(n)]
        seeds = [None if s is None else operator.index(s) for s in seed]  # type: ignore[union-attr]
    except TypeError:
        raise Misuse(f"a seed is a whole number, not {seed!r}") from None
    if len(seeds) != n:
        raise Misuse(f"seed must be an int or {n} of them, not {len(seeds)}")
    return seeds


def reset_mask(options: Info | None, n: int, known: Sequence[str] = ()) -> Bools:
    """Which of n environments a reset with these options restarts.

    Raises: Misuse for a mask of another kind, and for an option that is not `known`.
    """
    options = options or {}
    for name in options:
        if name != "reset_mask" and name not in known:
            takes = ", ".join(("reset_mask", *known))
            raise Misuse(f"unknown reset option '{name}'; this environment takes {takes}")
    mask = np.asarray(options.get("reset_mask", np.ones(n, np.bool_)))
    if mask.dtype != np.bool_ or mask.shape != (n,) or not mask.any():
        raise Misuse(f"options['reset_mask'] must be bool of shape ({n},), not all false")
    return mask


def _cpus() -> int:
    """CPUs that this process may use: those that PGBENCH_ENV_THREADS grants it, or all it sees."""
    granted = os.environ.get("PGBENCH_ENV_THREADS", "")
    if granted.isdigit() and int(granted) > 0:
        return int(granted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
