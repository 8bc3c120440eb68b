"""A suite: algorithms x environments x seeds x budget x protocol, under a versioned name.

A suite file (`leaderboards/suites/<name>.toml`) is the whole definition of a board: what is run,
what counts as the same environment, what a failed run scores. Reading one imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.settings.config import amount, canonical
from pgbench.support.names import named, unknown
from pgbench.support.toml import Table, read_table

NAME = re.compile(r"[a-z0-9][a-z0-9-]*-v[0-9]+")
RULES = 1  # version of the rules in docs/leaderboards.md
TUNING = ("paper", "declared", "fixed-20")  # classes that are ranked together
_SUITE = {"name", "title", "about", "rules", "limit", "tuning", "protocol", "environments", "track"}
_ENVIRONMENT = {
    "version", "golden", "simulator", "floor", "floor_origin", "reference", "reference_origin",
    "kwargs",
}  # fmt: skip
_TRACK = {"name", "title", "budget", "samples", "seeds", "environments", "set", "entry"}
_ENTRY = {"algo", "label", "set", "set_in", "source"}
_PROTOCOL = {"episodes", "curve_points", "curve_episodes"}


@dataclass(frozen=True)
class SuiteEnv:
    """An environment as the suite knows it: its fingerprint and the anchors of its scores."""

    id: str
    version: str  # as records carry it: hopper-v0
    golden: str
    floor: float  # what a failed run scores, and 0 on the normalised scale
    reference: float  # 1 on the normalised scale
    floor_origin: str = ""
    reference_origin: str = ""
    simulator: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def normalised(self, score: float) -> float:
        """The score with the floor at 0, and no less, and the reference at 1.

        What is worse than the floor counts as the floor wherever scores are averaged over
        environments: one runaway cannot decide a table, and no run scores below a failed one.
        """
        return max((score - self.floor) / (self.reference - self.floor), 0.0)


@dataclass(frozen=True)
class Entry:
    """An algorithm with the settings that the suite declares for it."""

    algo: str
    label: str
    settings: Mapping[str, Any]
    settings_in: Mapping[str, Mapping[str, Any]]  # more of them in one environment
    declared: bool = True  # by the suite's file, before anybody ran it

    def in_env(self, env: str) -> dict[str, Any]:
        """The settings that hold in environment `env`."""
        return {**self.settings, **self.settings_in.get(env, {})}


@dataclass(frozen=True)
class Track:
    """Environments, budget and seeds that are compared with each other and with nothing else."""

    name: str
    title: str
    budget: int
    seeds: int
    environments: tuple[str, ...]
    entries: tuple[Entry, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)  # of every entry; tells tracks apart
    samples: int | None = None  # responses that a run may draw, where its budget is in steps


@dataclass(frozen=True)
class Cell:
    """One run that a suite asks for."""

    track: Track
    entry: Entry
    env: SuiteEnv
    seed: int

    @property
    def settings(self) -> dict[str, Any]:
        """The declared settings, the environment's keywords included."""
        return {
            **self.entry.in_env(self.env.id),
            **{f"env.{key}": value for key, value in self.env.kwargs.items()},
        }


@dataclass(frozen=True)
class Suite:
    """A board's definition."""

    name: str
    title: str
    about: str
    protocol: Mapping[str, int]
    limit_s: float  # wall time of a run
    tuning: tuple[str, ...]
    environments: Mapping[str, SuiteEnv]
    tracks: tuple[Track, ...]

    def cells(self) -> Iterator[Cell]:
        """Every run, track by track, all first seeds before the second: a part is balanced."""
        for track in self.tracks:
            for seed in range(track.seeds):
                for env in track.environments:
                    for entry in track.entries:
                        yield Cell(track, entry, self.environments[env], seed)


def find_suite(name: str, root: Path) -> Suite:
    """The suite `name` of `<root>/suites`, or the one in a `.toml` file.

    Raises: PgbenchError with the nearest names if there is none.
    """
    if name.endswith(".toml"):
        return read_suite(Path(name))
    path = root / "suites" / f"{named('suite', name)}.toml"
    if not path.is_file():
        known = [file.stem for file in (root / "suites").glob("*.toml")]
        raise unknown(
            "suite", name, known, f"`pgbench list suites --root {root}` lists what there is"
        )
    return read_suite(path)


def selection(
    suite: Suite,
    tracks: Sequence[str] | None = None,
    algos: Sequence[str] | None = None,
    envs: Sequence[str] | None = None,
    seeds: int | None = None,
) -> Callable[[Cell], bool]:
    """Which cells the named tracks, algorithms (or labels), environments and first seeds are.

    Raises: PgbenchError with the nearest names for one that the suite does not have.
    """
    entries = [entry for track in suite.tracks for entry in track.entries]
    known = {
        "track": {track.name for track in suite.tracks},
        "algorithm": {e.algo for e in entries} | {e.label for e in entries},
        "environment": set(suite.environments),
    }
    for (what, names), given in zip(known.items(), (tracks, algos, envs), strict=True):
        for name in given or ():
            if name not in names:
                raise unknown(
                    f"{what} of {suite.name}", name, names, f"there is {', '.join(sorted(names))}"
                )

    def select(cell: Cell) -> bool:
        return (
            (not tracks or cell.track.name in tracks)
            and (not algos or cell.entry.algo in algos or cell.entry.label in algos)
            and (not envs or cell.env.id in envs)
            and (seeds is None or cell.seed < seeds)
        )

    return select


