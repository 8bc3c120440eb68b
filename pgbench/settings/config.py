"""Frozen configs: documented options, `--set` and TOML typed by the dataclass, canonical hashes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.settings.ranges import FINITE, Bounds, SettingError, misfit
from pgbench.support.names import unknown
from pgbench.support.toml import read

TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def option(
    default: Any,
    doc: str,
    source: str = "",
    choices: tuple[str, ...] = (),
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    within: tuple[float, float] | None = None,
    only: Mapping[str, Any] | tuple[Mapping[str, Any], ...] = (),
) -> Any:
    """A dataclass field with its line of doc and, where the paper gives the value, its section.

    A number has a range: `above`, `at_least`, `below`, `at_most`, or both ends `within` (infinite
    ones: any finite number); of a tuple each element has it. None and texts are in every range.
    `only={"mode": ("adaptive",)}`: another value than the default is refused unless the setting
    `mode` is one of those; `other(0)` in place of the tuple: unless it is something else than 0.
    Of several switches all must be on; of several such tables, in a tuple, one.
    """
    if within is not None:
        at_least, at_most = (end if math.isfinite(end) else None for end in within)
    bounds: Bounds | None = Bounds(above, at_least, below, at_most)
    if bounds == FINITE and within is None:
        bounds = None
    meta = {
        "doc": doc, "source": source, "choices": choices, "bounds": bounds,
        "only": (only,) if isinstance(only, Mapping) else only,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=meta)


@dataclasses.dataclass(frozen=True)
class other:  # noqa: N801  (it is written like a function)
    """A condition of `option(only=...)`: every value but this one."""

    value: Any


class Settings:
    """Base of a frozen config whose ranges are checked whenever one is built.

    A subclass with a `__post_init__` of its own calls this one first, and raises `SettingError`.
    """

    def __post_init__(self) -> None:
        check(self)


def check(config: Any) -> None:
    """Hold the settings of a dataclass against their declared choices, ranges and conditions.

    Raises: SettingError naming the first that misses.
    """
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        choices = field.metadata.get("choices", ())
        if choices and value not in choices:
            raise SettingError(f"'{name}' takes {' or '.join(choices)}, not '{value}'")
        if why := misfit(value, field.metadata.get("bounds")):
            raise SettingError(f"{name} {why}")
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for field in dataclasses.fields(config):
        if values[field.name] != field.default and not _switched_on(field, values):
            switches = sorted({s for case in field.metadata["only"] for s in case})
            at = " and ".join(f"{switch}={_word(values[switch])}" for switch in switches)
            raise SettingError(
                f"{field.name} is an option of {conditions(field)}; it does nothing with {at}, "
                "leave it out"
            )


def active(cls: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` without those that another of them switches off; what is drawn at random needs it.

    Values are of the types that config class `cls` declares.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    values = {name: field.default for name, field in fields.items()} | dict(settings)
    return {
        key: value
        for key, value in settings.items()
        if key not in fields or _switched_on(fields[key], values)  # else: of the environment
    }


def _switched_on(field: dataclasses.Field[Any], values: Mapping[str, Any]) -> bool:
    """Whether the setting does something beside these values of all settings."""
    cases = field.metadata.get("only", ())
    return not cases or any(all(_on(values[k], w) for k, w in case.items()) for case in cases)


def _on(value: Any, wanted: Any) -> bool:
    return bool(value != wanted.value) if isinstance(wanted, other) else value in wanted


def conditions(field: dataclasses.Field[Any]) -> str:
    """When a setting does something: `mode=adaptive`, `gate=a or b and k other than 0`; or ""."""
    return ", or of ".join(
        " and ".join(_condition(switch, wanted) for switch, wanted in case.items())
        for case in field.metadata.get("only", ())
    )


def _condition(switch: str, wanted: Any) -> str:
    if isinstance(wanted, other):
        return f"{switch} other than {_word(wanted.value)}"
    return f"{switch}={' or '.join(map(_word, wanted))}"


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


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

    Raises: PgbenchError naming the key for an unknown key, a wrong type, a value out of choice or
    range, and for settings that others switch off.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    values = {}
    for key, raw in settings.items():
        if key not in fields:
            raise unknown(f"config key of {where}", key, fields, f"see `pgbench explain {where}`")
        values[key] = _coerce(raw, hints[key], key)
    try:
        config = cls(**values)
        check(config)  # a plug-in's is perhaps a plain dataclass
    except ValueError as error:  # a config may check itself in __post_init__
        raise PgbenchError(f"config of {where}: {error}") from error
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
    scale = {"k": 1_000, "m": 10**6, "b": 10**9}.get(word[-1:].lower(), 1)
    try:
        value = Decimal(word[:-1] if scale != 1 else word) * scale
    except InvalidOperation:
        value = Decimal(0)
    if not (value.is_finite() and 1 <= value < 10**15) or value != int(value):
        known = f", or {', '.join(names)}" if names else ""
        raise PgbenchError(f"'{word}' is no budget; give a number such as 50000, 200k or 1M{known}")
    return int(value)
