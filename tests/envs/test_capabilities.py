"""Every environment of the catalogue is what it says it is."""

import pytest

import pgbench
from pgbench.catalogue.capabilities import CAPABILITIES, Resumable
from pgbench.catalogue.registry import ALGOS, ENVS

IDS = [spec.id for spec in ENVS.all() if not spec.needs]


@pytest.mark.parametrize("name", IDS)
def test_an_environment_has_the_capabilities_that_it_names(name):
    spec = next(spec for spec in ENVS.all() if spec.id == name)
    env = pgbench.make(name, num_envs=2, seed=0)
    try:
        assert isinstance(env, Resumable)
        for capability in spec.capabilities:
            assert isinstance(env, CAPABILITIES[capability])
    finally:
        env.close()


def test_algorithms_require_only_capabilities_that_are_defined():
    for spec in ALGOS.all():
        assert {name for need in spec.requires for name in need.split("|")} <= set(CAPABILITIES)
