"""A study small enough for a test, and what it leaves on disk."""

import json
from pathlib import Path

from pgbench.tuning import make_tuning

TINY = [
    *("tune --algo ppo --env inverted-pendulum --budget 512 --episodes 2".split()),
    *("--set horizon=256 --set num_envs=2 --set hidden=8,8".split()),
]


def tiny_tuning(**more):
    settings = {"horizon": 256, "num_envs": 2, "hidden": "8,8"}
    return make_tuning("ppo", "inverted-pendulum", budget=512, settings=settings, **more)


def study_of(runs):
    (path,) = Path(runs).rglob("study.json")
    return json.loads(path.read_text())


def without_ids(study):
    """A study without the ids of its records, which cover the time that each took."""
    for one in study["studies"]:
        for trial in one["trials"]:
            for seed in trial["seeds"]:
                assert len(seed.pop("record")) == 64
    return study
