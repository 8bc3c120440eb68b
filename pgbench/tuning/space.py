"""Search spaces of `pgbench tune`: a rule from an algorithm's defaults, or a TOML file.

The default rule, for each setting of the algorithm (numbers are the default's):
- `lr` and names that end in `_lr`: log-uniform, x 1/10 to x 10;
- `gamma`, `lam`, `shrink`: 1 minus them log-uniform, x 1/4 to x 4;
- `horizon`: x 1/4, 1/2, 1, 2, 4, where whole iterations of `num_envs` and the budget allow it;
- other positive numbers: log-uniform, x 1/4 to x 4, whole ones rounded and at least 1;
- a setting with named choices: each of them;
- left out: `form`, `hidden`, `num_envs`, `buffer`, `normalize_*` and other switches (they say what
  is compared, not how well it is tuned), and what has no scale: zero, none, lists.
An end that the algorithm refuses is drawn in to the nearest value that it takes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.settings.config import build, canonical, plain
from pgbench.support.names import unknown
from pgbench.support.toml import read

STRUCTURAL = ("form", "hidden", "num_envs", "buffer")
NEAR_ONE = ("gamma", "lam", "shrink")  # what matters is their distance from 1
RATE_FACTOR, FACTOR = 10.0, 4.0
HORIZONS = (0.25, 0.5, 1.0, 2.0, 4.0)
DIGITS = 4  # significant digits of drawn values: best.toml stays readable
SCALES = {"linear": False, "log": True, "1-x": "1-x"}  # and how a TOML file says them


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, uniform on `scale` (linear, log, 1-x).

    On the scale 1-x it is log(1 - x) that is uniform.
    """

    low: float
    high: float
    scale: str = "linear"
    whole: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """The range of what is drawn: of x, or of 1 - x."""
        one_minus = self.scale == "1-x"
        return (_minus(self.high), _minus(self.low)) if one_minus else (self.low, self.high)

    def inner(self, x: float) -> float:
        """What is drawn for the setting `x`: x or 1 - x."""
        return _minus(x) if self.scale == "1-x" else x

    def outer(self, drawn: float) -> Any:
        """The setting for what was drawn, to `DIGITS` significant digits."""
        if self.whole:
            return int(drawn)
        low, high = self.ends
        value = min(max(_rounded(drawn), low), high)
        return _minus(value) if self.scale == "1-x" else value

    def has(self, x: Any) -> bool:
        """Whether the setting `x` is one that may be drawn."""
        number = isinstance(x, int | float) and not isinstance(x, bool)
        return number and self.low <= x <= self.high and not (self.whole and x != int(x))

    def table(self) -> dict[str, Any]:
        """As a space file has it."""
        out: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.scale != "linear":
            out["log"] = SCALES[self.scale]
        return {**out, "int": True} if self.whole else out


@dataclass(frozen=True)
class Choices:
    """One of several values, each as likely."""

    values: tuple[Any, ...]

    def has(self, x: Any) -> bool:
        """Whether the setting `x` is one that may be drawn."""
        return canonical(x) in {canonical(value) for value in self.values}

    def table(self) -> dict[str, Any]:
        """As a space file has it."""
        return {"choices": list(self.values)}


Dimension = Range | Choices
Space = Mapping[str, Dimension]


def table_of(space: Space) -> dict[str, dict[str, Any]]:
    """The space as plain values; its digest is the space's."""
    return {key: dimension.table() for key, dimension in space.items()}


def default_space(config: Any, name: str, fixed: Iterable[str], budget: int) -> dict[str, Any]:
    """The space that the rule gives for algorithm `name`, around `config` without `fixed` keys.

    Raises: PgbenchError if nothing is left.
    """
    hints, space = typing.get_type_hints(type(config)), dict[str, Dimension]()
    for field in dataclasses.fields(config):
        key, value = field.name, getattr(config, field.name)
        if key in fixed or key in STRUCTURAL or key.startswith("normalize_"):
            continue
        takes = _taker(config, name, key)
        dimension: Dimension | None = None
        if choices := field.metadata.get("choices", ()):
            dimension = Choices(tuple(choices))
        elif isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            continue
        elif key == "horizon":
            dimension = _horizons(config, budget)
        else:
            dimension = _around(key, value, _number(hints[key]) is int, takes)
        if dimension is not None:
            space[key] = dimension
    if not space:
        raise PgbenchError(
            f"no setting of {name} is left to tune; give a space of your own: --space"
        )
    return space


