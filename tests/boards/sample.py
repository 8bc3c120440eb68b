"""A made-up board of the shape that the renderers read: deterministic, with every awkward case.

Two tracks, one of them with a cost to minimise; a failed run, an incomplete row, a withdrawn
record, runs apart. Numbers are plausible, not measured: intervals are mean ± 2.26 s / sqrt(n).
"""

import hashlib
import math
import random
from collections import Counter
from statistics import fmean, median, stdev

HOPPER = ("hopper-v0", "Hopper-v5", "return", "max", "", 18.28, 3234.3)
PENDULUM = (
    "inverted-double-pendulum-v0",
    "InvertedDoublePendulum-v5",
    "return",
    "max",
    "",
    52,
    9359,
)
CHEETAH = ("half-cheetah-v0", "HalfCheetah-v5", "return", "max", "", -280.1, 6821.0)
SWIMMER = ("swimmer-v0", "Swimmer-v5", "return", "max", "", 1.4, 361.0)
DEPOT = ("depot-v0", "Depot-v1", "cost", "min", "EUR a day", 912.4, 305.7)
TRACKS = (
    ("on-policy-500k", "On-policy, 500k environment steps", 500_000, (HOPPER, PENDULUM, CHEETAH)),
    ("off-policy-50k", "Off-policy, 50k environment steps", 50_000, (SWIMMER, DEPOT)),
)
# Name, paper, changed settings, skill, spread, steps a second.
ALGORITHMS = (
    ("mdpo (paper form)", "arXiv:2005.09814", {}, 0.74, 0.10, 9058.0),
    ("trpo", "arXiv:1502.05477", {}, 0.72, 0.09, 9330.0),
    ("ppo", "arXiv:1707.06347", {}, 0.66, 0.16, 8280.0),
    ("ppo", "arXiv:1707.06347", {"lr": 0.001, "clip": 0.3}, 0.52, 0.20, 8294.0),
    ("awr", "arXiv:1910.00177", {}, 0.41, 0.12, 5120.0),
    ("reinforce", "", {}, 0.24, 0.10, 14116.0),
)
CONFIG = {
    "batch_size": 64, "clip": 0.2, "epochs": 10, "form": "paper", "gamma": 0.99, "hidden": [64, 64],
    "horizon": 2048, "kl_coef": 0.5, "lam": 0.95, "lr": 3e-4, "max_grad_norm": 0.5, "num_envs": 1,
    "normalise_obs": True, "vf_coef": 0.5,
}  # fmt: skip
PACKAGES = {"gymnasium": "1.4.0", "mujoco": "3.17.0", "numpy": "2.4.6", "torch": "2.13.0+cpu"}


def sample_model(algorithms=6, seeds=10, tracks=TRACKS, episodes=20, points=10):
    """The model of a board; more `algorithms` than the six named are numbered copies of them."""
    build = _Builder(algorithms, seeds, episodes, points)
    shown = [build.track(*track) for track in tracks]
    records = build.records
    failed = [r for r in records.values() if r["status"] == "failed"]
    expected = sum(row["runs"]["expected"] for track in shown for row in track["rows"])
    withdrawn = _digest("withdrawn")
    return {
        "board": "control-mini-v1",
        "title": "Small control",
        "about": "Continuous control at a scale that a laptop finishes overnight: five small "
        "environments, fixed budgets, every started run counted. Scores are those of the final "
        "policy on evaluation seeds that training never sees.",
        "format": 2,
        "rules": 1,
        "pgbench": "0.2.0",
        "digest": {"records": _digest(*sorted(records)), "results": _digest("results", *records)},
        "newest": "2026-11-22T15:00:00Z" if records else None,
        "counts": {
            "records": len(records), "expected": expected, "finished": len(records) - len(failed),
            "failed": len(failed), "complete": len(records) == expected,
        },
        "statistics": {
            "level": 0.95,
            "replications": 10_000,
            "test": "One environment: t intervals over seeds. Across environments: stratified "
            "bootstrap of the interquartile mean; rank groups by pairwise permutation tests with "
            "Holm's correction, so rows that share a rank cannot be told apart.",
        },
        "tracks": shown,
        "withdrawn": [
            {
                "record": withdrawn, "reason": "run with a simulator other than the board's",
                "by": "the author of the record", "created": "2026-11-20T09:12:00Z",
            }
        ] if records else [],
        "failures": [
            {
                "record": key, "name": r["algorithm"], "environment": r["environment"],
                "seed": r["seed"], "error": r["error"],
            }
            for key, r in records.items()
            if r["status"] == "failed"
        ],
        "provenance": {
            "packages": {name: {v: len(records)} for name, v in PACKAGES.items()},
            "code": {"3875101f7368": len(records)},
            "hardware": {"AMD EPYC, 2 cores, cpu, threads 1, Python 3.11.7": len(records)},
        } if records else {"packages": {}, "code": {}, "hardware": {}},
        "records": records,
    }  # fmt: skip


