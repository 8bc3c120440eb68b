"""A record names the code that made it, wherever in the package this module stands."""

import subprocess
from pathlib import Path

import pytest

import pgbench
from pgbench.runs import origins, provenance

ROOT = Path(pgbench.__file__).resolve().parents[1]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this pgbench is no checkout")
def test_the_commit_is_that_of_the_checkout():
    head = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert provenance.git()["commit"] == head.stdout.strip()


def test_the_house_and_what_stands_beside_it_are_no_plugins():
    own = [
        file for name in ("pgbench", "envs", "baselines") for file in (ROOT / name).rglob("*.py")
    ]
    assert len(own) > 100
    assert [file for file in own if not origins._is_ours(file)] == []
    assert not origins._is_ours(ROOT / "tests" / "conftest.py")
