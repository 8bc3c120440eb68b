"""How fast the control environments step, beside what they are made of and their peers.

    python tests/performance/environments.py [--envs hopper ant] [--rounds 3] [--seconds 1.0]
        [--idle 30] [--envpool-python /path/to/a/python/with/envpool]

Prints a Markdown table of environment steps per second, medians of interleaved rounds, for
- raw: Python threads that call `mj_step` alone on recorded actions and resets, one thread a CPU;
- ours at several batch sizes, random actions, resets and all that `step` returns;
- Gymnasium's SyncVectorEnv(8), its own batch where there is one (cartpole), and EnvPool at our
  batch sizes when a Python with it is given.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import pgbench
from pgbench.catalogue.registry import ENVS, EnvSpec

SIZES = (8, 16, 64, 256)
RECORDED = 1000  # steps of each raw thread's trajectory
ENVPOOL = """
import json, sys, time, envpool, numpy as np
name, sizes, threads, seconds = json.loads(sys.argv[1])
for n in sizes:
    env = envpool.make(name, env_type="gymnasium", num_envs=n, num_threads=threads, seed=0)
    env.reset()
    low, high, rng = env.action_space.low, env.action_space.high, np.random.default_rng(0)
    actions = [rng.uniform(low, high, (n, *low.shape)) for _ in range(64)]
    steps, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for action in actions:
            env.step(action)
        steps += 64 * n
    print("rate", n, steps / (time.perf_counter() - begun))
"""


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wait_until_idle(limit: float) -> None:
    """Return when the machine was 97% idle for a third of a second, or after `limit` seconds."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < limit:
        before = [int(x) for x in Path("/proc/stat").read_text().split()[1:9]]
        time.sleep(0.33)
        after = [int(x) for x in Path("/proc/stat").read_text().split()[1:9]]
        spent = [b - a for a, b in zip(before, after, strict=True)]
        if spent[3] >= 0.97 * sum(spent):
            return


def rate(env: Any, seconds: float) -> float:
    """Steps per second of a vector environment under 64 random actions, repeated."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(64)]
    steps, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for action in actions:
            env.step(action)
        steps += 64 * env.num_envs
    return steps / (time.perf_counter() - begun)


def ours(spec: EnvSpec, n: int, seconds: float) -> float:
    """Steps per second of our batch."""
    env = pgbench.make(spec, num_envs=n)
    try:
        return rate(env, seconds)
    finally:
        env.close()


def sync(spec: EnvSpec, seconds: float) -> float:
    """Steps per second of Gymnasium's loop over 8 environments."""
    make = [lambda: gymnasium.make(spec.underlying)] * 8
    env = SyncVectorEnv(make, autoreset_mode=AutoresetMode.SAME_STEP)
    try:
        return rate(env, seconds)
    finally:
        env.close()


def native(spec: EnvSpec, n: int, seconds: float) -> float:
    """Steps per second of the vector environment that Gymnasium registers beside the single one."""
    env = gymnasium.make_vec(spec.underlying, n, vectorization_mode="vector_entry_point")
    try:
        return rate(env, seconds)
    finally:
        env.close()


