"""How long a board of 10,000 records takes: read, check, compute, write every file.

python tests/performance/boards.py [--records 10000]
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pgbench.records.record import SCHEMA, record_id
from pgbench.settings.config import canonical, digest
from pgbench.support.seeding import eval_seeds, train_seed

EPISODES, SEEDS, ENVS = 20, 10, 10


def a_record(algo: str, env: str, seed: int, scores: list[float]) -> dict:
    """A record such as a run writes, about 4 kB."""
    config = {"lr": 0.0003, "hidden": [64, 64], "gamma": 0.99, "lam": 0.95, "clip": 0.2}
    protocol = {"episodes": EPISODES, "curve_points": 10, "curve_episodes": 4}
    mean = sum(scores) / len(scores)
    curve = [{"step": 100 * k, "mean": mean * k / 10, "n": 4} for k in range(1, 10)]
    record = {
        "schema": SCHEMA, "created": "2026-01-02T03:04:05Z", "status": "finished",
        "algorithm": {"name": algo, "paper": "", "config": config, "config_hash": digest(config),
                      "defaults_changed": [], "parameters": 1234},
        "environment": {"id": env, "kwargs": {}, "underlying": "Toy-v1", "golden": "g",
                        "metric": {"name": "return", "direction": "max", "unit": ""}},
        "protocol": {"seed": seed, "budget": 1000, "unit": "environment steps", **protocol,
                     "train_seed": train_seed(env, seed, "algorithm"), "deterministic": True,
                     "eval_seeds": digest(eval_seeds(env, EPISODES)),
                     "tuning": {"class": "paper", "trials": 0}},
        "identity": {"algorithm": algo, "family": "control", "config": config, "environment": env,
                     "env_kwargs": {}, "budget": 1000, "protocol": protocol, "purpose": "board",
                     "sources": [None, None]},
        "execution": {"device": "cpu", "compile": False, "threads": 1, "algo": algo,
                      "env": env},
        "result": {"final": scores, "lengths": [1000] * EPISODES, "score": mean, "failure": None,
                   "curve": [*curve, {"step": 1000, "mean": mean, "n": EPISODES}], "error": None,
                   "checksum": digest([algo, env, seed])},
        "cost": {"env_steps": 1000, "grad_steps": 10, "wall_s": 2.0, "cpu_s": 2.0,
                 "evaluate_s": 0.1, "checkpoint_s": 0.0, "peak_memory_mib": 300},
        "provenance": {"commit": "0" * 40, "dirty": False, "packages": {"mujoco": "3.17.0"},
                       "cpu": "A CPU", "cores": 2, "system": "Linux", "python": "3.11.7",
                       "gpu": None, "resumed": 0, "lock": "0"},
    }  # fmt: skip
    return {**record, "id": record_id(record)}


def main() -> None:
    """Make the records, time `pgbench board` in a process of its own, print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    algos = parser.parse_args().records // (SEEDS * ENVS)
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "records/big"
        folder.mkdir(parents=True)
        for a in range(algos):
            lines, prev = [], None
            for e in range(ENVS):
                for seed in range(SEEDS):
                    scores = [rng.gauss(a, 30) for _ in range(EPISODES)]
                    record = a_record(f"algo{a}", f"env{e}-v0", seed, scores)
                    lines.append(canonical({**record, "prev": prev}) + "\n")
                    prev = record["id"]
            (folder / f"algo{a}.jsonl").write_text("".join(lines))
        size = sum(p.stat().st_size for p in folder.iterdir()) / 2**20
        began = time.perf_counter()
        command = [sys.executable, "-m", "pgbench", "board", "big", "--root", place]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (Path(place) / "big.html").stat().st_size / 2**20
    count = algos * ENVS * SEEDS
    cpu = used.ru_utime + used.ru_stime
    print(
        f"{count} records, {size:.0f} MiB: {seconds:.1f} s ({cpu:.1f} s of processor time); "
        f"the page has {page:.0f} MiB"
    )


if __name__ == "__main__":
    main()
