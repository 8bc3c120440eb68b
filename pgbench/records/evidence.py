"""What records give away without being run again: facts that cannot stand together.

In one record (`plausible`), against the catalogue's strings (`as_catalogued`), and across records
(`agree` refuses, `twins` shows). No algorithm is imported and no clock is read. Who keeps to all of
this can still invent numbers: only running again finds that (pgbench/boards/lot.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from pgbench.catalogue.registry import ALGOS, ENVS, LOOPS, AlgoSpec, EnvSpec
from pgbench.errors import PgbenchError
from pgbench.records.record import Entry
from pgbench.settings.config import digest

Record = Mapping[str, Any]
HASH = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{7,64}")
VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc|\.?dev|\.?post)\d*)*(\+[A-Za-z0-9.]+)?")
FIRST = datetime(2026, 1, 1)  # pgbench is younger
PYTHON = (3, 11)  # the oldest that pgbench runs on
TIMES = ("wall_s", "cpu_s", "evaluate_s", "checkpoint_s")


def moment(text: str) -> datetime | None:
    """The time that a record says, in UTC; None for a text that is none."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return None


def plausible(record: Record, where: str) -> None:
    """Refuse a record whose own fields cannot all be true.

    Raises: PgbenchError starting with `where`.
    """
    for why in (*_origin(record), *_ending(record), *_curve(record)):
        raise PgbenchError(f"{where}: {why}")


def _origin(record: Record) -> Iterator[str]:
    """Of the time, the code and the packages."""
    source, created = record["provenance"], record["created"]
    when = moment(created)
    if when is None:
        yield f"created: '{created}' is no time such as 2026-11-22T16:02:01Z"
    elif when < FIRST:
        yield f"created: {created} is before there was a pgbench"
    if source["commit"] is not None and not COMMIT.fullmatch(source["commit"]):
        yield f"provenance.commit: '{source['commit']}' is no commit of git"
    for name, version in source["packages"].items():
        if not VERSION.fullmatch(version):
            yield f"provenance.packages.{name}: '{version}' is no version"
    python = re.match(r"(\d+)\.(\d+)\.\d+", source["python"])
    if python is None or tuple(map(int, python.groups())) < PYTHON:
        yield f"provenance.python: pgbench does not run on Python '{source['python']}'"
    cost = record["cost"]
    if cost["evaluate_s"] + cost["checkpoint_s"] > cost["wall_s"] + 1:
        yield "cost.evaluate_s and checkpoint_s are parts of wall_s, and more than all of it"


def _curve(record: Record) -> Iterator[str]:
    """Of the evaluations, which the protocol foretells."""
    protocol, curve = record["protocol"], record["result"]["curve"]
    steps = [point["step"] for point in curve]
    if steps != sorted(steps) or (steps and steps[-1] > record["cost"]["env_steps"]):
        yield "result.curve: its steps must rise, to cost.env_steps at most"
    if len(curve) > protocol["curve_points"]:
        yield f"result.curve has {len(curve)} points, its protocol {protocol['curve_points']}"
    # A run that fails has not come to the last point, which has the final episodes.
    between = curve[:-1] if record["status"] == "finished" else curve
    for i, point in enumerate(between):
        if point["n"] != protocol["curve_episodes"]:
            yield (
                f"result.curve[{i}].n: {point['n']} episodes, but its protocol has "
                f"{protocol['curve_episodes']}"
            )


def _ending(record: Record) -> Iterator[str]:
    """Of how the run ended: a finished one has no failure, a failed one no whole result."""
    result, protocol = record["result"], record["protocol"]
    checksum, failure, error = result["checksum"], result["failure"], result["error"]
    if checksum is not None and not HASH.fullmatch(checksum):
        yield f"result.checksum: '{checksum[:70]}' is no SHA-256 of 64 hexadecimal digits"
    if record["status"] == "finished":
        if failure is not None or error is not None:
            yield f"result.failure: {failure or error}, though the run has finished"
        if len(result["lengths"]) != len(result["final"]):
            yield "result.lengths: there must be one for each of result.final"
    elif record["status"] == "failed":
        if any(result[key] is not None for key in ("final", "score", "lengths")):
            yield "result.final: a failed run has none; this one has finished"
        if len(result["curve"]) >= protocol["curve_points"]:
            yield (
                "result.curve: a failed run does not come to the last point, which is the "
                "final policy's; this one has all: it has finished"
            )
        if kind_of_error(error or "") != failure:
            yield f"result.failure: '{failure}' does not fit its error '{error}'"


def kind_of_error(error: str) -> str:
    """The kind of failure that an error's text is of, as runs and benches write it."""
    name = error.partition(":")[0]
    if name in ("diverged", "killed", "timeout"):
        return name
    return "out of memory" if "MemoryError" in name else "crashed"


def builtin(record: Record) -> tuple[AlgoSpec | None, EnvSpec | None]:
    """The catalogue's algorithm and environment that a record claims; None for a plug-in's.

    A plug-in has its sources' digest in the identity. None, too, for what the catalogue lacks.
    """
    identity = record["identity"]
    for catalogue in (ALGOS, ENVS, LOOPS):
        catalogue.all()  # what is built in, or installed, has registered
    algo = ALGOS.specs.get((identity["algorithm"], identity["family"]))
    env = ENVS.specs.get(identity["environment"].rpartition("-v")[0])
    if env is not None and env.name != identity["environment"]:
        env = None
    return (
        None if identity["sources"][0] else algo,
        None if identity["sources"][1] else env,
    )


