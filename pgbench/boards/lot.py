"""Which records are run again before they are believed: a lot that the content draws.

The order is that of a hash over all ids together, so whoever submits cannot choose what is looked
at, unless by making other records until the lot suits him; a maintainer's lot is by chance.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgbench.boards.evidence import Finding
from pgbench.boards.rows import row_name
from pgbench.boards.store import Board
from pgbench.errors import PgbenchError
from pgbench.records.record import Entry
from pgbench.records.rules import find_track
from pgbench.settings.config import digest

if TYPE_CHECKING:
    from pgbench.boards.rerun import Comparison

SHARE = 10  # one in so many records, and one a row at least
CHECKED = ("verified", "reproduced")  # stamps of records that were run again, and borne out


@dataclass(frozen=True)
class Lot:
    """Records to run again, in the order of their costs; and rows that the limit leaves out."""

    drawn: list[Entry]
    left: list[str]

    @property
    def seconds(self) -> float:
        """What their runs took where they were made."""
        return sum(cost(entry) for entry in self.drawn)


def cost(entry: Entry) -> float:
    """Seconds that running again takes, by the record: with the others of its stack."""
    return float(entry.record["cost"]["wall_s"])


def rows_of(entries: Iterable[Entry], board: Board) -> dict[str, list[Entry]]:
    """Entries by the name of their row and track."""
    known = {env.version: env for env in board.suite.environments.values()} if board.suite else {}
    out: dict[str, list[Entry]] = {}
    for entry in entries:
        record = entry.record
        track = find_track(record, board.suite) if board.suite else None
        if track is not None:
            name = row_name(record, track, known[record["environment"]["id"]])
            name = f"{name} ({track.name})"
        else:
            identity = {k: v for k, v in record["identity"].items() if k != "environment"}
            name = f"{record['algorithm']['name']} #{digest(identity)[:8]}"
        out.setdefault(name, []).append(entry)
    return out


def draw(
    rows: Mapping[str, Sequence[Entry]],
    limit_s: float,
    first: Collection[str] = (),
    checked: Collection[str] = (),
) -> Lot:
    """One record a row and one in ten of all, as far as `limit_s` seconds reach.

    Records whose id is in `first` come first; within a row the first that fits is taken, and rows
    in the order of their costs, so that as many as possible have one. Those that were `checked`
    count, and are not drawn again.
    """
    everything = [entry for found in rows.values() for entry in found]
    content = digest(sorted(entry.id for entry in everything))

    def place(entry: Entry) -> tuple[bool, str]:
        word = hashlib.sha256(f"{content} {entry.id}".encode()).hexdigest()
        return entry.id not in first, word

    drawn: dict[str, Entry] = {}
    left = []
    spent = 0.0
    order = {
        name: sorted(found, key=place)
        for name, found in rows.items()
        if not any(entry.id in checked for entry in found)
    }
    for name in sorted(order, key=lambda name: (cost(order[name][0]), name)):
        fits = (entry for entry in order[name] if spent + cost(entry) <= limit_s)
        if (taken := next(fits, None)) is None:
            left.append(name)
            continue
        drawn[taken.id] = taken
        spent += cost(taken)
    wanted = max(math.ceil(len(everything) / SHARE), len(first))
    done = sum(entry.id in checked for entry in everything)
    for entry in sorted(everything, key=place):
        if len(drawn) + done >= wanted:
            break
        new = entry.id not in drawn and entry.id not in checked
        if new and spent + cost(entry) <= limit_s:
            drawn[entry.id] = entry
            spent += cost(entry)
    return Lot(sorted(drawn.values(), key=cost), left)


def checked(stamps: Iterable[Mapping[str, Any]]) -> set[str]:
    """Ids of the records that were run again and borne out."""
    return {stamp["record"] for stamp in stamps if stamp["kind"] in CHECKED}


def again(entry: Entry, entries: Iterable[Entry], runs: Path) -> Comparison:
    """The entry's run done again below `runs`, beside its row's other seeds among `entries`.

    Raises: PgbenchError if it cannot be run again by this pgbench.
    """
    from pgbench.boards.rerun import rerun
    from pgbench.runs.progress import Progress

    others = [
        e.record["result"]["score"]
        for e in entries
        if e.run[0] == entry.run[0] and e.id != entry.id and e.record["result"]["score"] is not None
    ]
    return rerun(entry.record, runs, others, Progress())


def hold_again(
    rows: Mapping[str, Sequence[Entry]], lot: Lot, say: Callable[[str], None]
) -> tuple[Finding, list[Comparison]]:
    """Run the lot again, in a folder of its own; what it shows, and what may be stamped."""
    everything = [entry for found in rows.values() for entry in found]
    good: list[Comparison] = []
    bad, open_ = [], [f"{name}: its runs are over the limit" for name in lot.left]
    with tempfile.TemporaryDirectory() as place:
        for entry in lot.drawn:
            say(f"{entry.id[:12]}: {title(entry)}, again ...")
            try:
                found = again(entry, everything, Path(place))
            except PgbenchError as error:
                open_.append(f"{entry.where} cannot be run again here: {error}")
                continue
            say(f"{entry.id[:12]}: {found.kind}: {found.text()}")
            if found.kind in CHECKED:
                good.append(found)
            elif found.kind == "disputed":
                bad.append(f"{entry.where}: {found.text()}")
            else:
                open_.append(f"{entry.where}: {found.kind}: {found.text()}")
    if bad:
        return Finding("run again", "refused", "; ".join(bad)), []
    many = f"{len(good)} of {len(everything)} records were run again and borne out"
    if open_:
        return Finding("run again", "held", "; ".join([many, *open_])), good
    return Finding("run again", "ok", f"{many}; the content drew them"), good


def title(entry: Entry) -> str:
    """What a record is of."""
    record = entry.record
    seed = record["protocol"]["seed"]
    return f"{record['algorithm']['name']} on {record['environment']['id']}, seed {seed}"
