"""Records held against this checkout: the catalogue's settings, the code's history, the clock.

What needs none of these is in `pgbench.records.evidence`. Each check gives a `Finding`, which
`pgbench submit` and `pgbench verify` print.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pgbench.catalogue.registry import ALGOS, ENVS, find_loop, has_scheme, resolve
from pgbench.errors import PgbenchError
from pgbench.records.evidence import agree, builtin, moment, same_times, twins
from pgbench.records.record import Entry
from pgbench.runs import origins, provenance
from pgbench.settings.config import build, canonical, plain

Record = Mapping[str, Any]
SLACK = timedelta(hours=1)  # between two machines' clocks
SIMULATORS = ("mujoco", "gymnasium", "numpy")  # packages that a fingerprint may depend on
SHOWN = 3  # of many alike


@dataclass(frozen=True)
class Finding:
    """One check: passed, held for a reviewer, or refused."""

    what: str
    status: str  # ok, held, refused
    detail: str


def hold(
    entries: Sequence[Entry], others: Sequence[Entry] = (), old: bool = False
) -> list[Finding]:
    """Every finding about `entries`, beside the `others` of their board; nothing is written.

    `old` records may have other settings than today's catalogue: it is shown, not refused.
    """
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("records agree", lambda: _agree(entries, others)),
        ("results of their own", lambda: _own(entries, others)),
        ("names", lambda: _names(entries)),
        ("settings", lambda: _settings(entries, old)),
        ("fingerprints", lambda: _fingerprints(entries)),
        ("history", lambda: _history(entries)),
    ]
    found = []
    for what, check in checks:
        try:
            found.append(check())
        except PgbenchError as error:
            found.append(Finding(what, "refused", str(error)))
    return found


def _agree(entries: Sequence[Entry], others: Sequence[Entry]) -> Finding:
    agree([*others, *entries])
    return Finding("records agree", "ok", "no two contradict each other; no parameters twice")


def _own(entries: Sequence[Entry], others: Sequence[Entry]) -> Finding:
    lines = [f"{a.where} has the very episodes of {b.where}, {w}" for a, b, w in suspects(
        entries, others)]  # fmt: skip
    if lines:
        return Finding("results of their own", "held", _some(lines, "only running again tells why"))
    return Finding("results of their own", "ok", "no two runs have the same episodes or times")


def suspects(
    entries: Sequence[Entry], others: Sequence[Entry] = ()
) -> list[tuple[Entry, Any, str]]:
    """Pairs of records with the same episodes, or the same times; the first is of `entries`."""
    times = [(a, b, "and its times to the millisecond") for a, b in same_times(entries)]
    return [*twins(entries, others), *times]


def _names(entries: Sequence[Entry]) -> Finding:
    """Names that are in the catalogue mean what is in the catalogue."""
    lines = []
    for entry in entries:
        identity = entry.record["identity"]
        key, place = (identity["algorithm"], identity["family"]), identity["environment"]
        algo, env = builtin(entry.record)  # the catalogue is loaded now
        known = ALGOS.specs.get(key), ENVS.specs.get(place.rpartition("-v")[0])
        for spec, own, name, source in zip(
            known, (algo, env), (key[0], place), identity["sources"], strict=False
        ):
            if source and spec is not None and origins.sources(spec) is None:
                lines.append(f"{entry.where}: {name} is a plug-in under a built-in's name; its row "
                             f"says so (plug-in {source[:8]})")  # fmt: skip
            elif not source and own is None and not has_scheme(name):
                lines.append(f"{entry.where}: {name} is not in the catalogue, nor a plug-in whose "
                             "sources are recorded: it cannot be run again here")  # fmt: skip
    if lines:
        return Finding("names", "held", _some(lines))
    return Finding("names", "ok", "every name is the catalogue's, or a plug-in's of its own")


def _settings(entries: Sequence[Entry], old: bool) -> Finding:
    lines = [f"{e.where}: {why}" for e in entries if (why := odd_settings(e.record))]
    if lines and not old:
        raise PgbenchError(lines[0])
    if lines:
        return Finding("settings", "held", _some(
            lines, "the catalogue has changed since, or the record was edited"))  # fmt: skip
    return Finding("settings", "ok", "defaults, changes and steps are what the catalogue makes")


def odd_settings(record: Record) -> str:
    """What the catalogue here says against the settings of a built-in algorithm; else empty."""
    from pgbench.runs.plan import load_loop

    spec, protocol = builtin(record)[0], record["protocol"]
    tuning = protocol["tuning"]
    kind, trials = tuning["class"], tuning["trials"]
    if (kind == "paper" and trials != 0) or (
        kind.startswith("fixed-") and kind != f"fixed-{trials}"
    ):
        return f"protocol.tuning: class {kind} with {trials} trials"
    if spec is None:
        return ""
    cls, own = resolve(spec).Config, record["algorithm"]["config"]
    try:
        config = build(cls, own, spec.name)
        defaults = plain(cls())
        lacking = sorted(set(defaults) - set(own))
        if lacking:
            return f"algorithm.config: {spec.name} has a setting '{lacking[0]}', which it lacks"
        steps = load_loop(find_loop(spec.loop, spec.name)).steps_of(config, protocol["budget"])
    except PgbenchError as error:
        return f"algorithm.config: {error}"
    changed = sorted(key for key in own if own[key] != defaults[key])
    told = record["algorithm"]["defaults_changed"]
    values = ", ".join(f"{k} is {_text(own[k])}, by default {_text(defaults[k])}" for k in changed)
    if kind == "paper" and changed:
        return f"protocol.tuning.class: 'paper' means the catalogue's defaults, but {values}"
    if changed != told:
        return (
            f"algorithm.defaults_changed: {_text(told)}, but by the catalogue it is "
            f"{_text(changed)} ({values or 'all are defaults'})"
        )
    if record["cost"]["env_steps"] > steps:
        return (
            f"cost.env_steps: {record['cost']['env_steps']:,}, but with these settings a run "
            f"ends after {steps:,}"
        )
    return ""


def _fingerprints(entries: Sequence[Entry]) -> Finding:
    """Each built-in environment is played here: is it the one that the records were made on?"""
    from pgbench.catalogue.fingerprint import golden

    here = provenance.packages()
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        told = entry.record["environment"]
        groups.setdefault(canonical([told["id"], told["kwargs"]]), []).append(entry)
    lines, played = [], 0
    for key in sorted(groups):
        told = groups[key][0].record["environment"]
        spec = builtin(groups[key][0].record)[1]
        if spec is None:
            continue
        try:
            own = golden(spec, told["kwargs"])
        except PgbenchError as error:  # something is not installed, say
            lines.append(f"{told['id']} cannot be played here ({error})")
            continue
        played += 1
        for entry in groups[key]:
            if entry.record["environment"]["golden"] == own:
                continue
            packages = entry.record["provenance"]["packages"]
            why = f"{entry.where}: environment.golden: {told['id']} plays otherwise here"
            if all(packages.get(name) == here.get(name) for name in SIMULATORS):
                raise PgbenchError(f"{why}, with the same packages: this was another environment")
            lines.append(f"{why} (made with {packages})")
            break
    if lines:
        return Finding("fingerprints", "held", _some(lines))
    return Finding("fingerprints", "ok", f"{played} environments play here as they did there")


def _history(entries: Sequence[Entry]) -> Finding:
    """Runs are of the past, and younger than the code that made them."""
    now = datetime.now(UTC).replace(tzinfo=None)
    unknown = set()
    for entry in entries:
        for why in _times(entry.record, now):
            raise PgbenchError(f"{entry.where}: {why}")
        commit = entry.record["provenance"]["commit"]
        if commit and commit_facts(commit) is None:
            unknown.add(commit[:12])
    if unknown:
        return Finding(
            "history", "held",
            f"commit {', '.join(sorted(unknown))} is not in this checkout's history (a fork's, or "
            "a shallow clone): its time and version could not be looked up",
        )  # fmt: skip
    return Finding("history", "ok", "every run is younger than its commit, and over")


def _times(record: Record, now: datetime) -> Iterator[str]:
    source, wall = record["provenance"], timedelta(seconds=min(record["cost"]["wall_s"], 1e9))
    created = moment(record["created"])
    if created is None or created + wall > now + SLACK:
        yield f"created: {record['created']} and cost.wall_s: the run would end in the future"
        return
    facts = commit_facts(source["commit"]) if source["commit"] else None
    if facts is None:
        return
    committed, version = facts
    if source["resumed"] == 0 and created + wall + SLACK < committed:
        yield f"created: {record['created']}, but its commit is of {committed:%Y-%m-%dT%H:%M:%SZ}"
    told = source["packages"].get("pgbench", version)
    if told != version:
        yield f"provenance.packages.pgbench: {told}, but its commit is of version {version}"


@functools.cache
def commit_facts(commit: str) -> tuple[datetime, str] | None:
    """When a commit was made (UTC), and pgbench's version there; None if git does not know it."""
    stamp = provenance.ask_git("show", "-s", "--format=%ct", f"{commit}^{{commit}}")
    project = provenance.ask_git("show", f"{commit}:pyproject.toml")
    if not stamp or project is None:
        return None
    try:
        version = str(tomllib.loads(project)["project"]["version"])
        return datetime.fromtimestamp(int(stamp), UTC).replace(tzinfo=None), version
    except (KeyError, ValueError):
        return None


def _some(lines: Sequence[str], more: str = "") -> str:
    rest = len(lines) - SHOWN
    parts = [*lines[:SHOWN], *([f"and {rest} more"] if rest > 0 else []), *([more] if more else [])]
    return "; ".join(parts)


def _text(value: Any) -> str:
    return canonical(value) if isinstance(value, dict | list) else str(value)
