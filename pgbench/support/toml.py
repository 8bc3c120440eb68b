"""TOML files that people write: every error names the file and the field."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.support.names import unknown


def read(path: Path, what: str) -> dict[str, Any]:
    """The top level of a TOML file (`what` it is, for errors).

    Raises: PgbenchError if it is missing, unreadable or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise PgbenchError(f"there is no {what} file {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PgbenchError(f"{what} file {path} is not valid TOML: {error}") from error
    except OSError as error:
        raise PgbenchError(f"{what} file {path} cannot be read: {error.strerror}") from error


def read_table(path: Path, what: str, known: set[str]) -> Table:
    """The same as a `Table`, which collects what is wrong; `known` are its fields."""
    return Table(read(path, what), str(path), "", known, {})


EMPTY: dict[Any, Any] = {str: "", int: 0, list: [], dict: {}}  # in place of what is wrong


class Table:
    """A TOML table that collects its faults, by field, so that `done` can tell all of them.

    A reader goes on behind a fault: what is missing or ill-typed reads as empty, and of a field
    that has a fault, or lies in one that has, no other is told.
    """

    def __init__(
        self, value: Any, file: str, where: str, known: set[str] | None, faults: dict[str, str]
    ) -> None:
        self.file, self.where, self.faults = file, where, faults
        self.value: dict[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            self.fault("", "must be a table")
        for key in self.value:
            if known is not None and key not in known:
                near = unknown("field", self.path(key), [self.path(k) for k in known], "remove it")
                self.fault(key, text=str(near))

    def path(self, key: str) -> str:
        """The field's full name."""
        return ".".join(part for part in (self.where, key) if part)

    def fault(self, key: str, why: str = "", text: str = "") -> None:
        """Note why a field is not what it must be, as the rest of a sentence or as a whole one."""
        path = self.path(key)
        if not self.faulty(key):
            self.faults[path] = text or f"{path or 'the file'} {why}"

    def faulty(self, *keys: str) -> bool:
        """Whether a fault of one of these fields, or of what it lies in, is noted."""
        return any(
            self.path(key) == path or self.path(key).startswith((f"{path}.", f"{path}["))
            for key in keys
            for path in self.faults
        )

    def done(self) -> None:
        """Tell every fault of the file.

        Raises: PgbenchError, in one line, if there is any.
        """
        found = list(self.faults.values())
        if len(found) == 1:
            raise PgbenchError(f"{self.file}: {found[0]}")
        if found:
            listed = "; ".join(f"({i}) {text}" for i, text in enumerate(found, 1))
            raise PgbenchError(f"{self.file}: {len(found)} faults: {listed}")

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """The field's value, of that type; without a default it must be there."""
        empty = EMPTY[kind[0] if isinstance(kind, tuple) else kind]
        if key not in self.value:
            if default is None:
                self.fault(key, "is missing")
            return empty if default is None else default
        value = self.value[key]
        boolean = isinstance(value, bool) and kind is not bool
        if boolean or not isinstance(value, kind):
            names = {str: "a text", int: "a whole number", dict: "a table", list: "a list"}
            self.fault(key, f"must be {names.get(kind, 'a number')}, not {value!r}")  # type: ignore[arg-type]
            return empty
        return value

    def inner(self, key: str, known: set[str] | None, default: Any = None) -> Table:
        """The table that a field is; `known` are its fields (None: any)."""
        return Table(self.get(key, dict, default), self.file, self.path(key), known, self.faults)

    def inners(self, key: str, known: set[str]) -> list[Table]:
        """The tables of a field that is a list of them, one at least."""
        found = self.get(key, list)
        if not found:
            self.fault(key, "is empty")
        return [
            Table(item, self.file, f"{self.path(key)}[{i}]", known, self.faults)
            for i, item in enumerate(found)
        ]
