"""A car in a valley that must swing to get out of it, in numpy alone."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pgbench.settings.ranges import Number
from pgbench.worlds.batch_env import BatchEnv, Bools, Floats, Info, Options, Rows

from .drawing import BLACK, frame
from .options import bounds
from .scalar import cosines

LEFT, RIGHT, GOAL = -1.2, 0.6, 0.5
MOST_SPEED = 0.07
FORCE = 0.001
GRAVITY = 0.0025


class MountainCar(BatchEnv):
    """MountainCar-v0 of Gymnasium, bit for bit.

    | observation float32 (n, 2) |
    | --- |
    | 0: position in [-1.2, 0.6], the valley's ground at -pi / 6 |
    | 1: velocity, at most +-0.07 a step |

    Action (n,): push to the left (0), none (1), to the right (2).
    Reward: -1 a step.
    Terminates at a position of 0.5 or more with a velocity of goal_velocity or more; truncates
    after 200 steps.
    Reset: position uniform in [-0.6, -0.4], at rest; the reset options low and high are other
    bounds.

    The option num_threads has no effect.
    """

    reset_options = ("low", "high")
    default_episode_steps = 200

    def __init__(
        self, num_envs: int, *, goal_velocity: Number = 0.0, **options: Unpack[Options]
    ) -> None:
        self.goal_velocity = goal_velocity
        super().__init__(num_envs, spaces.Discrete(3), render_fps=30, **options)
        self._state = np.zeros((2, num_envs))
        self.set_observation_space(valley())

    def observe(self, rows: Rows) -> Floats:
        """See the class."""
        return self._state[:, rows].T.astype(np.float32, order="C")

    def advance(self, actions: Floats) -> tuple[Floats, Bools, Info]:
        """See the class; Moore (1990)."""
        x, speed = self._state
        speed = speed + ((actions - 1) * FORCE + cosines(3 * x) * -GRAVITY)
        speed = np.minimum(np.maximum(speed, -MOST_SPEED), MOST_SPEED)
        x = np.minimum(np.maximum(x + speed, LEFT), RIGHT)
        speed[(x == LEFT) & (speed < 0)] = 0.0
        self._state = np.stack((x, speed))
        out = (x >= GOAL) & (speed >= self.goal_velocity)
        return np.full(self.num_envs, -1.0), out, {}

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


def valley() -> spaces.Box:
    """Positions and velocities, also of the car that is driven by a continuous force."""
    low, high = np.array(((LEFT, -MOST_SPEED), (RIGHT, MOST_SPEED)), np.float32)
    return spaces.Box(low, high, dtype=np.float32)


def picture(x: float, goal: float, height: int, width: int) -> NDArray[np.uint8]:
    """The car at `x` on hills of height sin(3 x), a flag at `goal`."""

    def at(x: float, above: float = 0.0) -> tuple[float, float]:
        return x, 0.45 * float(np.sin(3 * x)) + 0.55 + above

    slope = np.arctan(1.35 * np.cos(3 * x))
    back, front = ((x + side * np.cos(slope), at(x)[1] + side * np.sin(slope) + 0.06)
                   for side in (-0.06, 0.06))  # fmt: skip
    strokes = [
        ([at(p) for p in np.linspace(LEFT, RIGHT, 60).tolist()], 0.005, BLACK),
        ([at(goal), at(goal, 0.15)], 0.004, BLACK),
        ([at(goal, 0.13), (goal + 0.05, at(goal, 0.13)[1])], 0.02, (204, 204, 0)),
        ([back, front], 0.035, BLACK),
        ([(back[0], back[1] - 0.035)], 0.025, (128, 128, 128)),
        ([(front[0], front[1] - 0.035)], 0.025, (128, 128, 128)),
    ]
    return frame(strokes, (-0.3, 0.6), (1.8, 1.2), height, width)
