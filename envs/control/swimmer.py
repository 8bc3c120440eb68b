"""A chain of three segments that swims in the plane."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from pgbench.settings.ranges import NotNegative, Number
from pgbench.worlds.batch_env import Bools, Floats, Info, Options, Rows
from pgbench.worlds.mujoco_batch import MujocoBatchEnv


class Swimmer(MujocoBatchEnv):
    """Swimmer-v5 of Gymnasium, bit for bit; 25 steps per second of simulated time.

    | observation (n, 8) | unit |
    | --- | --- |
    | 0-2: angle of the front tip, of the first and of the second joint | rad |
    | 3-4: velocity of the front tip, x and y | m/s |
    | 5-7: angular velocities in the order of 0-2 | rad/s |

    Action (n, 2): torques on the two joints, in [-1, 1].
    Reward: forward_reward_weight * x velocity - ctrl_cost_weight * sum of squared actions.
    Never terminates; truncates after 1000 steps.
    Reset: the default pose, positions and velocities +- reset_noise_scale, uniform.
    """

    model_file = "swimmer.xml"
    frame_skip = 4
    default_episode_steps = 1000

    def __init__(
        self,
        num_envs: int,
        *,
        forward_reward_weight: Number = 1.0,
        ctrl_cost_weight: Number = 1e-4,
        reset_noise_scale: NotNegative = 0.1,
        exclude_current_positions_from_observation: bool = True,
        **options: Unpack[Options],
    ) -> None:
        self.forward_reward_weight = forward_reward_weight
        self.ctrl_cost_weight = ctrl_cost_weight
        self.reset_noise_scale = reset_noise_scale
        self.skip = 2 * exclude_current_positions_from_observation
        super().__init__(num_envs, **options)

    def observe(self, rows: Rows) -> Floats:
        """Positions without x and y, velocities."""
        return np.concatenate((self.qpos[rows, self.skip :], self.qvel[rows]), axis=1)

    def place(self, rows: Rows) -> Floats:
        """x and y of the front tip, (k, 2)."""
        return self.qpos[rows, :2]

    def outcome(self, actions: Floats, velocity: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        forward = self.forward_reward_weight * velocity[:, 0]
        ctrl = self.ctrl_cost_weight * np.square(actions).sum(axis=1)
        terms = {"reward_forward": forward, "reward_ctrl": -ctrl}
        return forward - ctrl, np.zeros(len(actions), np.bool_), terms

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """See the class."""
        low, high = -self.reset_noise_scale, self.reset_noise_scale
        qpos = self.init_qpos + rng.uniform(low=low, high=high, size=self.model.nq)
        qvel = self.init_qvel + rng.uniform(low=low, high=high, size=self.model.nv)
        return qpos, qvel

    def pose_info(self, rows: Rows) -> Info:
        """Where the front tip is."""
        place = self.qpos[rows, :2].copy()
        return {
            "x_position": place[:, 0],
            "y_position": place[:, 1],
            "distance_from_origin": np.sqrt(np.vecdot(place, place)),
        }
