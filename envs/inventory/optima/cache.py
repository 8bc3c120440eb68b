"""Exact optima on disk, so that each is computed once on a machine."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.settings.config import canonical, digest
from pgbench.support.files import read_json, write_json

VERSION = 1  # raise it when a solver's numbers change


def cached(key: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """What `compute()` gives for `key`, both JSON-ready; a later call reads it from a file.

    The folder is `$PGBENCH_CACHE`, else `$XDG_CACHE_HOME/pgbench`, else `~/.cache/pgbench`. A
    damaged file is computed again; without a folder to write in, nothing is kept.
    """
    identity = {"version": VERSION, "key": dict(key)}
    path = _path(digest(identity))
    if path is not None and (found := _read(path, identity)) is not None:
        return found
    # Through JSON in any case: the first call and the later ones give the same types.
    value: dict[str, Any] = json.loads(canonical(dict(compute())))
    if path is not None:
        with contextlib.suppress(PgbenchError):
            write_json(path, {**identity, "value": value})
    return value


def _path(name: str) -> Path | None:
    """The file of a digest; None without a home folder."""
    if own := os.environ.get("PGBENCH_CACHE"):
        return Path(own) / f"optimum-{name}.json"
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:
        return None
    return folder / "pgbench" / f"optimum-{name}.json"


def _read(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The value in a whole file of that identity, else None."""
    try:
        content = read_json(path)
    except PgbenchError:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("value"), dict):
        return None
    expected = json.loads(canonical(identity))
    same = all(content.get(name) == expected[name] for name in expected)
    return content["value"] if same else None
