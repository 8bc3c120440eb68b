"""A leaderboard as Markdown: a pure function of run records, the same bytes for the same records.

No clock, no network, no locale, no file order: everything printed is derived from the records and
from `FORMAT`, which rises when the layout or a formula here changes.
"""

from __future__ import annotations

import hashlib
import math
import statistics as stdlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pgbench.config import canonical, digest
from pgbench.statistics import mean, t_interval

FORMAT = 1
Record = Mapping[str, Any]
NOT_CONDITIONS = ("seed", "budget", "unit", "tuning")  # fields of a protocol

LEGEND = """\
Score: mean over seeds of each final policy's evaluation, [95% t interval over seeds]. Runs: finished / started.
Rank: 1 + the number of rows whose whole interval is better (overlapping rows share it); `-`: no interval.\
"""  # noqa: E501

HEAD = (
    "rank",
    "algorithm",
    "score",
    "median",
    "runs",
    "budget",
    "steps/s",
    "wall time",
    "parameters",
)


@dataclass(frozen=True)
class Row:
    """The runs of one identity under one set of conditions, in the order of their seeds."""

    records: tuple[Record, ...]
    conditions: Mapping[str, Any]

    @cached_property
    def finished(self) -> list[Record]:
        """The runs that have a score."""
        return [r for r in self.records if r["status"] == "finished"]

    @cached_property
    def scores(self) -> list[float]:
        """One score a finished seed."""
        return [r["result"]["score"] for r in self.finished]

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The t interval of the mean score; None from less than two seeds."""
        return t_interval(self.scores) if len(self.scores) > 1 else None

    @cached_property
    def sign(self) -> int:
        """1 where higher scores are better, -1 where lower ones are."""
        return -1 if self.records[0]["environment"]["metric"]["direction"] == "min" else 1

    @cached_property
    def identity(self) -> str:
        """Short digest of what was computed, apart from seed and machine."""
        return digest(self.records[0]["identity"])[:8]

    @cached_property
    def name(self) -> str:
        """The algorithm, its form, the settings that differ from the defaults, its plug-in file."""
        record = self.records[0]
        algorithm = record["algorithm"]
        config = algorithm["config"]
        extras = [f"{config['form']} form"] if "form" in config else []
        extras += [
            f"{key}={_plain(config[key])}" for key in algorithm["defaults_changed"] if key != "form"
        ]
        sources = record["identity"].get("sources", [])
        extras += [f"plug-in {source[:8]}" for source in sources if source]
        name: str = algorithm["name"]
        return f"{name} ({', '.join(extras)})" if extras else name

    @property
    def order(self) -> tuple[Any, ...]:
        """Best mean first, rows without a score last."""
        best = -self.sign * mean(self.scores) if self.scores else math.inf
        return best, self.name, self.identity, canonical(self.conditions)

    def beats(self, other: Row) -> bool:
        """Whether this row's whole interval is better than the other's."""
        if self.interval is None or other.interval is None:
            return False
        if self.sign > 0:
            return self.interval[0] > other.interval[1]
        return self.interval[1] < other.interval[0]


def _plain(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def conditions(record: Record) -> dict[str, Any]:
    """What must be equal for two scores to be comparable."""
    environment, protocol = record["environment"], record["protocol"]
    out = {
        "environment": environment["id"],
        "environment settings": environment["kwargs"],
        "underlying": environment["underlying"],
        "metric": environment["metric"],
        "budget": f"{protocol['budget']:,} {protocol['unit']}",
        **{key: value for key, value in protocol.items() if key not in NOT_CONDITIONS},
    }
    # Rewards differ between minor versions of the simulator for the same actions.
    simulator = record["provenance"]["packages"].get("mujoco")
    out["MuJoCo"] = ".".join(simulator.split(".")[:2]) if simulator else None
    return out


def make_rows(records: Iterable[Record]) -> list[Row]:
    """Records grouped into rows, best first."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        key = digest(record["identity"]), canonical(conditions(record))
        groups.setdefault(key, []).append(record)
    rows = [
        Row(
            tuple(sorted(group, key=lambda r: (r["protocol"]["seed"], r["id"]))),
            conditions(group[0]),
        )
        for group in groups.values()
    ]
    return sorted(rows, key=lambda row: row.order)


