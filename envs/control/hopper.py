"""A one-legged robot that hops forward."""

from __future__ import annotations

from typing import ClassVar, Unpack

import numpy as np

from pgbench.settings.ranges import Interval, NotNegative, Number
from pgbench.worlds.batch_env import Bools, Floats, Info, Options, Rows
from pgbench.worlds.mujoco_batch import MujocoBatchEnv


class Hopper(MujocoBatchEnv):
    """Hopper-v5 of Gymnasium, bit for bit; 125 steps per second of simulated time.

    | observation (n, 11) | unit |
    | --- | --- |
    | 0: height of the torso | m |
    | 1-4: angle of torso, thigh, leg, foot | rad |
    | 5-6: velocity of the torso, x and z, clipped to +-10 | m/s |
    | 7-10: angular velocity of torso, thigh, leg, foot, clipped to +-10 | rad/s |

    Action (n, 3): torques on thigh, leg, foot, each in [-1, 1].
    Reward: forward_reward_weight * x velocity + healthy_reward while healthy
    - ctrl_cost_weight * sum of squared actions.
    Terminates when unhealthy: height or torso angle outside its range, or any of observation[1:]
    (unclipped) outside healthy_state_range. Truncates after 1000 steps.
    Reset: the default pose, positions and velocities +- reset_noise_scale, uniform.
    """

    model_file = "hopper.xml"
    frame_skip = 4
    default_episode_steps = 1000
    camera: ClassVar = {
        "trackbodyid": 2,
        "distance": 3.0,
        "lookat": np.array((0.0, 0.0, 1.15)),
        "elevation": -20.0,
    }

    def __init__(
        self,
        num_envs: int,
        *,
        forward_reward_weight: Number = 1.0,
        ctrl_cost_weight: Number = 1e-3,
        healthy_reward: Number = 1.0,
        terminate_when_unhealthy: bool = True,
        healthy_state_range: Interval = (-100.0, 100.0),
        healthy_z_range: Interval = (0.7, float("inf")),
        healthy_angle_range: Interval = (-0.2, 0.2),
        reset_noise_scale: NotNegative = 5e-3,
        exclude_current_positions_from_observation: bool = True,
        **options: Unpack[Options],
    ) -> None:
        self.forward_reward_weight = forward_reward_weight
        self.ctrl_cost_weight = ctrl_cost_weight
        self.healthy_reward = healthy_reward
        self.terminate_when_unhealthy = terminate_when_unhealthy
        self.reset_noise_scale = reset_noise_scale
        self.skip = int(exclude_current_positions_from_observation)
        super().__init__(num_envs, **options)
        # Bounds of x, z, angle, the other joints, the velocities: one comparison finds the fallen.
        ranges = np.full((self.model.nq + self.model.nv, 2), healthy_state_range)
        ranges[0], ranges[1] = (-np.inf, np.inf), healthy_z_range
        (low, high), (angle_low, angle_high) = healthy_state_range, healthy_angle_range
        ranges[2] = max(low, angle_low), min(high, angle_high)
        self.low, self.high = ranges.T.copy()

    def observe(self, rows: Rows) -> Floats:
        """Positions without x, clipped velocities."""
        velocity = np.minimum(np.maximum(self.qvel[rows], -10), 10)
        return np.concatenate((self.qpos[rows, self.skip :], velocity), axis=1)

    def place(self, rows: Rows) -> Floats:
        """x of the torso, (k, 1)."""
        return self.qpos[rows, :1]

    def healthy(self) -> Bools:
        """Whether each robot still stands, (n,)."""
        state = np.concatenate((self.qpos, self.qvel), axis=1)
        inside: Bools = ((self.low < state) & (state < self.high)).all(axis=1)
        return inside

    def outcome(self, actions: Floats, velocity: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        healthy = self.healthy()
        forward = self.forward_reward_weight * velocity[:, 0]
        survive = healthy * self.healthy_reward
        ctrl = self.ctrl_cost_weight * np.square(actions).sum(axis=1)
        rewards = forward + survive - ctrl
        terminated = ~healthy if self.terminate_when_unhealthy else np.zeros_like(healthy)
        terms = {"reward_forward": forward, "reward_ctrl": -ctrl, "reward_survive": survive}
        return rewards, terminated, terms

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """See the class."""
        low, high = -self.reset_noise_scale, self.reset_noise_scale
        qpos = self.init_qpos + rng.uniform(low=low, high=high, size=self.model.nq)
        qvel = self.init_qvel + rng.uniform(low=low, high=high, size=self.model.nv)
        return qpos, qvel

    def pose_info(self, rows: Rows) -> Info:
        """Where the torso is."""
        qpos = self.qpos[rows]
        return {
            "x_position": qpos[:, 0].copy(),
            "z_distance_from_origin": qpos[:, 1] - self.init_qpos[1],
        }
