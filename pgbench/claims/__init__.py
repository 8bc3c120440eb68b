"""Claims: the headlines of a paper as registered objects, each tied to runs that can speak to it.

A claims file (`leaderboards/claims/<algorithm>.toml`) is written before its runs are looked at: it
fixes what is compared with what, where, and which difference would matter.
Imports `boards` and below. Start here, then `weigh`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.records.suite import Suite, Track, find_suite
from pgbench.support.names import unknown
from pgbench.support.toml import Table, read_table

KINDS = {
    "better": "the mean score of a is higher than that of b",
    "not-worse": "the mean score of a is at most the margin lower than that of b",
    "on-par": "the mean scores of a and b differ by at most the margin",
    "within": (
        "the mean score of a is at most the margin worse than the environment's reference, a "
        "constant (such as a known optimum), which stands for b"
    ),
}
ROLES = {
    "decides": "the claim needs it, and it can refute the claim",
    "supports": "the claim needs it, but it cannot refute the claim",
    "informs": "it changes no verdict",
}
MARGINS = {
    "scale": "of the distance from the environment's floor to its reference",
    "seed_std": "of the spread between seeds: the root mean square of both standard deviations",
}
_FILE = {"algorithm", "paper", "title", "registered", "claim"}
_CLAIM = {"id", "statement", "source", "note", "remark", "check"}
_CHECK = {
    "suite", "track", "kind", "a", "b", "environments", "at_least", "margin", "role", "note",
    "diagnostic",
}  # fmt: skip


@dataclass(frozen=True)
class Margin:
    """The largest difference that does not matter: `amount` of a unit of `MARGINS`."""

    unit: str
    amount: float


@dataclass(frozen=True)
class Check:
    """One comparison in a suite's track, of two rows or of one with the reference."""

    suite: str
    track: Track
    kind: str
    a: str  # label of an entry of the track
    b: str | None  # another one; None for kind "within": the environment's reference
    environments: tuple[str, ...]
    at_least: int  # in so many environments the kind must hold
    margin: Margin | None
    role: str
    note: str
    diagnostic: str = ""  # a figure of the records (lower is better) in place of the score


@dataclass(frozen=True)
class Claim:
    """A headline, where the paper makes it, and what of it is checked here."""

    id: str
    statement: str
    source: str
    note: str  # what differs from the paper's protocol
    remark: str  # what its results say of the checks themselves; the one text that comes after them
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Claims:
    """One file: the claims of the paper of one algorithm."""

    algorithm: str
    paper: str
    title: str
    registered: str  # when, and what was known then
    claims: tuple[Claim, ...]


def find_claims(root: Path, algorithm: str | None = None) -> list[Claims]:
    """The claims files of `<root>/claims` by name, or the one of an algorithm.

    Raises: PgbenchError for a broken file, and with the nearest names if there is none.
    """
    files = {path.stem: path for path in sorted((root / "claims").glob("*.toml"))}
    if not files:
        raise PgbenchError(f"no claims are registered: there is no file {root / 'claims'}/*.toml")
    if algorithm is not None and algorithm not in files:
        known = f"claims are registered for {', '.join(files)}"
        raise unknown("algorithm", algorithm, files, known)
    suites: dict[str, Suite] = {}
    wanted = files if algorithm is None else {algorithm: files[algorithm]}
    return [read_claims(path, root, suites) for path in wanted.values()]


def read_claims(path: Path, root: Path, suites: dict[str, Suite] | None = None) -> Claims:
    """The claims that a TOML file registers; its checks name suites of `<root>/suites`.

    `algorithm`, `paper`, `title`, `registered`, then for each `[[claim]]` `id`, `statement`,
    `source`, `note`, `remark` (added when results had been read) and for each `[[claim.check]]`:
    `suite`, `track`; `a`, `b`: labels of two entries of the track (within: `a` alone);
    `kind`: better, not-worse, on-par or within (`KINDS`);
    `environments`: all of the track by default;
    `at_least`: in how many of them the kind must hold, all by default;
    `margin` (not for better): `{ scale = 0.1 }` or, not for within, `{ seed_std = 1 }` (`MARGINS`);
    `role`: decides, supports or informs (`ROLES`); `note`;
    `diagnostic` (kind better alone): a figure of `result.diagnostics`, lower is better, in place of
    the score.

    Raises: PgbenchError naming file and fields for all that is missing, unknown or ill-typed.
    """
    file = read_table(path, "claims", _FILE)
    algorithm = _text(file, "algorithm")
    if algorithm != path.stem:
        file.fault("algorithm", f"is '{algorithm}', but the file is called {path.name}")
    known = {} if suites is None else suites
    claims = tuple(_claim(inner, algorithm, root, known) for inner in file.inners("claim", _CLAIM))
    ids = [claim.id for claim in claims]
    if doubled := [name for name in ids if name and ids.count(name) > 1]:
        file.fault("claim", f"has two claims of id '{doubled[0]}'")
    read = Claims(
        algorithm=algorithm,
        paper=_text(file, "paper"),
        title=_text(file, "title"),
        registered=_text(file, "registered"),
        claims=claims,
    )
    file.done()
    return read


