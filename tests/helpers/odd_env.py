"""A small environment that can be odd in one way at a time, as a plug-in of somebody's may be."""

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class Drift(VectorEnv):
    """A point drifts by its action, reward is minus its distance; ends after `length` steps.

    `change` maps what `step` would return ((obs, reward, terminated, truncated, info), number of
    the step) to what it returns.
    """

    def __init__(self, num_envs=1, length=10, size=2, box=(-1.0, 1.0), change=None, mode=None):
        self.num_envs, self.length, self.change = num_envs, length, change
        self.metadata = {"autoreset_mode": mode or AutoresetMode.SAME_STEP}
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        low, high = np.float32(box)
        self.single_action_space = spaces.Box(low, high, (size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.x, self.t, self.count = np.zeros((num_envs, 2)), np.zeros(num_envs, int), 0

    def reset(self, *, seed=None, options=None):
        self.x[:], self.t[:] = 1.0, 0
        return self.x.astype(np.float32), {}

    def step(self, actions):
        assert np.isfinite(actions).all(), "an environment never gets such actions"
        self.count, self.t = self.count + 1, self.t + 1
        self.x += 0.1 * np.asarray(actions)[:, :1]
        reward, obs = -np.abs(self.x).sum(1), self.x.astype(np.float32)
        done, info = self.t >= self.length, {}
        if done.any():
            info = {"final_obs": obs.copy(), "_final_obs": done.copy()}
            self.x[done], self.t[done] = 1.0, 0
            obs = self.x.astype(np.float32)
        given = obs, reward, np.zeros_like(done), done, info
        return self.change(*given, self.count) if self.change else given

    def state_dict(self):
        return {"x": self.x.copy(), "t": self.t.copy(), "count": self.count}

    def load_state_dict(self, saved):
        self.x[:], self.t[:], self.count = saved["x"], saved["t"], saved["count"]
