"""A two-legged runner in the plane that cannot fall over for good."""

from __future__ import annotations

from typing import ClassVar, Unpack

import numpy as np

from pgbench.settings.ranges import NotNegative, Number
from pgbench.worlds.batch_env import Bools, Floats, Info, Options, Rows
from pgbench.worlds.mujoco_batch import MujocoBatchEnv


class HalfCheetah(MujocoBatchEnv):
    """HalfCheetah-v5 of Gymnasium, bit for bit; 20 steps per second of simulated time.

    | observation (n, 17) | unit |
    | --- | --- |
    | 0: height of the front tip | m |
    | 1-7: angle of the front tip; thigh, shin, foot of the back, then of the front leg | rad |
    | 8-9: velocity of the front tip, x and z | m/s |
    | 10-16: angular velocities in the order of 1-7 | rad/s |

    Action (n, 6): torques on thigh, shin, foot of the back, then of the front leg, in [-1, 1].
    Reward: forward_reward_weight * x velocity - ctrl_cost_weight * sum of squared actions.
    Never terminates; truncates after 1000 steps.
    Reset: the default pose, positions +- reset_noise_scale uniform, velocities normal with that
    standard deviation.
    """

    model_file = "half_cheetah.xml"
    frame_skip = 5
    default_episode_steps = 1000
    camera: ClassVar = {"distance": 4.0}

    def __init__(
        self,
        num_envs: int,
        *,
        forward_reward_weight: Number = 1.0,
        ctrl_cost_weight: Number = 0.1,
        reset_noise_scale: NotNegative = 0.1,
        exclude_current_positions_from_observation: bool = True,
        **options: Unpack[Options],
    ) -> None:
        self.forward_reward_weight = forward_reward_weight
        self.ctrl_cost_weight = ctrl_cost_weight
        self.reset_noise_scale = reset_noise_scale
        self.skip = int(exclude_current_positions_from_observation)
        super().__init__(num_envs, **options)

    def observe(self, rows: Rows) -> Floats:
        """Positions without x, velocities."""
        return np.concatenate((self.qpos[rows, self.skip :], self.qvel[rows]), axis=1)

    def place(self, rows: Rows) -> Floats:
        """x of the front tip, (k, 1)."""
        return self.qpos[rows, :1]

    def outcome(self, actions: Floats, velocity: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        forward = self.forward_reward_weight * velocity[:, 0]
        ctrl = self.ctrl_cost_weight * np.square(actions).sum(axis=1)
        terms = {"reward_forward": forward, "reward_ctrl": -ctrl}
        return forward - ctrl, np.zeros(len(actions), np.bool_), terms

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """See the class."""
        scale = self.reset_noise_scale
        qpos = self.init_qpos + rng.uniform(low=-scale, high=scale, size=self.model.nq)
        qvel = self.init_qvel + scale * rng.standard_normal(self.model.nv)
        return qpos, qvel

    def pose_info(self, rows: Rows) -> Info:
        """Where the front tip is."""
        return {"x_position": self.qpos[rows, 0].copy()}
