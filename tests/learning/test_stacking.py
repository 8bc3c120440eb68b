"""Seeds that learn together learn what each learns alone, and draw what each draws alone."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from pgbench.catalogue.registry import find_algo, resolve
from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import Rollout, Transitions
from pgbench.learning.policy import Policy
from pgbench.learning.stacking import Together
from pgbench.settings.config import build

D, A, N = 5, 2, 3
BOX, CHOICES = Box(-1, 1, (A,)), Discrete(3)
SMALL = {"hidden": "8,8"}
ON_POLICY = ["ppo", "reinforce", "trpo", "mdpo"]
CASES = [(name, BOX) for name in (*ON_POLICY, "sac", "mdpo-off")]
CASES += [(name, CHOICES) for name in ON_POLICY]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def setup(seed, space, **more):
    return Setup(Box(-np.inf, np.inf, (D,)), space, budget=1000, seed=seed, **more)


def make(name, space=BOX):
    cls = resolve(find_algo(name, "control"))
    names = cls.Config.__dataclass_fields__
    sizes = {"minibatch": 16, "vf_minibatch": 16, "epochs": 2, "vf_epochs": 2, "batch": 16}
    config = build(cls.Config, SMALL | {k: v for k, v in sizes.items() if k in names}, name)
    return [cls(config, setup(seed, space)) for seed in range(N)], cls(
        config, setup(0, space, stacked=True)
    )


def batch(algorithm, seed, space=BOX):
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=rng)

    if hasattr(algorithm.config, "buffer"):
        end = (draw(16) > 1).float()
        return Transitions(draw(16, D), draw(16, A).tanh(), draw(16), draw(16, D), end)
    ends = draw(16, 4) > 1.5, draw(16, 4) > 1.5
    choices = torch.randint(3, (16, 4), generator=rng)
    action = draw(16, 4, A) if space is BOX else choices
    return Rollout(draw(16, 4, D), action, draw(16, 4), draw(16, 4, D), *ends)


def near(one, other, name):
    # Conjugate gradients amplify rounding.
    return torch.allclose(one, other, rtol=1e-4, atol=1e-3 if name == "trpo" else 1e-5)


@pytest.mark.filterwarnings("error::UserWarning")  # of operations that are done row by row
@pytest.mark.parametrize(("name", "space"), CASES)
def test_a_stack_learns_and_acts_as_its_seeds_alone(name, space):
    alone, _ = make(name, space)
    ours, lead = make(name, space)
    together = Together(ours, lead)
    batches = [batch(one, seed, space) for seed, one in enumerate(alone)]
    seen = torch.randn(N, 4, D)
    policy = Policy(lead, space)
    for _ in range(2):
        metrics = together.learn(batches)
        actions = together.act(seen, policy)
        for i, one in enumerate(alone):
            expected = one.update(batches[i])
            assert expected.keys() == metrics[i].keys()
            for key, value in expected.items():
                assert near(metrics[i][key], value, name), (key, i)
            expected = one.act(seen[i])
            assert actions[i].dtype == expected.dtype
            assert near(actions[i].float(), expected.float(), name)
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