def content_digest(records: Iterable[Record]) -> str:
    """SHA-256 over the sorted record ids."""
    return hashlib.sha256("\n".join(sorted(r["id"] for r in records)).encode()).hexdigest()


def render(name: str, records: Sequence[Record]) -> str:
    """The page of board `name`."""
    records = sorted(records, key=lambda r: str(r["id"]))
    sections: dict[str, list[Record]] = {}
    for record in records:
        family = record["environment"]["id"].rpartition("-v")[0]
        sections.setdefault(family, []).append(record)
    parts = [f"# Leaderboard {name}", LEGEND]
    for environment in sorted(sections):
        parts += _section(environment, make_rows(sections[environment]))
    return "\n\n".join([*parts, _footer(records)]) + "\n"


def _section(environment: str, rows: Sequence[Row]) -> list[str]:
    common = _majority(rows)
    ranked = [row for row in rows if row.conditions == common]
    apart = [row for row in rows if row.conditions != common]
    largest = max((abs(score) for row in rows for score in row.scores), default=0.0)
    digits = 0 if largest >= 1000 else 1 if largest >= 10 else 3
    names = _distinct(rows)
    table = [HEAD] + [
        (
            str(1 + sum(other.beats(row) for other in ranked)) if row.interval else "-",
            names[id(row)],
            *_cells(row, digits),
        )
        for row in ranked
    ]
    metric = common["metric"]
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    better = "lower" if metric["direction"] == "min" else "higher"
    about = (
        f"{common['environment']}, which is {common['underlying']}; "
        f"score: {metric['name']}{unit}, {better} is better; "
        f"{common['episodes']} evaluation episodes a run."
    )
    parts = [f"## {environment}", about, _markdown(table)]
    failures = [line for row in ranked for line in _failures(row, names[id(row)])]
    if failures:
        parts.append("\n".join(failures))
    if apart:
        lines = [
            f"- {_escape(names[id(row)])}: {_score(row, digits)}, runs {_runs(row)}; "
            f"{_reasons(row.conditions, common)}"
            for row in apart
        ]
        parts.append("\n".join(["Not comparable with the table above:", "", *lines]))
    return parts


def _majority(rows: Sequence[Row]) -> Mapping[str, Any]:
    """The conditions of most runs; of equally many, those that come last as text."""
    votes: Counter[str] = Counter()
    for row in rows:
        votes[canonical(row.conditions)] += len(row.records)
    best = max(votes, key=lambda text: (votes[text], text))
    return next(row.conditions for row in rows if canonical(row.conditions) == best)


def _distinct(rows: Sequence[Row]) -> dict[int, str]:
    """Names of the rows; a digest tells apart those of equal name and different identity."""
    identities: dict[str, set[str]] = {}
    for row in rows:
        identities.setdefault(row.name, set()).add(
            digest({**row.records[0]["identity"], "environment": "", "budget": 0, "protocol": {}})
        )
    return {
        id(row): row.name + (f" #{row.identity}" if len(identities[row.name]) > 1 else "")
        for row in rows
    }


