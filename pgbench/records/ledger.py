"""A board's records on disk: one JSON-lines file an algorithm, appended to and never edited.

Each line is a canonical record whose `prev` is the id of the line before it (null on the first),
so that a removed or moved line breaks the chain, as an edited one breaks its own id. `_heads.json`
holds each file's number of lines and last id: a cut tail breaks that. `_stamps.jsonl` holds what
was later said of records (verified, reproduced, disputed, withdrawn), in a chain of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.records.evidence import agree
from pgbench.records.record import Entry, parse, read_runs, record_id
from pgbench.records.rules import ENDED, verify
from pgbench.records.schema import Heads, Stamp
from pgbench.settings.config import canonical
from pgbench.support.files import only_process, read_bytes, write_bytes, write_json
from pgbench.support.strict import plain, typed

HEADS, STAMPS = "_heads.json", "_stamps.jsonl"
Check = Callable[[Mapping[str, Any], str], None]  # (record, where): raises what breaks a rule


def read_board(folder: Path, rule: Check | None = None) -> list[Entry]:
    """The checked entries of every file in `folder`; `rule` is what the board's suite adds.

    Raises: PgbenchError naming file and line for anything torn, edited, moved, removed or doubled.
    """
    if not folder.is_dir():
        raise PgbenchError(
            f"there is no board {folder.name} ({folder} is no folder); "
            f"start it: pgbench board {folder.name} --add runs"
        )
    files = {path.name: read_ledger(path, rule) for path in _ledgers(folder)}
    ids = {name: [entry.id for entry in entries] for name, entries in files.items()}
    _tails(folder, {**ids, STAMPS: [stamp["id"] for stamp in read_stamps(folder)]})
    entries = [entry for found in files.values() for entry in found]
    gone = withdrawn(folder)
    standing = [entry for entry in entries if entry.id not in gone]
    refuse_doubles(standing)
    agree(standing)
    return entries


def withdrawn(folder: Path) -> set[str]:
    """Ids of the board's records that count no more; their runs may be made again."""
    return {stamp["record"] for stamp in read_stamps(folder) if stamp["kind"] == "withdrawn"}


def _ledgers(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.jsonl")) if path.name != STAMPS]


def read_ledger(path: Path, rule: Check | None = None) -> list[Entry]:
    """The entries of one file, each checked by itself and against the line before.

    Raises: PgbenchError naming file and line.
    """
    entries, prev = [], None
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}:{number}"
        record = parse(line, where)
        verify(record, where)
        if record["algorithm"]["name"] != path.stem:
            raise PgbenchError(
                f"{where}: a record of {record['algorithm']['name']} in the file of {path.stem}"
            )
        _chained(record, prev, where)
        if rule is not None:
            rule(record, where)
        prev = record["id"]
        entries.append(Entry(record, where))
    return entries


def read_stamps(folder: Path) -> list[Mapping[str, Any]]:
    """What was said of the board's records, oldest first.

    Raises: PgbenchError naming file and line.
    """
    path = folder / STAMPS
    stamps: list[Mapping[str, Any]] = []
    prev = None
    for number, line in enumerate(_lines(path) if path.exists() else [], 1):
        where = f"{path}:{number}"
        stamp = typed(line, Stamp, where)
        if stamp["id"] != record_id(stamp):
            raise PgbenchError(f"{where}: was changed after it was written: its id does not match")
        _chained(stamp, prev, where)
        prev = stamp["id"]
        stamps.append(stamp)
    return stamps


def _lines(path: Path) -> list[bytes]:
    lines = read_bytes(path).split(b"\n")
    if lines.pop():
        raise PgbenchError(
            f"{path}:{len(lines) + 1}: the last line is torn (it has no end of line); "
            f"repair it: pgbench board {path.parent.name}"
        )
    return lines


def _chained(record: Mapping[str, Any], prev: str | None, where: str) -> None:
    if record.get("prev") != prev:
        raise PgbenchError(
            f"{where}: the chain is broken: 'prev' is not the id of the line before; "
            "a line was removed, moved or inserted: restore the file from version control"
        )


def _heads(path: Path) -> dict[str, tuple[int, str]]:
    """Number of lines and last id of each file, when it was last written.

    Raises: PgbenchError naming the file and the entry.
    """
    try:
        heads: dict[str, tuple[int, str]] = typed(read_bytes(path), Heads, str(path))
    except PgbenchError as error:
        raise PgbenchError(f"{error}; restore it from version control") from None
    return heads


def _tails(folder: Path, ids: Mapping[str, Sequence[str]]) -> None:
    """Every file (its `ids` by its name) still holds what was its last line once."""
    path = folder / HEADS
    for name, (count, last) in sorted(_heads(path).items()) if path.exists() else []:
        found = ids.get(name, ())
        if len(found) < count or found[count - 1] != last:
            raise PgbenchError(
                f"{folder / name}:{len(found)}: the file had {count} lines when it was last "
                f"written ({HEADS}); what was removed from its end must come back: restore the "
                "file from version control"
            )


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


