"""Packages of the optional extra `pgbench[text]`, imported when they are needed."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

from pgbench.errors import PgbenchError, install


def package(module: str) -> Any:
    """The module of that name.

    Raises: PgbenchError saying how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = (error.name or module).partition(".")[0]
        raise PgbenchError(f"{name} is not installed; run: {install('text')}") from error


def version(distribution: str) -> str:
    """`name 1.2.3` of an installed distribution."""
    return f"{distribution} {importlib.metadata.version(distribution)}"
