"""Boards to render: a large one with every awkward case, and one to check by hand."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture
def sample_model():
    """`sample_model(algorithms=6, seeds=10, ...)` -> a board's model, see sample.py."""
    file = Path(__file__).with_name("sample.py")
    spec = importlib.util.spec_from_file_location("pgbench_tests_boards_sample", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.sample_model


MDPO = "mdpo (paper form)"
FAILED = {"failed": 1}  # points of the curve before the failure


def _row(name, paper, rank, complete, iqm, runs):
    finished, started, expected = runs
    return {
        "key": name, "name": name, "algorithm": name.partition(" ")[0], "paper": paper,
        "rank": rank, "ranks": rank and [rank, 2], "complete": complete, "iqm": iqm, "mean": iqm,
        "lead": iqm and [0.1, -0.2, 0.4], "gap": iqm and [0.5, 0.4, 0.6],
        "median": iqm and iqm[0], "below_floor": 0,
        "runs": {"finished": finished, "started": started, "expected": expected},
        "evidence": "claimed", "tuning": "paper", "changed": {}, "cost": None,
    }  # fmt: skip


def _task(name, rank, complete, mean, scores, failed=()):
    return {
        "key": name, "name": name, "rank": rank, "ranks": rank and [rank, 2], "complete": complete,
        "mean": mean, "lead": None,
        "median": mean[0], "iqm": mean[0], "min": min(scores), "max": max(scores),
        "runs": {"finished": len(scores) - len(failed), "started": len(scores), "expected": 2},
        "evidence": "claimed", "tuning": "paper", "curve": [], "reach": None, "cost": None,
        "scores": [
            {"seed": seed, "score": score, "status": "failed" if seed in failed else "finished",
             "record": f"{name}/{mean[0]}/{seed}"}
            for seed, score in enumerate(scores)
        ],
    }  # fmt: skip


@pytest.fixture
def small_model():
    """Two environments, one to minimise; two seeds; one failed run; one algorithm incomplete."""
    tasks = {
        "up-v0": [
            _task("ppo", 1, True, [1500.0, 1000.0, 2000.0], [1000.0, 2000.0]),
            _task(MDPO, 2, True, [300.0, -20.0, 620.0], [600.0, 0.0], failed=[1]),
            _task("sac", None, False, [900.0, None, None], [900.0]),
        ],
        "down-v0": [
            _task(MDPO, 1, True, [0.25, 0.125, 0.375], [0.5, 0.0]),
            _task("ppo", 1, True, [0.75, 0.5, 1.0], [0.5, 1.0]),
        ],
    }
    records = {
        score["record"]: {
            "score": None if score["status"] == "failed" else score["score"],
            "status": score["status"],
            "episodes": [] if score["status"] == "failed" else [score["score"]] * 3,
            "curve": [[100, 10.0 + score["seed"]], [200, 20.0]][: FAILED.get(score["status"])],
            "created": f"2026-11-0{1 + score['seed']}T00:00:00Z",
        }
        for table in tasks.values()
        for row in table
        for score in row["scores"]
    }  # fmt: skip
    anchors = {"floor_origin": "", "reference_origin": "", "golden": None, "ceiling": None,
               "target": None}  # fmt: skip
    metric = {"name": "return", "direction": "max", "unit": ""}
    return {
        "board": "toy_v1", "title": "Toys & 100% more", "about": "", "format": 4, "rules": 1,
        "pgbench": "0.2.0", "digest": {"records": "ab" * 32, "results": "0123456789abcdef" * 4},
        "newest": "2026-11-22T15:00:00Z",
        "counts": {"records": 9, "expected": 12, "finished": 8, "failed": 1, "complete": False},
        "statistics": {"level": 0.95, "replications": 10, "test": "By Welch."},
        "tracks": [
            {
                "name": "200_steps", "title": "200 steps", "budget": 200, "unit": "steps",
                "seeds": 2, "episodes": 3,
                "environments": [
                    {"id": "up-v0", "underlying": "Up-v1", "metric": metric, "floor": 0.0,
                     "reference": 2000.0, **anchors},
                    {"id": "down-v0", "underlying": "Down-v1", "floor": 1.0, "reference": 0.0,
                     "metric": {**metric, "name": "cost", "direction": "min"}, **anchors},
                ],
                "rows": [
                    _row("ppo", "arXiv:1707.06347", 1, True, [0.5, 0.25, 0.75], (4, 4, 4)),
                    _row(MDPO, "arXiv:2005.09814", 1, True, [0.4, 0.3, 0.5], (3, 4, 4)),
                    _row("sac", "arXiv:1812.05905", None, False, None, (1, 1, 4)),
                ],
                "power": {
                    "alpha": 0.05, "power": 0.8,
                    "tables": {
                        "all": {"seeds": 2, "rows": 3, "deviation": 0.1, "pair": 0.25,
                                "rank": 0.31},
                        "up-v0": None,
                    },
                },
                "tasks": tasks, "pairs": [], "profile": {"tau": [], "rows": {}}, "curves": {},
                "apart": [],
            }
        ],
        "withdrawn": [], "failures": [], "provenance": {}, "records": records,
    }  # fmt: skip
