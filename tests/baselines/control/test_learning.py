"""Each algorithm learns a small environment to a stated threshold, in one seeded run."""

import pytest

from pgbench.api import run
from pgbench.catalogue.registry import ALGOS

SMALL = {"start": 500, "hidden": "64,64", "lr": 1e-3, "batch": 128}


def score(name, env, budget, settings, folder):
    """Of the final policy over 20 evaluation episodes."""
    return run(
        name, env, budget=budget, settings=settings, compile=False, threads=1, device="cpu",
        runs=folder,
    ).score  # fmt: skip


@pytest.mark.parametrize("name", ["mdpo", "ppo", "reinforce", "trpo"])
def test_balances_the_pole_for_a_whole_episode(name, tmp_path):
    """A random policy holds it for 5 steps, the time limit is 1000."""
    assert score(name, "inverted-pendulum", "60k", {}, tmp_path) > 950


@pytest.mark.parametrize("name", ["mdpo-off", "sac"])
def test_swings_the_pendulum_up(name, tmp_path):
    """A random policy scores -1200; below -500 the pendulum is not held up from most starts."""
    assert score(name, "pendulum", "7k", SMALL, tmp_path) > -500


def test_no_algorithm_of_the_family_is_left_out():
    names = {spec.name for spec in ALGOS.all() if spec.family == "control"}
    assert names == {"mdpo", "mdpo-off", "ppo", "reinforce", "sac", "trpo"}