def _text(table: Table, key: str, default: str | None = None) -> str:
    text = " ".join(table.get(key, str, default).split())
    if not text and default is None:
        table.fault(key, "is empty")
    return text


def _claim(table: Table, algorithm: str, root: Path, suites: dict[str, Suite]) -> Claim:
    name = _text(table, "id")
    if not name.startswith(f"{algorithm}-"):
        table.fault("id", f"must begin with '{algorithm}-', not be '{name}'")
    tables = table.inners("check", _CHECK)
    checks = tuple(check for inner in tables if (check := _check(inner, root, suites)))
    if len(checks) == len(tables) and all(check.role == "informs" for check in checks):
        table.fault("check", "has no check that decides: give one another role")
    return Claim(
        id=name,
        statement=_text(table, "statement"),
        source=_text(table, "source"),
        note=_text(table, "note"),
        remark=_text(table, "remark", ""),
        checks=checks,
    )


def _check(table: Table, root: Path, suites: dict[str, Suite]) -> Check | None:
    """The check; None where what it is of is not known, which is a fault of the table."""
    kind = _one_of(table, "kind", KINDS)
    role = _one_of(table, "role", ROLES, "decides")
    diagnostic = _text(table, "diagnostic", "")
    if diagnostic and kind != "better" and not table.faulty("kind"):
        table.fault("diagnostic", "goes with kind 'better' alone: it has no scale")
    margin = None if table.faulty("kind") else _margin(table, kind)
    note = _text(table, "note", "")
    track = _track(table, root, suites)
    if track is None:
        return None
    a, b = _sides(table, kind, [entry.label for entry in track.entries])
    environments = _environments(table, track)
    at_least = table.get("at_least", int, len(environments))
    if not 1 <= at_least <= len(environments) and not table.faulty("environments"):
        table.fault("at_least", f"takes 1 to {len(environments)}, not {at_least}")
    return Check(
        suite=_text(table, "suite"),
        track=track,
        kind=kind,
        a=a,
        b=b,
        environments=environments,
        at_least=at_least,
        margin=margin,
        role=role,
        note=note,
        diagnostic=diagnostic,
    )


def _track(table: Table, root: Path, suites: dict[str, Suite]) -> Track | None:
    """The suite's track that a check is of; None, and a fault, if there is none."""
    name = _text(table, "suite")
    if name not in suites and not table.faulty("suite"):
        try:
            suites[name] = find_suite(name, root)
        except PgbenchError as error:
            table.fault("suite", f"cannot be read: {error}")
    if table.faulty("suite"):
        table.get("track", str)
        return None
    if suites[name].name != name:
        table.fault("suite", f"takes a suite's name ('{suites[name].name}'), not its file")
    tracks = {track.name: track for track in suites[name].tracks}
    track = tracks.get(_one_of(table, "track", tracks))
    if track and track.seeds < 2:
        table.fault("track", f"'{track.name}' has one seed: no test can be made of it")
    return track


def _sides(table: Table, kind: str, labels: list[str]) -> tuple[str, str | None]:
    """The two rows of a check; the second is None where the reference stands for it."""
    a = _one_of(table, "a", labels)
    if kind == "within":
        if "b" in table.value:
            table.fault(
                "b", "has no meaning for kind 'within' (a against the reference); remove it"
            )
        return a, None
    b = _one_of(table, "b", labels)
    if a == b:
        table.fault("b", f"is the row that a is, '{a}'; name two")
    return a, b


def _one_of(table: Table, key: str, known: Iterable[str], default: str | None = None) -> str:
    word: str = table.get(key, str, default)
    if word not in known:
        near = unknown(table.path(key), word, known, f"it takes {', '.join(known)}")
        table.fault(key, text=str(near))
    return word


def _environments(table: Table, track: Track) -> tuple[str, ...]:
    names: list[Any] = table.get("environments", list, list(track.environments))
    for name in names:
        if name not in track.environments:
            near = unknown(
                table.path("environments"), str(name), track.environments,
                f"{track.name} has {', '.join(track.environments)}",
            )  # fmt: skip
            table.fault("environments", text=str(near))
    if not names or len(set(map(str, names))) < len(names):
        table.fault("environments", "must name each environment once, and one at least")
    return tuple(names)


def _margin(table: Table, kind: str) -> Margin | None:
    if kind == "better":
        if "margin" in table.value:
            table.fault("margin", "has no meaning for kind 'better'; remove it")
        return None
    inner = table.inner("margin", set(MARGINS))
    if len(inner.value) != 1:
        table.fault("margin", f"takes one of {' = ..., '.join(MARGINS)} = ...")
        return None
    (unit,) = inner.value
    if kind == "within" and unit != "scale":
        inner.fault(
            unit, "has no meaning for kind 'within' (the reference has no seeds); give scale = ..."
        )
    amount = float(inner.get(unit, (int, float)))
    if not 0 < amount < float("inf"):
        inner.fault(unit, f"must be more than 0, not {amount:g}")
    return Margin(unit, amount)
