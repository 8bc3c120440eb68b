"""What a board says of single runs: failures, provenance, everything behind a point of a plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pgbench.boards.rows import Record, row_name
from pgbench.records.rules import find_track
from pgbench.records.suite import Suite, Track


def failures(
    tracks: Sequence[tuple[Track, Sequence[Record]]], suite: Suite | None
) -> list[dict[str, Any]]:
    """A line for each failed run of each track."""
    envs = {env.version: env for env in suite.environments.values()} if suite else {}
    return [
        {
            "record": r["id"],
            "name": row_name(r, track, envs.get(r["environment"]["id"])),
            "environment": r["environment"]["id"],
            "seed": r["protocol"]["seed"],
            "error": " ".join(str(r["result"]["error"]).split()),
        }
        for track, records in tracks
        for r in records
        if r["status"] == "failed"
    ]


def provenance(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Packages, code and hardware of the runs, each with its number of runs."""
    packages: dict[str, Counter[str]] = {}
    code: Counter[str] = Counter()
    hardware: Counter[str] = Counter()
    for record in records:
        where, how = record["provenance"], record["execution"]
        for name, version in where["packages"].items():
            packages.setdefault(name, Counter())[version] += 1
        changed = " with local changes" if where["dirty"] else ""
        code[str(where["commit"] or "unknown")[:12] + changed] += 1
        hardware[f"{_machine(record)}, threads {how['threads']}, Python {where['python']}"] += 1
    return {
        "packages": {name: dict(sorted(packages[name].items())) for name in sorted(packages)},
        "code": dict(sorted(code.items())),
        "hardware": dict(sorted(hardware.items())),
    }  # fmt: skip


def _machine(record: Record) -> str:
    where = record["provenance"]
    return (
        f"{where['gpu'] or where['cpu']}, {where['cores']} cores, {record['execution']['device']}"
    )


def details(
    record: Record, board: str, suite: Suite | None, stamps: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a reader of the page sees of one run."""
    algorithm, result, cost = record["algorithm"], record["result"], record["cost"]
    where, protocol = record["provenance"], record["protocol"]
    track = find_track(record, suite) if suite else None
    return {
        "algorithm": algorithm["name"],
        "environment": record["environment"]["id"],
        "seed": protocol["seed"],
        "track": track.name if track else str(protocol["budget"]),
        "status": record["status"],
        "score": result["score"],
        "episodes": result["final"],
        **({"details": result["details"]} if "details" in result else {}),
        "curve": [[p["step"], p["mean"]] for p in result["curve"]],
        "error": result["error"],
        "checksum": result["checksum"],
        "train_seed": protocol["train_seed"],
        "config": algorithm["config"],
        "changed": algorithm["defaults_changed"],
        "commit": where["commit"],
        "dirty": where["dirty"],
        "created": record["created"],
        "packages": where["packages"],
        "machine": _machine(record),
        "python": where["python"],
        "wall_s": cost["wall_s"],
        "cpu_s": cost["cpu_s"],
        "resumed": where["resumed"],
        "command": f"pgbench reproduce {record['id'][:12]} --board {board}",
        "stamps": [
            {key: s.get(key) for key in ("kind", "by", "created")}
            for s in stamps
            if s["record"] == record["id"]
        ],
    }
