"""What every array-valued batch environment shares: seeds, time limit, autoreset, info, state.

A subclass says how all environments advance, how some of them start afresh and what they observe.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias, TypedDict

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from pgbench.errors import PgbenchError
from pgbench.ranges import Count, Natural

Floats: TypeAlias = NDArray[Any]
Bools: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = slice | NDArray[np.intp]
Info: TypeAlias = dict[str, Any]

EVERY = slice(None)


class Options(TypedDict, total=False):
    """Constructor options of every batch environment.

    num_threads: native threads that step the batch, 0 for all CPUs; results do not depend on it.
    render_mode: None or "rgb_array".
    render_envs: how many environments, from the first, `render` draws; None for all.
    max_episode_steps: time limit, None for the environment's own.
    full_info: return Gymnasium's info terms at every step, as arrays with `_key` masks.
    """

    num_threads: int
    render_mode: str | None
    render_envs: int | None
    max_episode_steps: int | None
    full_info: bool


class BatchEnv(VectorEnv[Floats, Floats, Floats]):
    """A vector environment with same-step autoreset whose environments advance together.

    `reset` and `step` return fresh arrays, which the caller may keep:
    observations (n, d), rewards float64 (n,), terminated and truncated bool (n,).
    When an episode ends, its row of the observations is the first one of the next episode, and
    `info["final_obs"]` (n, d) holds the last one where `info["_final_obs"]` (n,) is true.
    `info` is empty when no episode ends, unless `full_info`.
    """

    default_episode_steps: ClassVar[int]

    def __init__(
        self,
        num_envs: int,
        action: spaces.Box,
        *,
        render_fps: int,
        num_threads: Natural = 0,
        render_mode: str | None = None,
        render_envs: Count | None = None,
        max_episode_steps: Count | None = None,
        full_info: bool = False,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise PgbenchError(f"render_mode must be None or 'rgb_array', not {render_mode!r}")
        if num_envs < 1:
            raise PgbenchError(f"num_envs must be at least 1, not {num_envs}")
        self.num_envs = num_envs
        self.num_threads = min(num_threads or _cpus(), num_envs)
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": render_fps,
            "autoreset_mode": AutoresetMode.SAME_STEP,
        }
        self.render_mode = render_mode
        self.render_envs = num_envs if render_envs is None else min(render_envs, num_envs)
        self.max_episode_steps = max_episode_steps or self.default_episode_steps
        self.full_info = full_info
        self.single_action_space = action
        self.action_space = batch_space(action, num_envs)
        self._action_shape = self.action_space.shape
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self._elapsed = np.zeros(num_envs, np.int64)

    def set_observation_space(self, space: spaces.Box) -> None:
        """Say what one environment observes; a subclass calls it at the end of its constructor."""
        self.single_observation_space = space
        self.observation_space = batch_space(space, self.num_envs)

    # What a subclass provides.

    def observe(self, rows: Rows) -> Floats:
        """The current observations of `rows`, (k, d), a fresh array."""
        raise NotImplementedError

    def advance(self, actions: Floats) -> tuple[Floats, Bools, Info]:
        """Take one step with actions (n, a): rewards (n,), terminated (n,), info terms (n, ...)."""
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

    # What a caller uses.

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Info | None = None,
    ) -> tuple[Floats, Info]:
        """Start new episodes and return the observations of all environments, (n, d).

        seed: an int s seeds environment i with s + i; a sequence gives one seed each (None keeps
            that environment's generator), as in `gymnasium.vector.SyncVectorEnv`.
        options: `{"reset_mask": bool (n,)}` restarts only the environments where it is true.
        """
        n = self.num_envs
        mask = np.ones(n, np.bool_)
        if options and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"])
            if mask.dtype != np.bool_ or mask.shape != (n,) or not mask.any():
                raise ValueError(
                    f"options['reset_mask'] must be bool of shape ({n},), not all false"
                )
            if None in self._rngs and not mask.all():
                raise ResetNeeded("the first reset() must be of all environments")
        ids = np.flatnonzero(mask)
        self._seed(seed, ids)
        self._restart(ids)
        return self.observe(EVERY), self._masked(self.pose_info(EVERY), mask)

    def step(self, actions: Floats) -> tuple[Floats, Floats, Bools, Bools, Info]:
        """Advance every environment by one step with actions (n, a); see the class for the rest."""
        actions = np.asarray(actions)
        if actions.shape != self._action_shape:
            raise ValueError(f"actions must have shape {self._action_shape}, not {actions.shape}")
        if self._rngs[0] is None:
            raise ResetNeeded("call reset() before step()")
        rewards, terminated, terms = self.advance(actions)
        self._elapsed += 1
        truncated = self._elapsed >= self.max_episode_steps
        observations = self.observe(EVERY)
        done = terminated | truncated
        if not done.any():
            return observations, rewards, terminated, truncated, self._masked(terms, ~done)
        info: Info = {"final_obs": observations, "_final_obs": done}
        observations = observations.copy()
        ids = done.nonzero()[0]
        self._restart(ids)
        observations[ids] = self.observe(ids)
        if self.full_info:
            info["final_info"], info["_final_info"] = self._masked(terms, done), done
            pose = self.pose_info(EVERY)
            info |= self._masked({k: v for k, v in terms.items() if k not in pose}, ~done)
            info |= self._masked(pose, np.ones_like(done))
        return observations, rewards, terminated, truncated, info

    def state_dict(self) -> dict[str, Any]:
        """Everything that the future depends on, as numpy arrays and plain Python, copied."""
        return {
            "elapsed": self._elapsed.copy(),
            "rngs": [None if rng is None else rng.bit_generator.state for rng in self._rngs],
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
        for i, saved in enumerate(state["rngs"]):
            bits = np.random.PCG64()
            if saved is not None:
                bits.state = saved
            self._rngs[i] = None if saved is None else np.random.Generator(bits)
        self.load(state)

    def _seed(self, seed: int | Sequence[int | None] | None, ids: NDArray[np.intp]) -> None:
        n = self.num_envs
        if seed is None:
            seed = [None] * n
        elif isinstance(seed, int | np.integer):
            seed = [int(seed) + i for i in range(n)]
        elif len(seed) != n:
            raise ValueError(f"seed must be an int or {n} of them, not {len(seed)}")
        for i in ids:
            if seed[i] is not None or self._rngs[i] is None:
                self._rngs[i], _ = np_random(seed[i])

    def _restart(self, ids: NDArray[np.intp]) -> None:
        rngs = [rng for i in ids.tolist() if (rng := self._rngs[i]) is not None]
        self._elapsed[ids] = 0
        self.restart(ids, rngs)

    def _masked(self, terms: Info, mask: Bools) -> Info:
        """`terms` (n, ...) with a `_key` mask (n,) each, where full info is wanted."""
        if not self.full_info:
            return {}
        return {
            k: v for key, term in terms.items() for k, v in ((key, term), (f"_{key}", mask))
        }  # fmt: skip


def _cpus() -> int:
    """CPUs that this process may use: those that PGBENCH_ENV_THREADS grants it, or all it sees."""
    granted = os.environ.get("PGBENCH_ENV_THREADS", "")
    if granted.isdigit() and int(granted) > 0:
        return int(granted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
