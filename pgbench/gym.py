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

from pgbench.interface import make
from pgbench.registry import ENVS


def register_envs() -> None:
    """Register what the catalogue holds, plug-ins included, and Gymnasium does not know yet."""
    for spec in ENVS.all():
        name = f"pgbench/{spec.name}"
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point="pgbench.gym:SingleEnv",
                vector_entry_point="pgbench.gym:make_batch",
                kwargs={"name": spec.name},
            )


def make_batch(name: str, num_envs: int = 1, **kwargs: Any) -> Any:
    """The vector environment of the catalogue's environment `name`."""
    return make(name, num_envs=num_envs, **kwargs)


class SingleEnv(gymnasium.Env[Any, Any]):
    """One environment of the catalogue with Gymnasium's single interface.

    It has the catalogue environment's own time limit. It does not reset itself: a step after the
    end of an episode is refused. The batch below it has by then started the next episode, which
    the next `reset()` returns, so that seeds mean what they mean in Gymnasium; a picture taken
    between the two shows that next episode.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, name: str, render_mode: str | None = None, **kwargs: Any) -> None:
        self.batch = make(name, num_envs=1, render_mode=render_mode, **kwargs)
        self.metadata = self.batch.metadata
        self.render_mode = render_mode
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space
        self._next: tuple[Any, dict[str, Any]] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode: its first observation (d,) and info."""
        super().reset(seed=seed)
        begun, self._next = self._next, None
        if begun is not None and seed is None and not options:
            return begun
        observations, info = self.batch.reset(seed=seed, options=options)
        return observations[0], _first(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take action (a,): observation (d,), reward, terminated, truncated, info."""
        if self._next is not None:
            raise gymnasium.error.ResetNeeded("the episode is over: call reset()")
        observations, rewards, terminated, truncated, info = self.batch.step(action[None])
        observation = observations[0]
        if terminated[0] or truncated[0]:
            last, final = info.pop("final_obs")[0], info.pop("final_info", {})
            self._next = observation, _first(info)
            observation, info = last, final
        return observation, float(rewards[0]), bool(terminated[0]), bool(truncated[0]), _first(info)

    def render(self) -> Any:
        """A picture (H, W, 3) uint8, or None without a render mode."""
        frames = self.batch.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Free the batch."""
        self.batch.close()


def _first(info: dict[str, Any]) -> dict[str, Any]:
    """The info of the only environment, without the masks and what they mask."""
    return {
        key: value[0]
        for key, value in info.items()
        if not key.startswith("_") and info.get(f"_{key}", [True])[0]
    }


register_envs()
