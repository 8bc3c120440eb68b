"""The contract suite of `pgbench check`, for every algorithm of the catalogue."""

import pytest

from pgbench.check import CHECKS, Bench, default_env
from pgbench.registry import ALGOS

NAMES = sorted(spec.name for spec in ALGOS.all() if spec.family == "control")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(name, check, tmp_path):
    check(Bench(name, default_env(name), tmp_path))
