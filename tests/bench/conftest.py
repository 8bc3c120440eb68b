"""What the tests of the launchers share."""

import pytest

from pgbench.bench.launchers import worker


@pytest.fixture
def one_thread(monkeypatch):
    for name in worker.SINGLE_THREADED:
        monkeypatch.delenv(name, raising=False)
