"""Frozen configs: documented options, `--set` and TOML typed by the dataclass, canonical hashes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.registry import unknown
from pgbench.toml import read

TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def option(default: Any, doc: str, source: str = "", choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field with its line of doc and, where the paper gives the value, its section."""
    meta = {"doc": doc, "source": source, "choices": choices}
    return dataclasses.field(default=default, metadata=meta)


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces, shortest floats: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical form."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def parse_settings(items: Iterable[str], option: str = "--set") -> dict[str, str]:
    """`["lr=1e-3"]` -> `{"lr": "1e-3"}`.

    Raises: PgbenchError for an item without `=`.
    """
    out = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise PgbenchError(f"{option} takes key=value, not '{item}'")
        out[key.strip()] = value.strip()
    return out


def read_toml(path: str) -> dict[str, Any]:
    """The settings of a TOML file: its top level, or its `[config]` table where it has one."""
    table = read(Path(path), "config")
    inner = table.get("config", table)
    if not isinstance(inner, dict):
        raise PgbenchError(f"config file {path}: [config] must be a table")
    return inner


def read_tuning(path: str) -> dict[str, Any] | None:
    """How the settings of a TOML file were found: its `[tuning]` table; None without one."""
    table = read(Path(path), "config").get("tuning")
    if table is None:
        return None
    if not isinstance(table, dict) or not {"class", "trials"} <= set(table):
        raise PgbenchError(f"config file {path}: [tuning] must be a table with class and trials")
    return table


def build(cls: type, settings: Mapping[str, Any], where: str) -> Any:
    """An instance of config class `cls`: `settings` over its defaults; `where` names it in errors.

    Raises: PgbenchError naming the key for an unknown key, a wrong type or a value out of choice.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    values = {}
    for key, raw in settings.items():
        if key not in fields:
            raise unknown(f"config key of {where}", key, fields, f"see `pgbench explain {where}`")
        values[key] = _coerce(raw, hints[key], key)
        choices = fields[key].metadata.get("choices", ())
        if choices and values[key] not in choices:
            raise PgbenchError(f"config key '{key}' takes {' or '.join(choices)}, not '{raw}'")
    try:
        config = cls(**values)
    except ValueError as error:  # a config may check itself in __post_init__
        raise PgbenchError(f"config of {where}: {error}") from error
    for field in fields:
        value = getattr(config, field)
        if isinstance(value, float) and not math.isfinite(value):
            raise PgbenchError(f"config of {where}: {field} must be a finite number, not {value}")
    return config


def _coerce(raw: Any, hint: Any, key: str) -> Any:
    """`raw` (a text from the command line or a TOML value) as the type that the field declares."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        none = raw is None or (isinstance(raw, str) and raw.lower() == "none")
        if none and type(None) in options:
            return None
        for inner in (o for o in options if o is not type(None)):
            try:
                return _coerce(raw, inner, key)
            except PgbenchError:
                continue
        names = [TYPE_NAMES.get(o, "none") for o in options]
        raise PgbenchError(f"config key '{key}' takes {' or '.join(names)}, not '{raw}'")
    if origin is tuple:
        inner = typing.get_args(hint)[0]
        parts = raw.strip("()[] ").replace("x", ",").split(",") if isinstance(raw, str) else raw
        if not isinstance(parts, list | tuple):
            parts = [parts]
        return tuple(_coerce(p, inner, key) for p in parts if p != "")
    error = PgbenchError(f"config key '{key}' takes {TYPE_NAMES.get(hint, hint)}, not '{raw}'")
    if hint is bool:
        if isinstance(raw, bool):
            return raw
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(raw).lower() not in words:
            raise error
        return words[str(raw).lower()]
    if isinstance(raw, bool):
        raise error
    try:
        if hint is int:
            number = float(raw) if isinstance(raw, str) and "e" in raw.lower() else raw
            if float(number) != int(number):
                raise error
            return int(number)
        return hint(raw)
    except (TypeError, ValueError, OverflowError):
        raise error from None


def plain(config: Any) -> dict[str, Any]:
    """A config as JSON-ready values (tuples become lists)."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }


def amount(text: str | int, names: Mapping[str, int] | None = None) -> int:
    """`"200k"` -> 200000, `"1.5M"` -> 1500000, or a named budget of the environment.

    Raises: PgbenchError for anything else, and for amounts below 1.
    """
    word = str(text).strip()
    if names and word in names:
        return names[word]
    scale = {"k": 1e3, "m": 1e6, "b": 1e9}.get(word[-1:].lower(), 1.0)
    try:
        value = float(word[:-1] if scale != 1 else word) * scale
    except ValueError:
        value = 0.0
    if not 1 <= value < 1e15 or value != int(value):
        known = f", or {', '.join(names)}" if names else ""
        raise PgbenchError(f"'{word}' is no budget; give a number such as 50000, 200k or 1M{known}")
    return int(value)
