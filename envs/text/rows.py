"""Rows of a data set: from JSONL, JSON, CSV or Parquet files, a folder of them, or the hub."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import math
import os
import re
import socket
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError

from .extra import package

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet")
HUB = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Row:
    """One row and how to name it to the user, such as `train.jsonl line 17`.

    A number that is none (NaN, infinite) is a missing value, None, whatever file it comes from.
    """

    place: str
    fields: dict[str, Any]

    def __post_init__(self) -> None:
        """Drop what is no number."""
        for name, value in self.fields.items():
            if isinstance(value, float) and not math.isfinite(value):
                self.fields[name] = None

    @property
    def broken(self) -> str | None:
        """The name of a field with half a character (a lone surrogate): no text can be made of it.

        JSON can write one; it comes from a text that was cut between its halves.
        """
        for name, value in self.fields.items():
            try:
                json.dumps((name, value), ensure_ascii=False, default=str).encode()
            except UnicodeEncodeError:
                return name.encode(errors="replace").decode()
            except (ValueError, TypeError, RecursionError):
                continue
        return None


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
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise PgbenchError(f"data file {place} is no JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _distinct(names: Sequence[str], path: Path) -> list[str]:
    """Column names, where the second of one name is `name.2`, and so on; a warning names them."""
    found: list[str] = []
    for at, name in enumerate(names):
        count = list(names[: at + 1]).count(name)
        found.append(name if count == 1 else f"{name}.{count}")
        if count > 1 and name.strip():
            warnings.warn(
                f"data file {path}: the column '{name}' stands there {count} times; the first is "
                f"'{name}', the next '{found[-1]}'",
                stacklevel=2,
            )
    return found


def _row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise PgbenchError(f"data file {place} is no object of fields but {str(value)[:40]}")
    return Row(place, value)


def _csv(data: bytes, path: Path) -> list[Row]:
    lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    rows = []
    limit = csv.field_size_limit(2**31 - 1)  # a cell may be as long as the file
    try:
        header = _distinct(next(lines, []), path)
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(header):
                raise PgbenchError(
                    f"data file {path} line {lines.line_num} has not as many cells as the header"
                )
            fields = dict(zip(header, cells, strict=True))
            rows.append(Row(f"{path.name} line {lines.line_num}", fields))
    except csv.Error as error:
        raise PgbenchError(f"data file {path} line {lines.line_num}: {error}") from None
    finally:
        csv.field_size_limit(limit)
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