def recorder(spec: EnvSpec) -> Callable[[float], float] | None:
    """A function that times raw physics on a recorded trajectory; None without a simulator."""
    threads = cpus()
    env = pgbench.make(spec, num_envs=threads, seed=0)
    if not hasattr(env, "model"):
        return None
    env.action_space.seed(0)
    start = [(env.qpos[i].copy(), env.qvel[i].copy()) for i in range(threads)]
    tapes: list[list[Any]] = [[] for _ in range(threads)]
    for _ in range(RECORDED):
        action = env.action_space.sample()
        _, _, terminated, truncated, _ = env.step(action)
        for i, done in enumerate(terminated | truncated):
            reset = (env.qpos[i].copy(), env.qvel[i].copy()) if done else None
            tapes[i].append((action[i].astype(np.float64), reset))
    model, skip = env.model, env.frame_skip
    env.close()

    def begin(data: Any, state: tuple[Any, Any]) -> None:
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = state
        mujoco.mj_forward(model, data)

    def play(i: int, seconds: float, counts: list[int]) -> None:
        data, end = mujoco.MjData(model), time.perf_counter() + seconds
        while time.perf_counter() < end:
            begin(data, start[i])
            for action, reset in tapes[i]:
                data.ctrl[:] = action
                mujoco.mj_step(model, data, nstep=skip)
                if reset is not None:
                    begin(data, reset)
            counts[i] += RECORDED

    def timed(seconds: float) -> float:
        counts = [0] * threads
        pool = [threading.Thread(target=play, args=(i, seconds, counts)) for i in range(threads)]
        begun = time.perf_counter()
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
        return sum(counts) / (time.perf_counter() - begun)

    return timed


def envpool(python: str, spec: EnvSpec, seconds: float) -> dict[int, float]:
    """Steps per second of EnvPool, by batch size; empty where it lacks the environment."""
    order = json.dumps([spec.underlying, SIZES, cpus(), seconds])
    done = subprocess.run([python, "-c", ENVPOOL, order], capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("rate ")]
    return {int(n): float(value) for _, n, value in lines}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    known = [spec for spec in ENVS.all() if spec.underlying in gymnasium.registry]
    parser.add_argument("--envs", nargs="*", choices=[s.id for s in known], metavar="ENV")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--envpool-python")
    parser.add_argument(
        "--idle", type=float, default=0, help="wait this long at most for an idle machine (Linux)"
    )
    args = parser.parse_args()
    mujoco.set_mju_user_warning(lambda message: None)  # Gymnasium's half_cheetah.xml is deprecated
    chosen = [s for s in known if not args.envs or s.id in args.envs]
    columns = ["raw", "SyncVectorEnv(8)", *(f"ours {n}" for n in SIZES)]
    if any(gymnasium.spec(spec.underlying).vector_entry_point for spec in chosen):
        columns += [f"Gymnasium's batch {n}" for n in SIZES]
    if args.envpool_python:
        columns += [f"EnvPool {n}" for n in SIZES]
    columns += ["ours 16 / raw", "ours 64 / raw", "ours 8 / Sync"]
    print(f"{cpus()} CPUs, mujoco {mujoco.__version__}, {args.rounds} rounds, steps/s")
    print("| environment | " + " | ".join(columns) + " |\n|" + " --- |" * (len(columns) + 1))
    for spec in chosen:
        times: dict[str, list[float]] = defaultdict(list)
        raw = recorder(spec)
        for _ in range(args.rounds):
            if raw is not None:
                wait_until_idle(args.idle)
                times["raw"].append(raw(args.seconds))
            wait_until_idle(args.idle)
            times["SyncVectorEnv(8)"].append(sync(spec, args.seconds))
            for n in SIZES:
                wait_until_idle(args.idle)
                times[f"ours {n}"].append(ours(spec, n, args.seconds))
                if gymnasium.spec(spec.underlying).vector_entry_point:
                    times[f"Gymnasium's batch {n}"].append(native(spec, n, args.seconds))
            if args.envpool_python:
                wait_until_idle(args.idle)
                for n, value in envpool(args.envpool_python, spec, args.seconds).items():
                    times[f"EnvPool {n}"].append(value)
        median = {column: statistics.median(values) for column, values in times.items()}
        cells = {column: f"{value / 1000:.1f}k" for column, value in median.items()}
        pairs = (("ours 16", "raw"), ("ours 64", "raw"), ("ours 8", "SyncVectorEnv(8)"))
        for (above, below), column in zip(pairs, columns[-3:], strict=True):
            if below in median:
                cells[column] = f"{median[above] / median[below]:.2f}"
        print(f"| {spec.id} | " + " | ".join(cells.get(c, "-") for c in columns) + " |", flush=True)


if __name__ == "__main__":
    main()
