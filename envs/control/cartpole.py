"""A pole on a cart that is to be kept upright, in numpy alone."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pgbench.worlds.batch_env import BatchEnv, Bools, Floats, Info, Options, Rows

from .drawing import BLACK, frame
from .options import bounds

GRAVITY = 9.8
POLE_MASS = 0.1
TOTAL_MASS = 0.1 + 1.0
HALF_LENGTH = 0.5
POLE_MOMENT = POLE_MASS * HALF_LENGTH
FORCE = 10.0
DT = 0.02
MOST_X = 2.4
MOST_ANGLE = 12 * 2 * np.pi / 360


class CartPole(BatchEnv):
    """CartPole-v1 of Gymnasium, bit for bit; 50 steps per second of simulated time.

    | observation float32 (n, 4) | unit |
    | --- | --- |
    | 0-1: position and velocity of the cart | m, m/s |
    | 2-3: angle of the pole, 0 upright, and its velocity | rad, rad/s |

    Action (n,): 0 pushes the cart to the left, 1 to the right, with 10 N.
    Reward: 1 a step. sutton_barto_reward=True: -1 at the step in which the pole falls, 0 before.
    Terminates where the cart is beyond +-2.4 m or the pole beyond 12 degrees; truncates after 500
    steps.
    Reset: all four uniform in [-0.05, 0.05]; the reset options low and high are other bounds.

    The option num_threads has no effect.
    """

    reset_options = ("low", "high")
    default_episode_steps = 500

    def __init__(
        self, num_envs: int, *, sutton_barto_reward: bool = False, **options: Unpack[Options]
    ) -> None:
        self.sutton_barto_reward = sutton_barto_reward
        super().__init__(num_envs, spaces.Discrete(2), render_fps=50, **options)
        self._state = np.zeros((4, num_envs))
        high = np.array((2 * MOST_X, np.inf, 2 * MOST_ANGLE, np.inf), np.float32)
        self.set_observation_space(spaces.Box(-high, high, dtype=np.float32))

    def observe(self, rows: Rows) -> Floats:
        """See the class."""
        return self._state[:, rows].T.astype(np.float32, order="C")

    def advance(self, actions: Floats) -> tuple[Floats, Bools, Info]:
        """See the class; Barto, Sutton and Anderson (1983), by one step of Euler's method."""
        x, speed, angle, turn = self._state
        force = np.where(actions == 1, FORCE, -FORCE)
        cos, sin = np.cos(angle), np.sin(angle)
        push = (force + POLE_MOMENT * np.square(turn) * sin) / TOTAL_MASS
        turning = (GRAVITY * sin - cos * push) / (
            HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cos) / TOTAL_MASS)
        )
        speeding = push - POLE_MOMENT * turning * cos / TOTAL_MASS
        x, angle = x + DT * speed, angle + DT * turn
        self._state = np.stack((x, speed + DT * speeding, angle, turn + DT * turning))
        fallen = (np.abs(x) > MOST_X) | (np.abs(angle) > MOST_ANGLE)
        if self.sutton_barto_reward:
            return np.where(fallen, -1.0, 0.0), fallen, {}
        return np.ones(self.num_envs), fallen, {}

    def restart(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """See the class."""
        low, high = bounds(self._options, -0.05, 0.05)
        for i, rng in zip(ids, rngs, strict=True):
            self._state[:, i] = rng.uniform(low, high, 4)

    def save(self) -> Info:
        """See `BatchEnv`."""
        return {"state": self._state.copy()}

    def load(self, state: Info) -> None:
        """See `BatchEnv`."""
        self._state = np.array(state["state"])

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The track, the cart and the pole in each of the first `render_envs`.

        600 x 400 pixels unless `width` and `height` say otherwise, uint8 (height, width, 3).
        """
        if self.render_mode is None:
            return None
        size = self.height or 400, self.width or 600
        pictures = []
        for x, _, angle, _ in self._state[:, : self.render_envs].T.tolist():
            tip = x + 2 * HALF_LENGTH * np.sin(angle), 0.1 + 2 * HALF_LENGTH * np.cos(angle)
            strokes = [
                ([(-MOST_X, -0.15), (MOST_X, -0.15)], 0.01, BLACK),
                ([(x - 0.15, 0.0), (x + 0.15, 0.0)], 0.12, BLACK),
                ([(x, 0.1), tip], 0.04, (202, 152, 101)),
                ([(x, 0.1)], 0.03, (129, 132, 203)),
            ]
            pictures.append(frame(strokes, (0.0, 0.5), (4.8, 3.2), *size))
        return tuple(pictures)
