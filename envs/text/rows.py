"""Rows of a data set: from JSONL, JSON, CSV or Parquet files, a folder of them, or the hub."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import re
import socket
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError

from .extra import package

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet")
HUB = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Row:
    """One row and how to name it to the user, such as `train.jsonl line 17`."""

    place: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Data:
    """Rows by split: `train` and `test` where the source has both, else all under ``."""

    splits: dict[str, list[Row]]
    digest: str  # SHA-256 (hex) of the files


def read(source: str, config: str = "") -> Data:
    """The rows of `source`: a file, a folder with a train and a test file, or `owner/name`.

    `config` is the hub's name of a configuration. A source with a test part alone has no splits.

    Raises: PgbenchError naming file and line for whatever cannot be read.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        rows, digest = _file(path)
        return Data({"": rows}, digest)
    if HUB.fullmatch(source) and not source.endswith(SUFFIXES):
        return _hub(source, config)
    raise PgbenchError(f"data file {source} does not exist; check the path")


def _folder(path: Path) -> Data:
    found = {}
    for split in ("train", "test"):
        names = [path / f"{split}{suffix}" for suffix in SUFFIXES]
        files = [file for file in names if file.is_file()]
        if len(files) > 1:
            raise PgbenchError(
                f"data folder {path} has {files[0].name} and {files[1].name}; name the file"
            )
        if files:
            found[split] = _file(files[0])
    if not found:
        raise PgbenchError(
            f"data folder {path} has neither train nor test with one of {', '.join(SUFFIXES)}; "
            "name the file"
        )
    digest = hashlib.sha256("".join(digest for _, digest in found.values()).encode()).hexdigest()
    parts = {split: rows for split, (rows, _) in found.items()}
    return Data(parts if len(parts) == 2 else {"": next(iter(parts.values()))}, digest)


def _file(path: Path) -> tuple[list[Row], str]:
    kind = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), "")
    if not kind:
        raise PgbenchError(
            f"data file {path}: '{path.suffix}' is none of {', '.join(SUFFIXES)}; convert it"
        )
    try:
        data = path.read_bytes()
        plain = gzip.decompress(data) if kind.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise PgbenchError(f"data file {path} cannot be read: {error}") from error
    readers = {".json": _json, ".csv": _csv, ".parquet": _parquet}
    try:
        rows = readers.get(kind, _lines)(plain, path)
    except UnicodeDecodeError as error:
        raise PgbenchError(f"data file {path} is no UTF-8 text: {error.reason}") from None
    if not rows:
        raise PgbenchError(f"data file {path} has no rows")
    return rows, hashlib.sha256(data).hexdigest()


def _lines(data: bytes, path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(data.decode("utf-8-sig").split("\n"), 1):
        if line.strip():
            rows.append(_row(_parse(line, f"{path} line {number}"), f"{path.name} line {number}"))
    return rows


def _json(data: bytes, path: Path) -> list[Row]:
    values = _parse(data.decode("utf-8-sig"), str(path))
    if not isinstance(values, list):
        raise PgbenchError(f"data file {path} must hold a list of objects")
    return [_row(value, f"{path.name} row {i}") for i, value in enumerate(values, 1)]


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PgbenchError(f"data file {place} is no JSON: {error}") from None


def _row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise PgbenchError(f"data file {place} is no object of fields but {str(value)[:40]}")
    return Row(place, value)


def _csv(data: bytes, path: Path) -> list[Row]:
    lines = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    rows = []
    try:
        for fields in lines:
            if None in fields or None in fields.values():
                raise PgbenchError(
                    f"data file {path} line {lines.line_num} has not as many cells as the header"
                )
            rows.append(Row(f"{path.name} line {lines.line_num}", dict(fields)))
    except csv.Error as error:
        raise PgbenchError(f"data file {path} line {lines.line_num}: {error}") from None
    return rows


def _parquet(data: bytes, path: Path) -> list[Row]:
    table = package("pyarrow.parquet").read_table
    try:
        values = table(io.BytesIO(data)).to_pylist()
    except (ValueError, OSError) as error:  # pyarrow's own errors are kinds of these
        raise PgbenchError(
            f"data file {path} is no Parquet: {str(error).splitlines()[0]}"
        ) from None
    return [Row(f"{path.name} row {i}", value) for i, value in enumerate(values, 1)]


def _hub(name: str, config: str) -> Data:
    """All splits of a data set of the hub, from its cache on this machine where that has it."""
    datasets = package("datasets")
    if not _reachable():
        datasets.config.HF_HUB_OFFLINE = True  # what is cached is found, the rest fails at once
    try:
        found = datasets.load_dataset(name, config or None)
    except Exception as error:  # the hub's libraries raise errors of many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PgbenchError(
            f"data set {name} cannot be fetched from the hub ({reason}); "
            "give a local copy: --set env.source=FILE"
        ) from error
    parts = {str(key): list(value) for key, value in found.items()}
    both = {"train", "test"} <= set(parts)
    total = hashlib.sha256()
    splits: dict[str, list[Row]] = {}
    for key in ("train", "test") if both else sorted(parts):
        rows = [Row(f"{name} {key} row {i}", row) for i, row in enumerate(parts[key], 1)]
        total.update(json.dumps(parts[key], sort_keys=True, default=str).encode())
        splits.setdefault(key if both else "", []).extend(rows)
    return Data(splits, total.hexdigest())


def _reachable() -> bool:
    """Whether the hub's name resolves; with a proxy only the request itself can tell."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").split("//")[-1].split("/")[0]
    try:
        socket.getaddrinfo(host.split(":")[0], 443)
    except OSError:
        return False
    return True
