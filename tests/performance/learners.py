"""Learners side by side with Stable-Baselines3 and CleanRL: interleaved rounds, medians.

    python tests/performance/learners.py ppo --sb3-python PEER/bin/python
    python tests/performance/learners.py ppo --env cartpole --sb3-python PEER/bin/python
    python tests/performance/learners.py ppo --before OLD/bin/python
    python tests/performance/learners.py ppo --rounds 5 --returns --sb3-python ... --cleanrl FILE
    python tests/performance/learners.py sac --sb3-python PEER/bin/python --threads 2

Every round runs each contestant once, in a process of its own, at equal settings: PPO with 8
environments x 256 steps, 10 epochs, minibatches of 64, two 64-64 tanh networks, normalised
observations and rewards; SAC with one environment, one update a step, batch 256, 256-256 ReLU.
`steps/s` is from the second iteration (PPO) or the first update (SAC) on: it leaves out imports
and compilation; `steps/CPU s` is the same by the processor time of the process, which other load on
the machine changes less; `whole` is the process from start to end, all included.

`--sb3-python` names an interpreter with stable-baselines3 installed, `--cleanrl` a copy of its
`ppo_continuous_action.py` that runs under the installed Gymnasium (it prints `SPS:` lines and
is given 8 environments). `--before` names one with another version of this package.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pgbench.catalogue.registry import find_env

START = 1000  # random steps before SAC's first update

SB3 = """
import json, sys, time
import numpy as np, torch, gymnasium as gym
kind, env_id, steps, seed, threads, start = sys.argv[1:]
steps, seed, start = int(steps), int(seed), int(start)
torch.set_num_threads(int(threads))
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
class Clock(BaseCallback):
    first = None
    def _on_step(self):
        mark = 2048 if kind == "ppo" else start
        if self.first is None and self.num_timesteps > mark:
            self.first, self.at = time.perf_counter(), self.num_timesteps
            self.cpu = time.process_time()
        return True
clock = Clock()
if kind == "ppo":
    env = VecNormalize(make_vec_env(env_id, 8, seed=seed))
    model = PPO("MlpPolicy", env, n_steps=256, batch_size=64, n_epochs=10, seed=seed, device="cpu",
                policy_kwargs=dict(net_arch=[64, 64]))
else:
    env = make_vec_env(env_id, 1, seed=seed)
    model = SAC("MlpPolicy", env, learning_starts=start, seed=seed, device="cpu")
model.learn(steps, callback=clock)
rate = (model.num_timesteps - clock.at) / (time.perf_counter() - clock.first)
cpu = (model.num_timesteps - clock.at) / (time.process_time() - clock.cpu)
if kind == "ppo":
    test = VecNormalize(make_vec_env(env_id, 1, seed=seed + 10_000), norm_reward=False)
    test.obs_rms, test.training = env.obs_rms, False
else:
    test = make_vec_env(env_id, 1, seed=seed + 10_000)
mean, _ = evaluate_policy(model, test, n_eval_episodes=20)
print(json.dumps({"rate": rate, "cpu": cpu, "return": float(mean)}))
"""

OURS = """
import json, sys, time
kind, env_id, steps, seed, threads, start, compiled, runs = sys.argv[1:]
from pathlib import Path
from pgbench.runs.plan import make_plan
from pgbench.runs.runner import Run
settings = {} if kind == "ppo" else {"start": start}
plan = make_plan(kind, env_id, seed=int(seed), budget=int(steps), settings=settings, device="cpu",
                 compile=compiled == "1", threads=int(threads) or None)
class Clocked(Run):
    first, inside, cpu_inside = None, 0.0, 0.0
    def _after(self, phase):
        before, cpu = self.spent["evaluate_s"] + self.spent["checkpoint_s"], time.process_time()
        super()._after(phase)
        if self.first is None and phase.name == "update":
            self.first, self.at = time.perf_counter(), self.loop.steps
            self.cpu_first = time.process_time()
        elif self.first is not None:  # peers neither evaluate nor save: what ours took goes out
            self.inside += self.spent["evaluate_s"] + self.spent["checkpoint_s"] - before
            self.cpu_inside += time.process_time() - cpu
        self.last, self.end = time.perf_counter(), self.loop.steps
        self.cpu_last = time.process_time()
