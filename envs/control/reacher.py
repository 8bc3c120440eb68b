"""A two-jointed arm that reaches for a random point."""

from __future__ import annotations

from typing import ClassVar, Unpack

import numpy as np

from pgbench.settings.ranges import Number
from pgbench.worlds.batch_env import Bools, Floats, Info, Options, Rows
from pgbench.worlds.mujoco_batch import MujocoBatchEnv


class Reacher(MujocoBatchEnv):
    """Reacher-v5 of Gymnasium, bit for bit; 50 steps per second of simulated time.

    | observation (n, 10) | unit |
    | --- | --- |
    | 0-1, 2-3: cosine, then sine of the two joint angles | |
    | 4-5: the target, x and y | m |
    | 6-7: angular velocity of the joints | rad/s |
    | 8-9: fingertip - target, x and y | m |

    Action (n, 2): torques on the joints, in [-1, 1].
    Reward: - reward_dist_weight * distance of the fingertip to the target
    - reward_control_weight * sum of squared actions.
    Never terminates; truncates after 50 steps.
    Reset: joint angles +- 0.1 and velocities +- 0.005 uniform, target uniform in the disc of
    radius 0.2.
    """

    model_file = "reacher.xml"
    frame_skip = 2
    derived = ("xpos",)
    default_episode_steps = 50
    camera: ClassVar = {"trackbodyid": 0}
    xpos: Floats  # (n, nbody, 3)

    def __init__(
        self,
        num_envs: int,
        *,
        reward_dist_weight: Number = 1,
        reward_control_weight: Number = 1,
        **options: Unpack[Options],
    ) -> None:
        self.reward_dist_weight = reward_dist_weight
        self.reward_control_weight = reward_control_weight
        self._bodies: tuple[int, int] | None = None
        super().__init__(num_envs, **options)

    def to_target(self, rows: Rows) -> Floats:
        """Fingertip - target, (k, 3), m."""
        if self._bodies is None:
            self._bodies = self.model.body("fingertip").id, self.model.body("target").id
        fingertip, target = self._bodies
        return self.xpos[rows, fingertip] - self.xpos[rows, target]

    def observe(self, rows: Rows) -> Floats:
        """See the class."""
        qpos = self.qpos[rows]
        angles = qpos[:, :2]
        return np.concatenate(
            (
                np.cos(angles),
                np.sin(angles),
                qpos[:, 2:],
                self.qvel[rows, :2],
                self.to_target(rows)[:, :2],
            ),
            axis=1,
        )

    def outcome(self, actions: Floats, velocity: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        vector = self.to_target(slice(None))
        distance = -np.sqrt(np.vecdot(vector, vector)) * self.reward_dist_weight
        ctrl = -np.square(actions).sum(axis=1) * self.reward_control_weight
        terms = {"reward_dist": distance, "reward_ctrl": ctrl}
        return distance + ctrl, np.zeros(len(actions), np.bool_), terms

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """See the class."""
        qpos = rng.uniform(low=-0.1, high=0.1, size=self.model.nq) + self.init_qpos
        while True:
            goal = rng.uniform(low=-0.2, high=0.2, size=2)
            if np.linalg.norm(goal) < 0.2:
                break
        qpos[-2:] = goal
        qvel = self.init_qvel + rng.uniform(low=-0.005, high=0.005, size=self.model.nv)
        qvel[-2:] = 0
        return qpos, qvel
