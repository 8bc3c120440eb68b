"""A car in a valley, driven by a force of any size, in numpy alone."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pgbench.settings.ranges import Number
from pgbench.worlds.batch_env import BatchEnv, Bools, Floats, Info, Options, Rows

from .mountain_car import LEFT, MOST_SPEED, RIGHT, picture, valley
from .options import bounds
from .scalar import cosines

GOAL = 0.45
POWER = 0.0015
GRAVITY = 0.0025


class MountainCarContinuous(BatchEnv):
    """MountainCarContinuous-v0 of Gymnasium, bit for bit, for float32 actions.

    | observation float32 (n, 2) |
    | --- |
    | 0: position in [-1.2, 0.6], the valley's ground at -pi / 6 |
    | 1: velocity, at most +-0.07 a step |

    Action (n, 1): force, clipped to [-1, 1]; of another type it is rounded to float32 first.
    Reward: 100 at the step that reaches the goal, minus 0.1 action^2 in each.
    Terminates at a position of 0.45 or more with a velocity of goal_velocity or more; truncates
    after 999 steps.
    Reset: position uniform in [-0.6, -0.4], at rest; the reset options low and high are other
    bounds.

    The option num_threads has no effect.
    """

    reset_options = ("low", "high")
    default_episode_steps = 999

    def __init__(
        self, num_envs: int, *, goal_velocity: Number = 0.0, **options: Unpack[Options]
    ) -> None:
        self.goal_velocity = goal_velocity
        action = spaces.Box(-1.0, 1.0, (1,), np.float32)
        super().__init__(num_envs, action, render_fps=30, **options)
        self._state = np.zeros((2, num_envs))
        self.set_observation_space(valley())

    def observe(self, rows: Rows) -> Floats:
        """See the class."""
        return self._state[:, rows].T.astype(np.float32, order="C")

    def advance(self, actions: Floats) -> tuple[Floats, Bools, Info]:
        """See the class; Moore (1990), with a force of any size.

        Gymnasium's state is float32, but where an episode begins: its first step is float64.
        """
        given = actions[:, 0].astype(np.float32)
        state, out = self._moved(self._state.astype(np.float32), given)
        begun = np.flatnonzero(self._elapsed == 0)
        if len(begun):
            moved, out[begun] = self._moved(self._state[:, begun], given[begun])
            state[:, begun] = moved
        self._state = state.astype(np.float64)
        return np.where(out, 100.0, 0.0) - np.square(given, dtype=np.float64) * 0.1, out, {}

    def _moved(self, state: Floats, given: Floats) -> tuple[Floats, Bools]:
        """States (2, k) after a step, computed in the type of `state`, and who has arrived."""
        x, speed = state
        pull = GRAVITY * cosines(3 * x)
        push: Floats = given * np.float32(POWER) - pull.astype(np.float32)
        if (beyond := np.abs(given) > 1).any():
            # What Gymnasium clips is a number of Python's from there on, and as precise.
            whole = np.where(given > 0, POWER, -POWER) - pull
            push = np.where(beyond, whole.astype(x.dtype), push)
        speed = np.minimum(np.maximum(speed + push, -MOST_SPEED), MOST_SPEED)
        x = np.minimum(np.maximum(x + speed, LEFT), RIGHT)
        speed[(x == LEFT) & (speed < 0)] = 0.0
        return np.stack((x, speed)), (x >= GOAL) & (speed >= self.goal_velocity)

    def restart(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """See the class."""
        low, high = bounds(self._options, -0.6, -0.4)
        for i, rng in zip(ids, rngs, strict=True):
            self._state[:, i] = rng.uniform(low, high), 0.0

    def save(self) -> Info:
        """See `BatchEnv`."""
        return {"state": self._state.copy()}

    def load(self, state: Info) -> None:
        """See `BatchEnv`."""
        self._state = np.array(state["state"])

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The hills, the flag and the car in each of the first `render_envs`.

        600 x 400 pixels unless `width` and `height` say otherwise, uint8 (height, width, 3).
        """
        if self.render_mode is None:
            return None
        size = self.height or 400, self.width or 600
        return tuple(picture(x, GOAL, *size) for x in self._state[0, : self.render_envs].tolist())
