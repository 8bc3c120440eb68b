"""What the seeds of a track can tell: least differences, out of its runs' own spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgbench.boards.rows import Group, Grouping, Record, make_groups
from pgbench.records.rules import find_track
from pgbench.records.suite import Suite, Track
from pgbench.statistics.power import POWER, Spread, least_difference, seeds_needed, typical
from pgbench.statistics.ranking import LEVEL

ALL = "all"  # the environments of a track together, in normalised scores


@dataclass(frozen=True)
class Told:
    """What runs say of one table: the spread of its rows, how many they are, of how many seeds."""

    track: Track
    table: str  # an environment, or `ALL`
    spread: Spread | None  # None where fewer than three seeds, or equal ones, tell none
    rows: int  # that the table has, or will have
    seeds: int


def tables(names: Sequence[str], grouping: Grouping) -> list[Told]:
    """Every table of a track: `ALL` if there are anchors, then the environments `names`."""
    track = grouping.track
    rows = list(grouping.groups.values())
    seeds = track.seeds or max((g.expected for row in rows for g in row.values()), default=0)
    count = max(len(track.entries), len(rows))
    whole = [
        [list(row[name].normalised.values()) for name in names]
        for row in rows
        if set(row) >= set(names) and all(row[name].normalised for name in names)
    ]
    anchored = not rows or any(g.env is not None for row in rows for g in row.values())
    found = [Told(track, ALL, typical(whole), count, seeds)] if anchored else []
    for name in names:
        here: list[Group] = [row[name] for row in rows if name in row]
        scores = [[list(group.scores.values())] for group in here]
        found.append(Told(track, name, typical(scores), count, seeds))
    return found


def power_of(told: Sequence[Told]) -> dict[str, Any]:
    """A track's part of a board: the least differences by table, None where nothing tells them."""
    return {
        "alpha": round(1 - LEVEL, 10),
        "power": POWER,
        "tables": {one.table: _least(one) for one in told},
    }


def _least(told: Told) -> dict[str, Any] | None:
    if told.spread is None or told.seeds < 2 or told.rows < 2:
        return None
    figures = {
        "deviation": told.spread.deviation,
        "pair": least_difference(told.spread, told.seeds),
        "rank": least_difference(told.spread, told.seeds, told.rows),
    }
    rounded = {key: float(f"{value:.6g}") for key, value in figures.items()}
    return {"seeds": told.seeds, "rows": told.rows, **rounded}


def pilot(suite: Suite, records: Sequence[Record]) -> dict[str, list[Told]]:
    """Of each track of a suite, what these records say of its tables; none where none is of it."""
    envs: Mapping[str, Any] = {env.version: env for env in suite.environments.values()}
    out = {}
    for track in suite.tracks:
        own = [record for record in records if find_track(record, suite) is track]
        names = [suite.environments[env].version for env in track.environments]
        out[track.name] = tables(names, make_groups(track, own, suite, envs)) if own else []
    return out


def plan(
    suite: Suite, told: Mapping[str, Sequence[Told]], seeds: int | None, wanted: float | None
) -> list[dict[str, Any]]:
    """A line a table of each track: what `seeds` (else the track's) find, what `wanted` needs.

    `wanted` is a difference of normalised scores: 0.01 is a hundredth of the way from floor to
    reference, in an environment's table in its own unit.
    """
    scale = {e.version: abs(e.reference - e.floor) for e in suite.environments.values()}
    lines = []
    for track, found in told.items():
        for one in found:
            count = seeds or one.track.seeds
            line: dict[str, Any] = {
                "track": track, "table": one.table, "rows": one.rows, "seeds": count,
                "deviation": None, "pair": None, "rank": None,
            }  # fmt: skip
            if one.spread is not None:
                line["deviation"] = one.spread.deviation
                if count > 1:
                    line["pair"] = least_difference(one.spread, count)
                    line["rank"] = least_difference(one.spread, count, max(one.rows, 2))
            if wanted is not None:
                need = wanted * scale.get(one.table, 1.0)
                line["wanted"] = need
                for key, rows in (("pair", 2), ("rank", max(one.rows, 2))):
                    line[f"seeds_{key}"] = one.spread and seeds_needed(one.spread, need, rows)
            lines.append(line)
    return lines
