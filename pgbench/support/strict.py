"""JSON text held against types (msgspec) before anything reads it: every fault by its field.

A value passes or is refused in one line; nothing is changed on the way. Plain is what holds finite
numbers, whole ones of 64 bits, texts without half characters, no key twice, and is nested at most
`LEVELS` deep.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pgbench.errors import PgbenchError

LEVELS = 7  # of nesting; a record needs six, and each level doubles what its type costs to build
MOST, WIDEST = 1.7976931348623157e308, 2**63 - 1  # of a double; of a whole number

_leaf: Any = (
    None
    | bool
    | Annotated[int, Meta(ge=-WIDEST - 1, le=WIDEST)]
    | Annotated[float, Meta(ge=-MOST, le=MOST)]
    | str
)
_plain: Any = _leaf
for _ in range(LEVELS):
    _plain = _leaf | list[_plain] | dict[str, _plain]


@functools.cache
def _decoder(kind: Any = None) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_plain if kind is None else kind)  # its hash takes milliseconds


def typed(data: bytes, kind: Any, where: str) -> Any:
    """The value of JSON text that is plain and a `kind` (a type); `where` names its place.

    Raises: PgbenchError that names place and field.
    """
    value = plain(data, where)
    hold(data, kind, where)
    return value


def plain(data: bytes, where: str) -> Any:
    """The value of JSON text, if it is plain and holds no key twice; `where` names its place.

    Raises: PgbenchError that names place and field.
    """
    try:
        value = _decoder().decode(data)
        if b"\r" not in data and not _twice(data, value):
            return value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if complaint := _complaint(data):
        raise PgbenchError(f"{where}: {complaint}")
    return value


def hold(data: bytes, kind: Any, where: str) -> None:
    """Refuse JSON text, plain by itself, that is no `kind`.

    Raises: PgbenchError that names place and field.
    """
    try:
        _decoder(kind).decode(data)
    except msgspec.DecodeError as error:
        raise PgbenchError(f"{where}: {_complaint(data, kind) or error}") from error


def _twice(data: bytes, value: Any) -> bool:
    """Whether a key may stand there twice: the value, written again, has fewer quotes then."""
    return b"\\" in data or data.count(b'"') != msgspec.json.encode(value).count(b'"')


def _complaint(data: bytes, kind: Any = None) -> str:
    """What is wrong with the text, slowly and in words; empty if nothing is."""
    if not data.strip():
        return "it is empty"
    if data.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark; save it as UTF-8 without one"
    if b"\r" in data:
        return "it has the line ends of Windows (CRLF); give it back its own (LF)"
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once, parse_int=_whole)
    except UnicodeDecodeError as error:
        return f"not UTF-8 text (byte {error.start})"
    except RecursionError:
        return f"{_deepest(data.decode())} is nested more than {LEVELS} levels deep"
    except ValueError as error:
        return f"not valid JSON: {error}"
    for path, why in _odd(value, "", LEVELS):
        return f"{path or 'it'} {why}"
    if kind is None:
        return ""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return _in_words(_named(str(error), value, kind))
    return ""


def _deepest(text: str) -> str:
    """The field that is nested too deep for a parser, by its keys alone."""
    keys, last = [], ""
    for token in re.finditer(r'"((?:[^"\\]|\\.)*)"(\s*:)?|([\[{])|([\]}])', text):
        if token[3]:
            keys.append(last)
            last = ""
        elif token[4]:
            keys = keys[:-1]
        elif token[2]:
            last = token[1]
        if len(keys) > LEVELS:
            break
    return ".".join(filter(None, keys)) or "it"


class _Twice:
    """Stands for a value whose key was there before."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        out[key] = _Twice() if key in out else value
    return out


def _whole(word: str) -> float:
    return int(word) if len(word) <= 20 else math.inf


def _odd(value: Any, path: str, levels: int) -> Iterator[tuple[str, str]]:
    """Path and fault of whatever is not plain."""
    if isinstance(value, _Twice):
        yield path, "stands there twice"
    elif isinstance(value, int | float) and not _fits(value):
        yield path, "is no finite number of 64 bits"
    elif isinstance(value, str) and _halved(value):
        yield path, "holds half a character (a lone surrogate)"
    elif isinstance(value, dict | list) and levels == 0:
        yield path, f"is nested more than {LEVELS} levels deep"
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _odd(item, f"{path}[{i}]", levels - 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if _halved(key):
                yield path, "has a key that holds half a character (a lone surrogate)"
            yield from _odd(item, f"{path}.{key}".removeprefix("."), levels - 1)


def _fits(value: float) -> bool:
    return -WIDEST - 1 <= value <= WIDEST if isinstance(value, int) else math.isfinite(value)


def _halved(text: str) -> bool:
    return not text.isascii() and re.search("[\ud800-\udfff]", text) is not None


def _named(complaint: str, value: Any, kind: Any) -> str:
    """The complaint with the keys that msgspec writes as `[...]`: each is tried by itself."""
    while "[...]" in complaint:
        table = value
        for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", complaint.partition("[...]")[0]):
            table = table[key or int(index)]
        for key, item in list(table.items()):
            table.clear()
            table[key] = item
            try:
                msgspec.convert(value, kind)
            except msgspec.ValidationError as error:
                complaint = str(error).replace("[...]", f".{key}", 1)
                break
    return complaint


_WORDS = {
    "str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false",
    "object": "a table", "array": "a list", "null": "null",
}  # fmt: skip


def _in_words(complaint: str) -> str:
    """A complaint of msgspec (text, then `- at $.path`) as one that begins with the field."""
    text, _, path = complaint.partition(" - at `$")
    path = path.rstrip("`").removeprefix(".")
    if found := re.match(r"Object missing required field `(.*)`", text):
        return f"lacks the field '{f'{path}.{found[1]}'.removeprefix('.')}'; it is not whole"
    if found := re.match(r"Object contains unknown field `(.*)`", text):
        return f"{f'{path}.{found[1]}'.removeprefix('.')} is no field of it"
    text = re.sub("matching regex .*", "of 64 hexadecimal digits", text)
    text = re.sub("Invalid enum value (.*)", r"has the unknown value \1", text)
    text = re.sub("^Expected ", "must be ", text).replace(", got ", ", not ")
    text = re.sub("`([a-z |]+)`", lambda found: _worded(found[1]), text)
    return f"{path or 'it' * text.startswith(('must', 'has'))} {text}".lstrip()


def _worded(types: str) -> str:
    return " or ".join(_WORDS.get(word, word) for word in types.split(" | "))
