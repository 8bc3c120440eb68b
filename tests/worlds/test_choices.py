"""Discrete actions of a function that is evaluated."""

import numpy as np
import pytest

import pgbench
from pgbench.errors import Breach


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.array([1, 0]), ""),
        ([1, 0], ""),
        (np.uint8([1, 0]), ""),
        (np.array([1.0, 0.0]), r"type float64, not whole numbers of shape \(2,\)"),
        (np.array([True, False]), "type bool, not whole numbers"),
        (np.array([[1], [0]]), r"shape \(2, 1\)"),
        (1, r"shape \(\)"),
        ([1, 2], "the action 2, not a whole number from 0 to 1"),
        ([-1, 0], "the action -1, not a whole number from 0 to 1"),
        (["left", "right"], "type <U5"),
    ],
)
def test_choices_of_a_function_that_is_evaluated(actions, words):
    def policy(obs):
        return actions

    if not words:
        assert len(pgbench.evaluate(policy, "cartpole", episodes=2).returns) == 2
        return
    with pytest.raises(Breach, match=f"function gives .*{words}"):
        pgbench.evaluate(policy, "cartpole", episodes=2)
