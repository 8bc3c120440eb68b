"""What the runs of a suite cost, from the records that there are."""

from __future__ import annotations

import statistics as stdlib
from collections.abc import Iterable, Mapping

from pgbench.boards.rows import Record, find_entry
from pgbench.records.rules import find_track
from pgbench.records.suite import Cell, Suite

Times = Mapping[tuple[str, str, str], float]  # (track, label, environment) -> seconds


def wall_times(suite: Suite, records: Iterable[Record]) -> dict[tuple[str, str, str], float]:
    """Median wall time of the finished runs of each row in each environment of a track."""
    envs = {env.version: env for env in suite.environments.values()}
    found: dict[tuple[str, str, str], list[float]] = {}
    for record in records:
        track, env = find_track(record, suite), envs.get(record["environment"]["id"])
        if record["status"] != "finished" or track is None or env is None:
            continue
        if (entry := find_entry(record, track, env)) is not None:
            wall = float(record["cost"]["wall_s"])
            found.setdefault((track.name, entry.label, env.id), []).append(wall)
    return {key: stdlib.median(values) for key, values in found.items()}


def wall_time(times: Times, cell: Cell) -> float | None:
    """Seconds that a run is likely to take: as its row's others, else as the other rows there.

    None where the track has no finished run in the environment.
    """
    place = (cell.track.name, cell.env.id)
    own = times.get((place[0], cell.entry.label, place[1]))
    if own is not None:
        return own
    others = [seconds for (track, _, env), seconds in times.items() if (track, env) == place]
    return stdlib.median(others) if others else None


def total(times: Times, cells: Iterable[Cell]) -> tuple[float, int]:
    """Seconds of all runs one after the other, and of how many runs nothing is known."""
    known = [wall_time(times, cell) for cell in cells]
    return sum(seconds for seconds in known if seconds is not None), known.count(None)
