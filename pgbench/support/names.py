"""What may be a name, and what was meant by one that is not known."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from pgbench.errors import PgbenchError

# Of an algorithm, an environment, a suite, a board: it names files and folders on any system.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


def named(what: str, name: str) -> str:
    """`name`, if it may name files and folders: the one rule for all names.

    Raises: PgbenchError otherwise; `what` says what it names.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name) or name.endswith("."):
        article = "an" if what[0] in "aeiou" else "a"
        raise PgbenchError(
            f"{name!r} cannot name {article} {what}; take at most 64 letters (a-z), digits and "
            "- _ . +, beginning with a letter or a digit"
        )
    return name


def unknown(what: str, name: str, known: Iterable[str], see: str) -> PgbenchError:
    """The error for a name that is not known, with the nearest ones that are."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else see
    return PgbenchError(f"unknown {what} '{name}'; {hint}")
