"""The model of any set of runs: a board by its name, run folders, files of records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pgbench.boards.model import build_model
from pgbench.boards.rows import Record, conditions
from pgbench.boards.store import open_board
from pgbench.errors import PgbenchError
from pgbench.records import ledger
from pgbench.records.record import Entry
from pgbench.records.suite import find_suite
from pgbench.settings.config import canonical

FOLLOW = ("fingerprint", "eval_seeds")  # digests: of settings, of the number of episodes


def gather(
    sources: Sequence[str], root: Path, suite: str | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """The model of what `sources` hold: one board of `root`, or runs and files of records.

    `suite` names the suite whose tracks, labels and anchors runs are read with; without one there
    is a track a budget, and runs of other environment settings or another evaluation are in an
    environment of their own. `say` gets a line for each run that is left out.

    Raises: PgbenchError for a source that is neither, or holds no ended run.
    """
    if len(sources) == 1 and not Path(sources[0]).exists():
        if (root / "records" / sources[0]).is_dir():
            return open_board(sources[0], root).model()
        boards = ", ".join(sorted(p.name for p in (root / "records").glob("*") if p.is_dir()))
        raise PgbenchError(
            f"{sources[0]} is neither a folder of runs nor a board of {root}"
            + (f"; boards: {boards}" if boards else "")
        )
    found: dict[str, Record] = {}
    for source in map(Path, sources):
        if not source.exists():
            raise PgbenchError(f"there is no folder or file {source}")
        for entry in _entries(source, say):
            found.setdefault(entry.id, entry.record)
    if not found:
        raise PgbenchError(
            f"there is no ended run in {', '.join(sources)}; `pgbench run` makes some"
        )
    if suite is not None:
        own = find_suite(suite, root)
        return build_model(own.name, found.values(), own)
    return build_model("runs", told_apart(list(found.values())))


def _entries(source: Path, say: Callable[[str], None]) -> list[Entry]:
    if source.is_file():
        if source.suffix != ".jsonl":
            raise PgbenchError(f"{source}: give a folder of runs, or a .jsonl file of records")
        return ledger.read_ledger(source)
    if any(source.glob("*.jsonl")) and not (source / "run.json").is_file():  # a board's files
        gone = ledger.withdrawn(source)
        return [entry for entry in ledger.read_board(source) if entry.id not in gone]
    entries, left_out = ledger.collect([source])
    for line in left_out:
        say(f"left out {line}")
    return entries


def told_apart(records: Sequence[Record]) -> list[Record]:
    """The records, environments renamed where the runs in one cannot be compared.

    `hopper-v0` becomes `hopper-v0 (wind=1)` for the runs with that setting, if others lack it.
    """
    known: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        mine = conditions(record)
        known.setdefault(record["environment"]["id"], {})[canonical(mine)] = mine
    out = list[Record]()
    for record in records:
        environment, mine = record["environment"], conditions(record)
        others = known[environment["id"]].values()
        changed = [
            _say(key, mine.get(key))
            for key in sorted({key for other in others for key in other})
            if any(canonical(other.get(key)) != canonical(mine.get(key)) for other in others)
        ]
        # What follows from another difference, which says more, is left out.
        told = [text for text in changed if not text.startswith(FOLLOW)] or changed
        name = ", ".join(filter(None, told))
        label = f"{environment['id']} ({name})" if name else environment["id"]
        out.append({**record, "environment": {**environment, "id": label}})
    return out


def _say(key: str, value: Any) -> str:
    if key == "environment settings":
        return ", ".join(f"{name}={value[name]}" for name in sorted(value))
    if key == "metric":
        return f"by {value['name']}"
    text = value[:8] if key in FOLLOW and isinstance(value, str) else value
    return f"{key} {text if isinstance(text, str | int | float) else canonical(text)}"
