"""Elements of HTML and SVG whose text is escaped unless it is marked as markup."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

VOID = frozenset({"br", "link", "meta"})
CLOSED = frozenset({"circle", "line", "path", "rect", "use"})  # SVG has no void elements


class Html(str):
    """Markup that needs no more escaping."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | float | bool | None) -> Html:
    """`<name ...>children</name>`; plain strings are escaped, `Html` is not.

    A trailing or inner `_` of an attribute is dropped or becomes `-` (`class_`, `data_key`); None
    and False leave an attribute out, True gives it no value.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{html.escape(_plain(value))}"')
    start = " ".join(words)
    if name in VOID:
        return Html(f"<{start}>")
    return Html(f"<{start}/>" if name in CLOSED else f"<{start}>{join(children)}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Html:
    """The parts in a row, each escaped unless it is markup."""
    return Html(
        between.join(part if isinstance(part, Html) else html.escape(part) for part in parts)
    )


def _plain(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:z.2f}".rstrip("0").rstrip(".")  # coordinates: a hundredth of a pixel
    return str(value)


def script_json(value: Any) -> str:
    """Canonical JSON that cannot end the script element which holds it.

    Raises: ValueError for a number that JSON lacks (NaN, infinity).
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    # Non-ASCII, U+2028 and U+2029 among it, is already escaped by `json`.
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
