"""Rows compared: in one environment, and across the environments of a track."""

from __future__ import annotations

import math
import statistics as stdlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgbench.boards.rows import Group, Grouping, Record, costs
from pgbench.records.suite import Track
from pgbench.statistics.bootstrap import (
    improvement_interval,
    performance_profile,
    stratified_bootstrap,
)
from pgbench.statistics.intervals import (
    iqm,
    mean,
    optimality_gap,
    paired_difference,
    paired_p,
    t_interval,
    welch,
)
from pgbench.statistics.ranking import holm, rank_groups

REPLICATIONS = 10_000
ALL_PAIRS = 16  # rows; above, pairs are made with the first row alone
TAUS = 41
LEAST = 3  # runs that an interval is shown from
TEST = (
    "Means over seeds carry t intervals; figures across environments are of normalised scores "
    "(floor 0, reference 1) with stratified-bootstrap intervals corrected for few seeds. Rows "
    "share a rank unless a test separates them at 5% after Holm's correction over all pairs: "
    "Welch's test in one environment, across environments a t test on the differences between "
    "runs of one seed number, averaged over the environments. No row ranks above one whose mean is "
    "better. A failed run scores the floor."
)


def in_environment(
    name: str, grouping: Grouping, stamps: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The table of one environment, best first."""
    groups = [row[name] for row in grouping.groups.values() if name in row]
    ranked = {g.name: g for g in groups if g.complete and len(g.scores) > 1}
    means = {key: g.sign * mean(list(g.scores.values())) for key, g in ranked.items()}
    p = {
        (a, b): welch(list(ranked[a].scores.values()), list(ranked[b].scores.values()))
        for a, b in _pairs(sorted(ranked))
    }
    ranks = rank_groups(means, p)
    rows = []
    for group in groups:
        values = list(group.scores.values())
        rows.append(
            {
                "key": group.name,
                "name": group.name,
                "rank": ranks.get(group.name),
                "complete": group.complete,
                "mean": _with_interval(values),
                "median": float(stdlib.median(values)) if values else None,
                "iqm": float(iqm(sorted(values))) if values else None,
                "min": min(values, default=None),
                "max": max(values, default=None),
                **_of_runs(group.records, group.expected, stamps),
                "scores": [
                    {
                        "seed": r["protocol"]["seed"],
                        "score": group.scores.get(r["protocol"]["seed"]),
                        "status": r["status"],
                        "record": r["id"],
                    }
                    for r in group.records
                ],
                "curve": _curve(group),
            }
        )
    sign = groups[0].sign if groups else 1

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        value = row["mean"][0]
        return (
            row["rank"] is None,
            row["rank"] or 0,
            -sign * value if value is not None else math.inf,
            row["name"],
        )

    return sorted(rows, key=order)


def across(
    names: Sequence[str],
    grouping: Grouping,
    seed: int,
    stamps: Sequence[Mapping[str, Any]],
    given: bool,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Rows over all environments of a track, their pairs and their performance profiles."""
    scores = {
        key: {n: g.normalised for n, g in row.items() if g.normalised}
        for key, row in grouping.groups.items()
    }
    whole = {
        key: {n: list(by_seed.values()) for n, by_seed in scores[key].items()}
        for key, row in sorted(grouping.groups.items())
        if set(row) == set(names) and all(g.complete and g.normalised for g in row.values())
    }
    by_seed = {key: _seed_means(scores[key]) for key in whole}
    means = {key: mean(list(values.values())) for key, values in by_seed.items()}
    p = {(a, b): paired_p(_differences(by_seed[a], by_seed[b])) for a, b in _pairs(list(whole))}
    ranks = rank_groups(means, p)
    rows = []
    for key, row in grouping.groups.items():
        records = [record for group in row.values() for record in group.records]
        aggregate = _aggregate(scores[key], seed) if scores[key] else {}
        pooled = [value for by in scores[key].values() for value in by.values()]
        rows.append(
            {
                "key": key,
                "name": key,
                "algorithm": records[0]["algorithm"]["name"],
                "paper": records[0]["algorithm"]["paper"],
                "rank": ranks.get(key),
                "complete": key in whole or (not given and all(g.complete for g in row.values())),
                "iqm": aggregate.get("iqm"),
                "mean": aggregate.get("mean"),
                "gap": aggregate.get("gap"),
                "median": float(stdlib.median(pooled)) if pooled else None,
                **_of_runs(records, _expected(row, names, grouping.track, given), stamps),
                "changed": _changed(records),
            }
        )
    rows.sort(key=_row_order)
    best = [row["key"] for row in rows if row["key"] in whole]
    chosen = list(_pairs(best)) if len(best) <= ALL_PAIRS else [(best[0], b) for b in best[1:]]
    return rows, _pair_rows(chosen, whole, by_seed, p, seed), _profile(best, whole, seed)


def _expected(row: Mapping[str, Group], names: Sequence[str], track: Track, given: bool) -> int:
    return track.seeds * len(names) if given else sum(group.expected for group in row.values())


def _row_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    value = row["iqm"][0] if row["iqm"] else -math.inf
    return row["rank"] is None, row["rank"] or 0, -value, row["name"]


def _seed_means(by_env: Mapping[str, Mapping[int, float]]) -> dict[int, float]:
    seeds = set.intersection(*(set(values) for values in by_env.values()))
    return {s: mean([values[s] for values in by_env.values()]) for s in sorted(seeds)}


def _differences(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    return [a[s] - b[s] for s in sorted(set(a) & set(b))]


def _pairs(keys: Sequence[str]) -> Iterable[tuple[str, str]]:
    return ((a, b) for i, a in enumerate(keys) for b in keys[i + 1 :])


def _aggregate(
    scores: Mapping[str, Mapping[int, float]], seed: int
) -> dict[str, list[float | None]]:
    tasks = {name: list(values.values()) for name, values in scores.items()}
    found = stratified_bootstrap(
        tasks,
        {"iqm": iqm, "mean": lambda x: x.mean(axis=-1), "gap": optimality_gap},
        seed=seed,
        replications=REPLICATIONS,
    )
    value, low, high = found["gap"]
    found["gap"] = value, max(low, 0.0), high  # a gap is never negative
    return {key: [_number(x) for x in value] for key, value in found.items()}


def _pair_rows(
    chosen: Iterable[tuple[str, str]],
    whole: Mapping[str, Mapping[str, Sequence[float]]],
    by_seed: Mapping[str, Mapping[int, float]],
    p: Mapping[tuple[str, str], float],
    seed: int,
) -> list[dict[str, Any]]:
    adjusted = dict(zip(p, holm(list(p.values())), strict=True))
    out = []
    for a, b in chosen:
        x, y = ({str(s): v for s, v in by_seed[key].items()} for key in (a, b))
        pair = (a, b) if (a, b) in p else (b, a)
        out.append(
            {
                "a": a,
                "b": b,
                "probability": [
                    _number(v) for v in improvement_interval(whole[a], whole[b], seed=seed)
                ],
                "difference": [_number(v) for v in paired_difference(x, y)],
                "p": _number(p[pair]),
                "p_holm": _number(adjusted[pair]),
            }
        )
    return out


def _profile(
    keys: Sequence[str], whole: Mapping[str, Mapping[str, Sequence[float]]], seed: int
) -> dict[str, Any]:
    if not keys:
        return {"tau": [], "rows": {}}
    highest = max(max(values) for key in keys for values in whole[key].values())
    top = max(math.ceil(highest * 10), 1) / 10
    tau = [round(top * i / (TAUS - 1), 6) for i in range(TAUS)]
    rows = {}
    for key in keys:
        value, low, high = performance_profile(whole[key], tau, seed=seed)
        rows[key] = {
            "value": [_number(v) for v in value],
            "low": [_number(v) for v in low],
            "high": [_number(v) for v in high],
        }
    return {"tau": tau, "rows": rows}


def _curve(group: Group) -> list[dict[str, Any]]:
    """Mean over seeds at each evaluation, with its t interval."""
    points: dict[int, list[float]] = {}
    for record in group.records:
        for point in record["result"]["curve"]:
            points.setdefault(point["step"], []).append(point["mean"])
    out = []
    for step in sorted(points):
        centre, low, high = _with_interval(points[step])
        out.append({"step": step, "mean": centre, "low": low, "high": high, "n": len(points[step])})
    return out


def _with_interval(values: Sequence[float]) -> list[float | None]:
    """Mean and t interval; none from two values: it would be 13 times as wide as they are apart."""
    if not values:
        return [None, None, None]
    if len(values) < LEAST:
        return [mean(values), None, None]
    return [mean(values), *(_number(x) for x in t_interval(values))]


def _number(value: float) -> float | None:
    """The value as JSON has it: None for what is not finite; ten digits, which no processor's
    order of summation can change."""
    return float(f"{value:.10g}") if math.isfinite(value) else None


def _of_runs(
    records: Sequence[Record], expected: int, stamps: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Counts, evidence, tuning and cost of some runs."""
    ids = {r["id"] for r in records}
    said = {s["kind"] for s in stamps if s["record"] in ids}
    kinds = ("disputed", "reproduced", "verified")
    tuning = sorted({r["protocol"]["tuning"]["class"] for r in records})
    return {
        "runs": {
            "finished": sum(r["status"] == "finished" for r in records),
            "started": len(records),
            "expected": expected,
        },
        "evidence": next((kind for kind in kinds if kind in said), "claimed"),
        "checked": len({s["record"] for s in stamps if s["record"] in ids and s["kind"] in kinds}),
        "tuning": " and ".join(tuning),
        "cost": costs(records),
    }


def _changed(records: Sequence[Record]) -> dict[str, Any]:
    """Settings that differ from the defaults; those of one environment alone name it."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        algorithm = record["algorithm"]
        for key in algorithm["defaults_changed"]:
            found.setdefault(key, {})[record["environment"]["id"]] = algorithm["config"][key]
    everywhere = {record["environment"]["id"] for record in records}
    out = {}
    for key, by_env in sorted(found.items()):
        values = list(by_env.values())
        same = set(by_env) == everywhere and all(value == values[0] for value in values)
        out[key] = values[0] if same else ", ".join(f"{by_env[e]} on {e}" for e in sorted(by_env))
    return out
