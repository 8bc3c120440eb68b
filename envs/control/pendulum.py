"""A pendulum that is to be swung up and held, in numpy alone."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pgbench.errors import Misuse
from pgbench.settings.ranges import Number
from pgbench.worlds.batch_env import BatchEnv, Bools, Floats, Info, Options, Rows

from .scalar import squares

MAX_SPEED = 8
MAX_TORQUE = 2.0
DT = 0.05
FRAME_SIZE = 500
ROD = np.array((204.0, 77.0, 77.0))


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
        high = np.array((self._bound("x_init", np.pi), self._bound("y_init", 1.0)))
        for i, rng in zip(ids, rngs, strict=True):
            self._state[i] = rng.uniform(low=-high, high=high)

    def _bound(self, name: str, usual: float) -> float:
        """A reset option, or what is usual.

        Raises: Misuse if it is no finite number.
        """
        value = self._options.get(name, usual)
        try:
            bound = float(value)
        except (TypeError, ValueError):
            bound = np.nan
        if not np.isfinite(bound):
            raise Misuse(f"reset option '{name}' must be a finite number, not {value!r}")
        return bound

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
    """A rod of length 1 and width 0.2 in a window of at least +-2.2, uint8 (height, width, 3)."""
    pixel = 4.4 / min(height, width)
    x = ((np.arange(width) + 0.5) * pixel - 2.2 * width / min(height, width))[None, :]
    y = -((np.arange(height) + 0.5) * pixel - 2.2 * height / min(height, width))[:, None]
    tip_x, tip_y = -np.sin(angle), np.cos(angle)  # upright at 0, counter-clockwise positive
    along = np.clip(x * tip_x + y * tip_y, 0, 1)
    frame = np.full((height, width, 3), 255.0)
    axle = (np.hypot(x, y), 0.05, np.zeros(3))
    rod = (np.hypot(x - along * tip_x, y - along * tip_y), 0.1, ROD)
    for distance, radius, colour in (rod, axle):
        cover = np.clip((radius - distance) / pixel + 0.5, 0, 1)[..., None]  # smooth edges
        frame += cover * (colour - frame)
    return frame.astype(np.uint8)
