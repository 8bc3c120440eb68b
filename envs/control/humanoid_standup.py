"""A humanoid robot that lies on its back and is to stand up."""

from __future__ import annotations

from typing import ClassVar, Unpack

import numpy as np

from pgbench.settings.ranges import Interval, NotNegative, Number
from pgbench.worlds.batch_env import Bools, Floats, Info, Options, Rows

from .humanoid import HumanoidBody


class HumanoidStandup(HumanoidBody):
    """HumanoidStandup-v5 of Gymnasium, bit for bit; 67 steps per second of simulated time.

    Observation (n, 348) and action (n, 17): those of `Humanoid`.
    Reward: height of the torso / physics time step
    - ctrl_cost_weight * sum of squared actions - impact_cost_weight * sum of squared contact
    forces, the last clipped to impact_cost_range, + 1.
    Never terminates; truncates after 1000 steps.
    Reset: lying, positions and velocities +- reset_noise_scale, uniform.

    Contact forces cost time (see `MujocoBatchEnv`): they are computed unless
    include_cfrc_ext_in_observation is false and impact_cost_weight is 0.
    """

    model_file = "humanoidstandup.xml"
    camera: ClassVar = {
        "trackbodyid": 1,
        "distance": 4.0,
        "lookat": np.array((0.0, 0.0, 0.8925)),
        "elevation": -20.0,
    }

    def __init__(
        self,
        num_envs: int,
        *,
        ctrl_cost_weight: Number = 0.1,
        impact_cost_weight: Number = 0.5e-6,
        impact_cost_range: Interval = (-np.inf, 10.0),
        reset_noise_scale: NotNegative = 1e-2,
        exclude_current_positions_from_observation: bool = True,
        include_cinert_in_observation: bool = True,
        include_cvel_in_observation: bool = True,
        include_qfrc_actuator_in_observation: bool = True,
        include_cfrc_ext_in_observation: bool = True,
        **options: Unpack[Options],
    ) -> None:
        self.ctrl_cost_weight = ctrl_cost_weight
        self.impact_cost_weight = impact_cost_weight
        self.impact_cost_range = impact_cost_range
        super().__init__(
            num_envs,
            impact=impact_cost_weight != 0,
            reset_noise_scale=reset_noise_scale,
            exclude_current_positions_from_observation=exclude_current_positions_from_observation,
            include_cinert_in_observation=include_cinert_in_observation,
            include_cvel_in_observation=include_cvel_in_observation,
            include_qfrc_actuator_in_observation=include_qfrc_actuator_in_observation,
            include_cfrc_ext_in_observation=include_cfrc_ext_in_observation,
            **options,
        )

    def outcome(self, actions: Floats, velocity: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        low, high = self.impact_cost_range
        up = self.qpos[:, 2] / self.model.opt.timestep
        ctrl = self.ctrl_cost_weight * self.squared_controls()
        impact = np.zeros(len(actions))
        if self.impact_cost_weight != 0:
            impact = self.impact_cost_weight * self.squared_forces()
        impact = np.minimum(np.maximum(impact, low), high)
        rewards = up - ctrl - impact + 1
        terms = {"reward_linup": up, "reward_quadctrl": -ctrl, "reward_impact": -impact}
        return rewards, np.zeros(len(actions), np.bool_), terms

    def pose_info(self, rows: Rows) -> Info:
        """Where the torso is, and the tendons."""
        rise = self.qpos[rows, 2] - self.init_qpos[2]
        return super().pose_info(rows) | {"z_distance_from_origin": rise}