def read_suite(path: Path) -> Suite:
    """The suite that a TOML file defines.

    Raises: PgbenchError naming file and fields for all that is missing, unknown or ill-typed.
    """
    return _suite(read_table(path, "suite", _SUITE), path)


def _suite(table: Table, path: Path) -> Suite:
    name = table.get("name", str)
    if not NAME.fullmatch(name):
        table.fault("name", f"must be lower-case words and a version (x-v1), not '{name}'")
    if name != path.stem:
        table.fault("name", f"is '{name}', but the file is called {path.name}")
    if (rules := table.get("rules", int)) != RULES:
        table.fault("rules", f"is {rules}; this pgbench keeps rules {RULES}")
    protocol = table.inner("protocol", _PROTOCOL)
    counts = {key: protocol.get(key, int) for key in sorted(_PROTOCOL)}
    for key, count in counts.items():
        if count < 1:
            protocol.fault(key, f"must be at least 1, not {count}")
    tuning = table.get("tuning", list, list(TUNING))
    for word in tuning:
        if word not in TUNING:
            table.fault("tuning", f"takes {', '.join(TUNING)}, not '{word}'")
    known = table.inner("environments", None)
    environments = {key: _environment(known, key) for key in known.value}
    tracks = tuple(_track(inner, environments) for inner in table.inners("track", _TRACK))
    if len({track.name for track in tracks}) < len(tracks):
        table.fault("track", "has two tracks of one name")
    suite = Suite(
        name=name,
        title=table.get("title", str),
        about=" ".join(table.get("about", str, "").split()),
        protocol=counts,
        limit_s=_positive(table, "limit", 86_400.0),
        tuning=tuple(tuning),
        environments=environments,
        tracks=tracks,
    )
    table.done()
    return suite


def _environment(table: Table, key: str) -> SuiteEnv:
    env = table.inner(key, _ENVIRONMENT)
    floor, reference = (float(env.get(k, (int, float))) for k in ("floor", "reference"))
    if floor == reference and not env.faulty("floor"):
        env.fault("reference", "equals the floor: nothing can be normalised by it")
    return SuiteEnv(
        id=key,
        version=env.get("version", str),
        golden=env.get("golden", str),
        floor=floor,
        reference=reference,
        floor_origin=env.get("floor_origin", str),
        reference_origin=env.get("reference_origin", str),
        simulator=env.get("simulator", str, ""),
        kwargs=env.get("kwargs", dict, {}),
    )


def _track(table: Table, environments: Mapping[str, SuiteEnv]) -> Track:
    names = table.get("environments", list)
    for name in names:
        if name not in environments:
            near = unknown("environment", str(name), environments, "add its [environments] table")
            table.fault("environments", f"names an {near}")
    if not names or len(set(map(str, names))) < len(names):
        table.fault("environments", "must name each environment once, and one at least")
    seeds = table.get("seeds", int)
    if seeds < 1:
        table.fault("seeds", f"must be at least 1, not {seeds}")
    budget = table.get("budget", (int, str))
    try:
        budget = amount(budget, {})
    except PgbenchError as error:
        table.fault("budget", f"cannot be read: {error}")
    settings = table.get("set", dict, {})
    entries = tuple(_entry(inner, names, settings) for inner in table.inners("entry", _ENTRY))
    labels = [entry.label for entry in entries]
    asked = [canonical([e.algo, e.settings, e.settings_in]) for e in entries]
    if not any(table.faulty(f"entry[{i}].{key}") for i in range(len(entries)) for key in _ENTRY):
        if doubled := {label for label in labels if labels.count(label) > 1}:
            table.fault("entry", f"has two entries called '{sorted(doubled)[0]}'; give labels")
        if len(set(asked)) < len(asked):
            table.fault("entry", "asks for the same runs twice")
    return Track(
        name=table.get("name", str),
        title=table.get("title", str),
        budget=budget,
        seeds=seeds,
        environments=tuple(names),
        entries=entries,
        settings=settings,
        samples=table.get("samples", int, 0) or None,
    )


def _entry(table: Table, environments: list[str], common: Mapping[str, Any]) -> Entry:
    algo = table.get("algo", str)
    inner = table.inner("set_in", set(map(str, environments)), {})
    return Entry(
        algo=algo,
        label=table.get("label", str, algo),
        settings={**common, **table.get("set", dict, {})},
        settings_in={key: inner.get(key, dict) for key in inner.value},
    )


def _positive(table: Table, key: str, default: float) -> float:
    value = float(table.get(key, (int, float), default))
    if value <= 0:
        table.fault(key, f"must be more than 0, not {value:g}")
    return value