run = Clocked(plan, Path(runs))
record = run.go()
cost = record["cost"]
print(json.dumps({
    "rate": (run.end - run.at) / (run.last - run.first - run.inside),
    "cpu": (run.end - run.at) / (run.cpu_last - run.cpu_first - run.cpu_inside),
    "return": record["result"]["score"],
    "evaluate": cost["evaluate_s"] / cost["wall_s"],
    "checkpoint": cost["checkpoint_s"] / cost["wall_s"],
}))
"""


def child(python: str, code: str, *words: object) -> dict[str, float]:
    """Run `code` in its own process; its last line is JSON."""
    began = time.perf_counter()
    done = subprocess.run(
        [python, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"a contestant failed:\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    result["whole"] = time.perf_counter() - began
    return result


def cleanrl(python: str, script: str, env_id: str, steps: int, seed: int) -> dict[str, float]:
    """CleanRL's script; its SPS line counts from the start of training."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, str(Path(script).resolve()), "--env-id", env_id, "--seed", str(seed),
             "--total-timesteps", str(steps), "--num-envs", "8", "--num-steps", "256",
             "--num-minibatches", "32", "--update-epochs", "10", "--no-cuda"],
            capture_output=True, text=True, cwd=folder, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"CleanRL failed:\n{done.stderr[-2000:]}")
    rates = [float(x) for x in re.findall(r"SPS: (\d+)", done.stdout)]
    # Under Gymnasium 1.x the script finds no episode returns to print, so none are compared.
    return {"rate": rates[-1], "whole": time.perf_counter() - began}


def main() -> None:
    """Parse, run the rounds, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=["ppo", "sac"])
    parser.add_argument("--env", default="hopper")
    parser.add_argument("--steps", type=int, help="default: 100352 (ppo), 3000 (sac)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0: each its default")
    parser.add_argument("--sb3-python")
    parser.add_argument("--before", help="an interpreter with another version of this package")
    parser.add_argument("--cleanrl", help="ppo_continuous_action.py")
    parser.add_argument("--returns", action="store_true", help="also compare the returns")
    args = parser.parse_args()
    if args.cleanrl and not args.sb3_python:
        parser.error("--cleanrl runs under the interpreter that --sb3-python names")
    steps = args.steps or (100_352 if args.kind == "ppo" else 3000)
    gym_id = find_env(args.env).underlying
    names = ["ppo"] if args.kind == "ppo" else ["sac", "mdpo-off"]
    results: dict[str, list[dict[str, float]]] = {}
    for seed in range(args.rounds):
        for name in names:
            for compiled in (1, 0) if seed < 3 else (1,):
                for python, word in ((sys.executable, ""), (args.before, " before")):
                    if python:
                        with tempfile.TemporaryDirectory() as runs:
                            row = child(python, OURS, name, args.env, steps, seed, args.threads,
                                        START, compiled, runs)  # fmt: skip
                        label = f"pgbench {name}{word}" + ("" if compiled else ", not compiled")
                        results.setdefault(label, []).append(row)
        if args.sb3_python:
            row = child(args.sb3_python, SB3, args.kind, gym_id, steps, seed,
                        args.threads or (1 if args.kind == "ppo" else 2), START)  # fmt: skip
            results.setdefault("Stable-Baselines3", []).append(row)
        if args.cleanrl and args.kind == "ppo":
            row = cleanrl(args.sb3_python, args.cleanrl, gym_id, steps, seed)
            results.setdefault("CleanRL", []).append(row)
        print(f"round {seed + 1} of {args.rounds} done", file=sys.stderr)
    columns = ["rate", "cpu", "whole", "evaluate", "checkpoint"] + ["return"] * args.returns
    print(
        "| | steps/s | steps/CPU s | whole, s | evaluation | checkpoints |"
        + " return |" * args.returns
    )
    print("| --- |" + " --- |" * len(columns))
    for label, rows in results.items():
        cells = []
        for column in columns:
            values = [row[column] for row in rows if column in row]
            if not values:
                cells.append("-")
            elif column == "return":
                low, high = interval(values)
                mean = statistics.fmean(values)
                cells.append(f"{mean:,.0f} [{low:,.0f}, {high:,.0f}] n={len(values)}")
            elif column in ("evaluate", "checkpoint"):
                cells.append(f"{100 * statistics.median(values):.1f}%")
            else:
                cells.append(f"{statistics.median(values):,.0f}")
        print(f"| {label} | " + " | ".join(cells) + " |")


def interval(values: list[float]) -> tuple[float, float]:
    """The 95% t interval."""
    from pgbench.statistics.intervals import t_interval

    return t_interval(values)


if __name__ == "__main__":
    main()
