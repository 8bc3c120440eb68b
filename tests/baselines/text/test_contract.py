"""The contract suite of `pgbench check`, for every algorithm of the family."""

import pytest

from pgbench.catalogue.registry import ALGOS
from pgbench.runs.contract import CHECKS, Bench, default_env

NAMES = sorted(spec.name for spec in ALGOS.all() if spec.family == "text")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One warm start for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(name, check, tmp_path):
    check(Bench(name, default_env(name, "text"), tmp_path))
