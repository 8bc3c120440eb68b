"""Rows compared: in one environment, and across the environments of a track."""

from __future__ import annotations

import math
import statistics as stdlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgbench.boards.curves import reach
from pgbench.boards.rows import Group, Grouping, Record, costs
from pgbench.records.suite import Track
from pgbench.statistics.bootstrap import (
    improvement_interval,
    performance_profile,
    stratified_bootstrap,
)
from pgbench.statistics.intervals import (
    LEAST,
    holm,
    iqm,
    mean,
    mean_interval,
    optimality_gap,
    within_bounds,
)
from pgbench.statistics.ranking import Estimate, Standing, compare, difference, estimate

REPLICATIONS = 10_000
ALL_PAIRS = 16  # rows; above, pairs are made with the first row alone
TAUS = 41  # evenly spaced, and at most as many at quantiles of the scores
TEST = (
    "Means over seeds carry t intervals within the bounds of their metric, from three runs on that "
    "are not all equal; figures across environments are of normalised scores (the floor and what "
    "is below it 0, the reference 1) with stratified-bootstrap intervals corrected for few seeds, "
    "within their bounds. Rank: the best that the runs leave to a row, and in brackets its rank "
    "set, which holds the true rank of its mean in 95% of all tables (simultaneous comparisons "
    "with all other rows, by Welch's statistic with simulated critical values; Mogstad, Romano, "
    "Shaikh and Wilhelm 2024); no row ranks above one whose mean is better. Lead: the mean less "
    "the best of the others', with limits that hold for all rows at once in 97.5% of all tables "
    "(Hsu's multiple comparisons with the best). A failed run scores the floor."
)


def in_environment(
    name: str, grouping: Grouping, stamps: Sequence[Mapping[str, Any]], goal: float | None
) -> list[dict[str, Any]]:
    """The table of one environment, best first; `goal` is the score that runs are timed to."""
    groups = [row[name] for row in grouping.groups.values() if name in row]
    standings = compare({g.name: found for g in groups if (found := g.estimate) is not None})
    rows = []
    for group in groups:
        values = list(group.scores.values())
        rows.append(
            {
                "key": group.name,
                "name": group.name,
                **_standing(standings.get(group.name)),
                "complete": group.complete,
                "mean": _with_interval(values, *group.bounds),
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
                "reach": reach(group, goal),
            }
        )
    sign = groups[0].sign if groups else 1

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        value = row["mean"][0]
        # By the mean: what has no rank yet stands in its place, what was not compared last.
        return row["ranks"] is None, -sign * value if value is not None else math.inf, row["name"]

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
        key: {n: list(g.normalised.values()) for n, g in row.items() if g.normalised}
        for key, row in grouping.groups.items()
    }
    whole = {
        key: scores[key]
        for key, row in sorted(grouping.groups.items())
        if set(row) == set(names) and all(g.complete and g.normalised for g in row.values())
    }
    highest = {key: [g.highest for g in row.values()] for key, row in grouping.groups.items()}
    estimates = {
        key: found
        for key, by_env in whole.items()
        if (found := estimate(list(by_env.values()), 0.0, _mean_or_none(highest[key]))) is not None
    }
    standings = compare(estimates)
    rows = []
    for key, row in grouping.groups.items():
        records = [record for group in row.values() for record in group.records]
        aggregate = _aggregate(scores[key], highest[key], seed) if scores[key] else {}
        pooled = [value for values in scores[key].values() for value in values]
        rows.append(
            {
                "key": key,
                "name": key,
                "algorithm": records[0]["algorithm"]["name"],
                "paper": records[0]["algorithm"]["paper"],
                **_standing(standings.get(key)),
                "complete": key in whole or (not given and all(g.complete for g in row.values())),
                "iqm": aggregate.get("iqm"),
                "mean": aggregate.get("mean"),
                "gap": aggregate.get("gap"),
                "median": float(stdlib.median(pooled)) if pooled else None,
                "below_floor": sum(group.below_floor for group in row.values()),
                **_of_runs(records, _expected(row, names, grouping.track, given), stamps),
                "changed": _changed(records),
            }
        )
    rows.sort(key=_row_order)
    best = [row["key"] for row in rows if row["key"] in whole]  # first the best mean
    chosen = list(_pairs(best)) if len(best) <= ALL_PAIRS else [(best[0], b) for b in best[1:]]
    return rows, _pair_rows(chosen, whole, estimates, seed), _profile(best, whole, seed)


def _expected(row: Mapping[str, Group], names: Sequence[str], track: Track, given: bool) -> int:
    return track.seeds * len(names) if given else sum(group.expected for group in row.values())


