"""Every environment of the catalogue under Gymnasium's names, `pgbench/<id>-v<version>`.

    import gymnasium, pgbench.gym
    batch = gymnasium.make_vec("pgbench/hopper-v0", num_envs=8)
    single = gymnasium.make("pgbench/hopper-v0")

Importing this module registers them (Gymnasium 1.x does not look for plug-ins by itself), by name:
nothing heavy is imported before an environment is made. A name with the
module, `gymnasium.make("pgbench.gym:pgbench/hopper-v0")`, does both in one.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode

from pgbench.catalogue.capabilities import env_keywords, make
from pgbench.catalogue.registry import ENVS, find_env
from pgbench.errors import Misuse, PgbenchError


def register_envs() -> None:
    """Register what the catalogue holds, plug-ins included, and Gymnasium does not know yet."""
    entries = {"control": "Drawn", "text": "Written"}  # what `make` must know of render modes
    for spec in ENVS.all():
        name = f"pgbench/{spec.name}"
        drawn = "SingleEnv" if "Tabular" in spec.capabilities else entries.get(spec.family)
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point=f"pgbench.gym:{drawn or 'SingleEnv'}",
                vector_entry_point="pgbench.gym:make_batch",
                max_episode_steps=spec.max_episode_steps,
                kwargs={"name": spec.name},
            )


def make_batch(
    name: str,
    num_envs: int = 1,
    *,
    autoreset_mode: AutoresetMode | str | None = None,
    render_mode: str | None = None,
    max_episode_steps: int | None = None,
    **kwargs: Any,
) -> Any:
    """The vector environment of the catalogue's environment `name`, as Gymnasium's users expect it.

    autoreset_mode: SAME_STEP by default; another one as `gymnasium.vector.AutoresetMode` or by its
        value ("NextStep", "Disabled").
    max_episode_steps: as for `gymnasium.make`; -1 for no limit.
    full_info: Gymnasium's info terms at every step, here by default.

    Raises: PgbenchError for what the environment does not have.
    """
    spec = find_env(name)
    if max_episode_steps not in (None, -1, spec.max_episode_steps):
        kwargs["max_episode_steps"] = max_episode_steps
    if "full_info" in env_keywords(spec):
        kwargs.setdefault("full_info", True)
    batch = make(spec, num_envs=num_envs, **kwargs)
    if max_episode_steps == -1:
        _able(batch, "lift_limit", "max_episode_steps=-1")()
    if autoreset_mode is not None and autoreset_mode != batch.metadata.get("autoreset_mode"):
        _able(batch, "set_autoreset_mode", f"autoreset_mode={autoreset_mode}")(autoreset_mode)
    modes = batch.metadata.get("render_modes", [])
    if render_mode is not None and render_mode not in modes:
        takes = " or ".join(["None", *map(repr, modes)])
        raise PgbenchError(f"{spec.id}: render_mode takes {takes}, not {render_mode!r}")
    if render_mode is not None:
        batch.render_mode = render_mode
    return batch


def _able(batch: Any, method: str, asked: str) -> Any:
    if not hasattr(batch, method):
        raise PgbenchError(f"{type(batch).__name__} does not take {asked}; leave it out")
    return getattr(batch, method)


class SingleEnv(gymnasium.Env[Any, Any]):
    """One environment of the catalogue with Gymnasium's single interface.

    As Gymnasium's own, it does not reset itself, and has no time limit unless `gymnasium.make`
    wraps it into one: the catalogue's (`spec.max_episode_steps`), or the one that is asked for.
    It can be pickled and deep-copied, wrappers included, and the copy goes on to the same bits.

    A plug-in's batch that cannot leave its episodes over has by then started the next one, which
    the next `reset()` returns.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, name: str, render_mode: str | None = None, **kwargs: Any) -> None:
        limit = kwargs.pop("max_episode_steps", None)
        if limit is None and find_env(name).max_episode_steps is not None:
            limit = -1  # who asked for one has a wrapper that counts
        self.batch = make_batch(name, 1, render_mode=render_mode, max_episode_steps=limit, **kwargs)
        if hasattr(self.batch, "set_autoreset_mode"):
            self.batch.set_autoreset_mode(AutoresetMode.DISABLED)
        self.metadata = {k: v for k, v in self.batch.metadata.items() if k != "autoreset_mode"}
        self.render_mode = render_mode
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space
        self._numbers = isinstance(self.action_space, gymnasium.spaces.Box)
        self._next: tuple[Any, dict[str, Any]] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode: its first observation (d,) and info.

        Raises: ValueError for an option that the environment does not take.
        """
        if options and "reset_mask" in options:
            raise Misuse("unknown reset option 'reset_mask': there is one environment only")
        if seed is None and self._np_random_seed is None:
            seed = np_random()[1]  # a first reset without a seed has a seed of its own
        super().reset(seed=seed)
        begun, self._next = self._next, None
        if begun is not None and seed is None and not options:
            return begun
        observations, info = self.batch.reset(seed=seed, options=options)
        if seed is not None:
            self._follow()
        return observations[0], _first(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take action (a,), an array or a list: observation, reward, terminated, truncated, info.

        Raises: ValueError for another shape and for NaN; ResetNeeded after the end of an episode.
        """
        if self._next is not None:
            raise gymnasium.error.ResetNeeded("the episode is over: call reset()")
        actions = np.asarray(action)[None] if self._numbers else (action,)
        observations, rewards, terminated, truncated, info = self.batch.step(actions)
        observation = observations[0]
        if "final_obs" in info:
            last, final = info.pop("final_obs")[0], info.pop("final_info", {})
            self._next = observation, _first(info)
            observation, info = last, final
        return observation, float(rewards[0]), bool(terminated[0]), bool(truncated[0]), _first(info)

    def render(self) -> Any:
        """A picture (H, W, 3) uint8, or a text where those are; None without a render mode."""
        frames = self.batch.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Free the batch."""
        self.batch.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the future depends on; a time limit around this has a count of its own.

        Copying or pickling the wrapped environment keeps that, too.
        """
        return {"batch": self.batch.state_dict(), "next": self._next}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, in this or another process."""
        self.batch.load_state_dict(saved["batch"])
        self._next = saved["next"]
        self._np_random_seed = -1  # the state holds the generator, not what it began with
        self._follow()

    def __setstate__(self, saved: dict[str, Any]) -> None:
        """After a copy there is still one generator."""
        self.__dict__.update(saved)
        self._follow()

    def _follow(self) -> None:
        """`np_random` is the generator that the batch draws from."""
        rngs = getattr(self.batch, "_rngs", None)
        if rngs is not None:
            self._np_random = rngs[0]

    @property
    def np_random(self) -> np.random.Generator:
        """The generator that episodes are drawn from; assigning another one is heeded.

        Raises: PgbenchError where tasks are drawn by another kind of generator.
        """
        rngs = self._generators()
        if rngs[0] is None:
            rngs[0], self._np_random_seed = np_random()
            self._follow()
        found: np.random.Generator = rngs[0]
        return found

    @np_random.setter
    def np_random(self, value: np.random.Generator) -> None:
        self._generators()[0] = value
        self._np_random_seed = -1
        self._follow()

    def _generators(self) -> list[Any]:
        rngs: list[Any] | None = getattr(self.batch, "_rngs", None)
        if rngs is None:
            raise PgbenchError(
                f"{type(self.batch).__name__} draws from no numpy generator: seed it with "
                "reset(seed=...), keep its state with state_dict()"
            )
        return rngs


class Drawn(SingleEnv):
    """Of a family that is drawn in pictures."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012


class Written(SingleEnv):
    """Of a family whose conversations are shown as text."""

    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012


def _first(info: dict[str, Any]) -> dict[str, Any]:
    """The info of the only environment, without the masks and what they mask."""
    return {
        key: value[0]
        for key, value in info.items()
        if not key.startswith("_") and info.get(f"_{key}", [True])[0]
    }


register_envs()
