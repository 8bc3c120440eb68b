"""Two poles, one on the other, balanced on a cart."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from pgbench.settings.ranges import NotNegative, Number
from pgbench.worlds.batch_env import Bools, Floats, Info, Options, Rows
from pgbench.worlds.mujoco_batch import MujocoBatchEnv

from .scalar import squares


class InvertedDoublePendulum(MujocoBatchEnv):
    """InvertedDoublePendulum-v5 of Gymnasium, bit for bit; 20 steps per second of simulated time.

    | observation (n, 9) | unit |
    | --- | --- |
    | 0: position of the cart | m |
    | 1-2, 3-4: sine, then cosine of the two angles | |
    | 5-7: velocity of the cart, angular velocities, clipped to +-10 | m/s, rad/s |
    | 8: constraint force on the cart, clipped to +-10 | N |

    Action (n, 1): force on the cart, in [-1, 1].
    Reward: healthy_reward if it does not terminate - 0.01 x^2 - (y - 2)^2 - 0.001 v1^2
    - 0.005 v2^2, (x, y) the tip of the second pole, v the angular velocities.
    Terminates when y <= 1. Truncates after 1000 steps.
    Reset: upright, positions +- reset_noise_scale uniform, velocities normal with that standard
    deviation.
    """

    model_file = "inverted_double_pendulum.xml"
    frame_skip = 5
    derived = ("site_xpos", "qfrc_constraint")
    default_episode_steps = 1000
    site_xpos: Floats  # (n, nsite, 3)
    qfrc_constraint: Floats  # (n, nv)

    def __init__(
        self,
        num_envs: int,
        *,
        healthy_reward: Number = 10.0,
        reset_noise_scale: NotNegative = 0.1,
        **options: Unpack[Options],
    ) -> None:
        self.healthy_reward = healthy_reward
        self.reset_noise_scale = reset_noise_scale
        super().__init__(num_envs, **options)

    def observe(self, rows: Rows) -> Floats:
        """See the class."""
        angles = self.qpos[rows, 1:]
        forces = np.concatenate((self.qvel[rows], self.qfrc_constraint[rows, :1]), axis=1)
        clipped = np.minimum(np.maximum(forces, -10), 10)
        return np.concatenate(
            (self.qpos[rows, :1], np.sin(angles), np.cos(angles), clipped), axis=1
        )

    def outcome(self, actions: Floats, velocity: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        x, y = self.site_xpos[:, 0, 0], self.site_xpos[:, 0, 2]
        distance = 0.01 * squares(x) + squares(y - 2)
        speed = 1e-3 * squares(self.qvel[:, 1]) + 5e-3 * squares(self.qvel[:, 2])
        terminated = y <= 1
        alive = self.healthy_reward * ~terminated
        rewards = alive - distance - speed
        terms = {
            "reward_survive": alive,
            "distance_penalty": -distance,
            "velocity_penalty": -speed,
        }
        return rewards, terminated, terms

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """See the class."""
        scale = self.reset_noise_scale
        qpos = self.init_qpos + rng.uniform(low=-scale, high=scale, size=self.model.nq)
        qvel = self.init_qvel + rng.standard_normal(self.model.nv) * scale
        return qpos, qvel
