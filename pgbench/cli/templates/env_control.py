"""own-world: one line on what it is, and where it comes from."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

import pgbench
from pgbench.settings.ranges import Positive
from pgbench.worlds.batch_env import BatchEnv, Bools, Floats, Info, Options, Rows

DT = 0.05  # seconds a step
FAR = 3.0  # metres from the origin at which an episode ends


# 1. One class steps all environments together, as arrays with one row each: seeds, time limit,
#    autoreset and saved states are the base class's. `pgbench explain ./own_world.py` shows this
#    docstring, so give every number its unit.
class OwnWorld(BatchEnv):
    """A mass in the plane is to be brought to the origin and held there.

    Observation float32 (n, 4): place (m) and speed (m/s), two each.
    Action (n, 2): a force along each axis, clipped to [-1, 1] N.
    Reward: 1 less the squared distance from the origin.
    Ends 3 m from the origin or beyond; truncated after 100 steps of 0.05 s.
    Reset: place uniform in [-1, 1] m on each axis, at rest.
    """

    default_episode_steps = 100
    render_modes = ()  # nothing is drawn

    # 2. Keywords are settings (`--set env.mass=2`), with their ranges as types.
    def __init__(self, num_envs: int, *, mass: Positive = 1.0, **options: Unpack[Options]) -> None:
        force = spaces.Box(-1.0, 1.0, (2,), np.float32)
        super().__init__(num_envs, force, render_fps=round(1 / DT), **options)
        self.mass = mass
        self.place, self.speed = np.zeros((num_envs, 2)), np.zeros((num_envs, 2))
        self.set_observation_space(spaces.Box(-np.inf, np.inf, (4,), np.float32))

    # 3. New episodes in some environments. Draw from `rngs` alone, one generator each.
    def restart(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """See the class."""
        self.place[ids] = [rng.uniform(-1, 1, 2) for rng in rngs]
        self.speed[ids] = 0.0

    def observe(self, rows: Rows) -> Floats:
        """See the class."""
        return np.concatenate([self.place[rows], self.speed[rows]], 1).astype(np.float32)

    # 4. A step of all of them: rewards and terminations (n,). The time limit is not your concern.
    def advance(self, actions: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        self.speed += DT * np.clip(actions, -1, 1) / self.mass
        self.place += DT * self.speed
        distance = np.square(self.place).sum(1)
        return 1 - distance, distance >= FAR**2, {}

    # 5. Everything that the future depends on, copied: a run resumes from it to the same bits.
    def save(self) -> Info:
        """See `BatchEnv`."""
        return {"place": self.place.copy(), "speed": self.speed.copy()}

    def load(self, state: Info) -> None:
        """See `BatchEnv`."""
        self.place[:], self.speed[:] = state["place"], state["speed"]


# 6. One registration a file. Raise `version=` with every change of what a policy would score;
#    `pgbench check --env ./own_world.py` measures a random policy, for `anchors=`:
#    anchors={"random": pgbench.Anchor(-16.9, "uniform random policy, 20 episodes")}
pgbench.register_env(
    "own-world",
    OwnWorld,
    family="control",
    summary="what it is, in one line",
    underlying="own",
    metrics=[pgbench.Metric("return per episode")],
    budgets={"smoke": 10_000, "small": 100_000},
    capabilities={"ContinuousActions"},
    max_episode_steps=100,
)
