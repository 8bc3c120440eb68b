"""A pole balanced on a cart."""

from __future__ import annotations

from typing import ClassVar, Unpack

import numpy as np

from pgbench.settings.ranges import NotNegative
from pgbench.worlds.batch_env import Bools, Floats, Info, Options, Rows
from pgbench.worlds.mujoco_batch import MujocoBatchEnv


class InvertedPendulum(MujocoBatchEnv):
    """InvertedPendulum-v5 of Gymnasium, bit for bit; 25 steps per second of simulated time.

    | observation (n, 4) | unit |
    | --- | --- |
    | 0: position of the cart | m |
    | 1: angle of the pole, 0 upright | rad |
    | 2: velocity of the cart | m/s |
    | 3: angular velocity of the pole | rad/s |

    Action (n, 1): force on the cart, in [-3, 3].
    Reward: 1 for each step that does not terminate.
    Terminates when |angle| > 0.2 or the state is not finite. Truncates after 1000 steps.
    Reset: upright, positions and velocities +- reset_noise_scale, uniform.
    """

    model_file = "inverted_pendulum.xml"
    frame_skip = 2
    default_episode_steps = 1000
    camera: ClassVar = {"trackbodyid": 0, "distance": 2.04}

    def __init__(
        self, num_envs: int, *, reset_noise_scale: NotNegative = 0.01, **options: Unpack[Options]
    ) -> None:
        self.reset_noise_scale = reset_noise_scale
        super().__init__(num_envs, **options)

    def observe(self, rows: Rows) -> Floats:
        """Positions and velocities."""
        return np.concatenate((self.qpos[rows], self.qvel[rows]), axis=1)

    def outcome(self, actions: Floats, velocity: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        finite = np.isfinite(self.qpos).all(axis=1) & np.isfinite(self.qvel).all(axis=1)
        upright = finite & ~(np.abs(self.qpos[:, 1]) > 0.2)
        rewards = upright.astype(np.float64)
        return rewards, ~upright, {"reward_survive": upright.astype(np.int64)}

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """See the class."""
        low, high = -self.reset_noise_scale, self.reset_noise_scale
        qpos = self.init_qpos + rng.uniform(low=low, high=high, size=self.model.nq)
        qvel = self.init_qvel + rng.uniform(low=low, high=high, size=self.model.nv)
        return qpos, qvel
