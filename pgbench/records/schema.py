"""What a record is, as types: text from a file is held against them before anything reads it.

A value passes or is refused in one line that names its field; nothing is changed on the way. Fields
that are not named here may stand in a block, if they are plain: finite numbers, whole ones of 64
bits, texts without half characters, nested at most `LEVELS` deep.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from pgbench.errors import PgbenchError

LEVELS = 10  # of nesting; a record of ours needs six
EPISODES = 10**6  # of an evaluation: their seeds are derived one by one
_MOST, _WIDEST = 1.7976931348623157e308, 2**63 - 1

Count = Annotated[int, Meta(ge=0, le=_WIDEST)]
Together = Annotated[int, Meta(ge=1, le=_WIDEST)]  # of how many seeds, 0 to one less
Number = Annotated[float, Meta(ge=-_MOST, le=_MOST)]
Amount = Annotated[float, Meta(ge=0, le=_MOST)]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Table = dict[str, Any]  # plain, but otherwise as it comes
Detail = Number | list[Number | list[Number]]

_leaf: Any = None | bool | Annotated[int, Meta(ge=-_WIDEST - 1, le=_WIDEST)] | Number | str
_plain: Any = _leaf
for _ in range(LEVELS):
    _plain = _leaf | list[_plain] | dict[str, _plain]


class Algorithm(Struct):
    """Who learned, and with which settings; more by `Algorithm.provenance`."""

    name: str
    paper: str
    config: Table
    config_hash: str
    defaults_changed: list[str]
    parameters: Count
    policies: dict[str, list[Number]] | UnsetType = UNSET

    def __post_init__(self) -> None:
        lacking = sorted(set(self.defaults_changed) - set(self.config))
        if lacking:
            raise ValueError(f"names '{lacking[0]}' in defaults_changed, which config lacks")


class Metric(Struct):
    """What the environment's score is."""

    name: str
    direction: Literal["max", "min"]
    unit: str


class Environment(Struct):
    """Where it learned."""

    id: str
    kwargs: Table
    underlying: str
    metric: Metric
    golden: str
    sandbox: str | UnsetType = UNSET
    registered: Table | UnsetType = UNSET


class Tuning(Struct):
    """How the settings were found."""

    kind: str = msgspec.field(name="class")
    trials: Count | None


class Episodes(Struct, forbid_unknown_fields=True):
    """How much is evaluated, and how often."""

    episodes: Annotated[int, Meta(ge=1, le=EPISODES)]
    curve_points: Count
    curve_episodes: Count


class Protocol(Struct):
    """By which rules it was run."""

    seed: Count
    train_seed: Count
    budget: Count
    unit: str
    episodes: Annotated[int, Meta(ge=1, le=EPISODES)]
    curve_points: Count
    curve_episodes: Count
    eval_seeds: str
    deterministic: bool
    tuning: Tuning


class Identity(Struct):
    """What the run's folder is named by."""

    algorithm: str
    family: str
    config: Table
    environment: str
    env_kwargs: Table
    budget: Count
    protocol: Episodes
    purpose: str
    # of the algorithm, of the environment, of the loop where it is a plug-in's
    sources: Annotated[list[str | None], Meta(min_length=2, max_length=3)]
    data: dict[str, str] | UnsetType = UNSET
    stack: Together | UnsetType = UNSET


class Execution(Struct):
    """How it was computed."""

    device: str
    compile: bool
    threads: Count
    algo: str
    env: str
    folder: str | UnsetType = UNSET
    stack: Together | UnsetType = UNSET


class Point(Struct):
    """One evaluation of the curve."""

    step: Count
    mean: Number
    n: Count


class Result(Struct):
    """What came out."""

    final: list[Number] | None
    lengths: list[Count] | None
    score: Number | None
    curve: list[Point]
    failure: str | None
    error: str | None
    checksum: str | None
    cut: Count | UnsetType = UNSET
    diagnostics: dict[str, Number] | UnsetType = UNSET
    details: dict[str, Detail] | UnsetType = UNSET


class Cost(Struct):
    """What it took; a loop's own counts beside it."""

    env_steps: Count
    grad_steps: Count
    wall_s: Amount
    cpu_s: Amount
    evaluate_s: Amount
    checkpoint_s: Amount
    peak_memory_mib: Count
    samples: Count | UnsetType = UNSET
    generated_tokens: Count | UnsetType = UNSET
    trained_tokens: Count | UnsetType = UNSET
    timeouts: Count | UnsetType = UNSET


class Provenance(Struct):
    """Out of which code, on which machine."""

    commit: str | None
    dirty: bool | None
    packages: dict[str, str]
    lock: str
    cpu: str
    cores: Count | None
    system: str
    python: str
    gpu: str | None
    resumed: Count
    warnings: list[str] | UnsetType = UNSET


class Record(Struct):
    """A run's record, schemas 2 and 3; docs/architecture.md has a line for each block."""

    schema: int
    id: Hash
    created: str
    status: Literal["running", "finished", "failed", "interrupted"]
    algorithm: Algorithm
    environment: Environment
    protocol: Protocol
    identity: Identity
    execution: Execution
    result: Result
    cost: Cost
    provenance: Provenance
    prev: Hash | None = None

    def __post_init__(self) -> None:
        if self.status != "finished":
            return
        for name in ("final", "lengths", "score", "curve", "checksum"):
            value = getattr(self.result, name)
            if value is None or value == []:
                raise ValueError(f"result.{name} is missing, though the run has finished")


class Stamp(Struct):
    """What was said of a record later."""

    id: Hash
    kind: Literal["verified", "reproduced", "disputed", "withdrawn"]
    record: Hash
    by: str
    prev: Hash | None = None
    created: str = ""
    reason: str = ""
    evidence: Table | UnsetType = UNSET


Heads = dict[str, tuple[Annotated[int, Meta(ge=1)], Hash]]  # lines of a file, and the last one's id


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
    return -_WIDEST - 1 <= value <= _WIDEST if isinstance(value, int) else math.isfinite(value)


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
