"""What runs did on their way: how soon they reach a target, and their curves over a whole track."""

from __future__ import annotations

import math
import statistics as stdlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy.special import stdtrit

from pgbench.boards.rows import Group, Grouping, Record
from pgbench.statistics.intervals import mean, within_bounds
from pgbench.statistics.ranking import LEVEL, estimate

SHARE = 0.9  # of the way from the floor to the best row's mean: the target of an environment


def ceiling(groups: Iterable[Group]) -> float | None:
    """The best score that an environment has, from the catalogue; None where nothing is known."""
    ends = {group.bounds[0 if group.sign < 0 else 1] for group in groups}
    return next(iter(ends)) if len(ends) == 1 else None


def target(groups: Sequence[Group]) -> float | None:
    """The score that runs are timed to; None without a floor, or if no whole row is above it."""
    whole = [group for group in groups if group.complete and group.env is not None]
    if not whole:
        return None
    env, sign = whole[0].env, whole[0].sign
    assert env is not None
    best = max((mean(list(group.scores.values())) for group in whole), key=lambda x: sign * x)
    if sign * (best - env.floor) <= 0:
        return None
    return env.floor + SHARE * (best - env.floor)


def reach(group: Group, goal: float | None) -> dict[str, Any] | None:
    """How many runs reach the target, and the median step of their first evaluation that does.

    The median is over all runs: None where half of them or more never do. None without a target,
    or where no run has a curve.
    """
    if goal is None or not any(record["result"]["curve"] for record in group.records):
        return None
    steps = [
        next(
            (
                float(point["step"])
                for point in record["result"]["curve"]
                if group.sign * (point["mean"] - goal) >= 0
            ),
            math.inf,
        )
        for record in group.records
    ]
    middle = stdlib.median(steps)
    return {
        "step": round(middle) if math.isfinite(middle) else None,
        "runs": sum(map(math.isfinite, steps)),
    }


def over_track(
    names: Sequence[str], grouping: Grouping, keys: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Mean normalised scores over all environments of a track, by row and step, with intervals.

    `keys` are whole rows. At a step where every finished run was evaluated; a failed run that has
    no point there counts as the floor. Nothing for one environment, whose own curves say the same.
    """
    out = {}
    for key in keys if len(names) > 1 else ():
        groups = [grouping.groups[key][name] for name in names]
        if any(group.env is None for group in groups):
            continue
        known = [
            {point["step"] for point in record["result"]["curve"]}
            for group in groups
            for record in group.records
            if record["status"] == "finished"
        ]
        steps = sorted(set.intersection(*known)) if known else []
        highest = [group.highest for group in groups]
        top = [value for value in highest if value is not None]
        upper = mean(top) if len(top) == len(highest) else None
        if steps:
            out[key] = [_point(groups, step, upper) for step in steps]
    return out


def _point(groups: Sequence[Group], step: int, upper: float | None) -> dict[str, Any]:
    tasks = [[_at(group, record, step) for record in group.records] for group in groups]
    found = estimate(tasks)
    low, high = None, None
    if found is not None and found.variance > 0:
        half = float(stdtrit(found.freedom, 0.5 + LEVEL / 2)) * math.sqrt(found.variance)
        limits = within_bounds(found.mean, half, 0.0, upper)
        low, high = (_digits(limit) for limit in limits)
    centre = mean([mean(values) for values in tasks])
    return {"step": step, "mean": _digits(centre), "low": low, "high": high}


def _at(group: Group, record: Record, step: int) -> float:
    assert group.env is not None
    points: Mapping[int, float] = {p["step"]: p["mean"] for p in record["result"]["curve"]}
    return group.env.normalised(points[step]) if step in points else 0.0


def _digits(value: float) -> float:
    """Ten digits, which no processor's order of summation can change."""
    return float(f"{value:.10g}")
