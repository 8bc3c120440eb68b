"""Records grouped into rows: the runs of one algorithm with one set of settings."""

from __future__ import annotations

import statistics as stdlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgbench.catalogue.registry import Metric, score_of, scores
from pgbench.records.rules import judged_by
from pgbench.records.suite import Entry, Suite, SuiteEnv, Track
from pgbench.settings.config import canonical, digest
from pgbench.statistics.ranking import Estimate, estimate

Record = Mapping[str, Any]
NOT_CONDITIONS = ("seed", "train_seed", "budget", "unit", "tuning")  # fields of a protocol


@dataclass(frozen=True)
class Group:
    """The runs of one row in one environment, in the order of their seeds."""

    name: str
    environment: str
    records: tuple[Record, ...]
    env: SuiteEnv | None  # anchors; None on a board without a suite
    expected: int  # seeds that the track asks for
    metric: Metric | None = None  # as the catalogue has it, with bounds; None for a stranger

    @property
    def sign(self) -> int:
        """1 where higher scores are better, -1 where lower ones are."""
        return -1 if self.records[0]["environment"]["metric"]["direction"] == "min" else 1

    @property
    def scores(self) -> dict[int, float]:
        """Score by seed; a failed run has the floor, or none where no floor is stated."""
        out = {}
        for record in self.records:
            score = record["result"]["score"]
            if score is None and self.env is not None:
                score = self.env.floor
            if score is not None:
                out[record["protocol"]["seed"]] = score
        return out

    @property
    def normalised(self) -> dict[int, float]:
        """Scores with the floor at 0 (and no less), the reference at 1; empty without anchors."""
        if self.env is None:
            return {}
        return {seed: self.env.normalised(score) for seed, score in self.scores.items()}

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """What no mean of scores can pass, from the catalogue; one that a score passes is none."""
        return (None, None) if self.metric is None else self.metric.bounds(self.scores.values())

    @property
    def below_floor(self) -> int:
        """Runs that scored worse than the floor: they count as the floor in normalised means."""
        floor = self.env.floor if self.env is not None else None
        return (
            sum(self.sign * (s - floor) < 0 for s in self.scores.values())
            if floor is not None
            else 0
        )

    @property
    def highest(self) -> float | None:
        """The best normalised score that there can be; None where nothing is known."""
        end = self.bounds[0 if self.sign < 0 else 1]
        return None if end is None or self.env is None else self.env.normalised(end)

    @property
    def estimate(self) -> Estimate | None:
        """Mean, higher is better, and its variance; None unless three seeds, and all, are there."""
        if not self.complete:
            return None
        lower, upper = self.bounds
        if self.sign < 0:
            lower, upper = (None if x is None else -x for x in (upper, lower))
        return estimate([[self.sign * x for x in self.scores.values()]], lower, upper)

    @property
    def complete(self) -> bool:
        """Whether the first `expected` seeds are all there, and each has a score."""
        return sorted(self.scores) == list(range(self.expected))


@dataclass
class Grouping:
    """A track's rows by name, each by environment; and what cannot be compared with them."""

    track: Track
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)
    apart: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Record] = field(default_factory=dict)  # a record of each environment


def make_groups(
    track: Track, records: Sequence[Record], suite: Suite | None, envs: Mapping[str, SuiteEnv]
) -> Grouping:
    """The rows of a track; `envs` are the suite's environments by their versioned name."""
    out = Grouping(track)
    catalogue = scores()
    by_env: dict[str, list[Record]] = {}
    for record in records:
        by_env.setdefault(record["environment"]["id"], []).append(record)
    for name in sorted(by_env):
        common = _majority(by_env[name])
        rows: dict[tuple[str, str], list[Record]] = {}
        apart: dict[tuple[str, str], int] = {}
        for record in by_env[name]:
            label = row_name(record, track, envs.get(name))
            if reason := _reason(record, common, suite):
                apart[label, reason] = apart.get((label, reason), 0) + 1
            else:
                rows.setdefault((label, digest(record["identity"])), []).append(record)
                out.metrics.setdefault(name, record)
        out.apart += [
            {"name": label, "environment": name, "reason": reason, "records": count}
            for (label, reason), count in sorted(apart.items())
        ]
        identities = Counter(label for label, _ in rows)
        for (label, identity), found in rows.items():
            own = label if identities[label] == 1 else f"{label} #{identity[:8]}"
            found = sorted(found, key=lambda r: (r["protocol"]["seed"], r["id"]))
            expected = track.seeds if suite else len(found)
            out.groups.setdefault(own, {})[name] = Group(
                own,
                name,
                tuple(found),
                envs.get(name),
                expected,
                score_of(found[0]["environment"], catalogue),
            )
    return out