def as_catalogued(record: Record, where: str) -> None:
    """Refuse what a record says of a built-in algorithm or environment, if the catalogue does not.

    Raises: PgbenchError starting with `where`.
    """
    algo, env = builtin(record)
    told, protocol = record["environment"], record["protocol"]
    facts: dict[str, tuple[Any, Any]] = {}
    if env is not None:
        facts["environment.metric"] = (told["metric"], env.metrics[0].told)
        facts["environment.underlying"] = (told["underlying"], env.underlying)
    if algo is not None and algo.loop in LOOPS.specs:
        facts["protocol.unit"] = (protocol["unit"], LOOPS.specs[algo.loop].unit)
    for key, (said, known) in facts.items():
        if said != known:
            of = told["id"] if key.startswith("env") else record["algorithm"]["name"]
            raise PgbenchError(f"{where}: {key}: {said}, but {of} has {known} in the catalogue")
    if env is not None and record["status"] == "finished" and not told["kwargs"]:
        _within(record, env, where)


def _within(record: Record, env: EnvSpec, where: str) -> None:
    """Scores between the metric's bounds, episodes within the time limit.

    Where an environment has an evaluator of its own, its limit is another, and a one-sided bound
    holds for means of infinitely many episodes alone (a gap to an optimum that is estimated).
    """
    metric, result = env.metrics[0], record["result"]
    both = metric.lower is not None and metric.upper is not None
    for i, value in enumerate(result["final"] if both or not env.evaluator else ()):
        low, high = metric.lower, metric.upper
        if (low is not None and value < low) or (high is not None and value > high):
            raise PgbenchError(
                f"{where}: result.final[{i}]: {value:g} is no {metric.name} on {env.name}, which "
                f"lies between {_end(low)} and {_end(high)}"
            )
    limit = None if env.evaluator else env.max_episode_steps
    longest = max(result["lengths"], default=0)
    if limit is not None and longest > limit:
        raise PgbenchError(
            f"{where}: result.lengths: an episode of {longest:,} steps, but {env.name} ends "
            f"after {limit:,}"
        )


def _end(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"


def agree(entries: Iterable[Entry]) -> None:
    """Refuse records that cannot all be true: of one board, withdrawn ones left out.

    Raises: PgbenchError naming both of two that contradict each other.
    """
    known: dict[tuple[str, str], tuple[str, Any]] = {}
    parameters: dict[str, Entry] = {}
    for entry in entries:
        for about, key, value in _facts(entry.record):
            where, first = known.setdefault((about, key), (entry.where, value))
            if first != value:
                raise PgbenchError(f"{entry.where}: {about}: {value}, but {where} has {first}")
        if entry.record["status"] != "finished":
            continue  # parameters that are all nan are equal without a lie
        first_ = parameters.setdefault(entry.record["result"]["checksum"], entry)
        seeds = {e.record["protocol"]["train_seed"] for e in (first_, entry)}
        if len(seeds) > 1 and not (_unlearned(first_.record) and _unlearned(entry.record)):
            raise PgbenchError(
                f"{entry.where}: result.checksum: the very parameters of {first_.where}, which has "
                "another training seed: one result was given to both"
            )


def _facts(record: Record) -> Iterator[tuple[str, str, Any]]:
    """What is said, of which thing, and the value that every record says of it."""
    row = digest(record["identity"])
    if record["status"] == "finished":
        name = record["algorithm"]["name"]
        count = record["algorithm"]["parameters"]
        yield f"algorithm.parameters of {name} with the same settings", row, count
    source = record["provenance"]
    packages = ", ".join(f"{k} {v}" for k, v in sorted(source["packages"].items()))
    yield "provenance.packages of one provenance.lock", source["lock"], packages


def _unlearned(record: Record) -> bool:
    """Whether a run never changed its policy: then it ends as it began, whatever its seed."""
    between = [point["mean"] for point in record["result"]["curve"][:-1]]
    return len(between) > 1 and len(set(between)) == 1


def twins(new: Iterable[Entry], old: Iterable[Entry] = ()) -> list[tuple[Entry, Entry, str]]:
    """Pairs, at least one of them `new`, with the very same episodes; and what it may mean.

    It happens to the honest: policies that act alike, methods that differ in nothing here. So it is
    shown and drawn to be run again, not refused. Episodes that are all equal tell nothing.
    """
    fresh = list(new)
    ids = {entry.id for entry in fresh}
    seen: dict[str, Entry] = {}
    found = []
    for entry in [*(e for e in old if e.id not in ids), *fresh]:
        record, result = entry.record, entry.record["result"]
        if record["status"] != "finished" or len(set(result["final"])) < 2:
            continue
        key = digest([record["environment"]["id"], result["final"], result["lengths"]])
        first = seen.setdefault(key, entry)
        if first is entry or entry.id not in ids:
            continue
        same = first.record["protocol"]["train_seed"] == record["protocol"]["train_seed"]
        what = "of the same seed by another row" if same else "of another seed"
        found.append((entry, first, what))
    return found


def same_times(entries: Iterable[Entry]) -> list[tuple[Entry, Entry]]:
    """Pairs of runs that began in one second and took the same times to the millisecond."""
    seen: dict[str, Entry] = {}
    found = []
    for entry in entries:
        record = entry.record
        if record["identity"].get("stack"):
            continue  # seeds that ran together have their times in common
        key = digest([record["created"], *(record["cost"][name] for name in TIMES)])
        if (first := seen.setdefault(key, entry)) is not entry:
            found.append((entry, first))
    return found
