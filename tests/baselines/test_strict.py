"""Every update on a device that allows one device, no host synchronisation and static shapes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pgbench.catalogue.registry import ALGOS

PROGRAM = Path(__file__).parents[1] / "helpers" / "strict_updates.py"
FAULTS = """
import torch
from strict import Mover, device, mode
device()
for name, fault in {"item": lambda x: x.sum().item(), "branch": lambda x: 1 if x.sum() > 0 else 2,
                    "mask": lambda x: x[x > 0], "devices": lambda x: x + torch.zeros(3),
                    "copy": lambda x: torch.tensor([1.0], device=x.device)}.items():
    with mode():
        try:
            fault(Mover()(torch.ones(3)))
            print(name, "passes")
        except (RuntimeError, NotImplementedError) as error:
            print(name, type(error).__name__)
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What each algorithm's update raised there; empty if nothing."""
    folder = tmp_path_factory.mktemp("strict")
    done = subprocess.run([sys.executable, PROGRAM, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


EACH = [f"{s.family}/{s.name}" for s in ALGOS.all()]
CHOOSING = [f"control/{name} by choices" for name in ("mdpo", "ppo", "reinforce", "trpo")]


@pytest.mark.parametrize("name", [*EACH, *CHOOSING, "text/forward"])
def test_an_update_stays_on_its_device(report, name):
    assert not report[name], report[name][-3000:]


def test_the_strict_device_finds_what_it_is_there_for():
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], cwd=PROGRAM.parent, capture_output=True, text=True
    )
    assert dict(line.split() for line in done.stdout.splitlines()) == {
        "item": "DataDependentOutputException", "branch": "DataDependentOutputException",
        "mask": "DynamicOutputShapeException", "devices": "FakeTensorDeviceMismatchError",
        "copy": "NotImplementedError",
    }  # fmt: skip
