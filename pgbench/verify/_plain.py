"""The only language that a submission and its judge share: plain data in length-prefixed frames.

None, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, the containers of
`_shared` and the values of VALUES, of exactly these types after decoding whatever the sender did;
named tuples; these types themselves; and numbers that stand for an object which stays with the
submission. Decoding runs no code of the sender; it is bounded in bytes, depth and items.
"""

from __future__ import annotations

import datetime
import functools
import socket
import struct
from array import array
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from pgbench.verify._shared import EMPTY, KINDS, MAPPINGS, Shared, fill, tag_of
from pgbench.verify._values import MAKERS, PARTS, VALUES, own_rules

DEPTH = 200  # of nested containers
INT_BYTES = 16 * 1024
ARGUMENT_BYTES = 64 * 2**20  # what the judge may send; a submission's answer has its own limit

TYPES = {t.__name__: t for t in (
    bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, object, bytearray,
    range, deque, Counter, OrderedDict, defaultdict, Fraction, Decimal, datetime.date,
    datetime.datetime, datetime.time, datetime.timedelta,
)}  # fmt: skip

_LENGTH, _REAL, _PAIR = struct.Struct("<I"), struct.Struct("<d"), struct.Struct("<dd")
_LONG = 2**63


class Unsendable(Exception):
    """A value that is no plain data, or too large or too deep."""


class Malformed(Exception):
    """Bytes that no honest sender wrote."""


class TooLarge(Exception):
    """A frame over the receiver's limit."""


def encode(
    value: object, reference: Callable[[Any], int] | None = None, limit: int = 0,
    shared: Shared | None = None, gone: list[int] | None = None,
) -> bytes:  # fmt: skip
    """Plain data as bytes; `reference` gives the number of an object that is none.

    With `shared`, containers keep their identity, and what changed in them goes before the value,
    after the numbers of those that are `gone`.

    Raises: Unsendable; TooLarge: over `limit` bytes (0: ARGUMENT_BYTES).
    """
    out = bytearray()
    encoder = _Encoder(out, reference, limit or ARGUMENT_BYTES, shared)
    if shared is not None:
        _counted(b"", array("I", gone or []).tobytes(), out)
        changed = shared.changed()
        out += _LENGTH.pack(len(changed))
        for number in changed:
            out += _LENGTH.pack(number)
            encoder.contents(shared.things[number], DEPTH)
    try:
        encoder.one(value, DEPTH)
    except RecursionError:
        raise Unsendable("nested too deeply") from None
    return bytes(out)


def _counted(tag: bytes, data: bytes, out: bytearray) -> None:
    out += tag + _LENGTH.pack(len(data)) + data