def row_name(record: Record, track: Track, env: SuiteEnv | None) -> str:
    """The suite's label, or the algorithm with its form and the settings that are not defaults."""
    entry = find_entry(record, track, env)
    algorithm = record["algorithm"]
    # Other numbers than of seeds that ran alone, by rounding: never in one row with them.
    together = [f"stack of {n}"] if (n := record["identity"].get("stack")) else []
    if entry is not None and entry.label != entry.algo:
        return f"{entry.label} ({together[0]})" if together else entry.label
    config = algorithm["config"]
    extras = [f"{config['form']} form"] if "form" in config else []
    extras += ["random reward"] if judged_by(record) != record["environment"]["kwargs"] else []
    if entry is None:
        changed = (key for key in algorithm["defaults_changed"] if key != "form")
        extras += [f"{key}={_plain(config[key])}" for key in changed]
    sources = record["identity"].get("sources", [])
    extras += [f"plug-in {source[:8]}" for source in sources if source]
    extras += together
    name: str = algorithm["name"]
    return f"{name} ({', '.join(extras)})" if extras else name


def find_entry(record: Record, track: Track, env: SuiteEnv | None) -> Entry | None:
    """The suite's entry whose settings the record ran with; None for anybody else's."""
    if env is None:
        return None
    algorithm = record["algorithm"]
    if any(record["identity"].get("sources", [])):
        return None  # a plug-in file of the same name is not the suite's algorithm
    control = judged_by(record) != record["environment"]["kwargs"]
    for entry in track.entries:
        declared = entry.in_env(env.id)
        if (declared.pop("env.reward", "verdict") == "random") != control:
            continue
        if (
            entry.algo == algorithm["name"]
            and set(algorithm["defaults_changed"]) <= set(declared)
            and all(_same(algorithm["config"].get(k), v) for k, v in declared.items())
        ):
            return entry
    return None


def _same(own: Any, declared: Any) -> bool:
    """Whether a record's value is the declared one; a TOML file has to write None as a word."""
    if own is None and declared == "none":
        return True
    return bool(own == (list(declared) if isinstance(declared, tuple) else declared))


def _plain(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def conditions(record: Record) -> dict[str, Any]:
    """What must be equal for two scores to be comparable."""
    environment, protocol = record["environment"], record["protocol"]
    out = {
        "environment settings": judged_by(record),
        "underlying": environment["underlying"],
        "metric": environment["metric"],
        "fingerprint": environment["golden"],
        **{key: value for key, value in protocol.items() if key not in NOT_CONDITIONS},
    }
    # Rewards differ between minor versions of the simulator for the same actions.
    simulator = record["provenance"]["packages"].get("mujoco")
    out["MuJoCo"] = ".".join(simulator.split(".")[:2]) if simulator else None
    return out


def _majority(records: Iterable[Record]) -> Mapping[str, Any]:
    """The conditions of most runs; of equally many, those that come last as text."""
    votes = Counter(canonical(conditions(record)) for record in records)
    best = max(votes, key=lambda text: (votes[text], text))
    return next(c for c in map(conditions, records) if canonical(c) == best)


def _reason(record: Record, common: Mapping[str, Any], suite: Suite | None) -> str:
    """Why a record is not comparable with the table; empty where it is."""
    mine = conditions(record)
    reasons = [
        f"{key} {_text(mine.get(key))}, not {_text(common.get(key))}"
        for key in sorted(set(mine) | set(common))
        if mine.get(key) != common.get(key)
    ]
    kind = record["protocol"]["tuning"]["class"]
    if suite is not None and kind not in suite.tuning:
        reasons.append(f"tuning class {kind}; ranked are {', '.join(suite.tuning)}")
    return "; ".join(reasons)


def _text(value: Any) -> str:
    return canonical(value) if isinstance(value, dict | list) else str(value)


def costs(records: Iterable[Record]) -> dict[str, Any]:
    """Medians over the finished runs; None where none has finished."""
    done = [r for r in records if r["status"] == "finished"]
    wall = [r["cost"]["wall_s"] for r in done]
    speeds = [r["cost"]["env_steps"] / r["cost"]["wall_s"] for r in done if r["cost"]["wall_s"]]

    def median(values: Sequence[float]) -> float | None:
        return float(stdlib.median(values)) if values else None

    return {
        "steps_per_s": median(speeds),
        "wall_s": median(wall),
        "cpu_s": median([r["cost"]["cpu_s"] for r in done]),
        "parameters": int(stdlib.median_high([r["algorithm"]["parameters"] for r in done]))
        if done
        else None,
        "peak_memory_mib": median([r["cost"].get("peak_memory_mib", 0) for r in done]),
    }
