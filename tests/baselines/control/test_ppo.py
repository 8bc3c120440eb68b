"""PPO: the clipped surrogate and its limit."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from pgbench.baselines.control.ppo import PPO, Config, clipped_surrogate
from pgbench.learning.algorithm import Setup
from pgbench.learning.ops import gaussian


def make(**settings: object) -> PPO:
    box = Box(-np.inf, np.inf, (3,)), Box(-1, 1, (2,))
    return PPO(Config(**{"hidden": (8, 8), **settings}), Setup(*box, 10_000))


@pytest.mark.parametrize(
    ("ratio", "adv", "want", "slope"),
    [
        (1.5, 2.0, 2.4, 0.0),  # gained enough: flat
        (0.5, 2.0, 1.0, 2.0),  # lost: pushed back
        (1.5, -2.0, -3.0, -2.0),
        (0.5, -2.0, -1.6, 0.0),
        (1.0, 3.0, 3.0, 3.0),
    ],
)
def test_worked_surrogate(ratio: float, adv: float, want: float, slope: float):
    r, a = torch.tensor(ratio), torch.tensor(adv)
    assert clipped_surrogate(r, a, 0.2).item() == pytest.approx(want)
    assert torch.func.grad(lambda x: clipped_surrogate(x, a, 0.2))(r).item() == slope


def test_an_infinite_clip_is_the_plain_surrogate():
    rng = torch.Generator().manual_seed(0)
    ratio, adv = torch.rand(50, generator=rng) * 5, torch.randn(50, generator=rng)
    assert torch.equal(clipped_surrogate(ratio, adv, float("inf")), ratio * adv)


def test_at_the_old_policy_the_gradient_is_the_policy_gradient():
    algorithm = make(vf_coef=0.0)
    rng = torch.Generator().manual_seed(0)
    obs, action = torch.randn(20, 3, generator=rng), torch.randn(20, 2, generator=rng)
    adv, ret = torch.randn(2, 20, generator=rng)
    theta = algorithm.state["theta"]
    logp = algorithm.nets(theta, obs)[0].log_prob(action)
    ours, parts = torch.func.grad(algorithm.loss, has_aux=True)(theta, obs, action, logp, adv, ret)
    free = theta.clone().requires_grad_()
    scaled = (adv - adv.mean()) / adv.std()
    (-(scaled * gaussian.log_prob(*algorithm.nets(free, obs)[0], action)).mean()).backward()
    torch.testing.assert_close(ours, free.grad, atol=1e-6, rtol=1e-5)
    assert parts["clip_share"].item() == 0
    assert parts["kl"].item() == pytest.approx(0, abs=1e-6)