class _Encoder:
    """Writes values one after the other."""

    def __init__(
        self, out: bytearray, reference: Callable[[Any], int] | None, limit: int,
        shared: Shared | None,
    ) -> None:  # fmt: skip
        self.out, self.reference, self.limit, self.shared = out, reference, limit, shared

    def one(self, value: Any, depth: int) -> None:
        if depth < 0:
            raise Unsendable("nested too deeply")
        out, kind = self.out, type(value)
        if len(out) > self.limit:
            raise TooLarge
        if value is None:
            out += b"N"
        elif kind is bool:
            out += b"T" if value else b"F"
        elif kind is int:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            if len(data) > INT_BYTES:
                raise TooLarge
            _counted(b"i", data, out)
        elif kind is float:
            out += b"d" + _REAL.pack(value)
        elif kind is str:
            _counted(b"s", value.encode("utf-8", "surrogatepass"), out)
        elif kind is tuple:
            out += b"t"
            self._sequence(value, depth)
        elif kind in KINDS:
            self._container(value, depth)
        elif kind is bytes:
            _counted(b"b", value, out)
        elif kind is complex:
            out += b"c" + _PAIR.pack(value.real, value.imag)
        elif kind is frozenset:
            out += b"z"
            self._items(value, depth)
        else:
            self._other(value, kind, depth)
        if len(out) > self.limit:
            raise TooLarge

    def _other(self, value: Any, kind: type, depth: int) -> None:
        parts = VALUES[kind](value) if kind in VALUES else None
        if parts is not None:
            _counted(b"v", kind.__name__.encode(), self.out)
            self._items(parts, depth)
        elif isinstance(value, tuple):
            fields = getattr(kind, "_fields", None)
            if type(fields) is tuple and len(fields) == len(value):  # a named tuple
                names = " ".join(map(str, (kind.__name__, *fields)))
                _counted(b"n", names.encode("utf-8", "surrogatepass"), self.out)
            else:
                self.out += b"t"
            self._sequence(tuple(value), depth)
        elif tag_of(value):
            self._container(value, depth)
        elif isinstance(value, frozenset):
            self.one(frozenset(value), depth)
        elif isinstance(value, (int, float, str, bytes)):  # a subclass such as an enumeration's
            base: Any = next(k for k in (int, float, str, bytes) if isinstance(value, k))
            self.one(base(value), depth - 1)
        elif kind is type and any(value is known for known in TYPES.values()):
            _counted(b"y", value.__name__.encode(), self.out)
        elif self.reference is not None:
            number = self.reference(value)
            self.out += (b"R" if own_rules(kind) else b"r") + _LENGTH.pack(number)
        else:
            raise Unsendable(f"a {kind.__name__} is not plain data")

    def _container(self, value: Any, depth: int) -> None:
        if self.shared is not None:
            number = self.shared.numbers.get(id(value))
            if number is not None:
                self.out += b"@" + _LENGTH.pack(number)
                return
            number = self.shared.add(value)
            self.shared.mark(number)
            self.out += b"&" + _LENGTH.pack(number)
        self.contents(value, depth)

    def contents(self, value: Any, depth: int) -> None:
        """A mutable container itself, without its number."""
        tag, out = tag_of(value), self.out
        assert tag
        out += tag
        if tag == b"q":
            self.one(value.maxlen, depth - 1)
        if tag == b"D":
            factory = value.default_factory
            known = isinstance(factory, type) and TYPES.get(factory.__name__) is factory
            self.one(factory if known else None, depth - 1)
        if tag == b"a":
            _counted(b"", bytes(value), out)
        elif tag == b"l" and self._integers(value):
            _counted(b"I", array("q", value).tobytes(), out)
        else:  # no helper: every call more on the way down is depth less
            out += _LENGTH.pack(len(value))
            mapping = tag in MAPPINGS
            for item in list(value.items() if mapping else value):
                if mapping:
                    self.one(item[0], depth - 1)
                self.one(item[1] if mapping else item, depth - 1)

    def _integers(self, value: Any) -> bool:
        return len(value) > 8 and all(type(x) is int and -_LONG <= x < _LONG for x in value)

    def _sequence(self, value: Any, depth: int) -> None:
        if self._integers(value):
            _counted(b"I", array("q", value).tobytes(), self.out)
        else:
            self._items(value, depth)

    def _items(self, value: Any, depth: int) -> None:
        self.out += _LENGTH.pack(len(value))
        for item in list(value):
            self.one(item, depth - 1)


@functools.lru_cache(maxsize=64)
def _named_tuple(names: str) -> Any:
    name, *fields = names.split(" ")
    return namedtuple(name, fields)  # it checks the names


