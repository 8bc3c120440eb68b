"""Python sources that register something: of installed packages, and files of the user's own."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError

PLUGIN_GROUP = "pgbench.plugins"
_loaded: set[str] = set()


def load_installed() -> None:
    """Import the modules that installed packages name in the entry-point group, once each."""
    for point in importlib.metadata.entry_points(group=PLUGIN_GROUP):
        if point.value in _loaded:
            continue
        _loaded.add(point.value)
        try:
            point.load()
        except PgbenchError:
            raise
        except Exception as error:
            raise PgbenchError(
                f"plug-in '{point.name}' ({point.value}) does not import: "
                f"{type(error).__name__}: {error}; fix it or uninstall its package"
            ) from error


def import_file(path: str, catalogues: Sequence[Any]) -> str:
    """Import a plug-in file that adds to some of `catalogues`, once; returns its whole path.

    Raises: PgbenchError if the file is missing or does not import; then nothing of it is left.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise PgbenchError(f"there is no plug-in file {path}")
    where = str(file)
    if any(catalogue.of_file(where) for catalogue in catalogues):
        return where
    for catalogue in catalogues:
        importlib.import_module(catalogue.builtin)
    name = f"pgbench_plugin_{file.stem}"
    module_spec = importlib.util.spec_from_file_location(name, file)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except BaseException as error:
        for catalogue in catalogues:
            for spec in catalogue.of_file(where):
                del catalogue.specs[next(k for k, s in catalogue.specs.items() if s is spec)]
        if isinstance(error, KeyboardInterrupt | PgbenchError):
            raise
        line = getattr(error, "lineno", None) or _line_in(error, where)
        raise PgbenchError(
            f"plug-in {path} does not import: {type(error).__name__}: {error}"
            + (f" (line {line})" if line else "")
        ) from error
    return where


def _line_in(error: BaseException, where: str) -> int | None:
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == where:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
