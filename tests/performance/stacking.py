"""Ten seeds stacked in one process against the same ten on two workers, and against one alone.

    python tests/performance/stacking.py ppo --env hopper --steps 20480 --rounds 3
    python tests/performance/stacking.py sac --env pendulum --steps 1200 --rounds 3 --threads 1

Contestants in turn, in processes of their own: `one` seed alone; `two workers`, two processes at
once with a seed each and one environment thread each (ten seeds take them five turns: their time
is multiplied by five); `stacked`, all ten; `two stacks`, two processes at once with five each. The
clock runs from the first update to the end of the budget: imports, compilation and evaluation are
left out. `wall` is of the slower process, `cpu` of all together (the figure to trust on a machine
with other work), both in seconds for 100,000 steps of each seed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

OURS = """
import json, sys, tempfile, time
from pathlib import Path
algo, env, steps, threads, compiled, seed, stack = sys.argv[1:]
from pgbench.runs.plan import Protocol, make_plan
from pgbench.runs.runner import Run
from pgbench.runs.stack import StackedRuns
settings = {"start": 100} if algo in ("sac", "mdpo-off") else {}
stack = int(stack)
plans = [make_plan(algo, env, seed=s, budget=int(steps), settings=settings, device="cpu",
                   protocol=Protocol(1, 1, 1), compile=compiled == "1",
                   threads=int(threads) or None, stack=stack)
         for s in (range(stack) if stack else [int(seed)])]
class Clock:
    first = None
    def _after(self, phases):
        super()._after(phases)
        phase = phases[0] if isinstance(phases, list) else phases
        now = time.perf_counter(), time.process_time(), self.loop.steps
        if self.first is None and phase.name == "update":
            self.first = now
        self.last = now
class One(Clock, Run): pass
class Many(Clock, StackedRuns): pass
with tempfile.TemporaryDirectory() as runs:
    run = Many(plans, Path(runs)) if stack else One(plans[0], Path(runs))
    run.go()
wall, cpu, done = (b - a for a, b in zip(run.first, run.last))
print(json.dumps({"wall": wall / done * 1e5, "cpu": cpu / done * 1e5}))
"""


def together(words: list[list[str]], env: dict[str, str]) -> dict[str, float]:
    """Processes at once: the slower one's wall time, the CPU time of all."""
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", OURS, *one],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env},
        )
        for one in words
    ]  # fmt: skip
    found = []
    for child in children:
        out, err = child.communicate()
        if child.returncode:
            raise SystemExit(f"a contestant failed:\n{err[-2000:]}")
        found.append(json.loads(out.strip().splitlines()[-1]))
    return {"wall": max(f["wall"] for f in found), "cpu": sum(f["cpu"] for f in found)}


def main() -> None:
    """Parse, run the rounds, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("algo")
    parser.add_argument("--env", default="pendulum")
    parser.add_argument("--steps", type=int, default=20480)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=10, help="even")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; 0: the default")
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    n = args.seeds
    how = [args.algo, args.env, str(args.steps), str(args.threads), str(int(not args.no_compile))]
    alone, half = {}, {"PGBENCH_ENV_THREADS": "1"}
    contestants = {
        "one": ([[*how, "0", "0"]], alone, 1),
        "two workers": ([[*how, "0", "0"], [*how, "1", "0"]], half, n // 2),
        "stacked": ([[*how, "0", str(n)]], alone, 1),
        "two stacks": ([[*how, "0", str(n // 2)]] * 2, half, 1),
    }
    results: dict[str, list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for name, (words, env, turns) in contestants.items():
            row = {key: turns * value for key, value in together(words, env).items()}
            results.setdefault(name, []).append(row)
            print(name, row, file=sys.stderr, flush=True)
    print(f"| {args.algo} on {args.env} | wall, s | cpu, s |\n| --- | ---: | ---: |")
    for name, rows in results.items():
        cells = (f"{statistics.median(row[key] for row in rows):,.1f}" for key in ("wall", "cpu"))
        print(f"| {name if name == 'one' else f'{n} seeds, {name}'} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