class Decoder:
    """Reads one value from bytes; `referred` makes what stands for an object of the sender.

    It gets the object's number and whether its class has operators of its own. With `shared` the
    changes before the value are made at once.
    """

    def __init__(
        self, data: bytes, referred: Callable[[int, bool], object] | None = None,
        shared: Shared | None = None,
    ) -> None:  # fmt: skip
        self.data, self.at, self.referred, self.shared = data, 0, referred, shared

    def value(self) -> Any:
        """The one value of these bytes. Raises: Malformed."""
        try:
            if self.shared is not None:
                self._changes(self.shared)
            found = self._one(DEPTH)
        except (
            ValueError, TypeError, ArithmeticError, LookupError, RecursionError, struct.error,
        ) as error:  # fmt: skip
            raise Malformed(str(error)) from None
        if self.at != len(self.data):
            raise Malformed("bytes after the value")
        return found

    def _take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise Malformed("the frame ends early")
        self.at += count
        return piece

    def _count(self) -> int:
        return int(_LENGTH.unpack(self._take(4))[0])

    def _items(self, depth: int) -> list[Any]:
        # An item takes at least a byte, so a forged count cannot ask for more than the frame holds.
        return [self._one(depth - 1) for _ in range(self._count())]

    def _sequence(self, depth: int) -> list[Any]:
        if self.data[self.at : self.at + 1] == b"I":
            self.at += 1
            numbers = array("q")
            numbers.frombytes(self._take(self._count()))
            return numbers.tolist()
        return self._items(depth)

    def _one(self, depth: int) -> Any:
        if depth < 0:
            raise Malformed("nested too deeply")
        tag = self._take(1)
        if tag == b"N":
            return None
        if tag in b"TF":
            return tag == b"T"
        if tag == b"i":
            return int.from_bytes(self._take(self._count()), "little", signed=True)
        if tag == b"d":
            return _REAL.unpack(self._take(8))[0]
        if tag == b"c":
            return complex(*_PAIR.unpack(self._take(16)))
        if tag == b"s":
            return self._take(self._count()).decode("utf-8", "surrogatepass")
        if tag == b"b":
            return self._take(self._count())
        if tag == b"t":
            return tuple(self._sequence(depth))
        if tag == b"z":
            return frozenset(self._items(depth))
        if tag in b"&@":
            return self._known(tag, depth)
        if tag in b"lmeqaCOD":
            thing = self._empty(tag, depth)
            fill(thing, tag, self._parts(tag, depth))
            return thing
        if tag == b"v":
            maker, parts = MAKERS[self._take(self._count()).decode()], self._items(depth)
            if not all(type(part) in PARTS for part in parts):
                raise Malformed("not the parts of a value")
            if maker in (datetime.datetime, datetime.time):
                return maker(*parts[:-1], fold=parts[-1])
            return maker(*parts)
        if tag == b"n":
            kind = _named_tuple(self._take(self._count()).decode())
            return kind(*self._sequence(depth))
        if tag == b"y":
            name = self._take(self._count()).decode()
            if name in TYPES:
                return TYPES[name]
        if tag in b"rR" and self.referred is not None:
            return self.referred(self._count(), tag == b"R")
        raise Malformed("unknown tag")

    def _empty(self, tag: bytes, depth: int) -> Any:
        if tag == b"q":
            return deque(maxlen=self._one(depth - 1))
        if tag == b"D":
            factory = self._one(depth - 1)
            return defaultdict(factory if factory in TYPES.values() else None)
        return EMPTY[tag]()

    def _parts(self, tag: bytes, depth: int) -> Any:
        if tag == b"a":
            return self._take(self._count())
        if tag in MAPPINGS:
            return [(self._one(depth - 1), self._one(depth - 1)) for _ in range(self._count())]
        if self.data[self.at : self.at + 1] == b"I":
            return self._sequence(depth)
        items = []
        for _ in range(self._count()):
            items.append(self._one(depth - 1))  # noqa: PERF401 - a call less on the way down
        return items

    def _known(self, tag: bytes, depth: int) -> Any:
        """A shared container: one that both have, or a new one."""
        shared, number = self.shared, self._count()
        if shared is None:
            raise Malformed("nothing is shared")
        if tag == b"@":
            return shared.things[number]
        kind = self._take(1)
        if not shared.is_theirs(number) or kind not in b"lmeqaCOD":
            raise Malformed("not a new container")
        thing = self._empty(kind, depth)
        shared.add(thing, number)  # before its contents, which may hold it
        fill(thing, kind, self._parts(kind, depth))
        shared.mark(number)
        return thing

    def _changes(self, shared: Shared) -> None:
        gone = array("I")
        gone.frombytes(self._take(self._count()))
        if gone and shared.first == 0:
            raise Malformed("a submission gives nothing up")
        shared.forget(gone)
        for _ in range(self._count()):
            number = self._count()
            thing, tag = shared.things[number], self._take(1)
            if tag != tag_of(thing):
                raise Malformed("a container of another kind")
            self._empty(tag, DEPTH)
            fill(thing, tag, self._parts(tag, DEPTH))
            shared.mark(number)


def send_frame(line: socket.socket, data: bytes) -> None:
    """Send one frame. Raises: OSError."""
    line.sendall(_LENGTH.pack(len(data)) + data)


def receive_frame(line: socket.socket, limit: int) -> bytes:
    """Receive one frame. Raises: EOFError: the other end is gone; TooLarge; OSError."""
    size = _LENGTH.unpack(_exactly(line, 4))[0]
    if size > limit:
        raise TooLarge
    return _exactly(line, size)


def _exactly(line: socket.socket, count: int) -> bytes:
    pieces = []
    while count:
        piece = line.recv(min(count, 1 << 20))
        if not piece:
            raise EOFError
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
