"""The run record: one JSON object a run, complete enough to trust, its id covering it all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.records.schema import Record
from pgbench.settings.config import digest
from pgbench.support.files import only_process, read_bytes, write_bytes
from pgbench.support.strict import hold, plain

SCHEMA = 3  # of what is written now
READS = (2, 3)  # 3 added `result.details` and `algorithm.policies`
FAILURES = ("diverged", "crashed", "out of memory", "killed", "timeout")
PLAIN = "subprocess"  # environment.sandbox of programs that ran with the user's rights
NO_SANDBOX = "no sandbox: the programs that were judged ran with the rights of the user"
NOT_IN_ID = ("id", "stamps", "prev")


@dataclass(frozen=True)
class Entry:
    """A record (or a stamp) of a board, and where it stands."""

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


def record_id(record: dict[str, Any]) -> str:
    """SHA-256 of the canonical record without its id, its stamps and its place in a chain."""
    return digest({key: value for key, value in record.items() if key not in NOT_IN_ID})


def parse(data: bytes, where: str) -> dict[str, Any]:
    """The record that JSON text is, unchanged since it was written; `where` names it in errors.

    Raises: PgbenchError for what is no whole record of a known schema, naming the field, and for an
    id that does not match.
    """
    record = plain(data, where)
    if not isinstance(record, dict) or "schema" not in record:
        raise PgbenchError(f"{where}: this is no run record (it has no schema field)")
    schema = record["schema"]
    if schema not in READS:
        older = isinstance(schema, int) and schema < min(READS)
        advice = "run it again" if older else "upgrade pgbench: pip install -U pgbench"
        reads = " and ".join(map(str, READS))
        raise PgbenchError(
            f"{where}: its record schema is {schema}, this pgbench reads {reads}; {advice}"
        )
    hold(data, Record, where)
    if record["id"] != record_id(record):
        raise PgbenchError(f"{where}: was changed after it was written: its id does not match")
    return record


def save_run(folder: Path, record: dict[str, Any]) -> None:
    """Replace the record of a run folder, if it can be read back.

    Raises: PgbenchError naming the field that no record holds.
    """
    path = folder / "run.json"
    data = (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()
    parse(data, f"this run cannot be recorded ({path})")
    write_bytes(path, data)


def read_run(folder: Path) -> dict[str, Any]:
    """The record of a run folder.

    Raises: PgbenchError if the folder is no run, half-written, or of another schema.
    """
    if not folder.is_dir():
        raise PgbenchError(f"there is no run folder {folder}")
    path = folder / "run.json"
    if path.exists():
        try:
            return parse(read_bytes(path), str(path))
        except PgbenchError as error:
            raise PgbenchError(
                f"{error}; to run it anew, move {folder} away or give --fresh"
            ) from None
    runs = sorted(below.parent for below in folder.rglob("run.json"))
    if runs:
        raise PgbenchError(
            f"{folder} has no run.json: it is no run but a folder of {len(runs)}; name one of "
            f"them, such as {runs[-1]}"
        )
    raise PgbenchError(
        f"{folder} has no run.json: it is no run, or its first write was cut off; give its "
        "`pgbench run` command with --fresh, which keeps what is there"
    )


def read_runs(folder: Path) -> tuple[list[tuple[Path, dict[str, Any]]], list[str]]:
    """Every run below `folder`, sorted by path; and a line for each whose record is damaged.

    Whatever lists runs reads them here: one damaged record hides no other.
    """
    found, damaged = [], []
    for path in sorted(folder.rglob("run.json")):
        try:
            found.append((path.parent, read_run(path.parent)))
        except PgbenchError as error:
            damaged.append(str(error))
    return found, damaged


def tidy(folder: Path) -> None:
    """Remove the checkpoint of a finished run, which a kill after its last record left behind."""
    left = folder / "checkpoint"
    if left.exists():
        with only_process(folder):
            shutil.rmtree(left, ignore_errors=True)
