"""A humanoid robot that walks along x, and what it shares with the one that stands up."""

from __future__ import annotations

from typing import ClassVar, Unpack

import numpy as np

from pgbench.settings.ranges import Interval, NotNegative, Number
from pgbench.worlds.batch_env import Bools, Floats, Info, Options, Rows
from pgbench.worlds.mujoco_batch import MujocoBatchEnv


class HumanoidBody(MujocoBatchEnv):
    """Observation and first state of both humanoids; see `Humanoid`.

    impact: whether the reward needs contact forces.
    """

    frame_skip = 5
    derived = ("cinert", "cvel", "qfrc_actuator", "xipos", "ten_length", "ten_velocity")
    default_episode_steps = 1000
    cinert: Floats  # (n, nbody, 10)
    cvel: Floats  # (n, nbody, 6)
    qfrc_actuator: Floats  # (n, nv)
    xipos: Floats  # (n, nbody, 3)
    ten_length: Floats  # (n, ntendon)
    ten_velocity: Floats  # (n, ntendon)

    def __init__(
        self,
        num_envs: int,
        *,
        impact: bool,
        reset_noise_scale: float,
        exclude_current_positions_from_observation: bool = True,
        include_cinert_in_observation: bool = True,
        include_cvel_in_observation: bool = True,
        include_qfrc_actuator_in_observation: bool = True,
        include_cfrc_ext_in_observation: bool = True,
        **options: Unpack[Options],
    ) -> None:
        self.reset_noise_scale = reset_noise_scale
        self.skip = 2 * exclude_current_positions_from_observation
        self.include_cinert = include_cinert_in_observation
        self.include_cvel = include_cvel_in_observation
        self.include_actuator = include_qfrc_actuator_in_observation
        self.include_contact = include_cfrc_ext_in_observation
        self.reads_contacts = include_cfrc_ext_in_observation or impact
        super().__init__(num_envs, **options)

    def observe(self, rows: Rows) -> Floats:
        """Positions without x and y, velocities, then the parts that are included."""
        parts = [self.qpos[rows, self.skip :], self.qvel[rows]]
        k = len(parts[0])
        if self.include_cinert:
            parts.append(self.cinert[rows, 1:].reshape(k, -1))
        if self.include_cvel:
            parts.append(self.cvel[rows, 1:].reshape(k, -1))
        if self.include_actuator:
            parts.append(self.qfrc_actuator[rows, 6:])
        if self.include_contact:
            parts.append(self.cfrc_ext[rows, 1:].reshape(k, -1))
        return np.concatenate(parts, axis=1)

    def squared_controls(self) -> Floats:
        """Sum of squared controls as MuJoCo holds them after the step, (n,)."""
        return np.asarray(np.square(self.ctrl).sum(axis=1))

    def squared_forces(self) -> Floats:
        """Sum of squared contact forces and torques, (n,)."""
        return np.asarray(np.square(self.cfrc_ext).reshape(len(self.cfrc_ext), -1).sum(axis=1))

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """See the class."""
        low, high = -self.reset_noise_scale, self.reset_noise_scale
        qpos = self.init_qpos + rng.uniform(low=low, high=high, size=self.model.nq)
        qvel = self.init_qvel + rng.uniform(low=low, high=high, size=self.model.nv)
        return qpos, qvel

    def pose_info(self, rows: Rows) -> Info:
        """Where the torso is, and the tendons."""
        place = self.qpos[rows, :3].copy()
        return {
            "x_position": place[:, 0],
            "y_position": place[:, 1],
            "tendon_length": self.ten_length[rows].copy(),
            "tendon_velocity": self.ten_velocity[rows].copy(),
        }


