"""A board as one plain dict, a pure function of its records: what every page and table renders.

No clock, no network, no locale, no file order. `FORMAT` rises when the layout or a formula changes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgbench.boards import curves
from pgbench.boards.compare import REPLICATIONS, TEST, across, in_environment
from pgbench.boards.details import details, failures, provenance
from pgbench.boards.power import power_of, tables
from pgbench.boards.rows import Grouping, Record, make_groups
from pgbench.records.rules import find_track
from pgbench.records.suite import RULES, Suite, SuiteEnv, Track
from pgbench.settings.config import digest
from pgbench.statistics.intervals import content_seed

FORMAT = 4
NO_METRIC = {"name": "score", "direction": "max", "unit": ""}  # of an environment without runs


def build_model(
    name: str,
    records: Iterable[Record],
    suite: Suite | None = None,
    stamps: Sequence[Mapping[str, Any]] = (),
    panels: Mapping[str, Mapping[str, Any]] | None = None,
    reported: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The board `name` of these records; `stamps` are what was said of them since.

    `panels` are the floors of environments (pgbench/records/floors.py), `reported` the numbers of
    others (pgbench/records/reported.py).
    """
    everything = sorted(records, key=lambda r: str(r["id"]))
    gone = {s["record"]: s for s in stamps if s["kind"] == "withdrawn"}
    kept = [r for r in everything if r["id"] not in gone]
    tracks = _tracks(kept, suite)
    results = results_digest(kept)
    expected = (
        sum(t.seeds * len(t.environments) * len(t.entries) for t in suite.tracks)
        if suite
        else len(kept)
    )
    status, where = Counter(r["status"] for r in kept), provenance(kept)
    built = [_track(t, found, suite, content_seed(results), stamps) for t, found in tracks]
    for env in (env for track in built for env in track["environments"]):
        panel = (panels or {}).get(env["id"])
        if panel is not None and panel["golden"] == env["golden"]:
            env["floors"] = {k: panel[k] for k in ("metric", "episodes", "floors")}
    return {
        "board": name,
        "title": suite.title if suite else name,
        "about": suite.about if suite else "Records without a suite: no anchors, no given seeds.",
        "format": FORMAT,
        "rules": RULES,
        "pgbench": " or ".join(sorted(where["packages"].get("pgbench", {}))),
        "digest": {"records": content_digest(everything), "results": results},
        "newest": max((r["created"] for r in kept), default=None),
        "counts": {
            "records": len(kept),
            "expected": expected,
            "finished": status["finished"],
            "failed": status["failed"],
            "complete": all(row["complete"] for track in built for row in track["rows"])
            and len(kept) >= expected,
        },
        "statistics": {"level": 0.95, "replications": REPLICATIONS, "test": TEST},
        "tracks": built,
        "withdrawn": [
            {"record": s["record"], "reason": s.get("reason", ""), "by": s["by"],
             "created": s.get("created", "")}
            for s in stamps if s["kind"] == "withdrawn"
        ],
        "failures": failures(tracks, suite),
        **({"reported": list(reported)} if reported else {}),
        "provenance": where,
        "records": {r["id"]: details(r, name, suite, stamps) for r in kept},
    }  # fmt: skip


def content_digest(records: Iterable[Record]) -> str:
    """SHA-256 over the sorted record ids."""
    return hashlib.sha256("\n".join(sorted(r["id"] for r in records)).encode()).hexdigest()


def results_digest(records: Iterable[Record]) -> str:
    """SHA-256 over what a re-run of every record gives again: no times, no machine."""
    return digest(
        sorted(
            digest(
                [r["identity"], r["protocol"]["seed"], r["environment"]["golden"], r["status"],
                 *(r["result"][key] for key in ("failure", "final", "curve", "checksum")),
                 *([r["result"]["details"]] if "details" in r["result"] else [])]
            )
            for r in records
        )
    )  # fmt: skip


def _tracks(records: Sequence[Record], suite: Suite | None) -> list[tuple[Track, list[Record]]]:
    """The suite's tracks, or one a budget, each with its records."""
    if suite is not None:
        found: dict[str, list[Record]] = {track.name: [] for track in suite.tracks}
        for record in records:
            track = find_track(record, suite)
            if track is not None:
                found[track.name].append(record)
        return [(track, found[track.name]) for track in suite.tracks]
    budgets: dict[tuple[int, str], list[Record]] = {}
    for record in records:
        protocol = record["protocol"]
        budgets.setdefault((protocol["budget"], protocol["unit"]), []).append(record)
    out = []
    for (budget, unit), inside in sorted(budgets.items()):
        environments = tuple(sorted({r["environment"]["id"] for r in inside}))
        title = f"{budget:,} {unit}"
        out.append((Track(str(budget), title, budget, 0, environments, ()), inside))
    return out


def _track(
    track: Track,
    records: Sequence[Record],
    suite: Suite | None,
    seed: int,
    stamps: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    envs = {env.version: env for env in suite.environments.values()} if suite else {}
    grouping = make_groups(track, records, suite, envs)
    names = (
        [suite.environments[e].version for e in track.environments]
        if suite
        else list(track.environments)
    )
    inside = {n: [row[n] for row in grouping.groups.values() if n in row] for n in names}
    targets = {name: curves.target(groups) for name, groups in inside.items()}
    tasks = {name: in_environment(name, grouping, stamps, targets[name]) for name in names}
    rows, pairs, profile = across(names, grouping, seed, stamps, suite is not None)
    protocol = records[0]["protocol"] if records else (suite.protocol if suite else {})
    episodes = {record["protocol"]["episodes"] for record in grouping.metrics.values()}
    return {
        "name": track.name,
        "title": track.title,
        "budget": track.budget,
        "unit": protocol.get("unit", "environment steps"),
        "seeds": track.seeds,
        # None where environments differ, as they may without a suite.
        "episodes": protocol.get("episodes") if len(episodes) < 2 else None,
        "environments": [
            {
                **_environment(name, grouping, envs.get(name)),
                "ceiling": curves.ceiling(inside[name]),
                "target": targets[name],
            }
            for name in names
        ],
        "rows": rows,
        "tasks": tasks,
        "power": power_of(tables(names, grouping)),
        "pairs": pairs,
        "profile": profile,
        "curves": curves.over_track(names, grouping, list(profile["rows"])),
        "apart": grouping.apart,
    }


def _environment(name: str, grouping: Grouping, env: SuiteEnv | None) -> dict[str, Any]:
    record = grouping.metrics.get(name)
    return {
        "id": name,
        "underlying": record["environment"]["underlying"] if record else "",
        "metric": record["environment"]["metric"] if record else NO_METRIC,
        "floor": env.floor if env else None,
        "floor_origin": env.floor_origin if env else "",
        "reference": env.reference if env else None,
        "reference_origin": env.reference_origin if env else "",
        "golden": record["environment"]["golden"] if record else env.golden if env else None,
    }