def repair(folder: Path) -> list[str]:
    """Mend torn last lines, which a crash or a bad copy leaves; returns a line for each.

    A last line that is a whole record gets its end of line back, anything else is dropped: its run
    is still in its folder and is added again.
    """
    done = []
    for path in [*_ledgers(folder), folder / STAMPS] if folder.is_dir() else []:
        data = path.read_bytes() if path.exists() else b""
        if not data or data.endswith(b"\n"):
            continue
        kept, _, torn = data.rpartition(b"\n")
        kept += b"\n" if kept else b""
        try:
            value = plain(torn, str(path))
            whole = isinstance(value, dict) and value.get("id") == record_id(value)
        except PgbenchError:
            whole = False
        with only_process(folder):
            write_bytes(path, data + b"\n" if whole else kept)
        what = "got its end of line back" if whole else f"was dropped ({len(torn)} bytes)"
        done.append(f"{path}: the torn last line {what}")
    return done


@dataclass(frozen=True)
class Added:
    """What `add` did with the runs that it found."""

    new: int
    known: int
    left_out: list[str]  # one line each, with the reason


def add(folder: Path, sources: Sequence[Path], rule: Check | None = None) -> Added:
    """Append the ended runs found below `sources` to the board's files, all or none of them.

    Runs that are there already are skipped; unfinished and damaged ones, and old ones that
    `--fresh` set aside, are left out and named.

    Raises: PgbenchError for a damaged file of the board, a second run of a seed, a broken rule.
    """
    new, left_out = collect(sources)
    return add_entries(folder, new, rule, left_out)


def collect(sources: Sequence[Path]) -> tuple[list[Entry], list[str]]:
    """The checked records of the ended runs below `sources`; and a line for each run left out.

    Raises: PgbenchError for a record at odds with itself, or a source without any run.
    """
    new: dict[str, Entry] = {}
    left_out = []
    for source in sources:
        found, damaged = read_runs(source)
        if not found:
            why = "; ".join(damaged) or "no run.json below it"
            raise PgbenchError(f"there is no run in {source} ({why})")
        left_out += damaged
        for run, record in found:
            if ".old" in run.name:
                left_out.append(f"{run}: set aside by --fresh")
            elif record["status"] not in ENDED:
                left_out.append(f"{run}: {record['status']}; finish it first")
            else:
                verify(record, str(run / "run.json"))
                new.setdefault(record["id"], Entry(record, str(run / "run.json")))
    return list(new.values()), left_out


def add_entries(
    folder: Path, new: Sequence[Entry], rule: Check | None = None, left_out: Sequence[str] = ()
) -> Added:
    """Append checked entries, all or none of them; those that are there already are skipped.

    Raises: PgbenchError for a damaged file, a second run of the same seed, a broken rule.
    """
    for entry in new:
        if rule is not None:
            rule(entry.record, entry.where)
    with only_process(folder):
        old = read_board(folder)
        ids = {entry.id for entry in old}
        known = len(ids & {entry.id for entry in new})
        fresh = sorted((e for e in new if e.id not in ids), key=_place)
        gone = withdrawn(folder)
        standing = [e for e in [*old, *fresh] if e.id not in gone]
        refuse_doubles(standing)
        agree(standing)
        for name in sorted({entry.record["algorithm"]["name"] for entry in fresh}):
            _append(
                folder / f"{name}.jsonl",
                [e.record for e in fresh if e.record["algorithm"]["name"] == name],
            )
    return Added(len(fresh), known, list(left_out))


def add_stamp(folder: Path, stamp: Mapping[str, Any]) -> None:
    """Append what is said of a record of this board.

    Raises: PgbenchError if the board has no such record.
    """
    if stamp["record"] not in {entry.id for entry in read_board(folder)}:
        raise PgbenchError(f"{folder.name} has no record {stamp['record'][:12]}")
    with only_process(folder):
        read_stamps(folder)
        _append(folder / STAMPS, [{**stamp, "id": record_id(dict(stamp))}])


def _place(entry: Entry) -> tuple[str, str, int]:
    return (entry.record["environment"]["id"], *entry.run)


def _append(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    # The whole file is replaced at once: a crash leaves the old one, never a torn line. The head
    # follows; a crash between the two leaves a head that is behind, which is still in the chain.
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    prev = json.loads(text.splitlines()[-1])["id"] if text else None
    for record in records:
        text += canonical({**record, "prev": prev}) + "\n"
        prev = record["id"]
    write_bytes(path, text.encode())
    heads = path.parent / HEADS
    known = _heads(heads) if heads.exists() else {}
    now = {**known, path.name: [text.count("\n"), prev]}
    write_json(heads, dict(sorted(now.items())))