def _around(key: str, value: float, whole: bool, takes: Callable[[Any], bool]) -> Range | None:
    """The range of a positive number by the rule; None where it has no width."""
    scale = "1-x" if key in NEAR_ONE and not whole else "log"
    factor = RATE_FACTOR if key == "lr" or key.endswith("_lr") else FACTOR
    centre = _minus(value) if scale == "1-x" else value
    if centre <= 0:
        return None
    ends = []
    for end in (centre / factor, centre * factor):
        end = max(1, round(end)) if whole else _rounded(end)
        if scale == "1-x":
            end = min(end, 1.0)
        ends.append(_drawn_in(centre, end, whole, scale, takes))
    low, high = ends if scale == "log" else (_minus(ends[1]), _minus(ends[0]))
    return Range(low, high, scale, whole) if low < high else None


def _drawn_in(
    start: float, end: float, whole: bool, scale: str, takes: Callable[[Any], bool]
) -> float:
    """`end`, or the last value on the way to it from `start` that the algorithm takes."""

    def good(value: float) -> bool:
        return takes(_minus(value) if scale == "1-x" else value)

    if good(end):
        return end
    inside, outside = start, end
    for _ in range(60):
        middle: float = math.sqrt(inside * outside)
        if whole:
            middle = (int(inside) + int(outside)) // 2
            if middle in (inside, outside):
                break
        inside, outside = (middle, outside) if good(middle) else (inside, middle)
    short = _rounded(inside)
    return short if not whole and good(short) else inside


def _horizons(config: Any, budget: int) -> Choices | None:
    envs = getattr(config, "num_envs", 1)
    found = [int(config.horizon * factor) for factor in HORIZONS]
    found = [n for n in found if n >= envs and n % envs == 0 and n <= budget]
    return Choices(tuple(found)) if len(set(found)) > 1 else None


def _taker(config: Any, name: str, key: str) -> Callable[[Any], bool]:
    """Whether the algorithm's config takes a value of `key`, all else being as in `config`."""
    base = plain(config)

    def takes(value: Any) -> bool:
        try:
            build(type(config), {**base, key: value}, name)
        except PgbenchError:
            return False
        return True

    return takes


def restrict(space: Space, only: Sequence[str]) -> dict[str, Any]:
    """The part of the space that `only` names.

    Raises: PgbenchError with the nearest names for a key that is not in it.
    """
    for key in only:
        if key not in space:
            raise unknown("key of --only", key, space, f"the space has {', '.join(space)}")
    return {key: value for key, value in space.items() if key in only}


def read_space(path: Path, config: Any, name: str, fixed: Iterable[str]) -> dict[str, Any]:
    """The space of a TOML file for algorithm `name`; `config` are its other settings.

    Each key is a setting: `{low=, high=, log=true, int=true}` (`log="1-x"`: log-uniform in 1 - x)
    or `{choices=[...]}`.

    Raises: PgbenchError naming file and key for anything missing, unknown, ill-typed or refused.
    """
    tables = read(path, "space")
    if not tables:
        raise PgbenchError(f"space file {path} is empty; `pgbench tune --show-space` prints one")
    hints = typing.get_type_hints(type(config))
    space: dict[str, Dimension] = {}
    for key, table in tables.items():
        if key == "env" or key.startswith("env."):
            raise PgbenchError(f"space file {path}: '{key}' is part of the task, not of its tuning")
        if key not in hints:
            near = unknown(f"config key of {name}", key, hints, f"see `pgbench explain {name}`")
            raise PgbenchError(f"space file {path}: {near}")
        if key in fixed:
            raise PgbenchError(f"space file {path}: {key} is also fixed by --set; remove one")
        try:
            space[key] = _dimension(table, hints[key])
            _all_taken(space[key], config, name, key)
        except PgbenchError as error:
            raise PgbenchError(f"space file {path}: {key}: {error}") from error
    return space


