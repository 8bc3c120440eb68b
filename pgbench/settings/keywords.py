"""What an environment's constructor takes: names, types and ranges, from its signature.

A number is declared as `lead_time: Count = 4`, with a type of pgbench/settings/ranges.py or any
`Annotated[int, Bounds(...)]`; `make` and a run's plan check every value before anything is made.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from pgbench.settings.config import TYPE_NAMES
from pgbench.settings.ranges import Bounds, SettingError, misfit


@dataclass(frozen=True)
class Keyword:
    """One keyword: its default, its type without the range, and the range of its numbers."""

    default: Any
    hint: Any = Any
    bounds: Bounds | None = None

    @property
    def options(self) -> tuple[Any, ...]:
        """The types that the value may have."""
        union = typing.get_origin(self.hint) in (typing.Union, types.UnionType)
        return typing.get_args(self.hint) if union else (self.hint,)

    def misfit(self, value: Any) -> str:
        """Why `value` is refused; empty if it is not."""
        if not any(_is(value, hint) for hint in self.options):
            return f"takes {' or '.join(_named(h) for h in self.options)}, not {value!r}"
        if why := misfit(value, self.bounds):
            return why
        if self.bounds and self.bounds.infinite and value[0] > value[1]:
            return f"must be two numbers in order, not {value!r}"
        return ""


def keywords(entry: Any) -> tuple[dict[str, Keyword], bool]:
    """The keywords of a class or function, its base classes' included, and whether these are all.

    An object that is called passes what it does not name on to its `__wrapped__`, if it has one.
    Not among them: `num_envs`, which the algorithm sets, and what a base class requires of the
    class above it.
    """
    found: dict[str, Keyword] = {}
    for function, outermost in _takers(entry):
        parameters = inspect.signature(function).parameters.values()
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except (NameError, TypeError):  # names that exist for type checkers alone
            hints = {}
        for p in parameters:
            inner = not outermost and p.default is p.empty
            if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and not inner:
                found.setdefault(p.name, Keyword(p.default, *_split(hints.get(p.name, Any))))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return {k: v for k, v in found.items() if k not in ("self", "num_envs")}, True
    return {k: v for k, v in found.items() if k not in ("self", "num_envs")}, False


def _takers(entry: Any) -> list[tuple[Any, bool]]:
    """What takes the keywords, each function passing what it does not name to the next.

    With each: whether a user gives what it requires, rather than the class below it.
    """
    if entry is None:
        return []
    if inspect.isclass(entry):
        owners = [part for part in inspect.getmro(entry) if part is not object]
        return [(vars(p)["__init__"], p is entry) for p in owners if "__init__" in vars(p)]
    if inspect.isroutine(entry) or not hasattr(entry, "__wrapped__"):
        return [(entry, True)]
    return [(type(entry).__call__, True), *_takers(entry.__wrapped__)]


def check_keywords(entry: Any, values: Mapping[str, Any], where: str) -> None:
    """Hold values against types and ranges; `where` names the environment.

    Raises: SettingError naming the first that misses.
    """
    known, _ = keywords(entry)
    for name, value in values.items():
        if name in known and (why := known[name].misfit(value)):
            raise SettingError(f"setting of {where}: {name} {why}")


def check_needs(config: Any, needs: Mapping[str, Any], where: str) -> None:
    """Hold what a loop reads of a config, `needs`, against types and ranges like a keyword's.

    Raises: SettingError naming the first that is missing or misses; `where` names the algorithm.
    """
    for name, hint in needs.items():
        if not hasattr(config, name):
            raise SettingError(f"config of {where} lacks {name}, which its loop reads; add it")
        if why := Keyword(None, *_split(hint)).misfit(getattr(config, name)):
            raise SettingError(f"config of {where}: {name} {why}")


def hint_words(hint: Any) -> str:
    """A type and its range in words: `a whole number, at least 1`."""
    plain, bounds = _split(hint)
    options = Keyword(None, plain).options
    return " or ".join(_named(h) for h in options) + (f", {bounds}" if bounds else "")


def _split(hint: Any) -> tuple[Any, Bounds | None]:
    """A type without the `Bounds` of its `Annotated` parts, and these."""
    if typing.get_origin(hint) is typing.Annotated:
        bounds = next((m for m in hint.__metadata__ if isinstance(m, Bounds)), None)
        return hint.__origin__, bounds
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_split(part) for part in typing.get_args(hint)]
        union: Any = typing.Union[tuple(part for part, _ in parts)]  # noqa: UP007
        return union, next((bounds for _, bounds in parts if bounds), None)
    return hint, None


def _is(value: Any, hint: Any) -> bool:
    """Whether `value` has the type; types that are not known here take everything."""
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint in (None, type(None)):
        return value is None
    if hint is bool or hint is str:
        return isinstance(value, hint)
    if hint is int or hint is float:
        kind = Integral if hint is int else Real
        return isinstance(value, kind) and not isinstance(value, bool)
    if origin in (tuple, collections.abc.Sequence):
        if not isinstance(value, list | tuple):
            return False
        if origin is tuple and Ellipsis not in inner and len(value) != len(inner):
            return False
        each = [i for i in inner if i is not Ellipsis]
        return all(_is(v, each[min(k, len(each) - 1)]) for k, v in enumerate(value))
    if origin is collections.abc.Mapping:
        return isinstance(value, Mapping)
    return True


def _named(hint: Any) -> str:
    if hint in (None, type(None)):
        return "none"
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is tuple and Ellipsis not in inner:
        return f"{len(inner)} values"
    if origin in (tuple, collections.abc.Sequence):
        return "a list"
    return TYPE_NAMES.get(hint, "a table" if origin is collections.abc.Mapping else str(hint))