def _digest(*words):
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def _interval(values):
    centre = fmean(values)
    if len(values) < 2:
        return [centre, None, None]
    half = 2.26 * stdev(values) / math.sqrt(len(values))
    return [centre, centre - half, centre + half]


def _iqm(values):
    cut = len(values) // 4
    return fmean(sorted(values)[cut : len(values) - cut])


class _Builder:
    def __init__(self, algorithms, seeds, episodes, points):
        self.rng = random.Random(7)
        self.seeds, self.episodes, self.points = seeds, episodes, points
        self.records = {}
        self.algorithms = []
        for i in range(algorithms):
            name, paper, changed, skill, spread, speed = ALGORITHMS[i % len(ALGORITHMS)]
            copy = i // len(ALGORITHMS)
            name = f"{name} #{copy}" if copy else name
            skill -= 0.013 * copy
            self.algorithms.append((name, paper, changed, skill, spread, speed * (1 + copy / 9)))

    def track(self, name, title, budget, environments):
        cells = {}  # (algorithm, environment) -> [(seed, score, status, record)]
        for a, algorithm in enumerate(self.algorithms):
            for environment in environments:
                incomplete = (a, environment) == (4, environments[1])
                seeds = range(min(self.seeds, 6) if incomplete else self.seeds)
                cells[a, environment[0]] = [
                    self.run(name, budget, a, algorithm, environment, seed) for seed in seeds
                ]
        keys = [
            f"{x[0].split(' ')[0]}|{_digest(str(a), name)[:8]}"
            for a, x in enumerate(self.algorithms)
        ]
        normal = {a: self.normalised(cells, a, environments) for a in range(len(self.algorithms))}
        failed = Counter(a for (a, _), runs in cells.items() for run in runs if run[2] == "failed")
        rows = [
            self.row(keys[a], a, normal[a], budget, len(environments), failed[a]) for a in normal
        ]
        rows.sort(key=lambda row: (not row["complete"], -row["iqm"][0]))
        _rank(rows, "iqm", 1)
        tasks = {}
        for e in environments:
            tasks[e[0]] = [
                self.task(keys[a], a, cells[a, e[0]], e, budget) for a in normal if cells[a, e[0]]
            ]
            sign = -1 if e[3] == "min" else 1
            tasks[e[0]].sort(key=lambda row: (not row["complete"], -sign * row["mean"][0]))
            _rank(tasks[e[0]], "mean", sign)
        scores = {keys[a]: values for a, values in normal.items()}
        order = [row["key"] for row in rows]
        complete = [row["key"] for row in rows if row["complete"]]
        return {
            "name": name, "title": title, "budget": budget, "unit": "environment steps",
            "seeds": self.seeds, "episodes": self.episodes,
            "environments": [self.environment(e) for e in environments],
            "rows": rows, "tasks": tasks,
            "power": {
                "alpha": 0.05, "power": 0.8,
                "tables": {
                    "all": {"seeds": self.seeds, "rows": len(rows), "deviation": 0.1,
                            "pair": 0.132, "rank": 0.153},
                } if rows else {},
            },
            "pairs": [
                _pair(a, b, scores)
                for i, a in enumerate(complete)
                for b in complete[i + 1 :]
                if i == 0 or len(complete) <= 16
            ],
            "profile": _profile({key: scores[key] for key in order}),
            "curves": {
                key: [
                    {"step": p["step"], "mean": i / 9, "low": i / 10 if i else None,
                     "high": i / 8 if i else None}
                    for i, p in enumerate(tasks[environments[0][0]][0]["curve"])
                ]
                for key in complete
            },
            "apart": [
                {
                    "name": "sac", "environment": "hopper-v0", "records": 5,
                    "reason": f"budget 20,000, not {budget:,}",
                }
            ] if name == "on-policy-500k" and rows else [],
        }  # fmt: skip

    def environment(self, e):
        name, underlying, metric, direction, unit, floor, reference = e
        return {
            "id": name, "underlying": underlying,
            "metric": {"name": metric, "direction": direction, "unit": unit},
            "floor": floor, "floor_origin": "mean of 1,000 episodes of uniformly random actions",
            "reference": reference,
            "reference_origin": "mean of the three best seeds of SAC, 1M steps",
            "golden": _digest("golden", name),
            "ceiling": reference if direction == "min" else None,
            "target": floor + 0.6 * (reference - floor),
        }  # fmt: skip

    def run(self, track, budget, a, algorithm, environment, seed):
        name, _, changed, skill, spread, speed = algorithm
        env, _, _, _, _, floor, reference = environment
        failed = (a, env, seed) == (0, "hopper-v0", 4)
        final = max(0.0, min(1.15, self.rng.gauss(skill, spread)))
        tau = 0.12 + 0.25 * self.rng.random()
        shape = [
            final * (1 - math.exp(-(i + 1) / self.points / tau)) + self.rng.gauss(0, 0.03)
            for i in range(self.points)
        ]
        value = [round(floor + (reference - floor) * s, 2) for s in (*shape, final)]
        steps = [budget * (i + 1) // self.points for i in range(self.points)]
        wide = abs(reference - floor) * 0.04
        episodes = [round(value[-1] + self.rng.gauss(0, wide), 2) for _ in range(self.episodes)]
        score = floor if failed else round(fmean(episodes), 4)
        key = _digest(track, str(a), env, str(seed))
        wall = budget / speed * (1 + 0.06 * self.rng.random())
        self.records[key] = {
            "algorithm": name, "environment": env, "seed": seed, "track": track,
            "status": "failed" if failed else "finished", "score": None if failed else score,
            "episodes": [] if failed else episodes,
            "curve": [list(p) for p in zip(steps, value, strict=False)][: 4 if failed else None],
            "error": "diverged: kl is not finite at step 221,184" if failed else None,
            "checksum": None if failed else _digest(key, "policy"),
            "train_seed": self.rng.getrandbits(31) * 2, "config": {**CONFIG, **changed},
            "changed": sorted(changed), "commit": "3875101f7368" + "0" * 28, "dirty": False,
            "created": f"2026-11-{10 + seed % 12:02d}T15:00:00Z", "packages": PACKAGES,
            "machine": "AMD EPYC, 2 cores, cpu, threads 1", "python": "3.11.7",
            "wall_s": round(wall, 2), "cpu_s": round(wall * 1.08, 2), "resumed": int(seed == 3),
            "command": f"pgbench reproduce {key[:8]} --board control-mini-v1",
            "stamps": [
                {"kind": "verified", "by": "continuous checks", "created": "2026-11-22T16:00:00Z"}
            ] if a == 1 else [],
        }  # fmt: skip
        return seed, score, "failed" if failed else "finished", key

    def normalised(self, cells, a, environments):
        return {
            e[0]: [(score - e[5]) / (e[6] - e[5]) for _, score, _, _ in cells[a, e[0]]]
            for e in environments
        }

    def row(self, key, a, normal, budget, environments, failed):
        name, paper, changed, _, _, speed = self.algorithms[a]
        pooled = [value for values in normal.values() for value in values]
        mean = _interval(pooled)
        centre = _iqm(pooled)
        expected = self.seeds * environments
        return {
            "key": key, "name": name + "".join(f", {k}={v}" for k, v in changed.items()),
            "algorithm": name.split(" ")[0], "paper": paper, "rank": None, "ranks": None,
            "lead": [-0.1, -0.3, 0.0], "below_floor": failed,
            "complete": len(pooled) == expected,
            "iqm": [centre, *(None if v is None else v - mean[0] + centre for v in mean[1:])],
            "mean": mean, "gap": _interval([max(0.0, 1 - value) for value in pooled]),
            "median": median(pooled),
            "runs": {
                "finished": len(pooled) - failed, "started": len(pooled), "expected": expected,
            },
            **_class(a), "changed": changed, "cost": _cost(speed, budget),
        }  # fmt: skip

    def task(self, key, a, cell, environment, budget):
        name, _, changed, _, _, speed = self.algorithms[a]
        scores = [score for _, score, _, _ in cell]
        finished = sum(status == "finished" for _, _, status, _ in cell)
        curves = [self.records[r]["curve"] for _, _, status, r in cell if status == "finished"]
        curve = []
        for points in zip(*curves, strict=False):
            centre, low, high = _interval([value for _, value in points])
            curve.append(
                {"step": points[0][0], "mean": centre, "low": low, "high": high, "n": len(points)}
            )
        return {
            "key": key, "name": name + "".join(f", {k}={v}" for k, v in changed.items()),
            "rank": None, "ranks": None, "complete": len(cell) == self.seeds,
            "mean": _interval(scores), "lead": None if len(cell) < 3 else [-10.0, -30.0, 0.0],
            "median": median(scores), "iqm": _iqm(scores), "min": min(scores), "max": max(scores),
            "runs": {"finished": finished, "started": len(cell), "expected": self.seeds},
            **_class(a),
            "scores": [
                {"seed": seed, "score": score, "status": status, "record": record}
                for seed, score, status, record in cell
            ],
            "curve": curve, "cost": _cost(speed, budget),
            "reach": {"step": curve[len(curve) // 2]["step"] if a % 2 else None, "runs": a % 2},
        }  # fmt: skip


def _class(a):
    return {
        "checked": (0, 2, 0, 0, 0, 1)[a % 6],
        "evidence": ("claimed", "verified", "claimed", "claimed", "claimed", "reproduced")[a % 6],
        "tuning": ("paper", "paper", "paper", "declared", "fixed-20", "paper")[a % 6],
    }


def _cost(speed, budget):
    wall = budget / speed
    return {
        "steps_per_s": speed, "wall_s": wall, "cpu_s": wall * 1.08, "parameters": 10119,
        "peak_memory_mib": 452.5,
    }  # fmt: skip


def _rank(rows, field, sign):
    """1 + the number of rows whose whole interval is better; None where a row is incomplete."""
    ranked = [row for row in rows if row["complete"]]

    def beats(a, b):
        (_, a_low, a_high), (_, b_low, b_high) = a[field], b[field]
        if a_low is None or b_low is None:
            return False
        return a_low > b_high if sign > 0 else a_high < b_low

    for row in ranked:
        row["rank"] = 1 + sum(beats(other, row) for other in ranked)
        row["ranks"] = [row["rank"], len(ranked) - sum(beats(row, other) for other in ranked)]


def _pair(a, b, scores):
    chances = [
        fmean((x > y) + 0.5 * (x == y) for x in scores[a][e] for y in scores[b][e])
        for e in scores[a]
    ]
    chance = fmean(chances)
    half = 1.96 * math.sqrt(max(chance * (1 - chance), 0.004) / 18)
    difference = fmean(fmean(scores[a][e]) - fmean(scores[b][e]) for e in scores[a])
    p = round(math.exp(-12 * abs(chance - 0.5)), 4)
    return {
        "a": a, "b": b,
        "probability": [chance, max(0.0, chance - half), min(1.0, chance + half)],
        "difference": [difference, difference - 0.09, difference + 0.09],
        "p": p, "p_holm": min(1.0, round(3 * p, 4)),
    }  # fmt: skip


def _profile(scores):
    tau = [round(0.05 * i, 2) for i in range(25)]
    rows = {}
    for key, tasks in scores.items():
        pooled = [value for values in tasks.values() for value in values]
        value = [fmean(x > t for x in pooled) for t in tau]
        half = [1.96 * math.sqrt(v * (1 - v) / len(pooled)) for v in value]
        rows[key] = {
            "value": value,
            "low": [max(0.0, v - h) for v, h in zip(value, half, strict=True)],
            "high": [min(1.0, v + h) for v, h in zip(value, half, strict=True)],
        }
    return {"tau": tau, "rows": rows}
