"""Records as runs write them, made in an instant."""

import copy

import pytest

from pgbench.config import digest
from pgbench.record import SCHEMA, record_id


def _set(record, path, value):
    *outer, last = path.split(".")
    for key in outer:
        record = record[key]
    record[last] = value


@pytest.fixture
def make_record():
    """`make_record(algo, seed, scores, changes={"cost.wall_s": 3.0})` -> a record with its id."""

    def make(
        algo="ppo", seed=0, scores=(1.0, 3.0), env="toy-v0", budget=1000, status="finished",
        config=None, changed=(), direction="max", changes=None,
    ):  # fmt: skip
        config = {"lr": 0.1, "hidden": [64, 64], **(config or {})}
        protocol = {"episodes": len(scores), "curve_points": 10, "curve_episodes": 5}
        done = status == "finished"
        record = {
            "schema": SCHEMA,
            "created": "2026-01-02T03:04:05Z",
            "status": status,
            "algorithm": {
                "name": algo, "paper": "", "config": config, "config_hash": digest(config),
                "defaults_changed": sorted(changed), "parameters": 1234,
            },
            "environment": {
                "id": env, "kwargs": {}, "underlying": "Toy-v1",
                "metric": {"name": "return", "direction": direction, "unit": ""},
            },
            "protocol": {
                "seed": seed, "budget": budget, "unit": "environment steps", **protocol,
                "eval_seeds": "rule", "deterministic": True, "tuning": "none: the defaults",
            },
            "identity": {
                "algorithm": algo, "family": "control", "config": config, "environment": env,
                "env_kwargs": {}, "budget": budget, "protocol": protocol, "sources": [None, None],
            },
            "execution": {"device": "cpu", "compile": False, "threads": 1},
            "result": {
                "final": list(scores) if done else None, "lengths": [7] * len(scores),
                "score": sum(scores) / len(scores) if done else None, "curve": [],
                "error": None if done else "diverged: kl not finite", "checksum": "0",
            },
            "cost": {"env_steps": budget, "grad_steps": 10, "wall_s": 2.0 + seed, "cpu_s": 2.0},
            "provenance": {
                "commit": "0123456789abcdef", "dirty": False, "packages": {"mujoco": "3.17.0"},
                "cpu": "A CPU", "cores": 2, "system": "Linux", "python": "3.11.7", "gpu": None,
                "resumed": 0,
            },
        }  # fmt: skip
        record = copy.deepcopy(record)
        for path, value in (changes or {}).items():
            _set(record, path, value)
        return {**record, "id": record_id(record)}

    return make


@pytest.fixture
def write_run(tmp_path):
    """Write a record as the `run.json` of a run folder; returns the folder of all runs."""
    from pgbench.files import write_json

    def write(record, name=None):
        place = f"{record['algorithm']['name']}-{digest(record['identity'])[:8]}"
        name = name or f"{place}/{record['protocol']['seed']}"
        write_json(tmp_path / "runs" / name / "run.json", record)
        return tmp_path / "runs"

    return write
