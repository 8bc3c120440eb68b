"""The contract suite of `pgbench check`, for the algorithms of the inventory family."""

import pytest

from pgbench.catalogue.registry import ALGOS
from pgbench.runs.contract import CHECKS, Bench

NAMES = sorted(spec.name for spec in ALGOS.all() if spec.family == "inventory")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(name, check, tmp_path):
    env = "seasonal-store" if name == "quantile" else "one-store-lost-sales-p9-l1"
    check(Bench(name, env, tmp_path))
