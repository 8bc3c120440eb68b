import copy
import json
import sys

import pytest
from terminals import in_terminal

from pgbench.__main__ import main
from pgbench.catalogue.registry import CATALOGUES
from pgbench.records.record import SCHEMA, record_id
from pgbench.settings.config import digest
from pgbench.support.seeding import eval_seeds, train_seed


@pytest.fixture(scope="module", autouse=True)
def _catalogue():
    """Plug-ins that a module's tests register are gone after them."""
    for catalogue in CATALOGUES:
        catalogue.all()  # what is installed has registered
    kept = [(catalogue, dict(catalogue.specs)) for catalogue in CATALOGUES]
    yield
    for catalogue, specs in kept:
        catalogue.specs.clear()
        catalogue.specs.update(specs)


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["pgbench", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def tiny(cli, tmp_path):
    """A finished two-iteration run: (folder, record)."""
    code, out, err = cli(
        *("run --algo ppo --env inverted-pendulum --budget 512 --set horizon=256".split()),
        *("--set num_envs=2 --episodes 2 --no-compile --json --runs".split()),
        tmp_path / "runs",
    )
    assert code == 0, err
    record = json.loads(out)
    return next((tmp_path / "runs" / "ppo" / "inverted-pendulum").iterdir()), record


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
        config=None, changed=(), direction="max", golden="g", changes=None, curve=None,
    ):  # fmt: skip
        config = {"lr": 0.1, "hidden": [64, 64], **(config or {})}
        protocol = {"episodes": len(scores), "curve_points": 10, "curve_episodes": 5}
        done = status == "finished"
        if curve is None:
            mean = sum(scores) / len(scores)
            last = {"step": budget, "mean": mean, "n": len(scores)}
            curve = [{"step": budget // 2, "mean": mean / 2, "n": 5}, *([last] if done else [])]
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
                "golden": golden,
            },
            "protocol": {
                "seed": seed, "budget": budget, "unit": "environment steps", **protocol,
                "train_seed": train_seed(env, seed, "algorithm"),
                "eval_seeds": digest(eval_seeds(env, len(scores))), "deterministic": True,
                "tuning": {"class": "paper", "trials": 0},
            },
            "identity": {
                "algorithm": algo, "family": "control", "config": config, "environment": env,
                "env_kwargs": {}, "budget": budget, "protocol": protocol, "purpose": "board",
                "sources": [None, None],
            },
            "execution": {
                "device": "cpu", "compile": False, "threads": 1, "algo": algo, "env": env,
            },
            "result": {
                "final": list(scores) if done else None,
                "lengths": [7] * len(scores) if done else None,
                "score": sum(scores) / len(scores) if done else None, "curve": curve,
                "failure": None if done else "diverged",
                "error": None if done else "diverged: kl not finite",
                "checksum": digest([algo, env, seed, budget, list(scores), config]),
            },
            "cost": {"env_steps": budget, "grad_steps": 10, "wall_s": 2.0 + seed, "cpu_s": 2.0,
                     "evaluate_s": 0.1, "checkpoint_s": 0.0, "peak_memory_mib": 300},
            "provenance": {
                "commit": "0123456789abcdef", "dirty": False, "packages": {"mujoco": "3.17.0"},
                "cpu": "A CPU", "cores": 2, "system": "Linux", "python": "3.11.7", "gpu": None,
                "resumed": 0, "lock": "",
            },
        }  # fmt: skip
        record = copy.deepcopy(record)
        for path, value in (changes or {}).items():
            _set(record, path, value)
        source = record["provenance"]
        source["lock"] = source["lock"] or digest(source["packages"])
        return {**record, "id": record_id(record)}

    return make


@pytest.fixture
def write_run(tmp_path):
    """Write a record as the `run.json` of a run folder; returns the folder of all runs."""
    from pgbench.support.files import write_json

    def write(record, name=None):
        place = f"{record['algorithm']['name']}-{digest(record['identity'])[:8]}"
        name = name or f"{place}/{record['protocol']['seed']}"
        write_json(tmp_path / "runs" / name / "run.json", record)
        return tmp_path / "runs"

    return write


SUITE = """
name = "toy-v1"
title = "Toys"
about = "Two toys."
rules = 1
limit = 60
protocol = { episodes = 2, curve_points = 10, curve_episodes = 5 }

[environments.toy]
version = "toy-v0"
golden = "g"
floor = 0
floor_origin = "a"
reference = 10
reference_origin = "b"

[environments.other]
version = "other-v0"
golden = "g"
floor = -100
floor_origin = "a"
reference = 0.0
reference_origin = "b"
kwargs = { wind = 1 }

[[track]]
name = "long"
title = "Long"
budget = "1k"
seeds = 3
environments = ["toy", "other"]
entry = [
    { algo = "ppo" },
    { algo = "ppo", label = "ppo, fast", set = { lr = 0.2 }, set_in = { other = { lr = 0.3 } } },
]

[[track]]
name = "short"
title = "Short"
budget = 500
seeds = 1
environments = ["toy"]
entry = [{ algo = "ppo" }]
"""


@pytest.fixture
def suite_file(tmp_path):
    """Write a suite of two toy environments, `leaderboards/suites/toy-v1.toml`; its path."""

    def write(text=SUITE, name="toy-v1"):
        path = tmp_path / "leaderboards/suites" / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def terminal():
    """`terminal(command, press=(pattern, keys))` -> what a terminal of 80 columns got, exit code.

    `keys` are pressed when the output so far has `pattern`.
    """
    return in_terminal
