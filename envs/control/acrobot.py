"""Two links whose free end is to be swung up, in numpy alone."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pgbench.worlds.batch_env import BatchEnv, Bools, Floats, Info, Options, Rows

from .drawing import BLACK, frame
from .options import bounds
from .scalar import powers

DT = 0.2
LENGTH = 1.0  # of the first link; the second one's does not matter
CENTRE = 0.5  # of mass, along each link
MASS = 1.0
INERTIA = 1.0
GRAVITY = 9.8
MOST_SPEED = np.array(((4 * np.pi,), (9 * np.pi,)))
TORQUES = np.array((-1.0, 0.0, 1.0))
FURTHEST = 100.0  # of a reset; an angle is brought back into its range turn by turn


class Acrobot(BatchEnv):
    """Acrobot-v1 of Gymnasium, bit for bit; 5 steps per second of simulated time.

    | observation float32 (n, 6) | unit |
    | --- | --- |
    | 0-1: cosine and sine of the first link's angle, 0 hanging | |
    | 2-3: cosine and sine of the second link's angle to the first | |
    | 4-5: their velocities, at most 4 pi and 9 pi | rad/s |

    Action (n,): torque between the links of -1, 0 or 1 N m.
    Reward: -1 a step, 0 at the one that reaches the goal.
    Terminates where the free end is more than one link above the pivot; truncates after 500 steps.
    Reset: all four uniform in [-0.1, 0.1]; the reset options low and high are other bounds.

    The option num_threads has no effect.
    """

    reset_options = ("low", "high")
    default_episode_steps = 500

    def __init__(self, num_envs: int, **options: Unpack[Options]) -> None:
        super().__init__(num_envs, spaces.Discrete(3), render_fps=15, **options)
        self._state = np.zeros((4, num_envs))
        high = np.array((1.0, 1.0, 1.0, 1.0, 4 * np.pi, 9 * np.pi), np.float32)
        self.set_observation_space(spaces.Box(-high, high, dtype=np.float32))

    def observe(self, rows: Rows) -> Floats:
        """See the class; at a reset cosines and sines are those of float32 angles."""
        state = self._state[:, rows]
        seen = _seen(state).astype(np.float32)
        begun = self._elapsed[rows] == 0
        if begun.any():
            seen[:, begun] = _seen(state[:, begun].astype(np.float32))
        return np.ascontiguousarray(seen.T)

    def advance(self, actions: Floats) -> tuple[Floats, Bools, Info]:
        """See the class; one Runge-Kutta step of fourth order."""
        state, torque = self._state, TORQUES[actions]
        k1 = _change(state, torque)
        k2 = _change(state + DT / 2.0 * k1, torque)
        k3 = _change(state + DT / 2.0 * k2, torque)
        k4 = _change(state + DT * k3, torque)
        state = state + DT / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)
        angles = state[:2]
        while (over := angles > np.pi).any():
            angles[over] -= 2 * np.pi
        while (below := angles < -np.pi).any():
            angles[below] += 2 * np.pi
        state[2:] = np.clip(state[2:], -MOST_SPEED, MOST_SPEED)
        self._state = state
        up: Bools = -np.cos(angles[0]) - np.cos(angles[1] + angles[0]) > 1.0
        return np.where(up, 0.0, -1.0), up, {}

    def restart(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """See the class."""
        low, high = bounds(self._options, -0.1, 0.1, FURTHEST)
        for i, rng in zip(ids, rngs, strict=True):
            self._state[:, i] = rng.uniform(low, high, 4).astype(np.float32)

    def save(self) -> Info:
        """See `BatchEnv`."""
        return {"state": self._state.copy()}

    def load(self, state: Info) -> None:
        """See `BatchEnv`."""
        self._state = np.array(state["state"])

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The goal's height and the links in each of the first `render_envs`.

        500 x 500 pixels unless `width` and `height` say otherwise, uint8 (height, width, 3).
        """
        if self.render_mode is None:
            return None
        size = self.height or 500, self.width or 500
        pictures = []
        for first, second in self._state[:2, : self.render_envs].T.tolist():
            elbow = np.sin(first), -np.cos(first)
            tip = elbow[0] + np.sin(first + second), elbow[1] - np.cos(first + second)
            strokes = [
                ([(-2.2, 1.0), (2.2, 1.0)], 0.01, BLACK),
                ([(0.0, 0.0), elbow], 0.1, (0, 204, 204)),
                ([elbow, tip], 0.1, (0, 204, 204)),
                ([(0.0, 0.0)], 0.06, (204, 204, 0)),
                ([elbow], 0.06, (204, 204, 0)),
            ]
            pictures.append(frame(strokes, (0.0, 0.0), (4.4, 4.4), *size))
        return tuple(pictures)


def _seen(state: Floats) -> Floats:
    """The observations (6, k) of states (4, k), of the same type."""
    first, second = state[:2]
    return np.stack((np.cos(first), np.sin(first), np.cos(second), np.sin(second), *state[2:]))


def _change(state: Floats, torque: Floats) -> Floats:
    """Derivatives (4, n) of angles and velocities (4, n): Sutton and Barto's book.

    The order of every sum and product is Gymnasium's, so that each rounds alike.
    """
    angle1, angle2, speed1, speed2 = state
    cos2, sin2 = np.cos(angle2), np.sin(angle2)
    d1 = (
        MASS * CENTRE**2
        + MASS * (LENGTH**2 + CENTRE**2 + 2 * LENGTH * CENTRE * cos2)
        + INERTIA
        + INERTIA
    )
    d2 = MASS * (CENTRE**2 + LENGTH * CENTRE * cos2) + INERTIA
    phi2 = MASS * CENTRE * GRAVITY * np.cos(angle1 + angle2 - np.pi / 2.0)
    phi1 = (
        -MASS * LENGTH * CENTRE * powers(speed2) * sin2
        - 2 * MASS * LENGTH * CENTRE * speed2 * speed1 * sin2
        + (MASS * CENTRE + MASS * LENGTH) * GRAVITY * np.cos(angle1 - np.pi / 2)
        + phi2
    )
    turn2 = (torque + d2 / d1 * phi1 - MASS * LENGTH * CENTRE * powers(speed1) * sin2 - phi2) / (
        MASS * CENTRE**2 + INERTIA - powers(d2) / d1
    )
    turn1 = -(d2 * turn2 + phi1) / d1
    return np.stack((speed1, speed2, turn1, turn2))
