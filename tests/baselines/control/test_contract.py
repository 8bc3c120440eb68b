"""The contract suite of `pgbench check`, for every algorithm of the catalogue."""

import pytest

from pgbench.catalogue.registry import ALGOS
from pgbench.runs.contract import CHECKS, Bench, default_env
from pgbench.runs.runner import build

NAMES = sorted(spec.name for spec in ALGOS.all() if spec.family == "control")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(name, check, tmp_path):
    check(Bench(name, default_env(name, "control"), tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_the_record_counts_the_policy_among_the_parameters(name, tmp_path):
    algorithm, env, _ = build(Bench(name, default_env(name, "control"), tmp_path).plan())
    env.close()
    policy = "theta" if name == "ppo" else "pi"
    assert policy in algorithm.trained and set(algorithm.trained) <= set(algorithm.state)