class Humanoid(HumanoidBody):
    """Humanoid-v5 of Gymnasium, bit for bit; 67 steps per second of simulated time.

    | observation (n, 348) | unit |
    | --- | --- |
    | 0-21: height and orientation (quaternion) of the torso, 17 joint angles | m, rad |
    | 22-44: velocity and angular velocity of the torso, 17 joint velocities | m/s, rad/s |
    | 45-174: mass and inertia of 13 bodies about the centre of mass (cinert) | |
    | 175-252: velocity of 13 bodies about the centre of mass (cvel) | |
    | 253-269: actuator force on 17 joints | N m |
    | 270-347: contact force and torque on 13 bodies (cfrc_ext) | N, N m |

    Action (n, 17): torques on the joints, in [-0.4, 0.4].
    Reward: forward_reward_weight * x velocity of the centre of mass + healthy_reward while healthy
    - ctrl_cost_weight * sum of squared actions - contact_cost_weight * sum of squared contact
    forces, the last clipped to contact_cost_range.
    Terminates when unhealthy: height outside healthy_z_range. Truncates after 1000 steps.
    Reset: the default pose, positions and velocities +- reset_noise_scale, uniform.

    Contact forces cost time (see `MujocoBatchEnv`): they are computed unless
    include_cfrc_ext_in_observation is false and contact_cost_weight is 0.
    """

    model_file = "humanoid.xml"
    camera: ClassVar = {
        "trackbodyid": 1,
        "distance": 4.0,
        "lookat": np.array((0.0, 0.0, 2.0)),
        "elevation": -20.0,
    }

    def __init__(
        self,
        num_envs: int,
        *,
        forward_reward_weight: Number = 1.25,
        ctrl_cost_weight: Number = 0.1,
        contact_cost_weight: Number = 5e-7,
        contact_cost_range: Interval = (-np.inf, 10.0),
        healthy_reward: Number = 5.0,
        terminate_when_unhealthy: bool = True,
        healthy_z_range: Interval = (1.0, 2.0),
        reset_noise_scale: NotNegative = 1e-2,
        exclude_current_positions_from_observation: bool = True,
        include_cinert_in_observation: bool = True,
        include_cvel_in_observation: bool = True,
        include_qfrc_actuator_in_observation: bool = True,
        include_cfrc_ext_in_observation: bool = True,
        **options: Unpack[Options],
    ) -> None:
        self.forward_reward_weight = forward_reward_weight
        self.ctrl_cost_weight = ctrl_cost_weight
        self.contact_cost_weight = contact_cost_weight
        self.contact_cost_range = contact_cost_range
        self.healthy_reward = healthy_reward
        self.terminate_when_unhealthy = terminate_when_unhealthy
        self.healthy_z_range = healthy_z_range
        super().__init__(
            num_envs,
            impact=contact_cost_weight != 0,
            reset_noise_scale=reset_noise_scale,
            exclude_current_positions_from_observation=exclude_current_positions_from_observation,
            include_cinert_in_observation=include_cinert_in_observation,
            include_cvel_in_observation=include_cvel_in_observation,
            include_qfrc_actuator_in_observation=include_qfrc_actuator_in_observation,
            include_cfrc_ext_in_observation=include_cfrc_ext_in_observation,
            **options,
        )

    def place(self, rows: Rows) -> Floats:
        """x and y of the centre of mass, (k, 2)."""
        mass = self.model.body_mass
        moment: Floats = np.einsum("b,nbj->nj", mass, self.xipos[rows])  # (k, 3)
        return np.asarray((moment / mass.sum())[:, :2])

    def outcome(self, actions: Floats, velocity: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        (z_low, z_high), (low, high) = self.healthy_z_range, self.contact_cost_range
        z = self.qpos[:, 2]
        healthy = (z_low < z) & (z < z_high)
        forward = self.forward_reward_weight * velocity[:, 0]
        survive = healthy * self.healthy_reward
        ctrl = self.ctrl_cost_weight * self.squared_controls()
        contact = np.zeros(len(actions))
        if self.contact_cost_weight != 0:
            contact = self.contact_cost_weight * self.squared_forces()
        contact = np.minimum(np.maximum(contact, low), high)
        rewards = forward + survive - (ctrl + contact)
        terminated = ~healthy if self.terminate_when_unhealthy else np.zeros_like(healthy)
        terms = {
            "reward_survive": survive,
            "reward_forward": forward,
            "reward_ctrl": -ctrl,
            "reward_contact": -contact,
        }
        return rewards, terminated, terms

    def pose_info(self, rows: Rows) -> Info:
        """Where the torso is, and the tendons."""
        place = self.qpos[rows, :2].copy()
        distance = np.sqrt(np.vecdot(place, place))
        return super().pose_info(rows) | {"distance_from_origin": distance}