def _dimension(table: Any, hint: Any) -> Dimension:
    """One entry of a space file.

    Raises: PgbenchError saying what is wrong with it.
    """
    if not isinstance(table, dict):
        raise PgbenchError(f"takes {{low=, high=}} or {{choices=[...]}}, not {table!r}")
    known = ("choices",) if "choices" in table else ("low", "high", "log", "int")
    for word in table:
        if word not in known:
            raise unknown("field", word, known, f"takes {', '.join(known)}")
    if "choices" in table:
        values = table["choices"]
        if not isinstance(values, list) or not values:
            raise PgbenchError(f"choices must be a list of at least one value, not {values!r}")
        try:
            distinct = {canonical(value) for value in values}
        except (TypeError, ValueError) as error:
            raise PgbenchError(f"choices takes numbers, texts and lists: {error}") from error
        if len(distinct) < len(values):
            raise PgbenchError("choices has the same value twice")
        return Choices(tuple(values))
    number = _number(hint)
    if number is None:
        raise PgbenchError("is no number; give {choices=[...]}")
    low, high = (_end(table, word) for word in ("low", "high"))
    whole, log = table.get("int", number is int), table.get("log", False)
    if not isinstance(whole, bool):
        raise PgbenchError(f"int takes true or false, not {whole!r}")
    if not isinstance(log, bool) and log != "1-x":
        raise PgbenchError(f'log takes true, false or "1-x", not {log!r}')
    scale = next(name for name, word in SCALES.items() if word == log)
    if number is int and not whole:
        raise PgbenchError("is a whole number, so int=false cannot be")
    if whole and (low != int(low) or high != int(high)):
        raise PgbenchError(f"low and high must be whole numbers, not {low:g} and {high:g}")
    if low >= high:
        raise PgbenchError(f"low must be below high, not {low:g} and {high:g}")
    if scale == "log" and low <= 0:
        raise PgbenchError(f"low must be above 0 on a log scale, not {low:g}")
    if scale == "1-x" and (high >= 1 or whole):
        raise PgbenchError('log="1-x" is for numbers below 1 that are not whole')
    return Range(int(low), int(high), scale, True) if whole else Range(low, high, scale)


def _end(table: dict[str, Any], word: str) -> float:
    value = table.get(word)
    if value is None:
        raise PgbenchError(f"{word} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PgbenchError(f"{word} must be a number, not {value!r}")
    return float(value)


def _all_taken(dimension: Dimension, config: Any, name: str, key: str) -> None:
    """Both ends, or every choice, must be settings that the algorithm takes."""
    ends = (dimension.low, dimension.high) if isinstance(dimension, Range) else dimension.values
    for value in ends:
        build(type(config), {**plain(config), key: value}, name)


def _number(hint: Any) -> type | None:
    """int or float where the declared type is that, or that or none."""
    options = typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)
    return next((kind for kind in (float, int) if kind in options), None)


_UNIONS = (typing.Union, types.UnionType)


def _minus(x: float) -> float:
    """1 - x without the noise of its last bits: 1 - 0.99 is 0.01."""
    return round(1 - x, 12)


def _rounded(x: float) -> float:
    return float(f"{x:.{DIGITS}g}")


def as_toml(value: Any) -> str:
    """A plain value as TOML writes it; none as the text that configs read as none."""
    if value is None:
        return '"none"'
    if isinstance(value, dict):
        inner = ", ".join(f"{as_key(key)} = {as_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(as_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


def as_key(key: str) -> str:
    """A key as TOML writes it: quoted where it has a dot."""
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else f'"{key}"'


def show(space: Space, config: Any, head: str) -> str:
    """The space as a file that `--space` takes, with the defaults and what is left out."""
    docs = {field.name: field.metadata.get("doc", "") for field in dataclasses.fields(config)}
    base = plain(config)
    lines = [f"{key} = {as_toml(d.table())}" for key, d in space.items()]
    wide = max(map(len, lines))
    lines = [
        f"{line:<{wide}}  # default {as_toml(base[key])}; {docs[key]}"
        for line, key in zip(lines, space, strict=True)
    ]
    out = [key for key in base if key not in space]
    left = [f"# not in it: {', '.join(out)}"] if out else []
    return "\n".join([f"# {head}", *lines, *left])
