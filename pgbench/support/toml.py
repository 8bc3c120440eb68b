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
    """The same as a `Table`, which names file and field in errors; `known` are its fields."""
    return Table(read(path, what), str(path), "", known)


class Table:
    """A TOML table that names file and field when it is not what it should be."""

    def __init__(self, value: Any, file: str, where: str, known: set[str] | None) -> None:
        self.file, self.where = file, where
        if not isinstance(value, dict):
            raise self.wrong("", "must be a table")
        self.value = value
        for key in value:
            if known is not None and key not in known:
                near = unknown("field", self.path(key), [self.path(k) for k in known], "remove it")
                raise PgbenchError(f"{file}: {near}")

    def path(self, key: str) -> str:
        """The field's full name."""
        return ".".join(part for part in (self.where, key) if part)

    def wrong(self, key: str, why: str) -> PgbenchError:
        """The error that says what a field is and must not be."""
        return PgbenchError(f"{self.file}: {self.path(key) or 'the file'} {why}")

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """The field's value, of that type; without a default it must be there."""
        if key not in self.value:
            if default is None:
                raise self.wrong(key, "is missing")
            return default
        value = self.value[key]
        boolean = isinstance(value, bool) and kind is not bool
        if boolean or not isinstance(value, kind):
            names = {str: "a text", int: "a whole number", dict: "a table", list: "a list"}
            raise self.wrong(key, f"must be {names.get(kind, 'a number')}, not {value!r}")  # type: ignore[arg-type]
        return value

    def inner(self, key: str, known: set[str] | None, default: Any = None) -> Table:
        """The table that a field is; `known` are its fields (None: any)."""
        return Table(self.get(key, dict, default), self.file, self.path(key), known)

    def inners(self, key: str, known: set[str]) -> list[Table]:
        """The tables of a field that is a list of them, one at least."""
        found = self.get(key, list)
        if not found:
            raise self.wrong(key, "is empty")
        return [
            Table(item, self.file, f"{self.path(key)}[{i}]", known) for i, item in enumerate(found)
        ]
