"""A four-legged robot that walks along x."""

from __future__ import annotations

from typing import ClassVar, Unpack

import numpy as np

from pgbench.settings.ranges import Interval, Natural, NotNegative, Number
from pgbench.worlds.batch_env import Bools, Floats, Info, Options, Rows
from pgbench.worlds.mujoco_batch import MujocoBatchEnv


class Ant(MujocoBatchEnv):
    """Ant-v5 of Gymnasium, bit for bit; 20 steps per second of simulated time.

    | observation (n, 105) | unit |
    | --- | --- |
    | 0: height of the torso | m |
    | 1-4: orientation of the torso, quaternion w x y z | |
    | 5-12: angle of hip and ankle of each leg | rad |
    | 13-18: velocity and angular velocity of the torso | m/s, rad/s |
    | 19-26: angular velocity of hip and ankle of each leg | rad/s |
    | 27-104: contact force and torque on 13 bodies, clipped to contact_force_range | N, N m |

    Action (n, 8): torques on hips and ankles, in [-1, 1].
    Reward: forward_reward_weight * x velocity + healthy_reward while healthy
    - ctrl_cost_weight * sum of squared actions
    - contact_cost_weight * sum of squared clipped contact forces.
    Terminates when unhealthy: height outside healthy_z_range, or a state not finite. Truncates
    after 1000 steps.
    Reset: the default pose, positions +- reset_noise_scale uniform, velocities normal with that
    standard deviation.

    Contact forces cost time (see `MujocoBatchEnv`): they are computed unless
    include_cfrc_ext_in_observation is false and contact_cost_weight is 0.
    """

    model_file = "ant.xml"
    frame_skip = 5
    derived = ("xpos",)
    default_episode_steps = 1000
    camera: ClassVar = {"distance": 4.0}
    xpos: Floats  # (n, nbody, 3)

    def __init__(
        self,
        num_envs: int,
        *,
        forward_reward_weight: Number = 1,
        ctrl_cost_weight: Number = 0.5,
        contact_cost_weight: Number = 5e-4,
        healthy_reward: Number = 1.0,
        main_body: Natural = 1,
        terminate_when_unhealthy: bool = True,
        healthy_z_range: Interval = (0.2, 1.0),
        contact_force_range: Interval = (-1.0, 1.0),
        reset_noise_scale: NotNegative = 0.1,
        exclude_current_positions_from_observation: bool = True,
        include_cfrc_ext_in_observation: bool = True,
        **options: Unpack[Options],
    ) -> None:
        self.forward_reward_weight = forward_reward_weight
        self.ctrl_cost_weight = ctrl_cost_weight
        self.contact_cost_weight = contact_cost_weight
        self.healthy_reward = healthy_reward
        self.main_body = main_body
        self.terminate_when_unhealthy = terminate_when_unhealthy
        self.healthy_z_range = healthy_z_range
        self.contact_force_range = contact_force_range
        self.reset_noise_scale = reset_noise_scale
        self.skip = 2 * exclude_current_positions_from_observation
        self.include_contact = include_cfrc_ext_in_observation
        self.reads_contacts = include_cfrc_ext_in_observation or contact_cost_weight != 0
        super().__init__(num_envs, **options)

    def contact_forces(self, rows: Rows) -> Floats:
        """Clipped contact forces and torques, (k, nbody, 6)."""
        low, high = self.contact_force_range
        return np.minimum(np.maximum(self.cfrc_ext[rows], low), high)

    def observe(self, rows: Rows) -> Floats:
        """Positions without x and y, velocities, contact forces without the world's."""
        parts = [self.qpos[rows, self.skip :], self.qvel[rows]]
        if self.include_contact:
            forces = self.contact_forces(rows)[:, 1:]
            parts.append(forces.reshape(len(forces), -1))
        return np.concatenate(parts, axis=1)

    def place(self, rows: Rows) -> Floats:
        """x and y of the torso, (k, 2)."""
        return self.xpos[rows, self.main_body, :2]

    def outcome(self, actions: Floats, velocity: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        z_low, z_high = self.healthy_z_range
        z = self.qpos[:, 2]
        healthy = np.isfinite(self.qpos).all(axis=1) & np.isfinite(self.qvel).all(axis=1)
        healthy &= (z_low <= z) & (z <= z_high)
        forward = velocity[:, 0] * self.forward_reward_weight
        survive = healthy * self.healthy_reward
        ctrl = self.ctrl_cost_weight * np.square(actions).sum(axis=1)
        contact = np.zeros(len(actions))
        if self.contact_cost_weight != 0:
            squares = np.square(self.contact_forces(slice(None))).reshape(len(actions), -1)
            contact = self.contact_cost_weight * squares.sum(axis=1)
        rewards = forward + survive - (ctrl + contact)
        terminated = ~healthy if self.terminate_when_unhealthy else np.zeros_like(healthy)
        terms = {
            "reward_forward": forward,
            "reward_ctrl": -ctrl,
            "reward_contact": -contact,
            "reward_survive": survive,
        }
        return rewards, terminated, terms

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """See the class."""
        scale = self.reset_noise_scale
        qpos = self.init_qpos + rng.uniform(low=-scale, high=scale, size=self.model.nq)
        qvel = self.init_qvel + scale * rng.standard_normal(self.model.nv)
        return qpos, qvel

    def pose_info(self, rows: Rows) -> Info:
        """Where the torso is."""
        place = self.qpos[rows, :2].copy()
        return {
            "x_position": place[:, 0],
            "y_position": place[:, 1],
            "distance_from_origin": np.sqrt(np.vecdot(place, place)),
        }
