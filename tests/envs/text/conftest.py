import json
import os
import random
from pathlib import Path

import pytest


@pytest.fixture
def public():
    """`public("gsm8k")` -> a folder of PGBENCH_DATA; skips by name where it is not there."""

    def find(name):
        root = os.environ.get("PGBENCH_DATA")
        path = Path(root or "", name)
        if not root or not path.exists():
            pytest.skip(f"PGBENCH_DATA has no {name}")
        return path

    return find


@pytest.fixture
def write_lines(tmp_path):
    """`write_lines("a.jsonl", [{...}])` -> the path of a JSONL file."""

    def write(name, rows):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.fixture
def sample():
    """`sample(env, 100, "test")` -> tasks, the same ones every time."""
    return lambda env, count, split="train": env.sample(count, random.Random(7), split)
