"""A pendulum that is to be swung up and held, in numpy alone."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pgbench.settings.ranges import Number
from pgbench.worlds.batch_env import BatchEnv, Bools, Floats, Info, Options, Rows

from .drawing import BLACK, frame
from .options import finite
from .scalar import squares

MAX_SPEED = 8
MAX_TORQUE = 2.0
DT = 0.05
FRAME_SIZE = 500
ROD = (204, 77, 77)


class Pendulum(BatchEnv):
    """Pendulum-v1 of Gymnasium, bit for bit; 20 steps per second of simulated time.

    | observation float32 (n, 3) | unit |
    | --- | --- |
    | 0-1: cosine and sine of the angle, 0 upright | |
    | 2: angular velocity, at most +-8 | rad/s |

    Action (n, 1): torque, clipped to [-2, 2].
    Reward: - angle^2 - 0.1 angular velocity^2 - 0.001 torque^2, the angle in [-pi, pi].
    Never terminates; truncates after 200 steps.
    Reset: angle uniform in [-pi, pi], angular velocity uniform in [-1, 1]; the reset options
    x_init and y_init are other bounds of the two.

    The option num_threads has no effect.
    """

    reset_options = ("x_init", "y_init")

    default_episode_steps = 200

    def __init__(self, num_envs: int, *, g: Number = 10.0, **options: Unpack[Options]) -> None:
        self.g = g
        action = spaces.Box(-MAX_TORQUE, MAX_TORQUE, (1,), np.float32)
        super().__init__(num_envs, action, render_fps=30, **options)
        self._state = np.zeros((num_envs, 2))
        high = np.array((1.0, 1.0, MAX_SPEED), np.float32)
        self.set_observation_space(spaces.Box(-high, high, dtype=np.float32))

    def observe(self, rows: Rows) -> Floats:
        """See the class."""
        angle, speed = self._state[rows].T
        return np.stack((np.cos(angle), np.sin(angle), speed), axis=1).astype(np.float32)

    def advance(self, actions: Floats) -> tuple[Floats, Bools, Info]:
        """See the class; mass and length are 1."""
        angle, speed = self._state.T
        torque = np.clip(actions, -MAX_TORQUE, MAX_TORQUE)[:, 0]
        around = (angle + np.pi) % (2 * np.pi) - np.pi
        costs = squares(around) + 0.1 * squares(speed) + 0.001 * squares(torque)
        speed = speed + (3 * self.g / 2 * np.sin(angle) + 3.0 * torque) * DT
        speed = np.clip(speed, -MAX_SPEED, MAX_SPEED)
        self._state = np.stack((angle + speed * DT, speed), axis=1)
        return -costs, np.zeros(self.num_envs, np.bool_), {}

    def restart(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """See the class."""
        options = self._options
        high = np.array((finite(options, "x_init", np.pi), finite(options, "y_init", 1.0)))
        for i, rng in zip(ids, rngs, strict=True):
            self._state[i] = rng.uniform(low=-high, high=high)

    def save(self) -> Info:
        """See `BatchEnv`."""
        return {"state": self._state.copy()}

    def load(self, state: Info) -> None:
        """See `BatchEnv`."""
        self._state = np.array(state["state"])

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The rod and its axle in each of the first `render_envs`, uint8 (height, width, 3).

        500 x 500 pixels unless `width` and `height` say otherwise.
        """
        if self.render_mode is None:
            return None
        size = self.height or FRAME_SIZE, self.width or FRAME_SIZE
        return tuple(_picture(angle, *size) for angle in self._state[: self.render_envs, 0])


def _picture(angle: float, height: int, width: int) -> NDArray[np.uint8]:
    """A rod of length 1 and width 0.2, upright at 0, counter-clockwise positive."""
    tip = -np.sin(angle), np.cos(angle)
    strokes = [([(0.0, 0.0), tip], 0.1, ROD), ([(0.0, 0.0)], 0.05, BLACK)]
    return frame(strokes, (0.0, 0.0), (4.4, 4.4), height, width)