def _reasons(mine: Mapping[str, Any], common: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        return canonical(value) if isinstance(value, dict | list) else str(value)

    keys = sorted(set(mine) | set(common))
    return "; ".join(
        f"{key} {text(mine.get(key))}, not {text(common.get(key))}"
        for key in keys
        if mine.get(key) != common.get(key)
    )


def _cells(row: Row, digits: int) -> tuple[str, ...]:
    median = f"{stdlib.median(row.scores):z,.{digits}f}" if row.scores else "-"
    speeds = [
        r["cost"]["env_steps"] / r["cost"]["wall_s"] for r in row.finished if r["cost"]["wall_s"]
    ]
    times = [r["cost"]["wall_s"] for r in row.finished]
    sizes = sorted({r["algorithm"]["parameters"] for r in row.records})
    return (
        _score(row, digits),
        median,
        _runs(row),
        f"{row.records[0]['protocol']['budget']:,}",
        f"{stdlib.median(speeds):,.0f}" if speeds else "-",
        _duration(stdlib.median(times)) if times else "-",
        " or ".join(f"{size:,}" for size in sizes),
    )


def _score(row: Row, digits: int) -> str:
    if not row.scores:
        return "no run finished"
    centre = f"{mean(row.scores):z,.{digits}f}"
    if row.interval is None:
        return f"{centre} (no interval from one seed)"
    low, high = row.interval
    return f"{centre} [{low:z,.{digits}f}, {high:z,.{digits}f}]"


def _runs(row: Row) -> str:
    return f"{len(row.finished)} / {len(row.records)}"


def _failures(row: Row, name: str) -> list[str]:
    """A line for the failed runs of a row, which its mean cannot contain."""
    failed = [r for r in row.records if r["status"] == "failed"]
    if not failed:
        return []
    what = "; ".join(
        f"seed {r['protocol']['seed']}: {' '.join(str(r['result']['error']).split())[:160]}"
        for r in failed
    )
    also = "; its score is over the finished runs only" if row.finished else ""
    return [
        f"- {_escape(name)}: {len(failed)} of {len(row.records)} runs failed{also} "
        f"({_escape(what)})"
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _markdown(table: Sequence[Sequence[str]]) -> str:
    cells = [[_escape(cell) for cell in row] for row in table]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    left = [name in ("algorithm", "score") for name in table[0]]

    def line(row: Sequence[str]) -> str:
        padded = (
            c.ljust(w) if a else c.rjust(w) for c, w, a in zip(row, widths, left, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = (
        ":" + "-" * (w - 1) if a else "-" * (w - 1) + ":" for w, a in zip(widths, left, strict=True)
    )
    return "\n".join([line(cells[0]), f"| {' | '.join(rule)} |", *map(line, cells[1:])])


def _footer(records: Sequence[Record]) -> str:
    status = Counter(r["status"] for r in records)
    packages: dict[str, Counter[str]] = {}
    for record in records:
        for name, version in record["provenance"]["packages"].items():
            packages.setdefault(name, Counter())[version] += 1
    code = Counter(
        str(r["provenance"]["commit"] or "unknown")[:12]
        + (" with local changes" if r["provenance"]["dirty"] else "")
        for r in records
    )
    hardware = Counter(
        f"{r['provenance']['gpu'] or r['provenance']['cpu']}, {r['provenance']['cores']} cores, "
        f"{r['execution']['device']}, threads {r['execution']['threads']}, "
        f"Python {r['provenance']['python']}"
        for r in records
    )
    versions = (f"{name} {_counted(packages[name], len(records))}" for name in sorted(packages))
    lines = [
        f"- Records: {len(records)} ({status['finished']} finished, {status['failed']} failed); "
        f"content sha256:{content_digest(records)}; board format {FORMAT}.",
        "- Steps/s and wall time: medians over finished runs, evaluation and checkpoints included.",
        f"- Packages: {', '.join(versions)}.",
        f"- Code: {_counted(code, len(records))}.",
        f"- Hardware: {_counted(hardware, len(records), '; ')}.",
    ]
    return "\n".join(["---", "", *(_escape(line) for line in lines)])


def _counted(counts: Counter[str], total: int, between: str = " or ") -> str:
    """Values, each with its number of runs unless all have it."""
    return between.join(
        value if counts[value] == total else f"{value} ({counts[value]} runs)"
        for value in sorted(counts)
    )
