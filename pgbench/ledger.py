"""A board's records on disk: one JSON-lines file an algorithm, appended to and never edited.

Each line is a canonical record whose `prev` is the id of the line before it (null on the first),
so that a removed or moved line breaks the chain, as an edited one breaks its own id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pgbench.config import canonical, digest
from pgbench.errors import PgbenchError
from pgbench.files import only_process, write_bytes
from pgbench.record import check, read_run
from pgbench.statistics import mean

ENDED = ("finished", "failed")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # of an algorithm or a board: it names a file


@dataclass(frozen=True)
class Entry:
    """A record on a board, and where it stands."""

    record: Mapping[str, Any]
    where: str

    @property
    def id(self) -> str:
        """The record's id."""
        return str(self.record["id"])

    @property
    def run(self) -> tuple[str, int]:
        """What may stand on a board once: the identity's digest and the seed."""
        return digest(self.record["identity"]), self.record["protocol"]["seed"]


def read_board(folder: Path) -> list[Entry]:
    """The checked entries of every file in `folder`.

    Raises: PgbenchError naming file and line for anything torn, edited, moved or doubled.
    """
    if not folder.is_dir():
        raise PgbenchError(
            f"there is no board {folder.name} ({folder} is no folder); "
            f"start it: pgbench board {folder.name} --add runs"
        )
    entries = [entry for path in sorted(folder.glob("*.jsonl")) for entry in read_ledger(path)]
    refuse_doubles(entries)
    return entries


def read_ledger(path: Path) -> list[Entry]:
    """The entries of one file, each checked by itself and against the line before.

    Raises: PgbenchError naming file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PgbenchError(f"cannot read {path}: {error}") from error
    lines = text.split("\n")
    last = lines.pop()
    if last:
        raise PgbenchError(
            f"{path}:{len(lines) + 1}: the last line is torn (it has no end of line); "
            "delete it and add its run again"
        )
    entries, prev = [], None
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        record = _parse(line, where)
        verify(record, where)
        if record["algorithm"]["name"] != path.stem:
            raise PgbenchError(
                f"{where}: a record of {record['algorithm']['name']} in the file of {path.stem}"
            )
        if record.get("prev") != prev:
            raise PgbenchError(
                f"{where}: the chain is broken: 'prev' is not the id of the line before; "
                "a line was removed, moved or inserted: restore the file from version control"
            )
        prev = record["id"]
        entries.append(Entry(record, where))
    return entries


def _parse(line: str, where: str) -> Any:
    def no_number(word: str) -> NoReturn:
        raise PgbenchError(f"{where}: not valid JSON: {word} is no number")

    try:
        return json.loads(line, parse_constant=no_number)
    except json.JSONDecodeError as error:
        raise PgbenchError(f"{where}: not valid JSON: {error}") from error


def verify(record: Any, where: str) -> None:
    """Refuse a record that is not ours, not whole, or at odds with itself.

    Raises: PgbenchError starting with `where`.
    """
    try:
        check(record, f"{where}:")
        _agree(record, where)
    except (KeyError, TypeError, AttributeError) as error:
        raise PgbenchError(f"{where}: not a whole record: {error!r}") from error


def _agree(record: Mapping[str, Any], where: str) -> None:
    """The same fact told twice in a record must be the same."""
    algorithm, identity = record["algorithm"], record["identity"]
    protocol, result = record["protocol"], record["result"]
    if not NAME.fullmatch(algorithm["name"]):
        raise PgbenchError(f"{where}: '{algorithm['name']}' cannot name a file of a board")
    told = {
        "algorithm": (identity["algorithm"], algorithm["name"]),
        "config": (identity["config"], algorithm["config"]),
        "config_hash": (digest(algorithm["config"]), algorithm["config_hash"]),
        "environment": (identity["environment"], record["environment"]["id"]),
        "env_kwargs": (identity["env_kwargs"], record["environment"]["kwargs"]),
        "budget": (identity["budget"], protocol["budget"]),
    }
    told.update({key: (value, protocol[key]) for key, value in identity["protocol"].items()})
    for key, (one, other) in told.items():
        if one != other:
            raise PgbenchError(f"{where}: the record contradicts itself about '{key}'")
    if record["status"] not in ENDED:
        raise PgbenchError(f"{where}: a run of status '{record['status']}' is no result")
    if record["status"] == "failed":
        if result["score"] is not None:
            raise PgbenchError(f"{where}: a failed run cannot have a score")
        return
    final = result["final"]
    if len(final) != protocol["episodes"]:
        raise PgbenchError(
            f"{where}: {len(final)} final episodes, but its protocol has {protocol['episodes']}"
        )
    if abs(mean(final) - result["score"]) > 1e-9 * max(map(abs, final)):
        raise PgbenchError(f"{where}: the score is not the mean of the final episodes")


def refuse_doubles(entries: Iterable[Entry]) -> None:
    """One run a seed and identity: a second one would let its owner choose.

    Raises: PgbenchError naming both.
    """
    seen: dict[tuple[str, int], Entry] = {}
    for entry in entries:
        first = seen.setdefault(entry.run, entry)
        if first is not entry:
            raise PgbenchError(
                f"{entry.where}: seed {entry.run[1]} of {entry.record['algorithm']['name']} on "
                f"{entry.record['environment']['id']} with the same settings is there already "
                f"({first.where}); a board holds one run a seed"
            )


@dataclass(frozen=True)
class Added:
    """What `add` did with the runs that it found."""

    new: int
    known: int
    left_out: list[str]  # one line each, with the reason


def add(folder: Path, sources: Sequence[Path]) -> Added:
    """Append the ended runs found below `sources` to the board's files, all or none of them.

    Runs that are there already are skipped; unfinished ones, and old ones that `--fresh` set
    aside, are left out and named.

    Raises: PgbenchError for a damaged run or file, or a second run of the same seed.
    """
    new: dict[str, Entry] = {}
    left_out = []
    for source in sources:
        found = sorted(path.parent for path in source.rglob("run.json"))
        if not found:
            raise PgbenchError(f"there is no run in {source} (no run.json below it)")
        for run in found:
            record = read_run(run)
            if ".old" in run.name:
                left_out.append(f"{run}: set aside by --fresh")
            elif record["status"] not in ENDED:
                left_out.append(f"{run}: {record['status']}; finish it first")
            else:
                verify(record, str(run / "run.json"))
                new.setdefault(record["id"], Entry(record, str(run / "run.json")))
    with only_process(folder):
        old = read_board(folder)
        ids = {entry.id for entry in old}
        known = len(ids & set(new))
        fresh = sorted((e for e in new.values() if e.id not in ids), key=_place)
        refuse_doubles([*old, *fresh])
        for name in sorted({entry.record["algorithm"]["name"] for entry in fresh}):
            _append(
                folder / f"{name}.jsonl",
                [e.record for e in fresh if e.record["algorithm"]["name"] == name],
            )
    return Added(len(fresh), known, left_out)


def _place(entry: Entry) -> tuple[str, str, int]:
    return (entry.record["environment"]["id"], *entry.run)


def _append(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    # The whole file is replaced at once: a crash leaves the old one, never a torn line.
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    prev = json.loads(text.splitlines()[-1])["id"] if text else None
    for record in records:
        text += canonical({**record, "prev": prev}) + "\n"
        prev = record["id"]
    write_bytes(path, text.encode())
