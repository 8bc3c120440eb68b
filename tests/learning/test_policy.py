"""What lies between an algorithm's actions and an environment's, of either kind."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from pgbench.errors import Breach, PgbenchError
from pgbench.learning.ops.normalize import RunningMoments
from pgbench.learning.policy import Policy


class Fixed:
    """Acts as it is told."""

    action_range = "clip"
    device = torch.device("cpu")

    def __init__(self, action):
        self.action = action

    def act(self, obs, explore=True):
        return self.action


def test_choices_are_counted_from_the_spaces_start():
    policy = Policy(Fixed(torch.tensor([0, 2, 1])), Discrete(3, start=5))
    given = policy(np.zeros((3, 2)))
    assert given.dtype == np.int64 and given.tolist() == [5, 7, 6]
    on_device = policy.on_tensors(torch.zeros(3, 2))
    assert on_device.dtype == torch.int64 and on_device.tolist() == [5, 7, 6]
    narrow = Policy(Fixed(torch.tensor([0, 2, 1], dtype=torch.int16)), Discrete(3))
    assert narrow.act(torch.zeros(3, 2)).dtype == torch.int64


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (torch.zeros(2), r"type float32, not an integer tensor of shape \(2,\)"),
        (torch.zeros(2, dtype=torch.bool), "type bool, not an integer tensor"),
        (torch.zeros(2, 1, dtype=torch.int64), r"shape \(2, 1\) and type int64, not an integer"),
        (torch.zeros(3, dtype=torch.int64), r"each of the 2 observations"),
        (np.zeros(2, int), "a numpy array"),
        (torch.tensor([0, 3]), "gives the action 4, not a whole number from 1 to 3"),
        (torch.tensor([-1, 0]), "gives the action 0, not a whole number from 1 to 3"),
    ],
)
def test_what_is_no_choice_is_refused_by_name(action, words):
    policy = Policy(Fixed(action), Discrete(3, start=1))
    with pytest.raises(Breach, match=f"Fixed.*{words}"):
        policy(np.zeros((2, 4)))


def test_another_space_is_refused():
    with pytest.raises(PgbenchError, match="Fixed acts in a Box or in a Discrete space, not in M"):
        Policy(Fixed(None), MultiDiscrete([2, 2]))


def test_a_box_clips_and_the_mode_sees_normalised_observations():
    moments = RunningMoments(2, torch.device("cpu"))
    moments.update(torch.tensor([[0.0, 4.0], [2.0, 8.0]]))
    algorithm = Fixed(None)
    algorithm.act = lambda obs, explore: obs
    policy = Policy(algorithm, Box(-0.5, 0.5, (2,)), moments)
    assert policy(np.array([[2.0, 4.0]])).tolist() == [[0.5, -0.5]]