def _row_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    value = row["mean"][0] if row["mean"] else -math.inf
    return row["ranks"] is None, -value, row["name"]


def _standing(standing: Standing | None) -> dict[str, Any]:
    """What a row shows of its rank: nothing where it has too few runs to be compared."""
    if standing is None:
        return {"rank": None, "ranks": None, "lead": None}
    lead = standing.lead and [_number(x) for x in standing.lead]
    return {"rank": standing.rank, "ranks": [standing.low, standing.high], "lead": lead}


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None


def _pairs(keys: Sequence[str]) -> Iterable[tuple[str, str]]:
    return ((a, b) for i, a in enumerate(keys) for b in keys[i + 1 :])


def _aggregate(
    scores: Mapping[str, Sequence[float]], highest: Sequence[float | None], seed: int
) -> dict[str, list[float | None]]:
    """IQM, mean and gap with intervals between their bounds; none with a task of two runs."""
    found = stratified_bootstrap(
        scores,
        {"iqm": iqm, "mean": lambda x: x.mean(axis=-1), "gap": optimality_gap},
        seed=seed,
        replications=REPLICATIONS,
    )
    # Of scores from 0 on; an IQM may be of the environments with the highest bounds alone.
    known = [value for value in highest if value is not None]
    top = max(known) if known and len(known) == len(highest) else None
    uppers = {"iqm": top, "mean": _mean_or_none(highest), "gap": 1.0}
    few = min(map(len, scores.values())) < LEAST
    out = dict[str, list[float | None]]()
    for key, (value, low, high) in found.items():
        half = math.nan if few or high == low else (high - low) / 2
        limits = within_bounds(value, half, 0.0, uppers[key])
        out[key] = [_number(x) for x in (value, *limits)]
    return out


def _pair_rows(
    chosen: Iterable[tuple[str, str]],
    whole: Mapping[str, Mapping[str, Sequence[float]]],
    estimates: Mapping[str, Estimate],
    seed: int,
) -> list[dict[str, Any]]:
    """Differences of mean normalised scores, and chances that a run of one beats one of the other.

    Holm's correction is over all pairs, those that are not shown as well.
    """
    found = {
        frozenset((a, b)): difference(estimates[a], estimates[b])
        for a, b in _pairs(sorted(estimates))
    }
    adjusted = dict(zip(found, holm([p for *_, p in found.values()]), strict=True))
    out = []
    for a, b in chosen:
        pair = frozenset((a, b))
        if pair not in found:
            continue  # two runs tell no spread
        value, low, high, p = found[pair]
        if value != estimates[a].mean - estimates[b].mean:
            value, low, high = -value, -high, -low
        chance = improvement_interval(whole[a], whole[b], seed=seed)
        out.append(
            {
                "a": a,
                "b": b,
                "probability": [_number(v) for v in chance],
                "difference": [_number(v) for v in (value, low, high)],
                "p": _number(p),
                "p_holm": _number(adjusted[pair]),
            }
        )
    return out


def _profile(
    keys: Sequence[str], whole: Mapping[str, Mapping[str, Sequence[float]]], seed: int
) -> dict[str, Any]:
    if not keys:
        return {"tau": [], "rows": {}}
    found = [value for key in keys for values in whole[key].values() for value in values]
    lowest, highest = min(found), max(found)
    room = (highest - lowest) / 20 or 0.05
    # From the floor where that is not far below: an axis half of which says nothing is cut.
    start = 0.0 if 2 * lowest < highest else max(lowest - room, 0.0)
    step = (highest + room - start) / (TAUS - 1)
    even = [start + step * i for i in range(TAUS)]
    # As many where the scores are dense: one row far away must not blur the others.
    ordered = sorted(found)
    dense = [ordered[i * (len(ordered) - 1) // (TAUS - 1)] for i in range(TAUS)]
    tau = sorted({float(f"{t:.6g}") for t in (*even, *dense)})
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
    """Mean over seeds at each evaluation, with its interval."""
    points: dict[int, list[float]] = {}
    bounds = group.bounds
    for record in group.records:
        for point in record["result"]["curve"]:
            points.setdefault(point["step"], []).append(point["mean"])
    out = []
    for step in sorted(points):
        centre, low, high = _with_interval(points[step], *bounds)
        out.append({"step": step, "mean": centre, "low": low, "high": high, "n": len(points[step])})
    return out


def _with_interval(
    values: Sequence[float], lower: float | None = None, upper: float | None = None
) -> list[float | None]:
    """Mean and its interval, where the values tell one."""
    if not values:
        return [None, None, None]
    low, high = mean_interval(values, lower, upper) or (math.nan, math.nan)
    return [mean(values), _number(low), _number(high)]


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
