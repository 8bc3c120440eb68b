"""REINFORCE: its gradient, and the return that it follows."""

import numpy as np
import torch
from gymnasium.spaces import Box

from pgbench.baselines.control.reinforce import REINFORCE, Config
from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import Rollout
from pgbench.learning.ops import gaussian
from pgbench.learning.ops.returns import standardize


def test_step_follows_the_return_minus_the_baseline():
    box = Box(-np.inf, np.inf, (3,)), Box(-1, 1, (2,))
    settings = {"hidden": (8,), "gamma": 0.9, "max_grad_norm": 1e9}
    algorithm = REINFORCE(Config(**settings), Setup(*box, 10_000))
    rng = torch.Generator().manual_seed(0)
    obs, next_obs = torch.randn(2, 6, 1, 3, generator=rng)
    action, reward = torch.randn(6, 1, 2, generator=rng), torch.randn(6, 1, generator=rng)
    # Ends: the task after step 1, a time limit after step 3, the rollout after step 5.
    terminated, truncated = torch.zeros(2, 6, 1, dtype=torch.bool)
    terminated[1] = truncated[3] = True
    keep = ~(terminated | truncated)[:-1]
    next_obs[:-1][keep] = obs[1:][keep]
    batch = Rollout(obs, action, reward, next_obs, terminated, truncated)

    value = algorithm.vf(algorithm.state["vf"], obs)[..., 0]
    after = algorithm.vf(algorithm.state["vf"], next_obs)[..., 0]
    g = torch.zeros(6, 1)
    g[5] = reward[5] + 0.9 * after[5]
    g[4] = reward[4] + 0.9 * g[5]
    g[3] = reward[3] + 0.9 * after[3]
    g[2] = reward[2] + 0.9 * g[3]
    g[1] = reward[1]
    g[0] = reward[0] + 0.9 * g[1]

    theta = algorithm.state["pi"].clone().requires_grad_()
    logp = gaussian.log_prob(*algorithm.pi(theta, obs), action)
    (-(standardize(g - value) * logp).mean()).backward()
    optimizer = torch.optim.Adam([theta], algorithm.config.lr, eps=1e-5)
    optimizer.step()
    algorithm.update(batch)
    torch.testing.assert_close(algorithm.state["pi"], theta.detach(), atol=1e-6, rtol=1e-4)
