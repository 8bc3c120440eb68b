"""Seeds that learn together learn what each learns alone, and draw what each draws alone."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from pgbench.catalogue.registry import find_algo, resolve
from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import Rollout, Transitions
from pgbench.learning.policy import Policy
from pgbench.learning.stacking import Together
from pgbench.settings.config import build

D, A, N = 5, 2, 3
ACTIONS = Box(-1, 1, (A,))
SMALL = {"hidden": "8,8"}
NAMES = ["ppo", "reinforce", "trpo", "mdpo", "sac", "mdpo-off"]


def setup(seed, **more):
    return Setup(Box(-np.inf, np.inf, (D,)), ACTIONS, budget=1000, seed=seed, **more)


def make(name, seeds=range(N)):
    cls = resolve(find_algo(name, "control"))
    names = cls.Config.__dataclass_fields__
    sizes = {"minibatch": 16, "vf_minibatch": 16, "epochs": 2, "vf_epochs": 2, "batch": 16}
    config = build(cls.Config, SMALL | {k: v for k, v in sizes.items() if k in names}, name)
    return [cls(config, setup(seed)) for seed in seeds], cls(config, setup(0, stacked=True))


def batch(algorithm, seed):
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=rng)

    if hasattr(algorithm.config, "buffer"):
        end = (draw(16) > 1).float()
        return Transitions(draw(16, D), draw(16, A).tanh(), draw(16), draw(16, D), end)
    ends = draw(16, 4) > 1.5, draw(16, 4) > 1.5
    return Rollout(draw(16, 4, D), draw(16, 4, A), draw(16, 4), draw(16, 4, D), *ends)


def near(one, other, name):
    # Conjugate gradients amplify rounding.
    return torch.allclose(one, other, rtol=1e-4, atol=1e-3 if name == "trpo" else 1e-5)


@pytest.mark.filterwarnings("error::UserWarning")  # of operations that are done row by row
@pytest.mark.parametrize("name", NAMES)
def test_a_stack_learns_and_acts_as_its_seeds_alone(name):
    alone, _ = make(name)
    ours, lead = make(name)
    together = Together(ours, lead)
    batches = [batch(one, seed) for seed, one in enumerate(alone)]
    seen = torch.randn(N, 4, D)
    policy = Policy(lead, ACTIONS)
    for _ in range(2):
        metrics = together.learn(batches)
        actions = together.act(seen, policy)
        for i, one in enumerate(alone):
            expected = one.update(batches[i])
            assert expected.keys() == metrics[i].keys()
            for key, value in expected.items():
                assert near(metrics[i][key], value, name), (key, i)
            assert near(actions[i], one.act(seen[i]), name)
            for key, value in one.state.items():
                assert near(ours[i].state[key], value, name), (key, i)
            # Each seed's own stream has gone exactly as far as alone.
            assert torch.equal(ours[i].rng.get_state(), one.rng.get_state())


def test_the_state_of_a_seed_is_a_row_of_the_common_one():
    ours, lead = make("ppo")
    together = Together(ours, lead)
    before = together.state["theta"].clone()
    saved = ours[1].state_dict()
    together.learn([batch(one, 0) for one in ours])
    assert not torch.equal(together.state["theta"], before)
    ours[1].load_state_dict(saved)
    assert torch.equal(together.state["theta"][1], before[1])
    assert not torch.equal(together.state["theta"][0], before[0])
