"""A seven-jointed arm that pushes a cylinder to a fixed goal."""

from __future__ import annotations

from typing import ClassVar, Unpack

import numpy as np

from pgbench.settings.ranges import Number
from pgbench.worlds.batch_env import Bools, Floats, Info, Options, Rows
from pgbench.worlds.mujoco_batch import MujocoBatchEnv


class Pusher(MujocoBatchEnv):
    """Pusher-v5 of Gymnasium, bit for bit; 20 steps per second of simulated time.

    | observation (n, 23) | unit |
    | --- | --- |
    | 0-6: joint angles of the arm | rad |
    | 7-13: joint velocities of the arm | rad/s |
    | 14-16, 17-19, 20-22: fingertip, cylinder, goal | m |

    Action (n, 7): torques on the joints, in [-2, 2].
    Reward: - reward_near_weight * distance of fingertip and cylinder
    - reward_dist_weight * distance of cylinder and goal
    - reward_control_weight * sum of squared actions.
    Never terminates; truncates after 100 steps.
    Reset: arm at rest with velocities +- 0.005 uniform, cylinder uniform in
    [-0.3, 0] x [-0.2, 0.2] but more than 0.17 from the goal.
    """

    model_file = "pusher_v5.xml"
    frame_skip = 5
    derived = ("xpos",)
    default_episode_steps = 100
    camera: ClassVar = {"trackbodyid": -1, "distance": 4.0}
    xpos: Floats  # (n, nbody, 3)

    def __init__(
        self,
        num_envs: int,
        *,
        reward_near_weight: Number = 0.5,
        reward_dist_weight: Number = 1,
        reward_control_weight: Number = 0.1,
        **options: Unpack[Options],
    ) -> None:
        self.reward_near_weight = reward_near_weight
        self.reward_dist_weight = reward_dist_weight
        self.reward_control_weight = reward_control_weight
        self._bodies: list[int] | None = None
        super().__init__(num_envs, **options)

    def bodies(self, rows: Rows) -> Floats:
        """Positions of fingertip, cylinder and goal, (k, 3, 3), m."""
        if self._bodies is None:
            names = ("tips_arm", "object", "goal")
            self._bodies = [self.model.body(name).id for name in names]
        return self.xpos[rows][:, self._bodies]

    def observe(self, rows: Rows) -> Floats:
        """See the class."""
        bodies = self.bodies(rows)
        return np.concatenate(
            (self.qpos[rows, :7], self.qvel[rows, :7], bodies.reshape(len(bodies), 9)), axis=1
        )

    def outcome(self, actions: Floats, velocity: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        bodies = self.bodies(slice(None))
        to_tip, to_goal = bodies[:, 1] - bodies[:, 0], bodies[:, 1] - bodies[:, 2]
        near = -np.sqrt(np.vecdot(to_tip, to_tip)) * self.reward_near_weight
        distance = -np.sqrt(np.vecdot(to_goal, to_goal)) * self.reward_dist_weight
        ctrl = -np.square(actions).sum(axis=1) * self.reward_control_weight
        terms = {"reward_dist": distance, "reward_ctrl": ctrl, "reward_near": near}
        return distance + ctrl + near, np.zeros(len(actions), np.bool_), terms

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """See the class."""
        while True:
            x, y = rng.uniform(low=-0.3, high=0, size=1), rng.uniform(low=-0.2, high=0.2, size=1)
            cylinder = np.concatenate((x, y))
            if np.linalg.norm(cylinder) > 0.17:  # the goal is at the origin
                break
        qpos = self.init_qpos.copy()
        qpos[-4:-2], qpos[-2:] = cylinder, 0
        qvel = self.init_qvel + rng.uniform(low=-0.005, high=0.005, size=self.model.nv)
        qvel[-4:] = 0
        return qpos, qvel
