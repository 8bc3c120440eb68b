"""The only language that a submission and its judge share: plain data in length-prefixed frames.

None, bool, int, float, complex, str, bytes, list, tuple, dict, set and frozenset, of exactly these
types after decoding whatever the sender did; these types themselves; and numbers that stand for an
object which stays with the submission. Decoding runs no code of the sender; it is bounded in bytes,
depth and items.
"""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Callable
from typing import Any

DEPTH = 200  # of nested containers
INT_BYTES = 16 * 1024
ARGUMENT_BYTES = 64 * 2**20  # what the judge may send; a submission's answer has its own limit

TYPES = {t.__name__: t for t in (
    bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, object,
)}  # fmt: skip

_LENGTH, _REAL, _PAIR = struct.Struct("<I"), struct.Struct("<d"), struct.Struct("<dd")
_LONG = 2**63


class Unsendable(Exception):
    """A value that is no plain data, or too large or too deep."""


class Malformed(Exception):
    """Bytes that no honest sender wrote."""


class TooLarge(Exception):
    """A frame over the receiver's limit."""


def encode(value: object, reference: Callable[[Any], int] | None = None, limit: int = 0) -> bytes:
    """Plain data as bytes; `reference` gives the number of an object that is none.

    Raises: Unsendable; TooLarge: over `limit` bytes (0: ARGUMENT_BYTES).
    """
    out = bytearray()
    _encode(value, out, reference, limit or ARGUMENT_BYTES, DEPTH)
    return bytes(out)


def _counted(tag: bytes, data: bytes, out: bytearray) -> None:
    out += tag + _LENGTH.pack(len(data)) + data


def _encode(
    value: Any, out: bytearray, reference: Callable[[Any], int] | None, limit: int, depth: int
) -> None:
    if depth < 0:
        raise Unsendable("nested too deeply")
    if len(out) > limit:
        raise TooLarge
    kind = type(value)
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
    elif kind is complex:
        out += b"c" + _PAIR.pack(value.real, value.imag)
    elif kind is str:
        _counted(b"s", value.encode("utf-8", "surrogatepass"), out)
    elif kind is bytes or kind is bytearray:
        _counted(b"b", bytes(value), out)
    elif isinstance(value, dict):  # also Counter, defaultdict, OrderedDict
        out += b"m" + _LENGTH.pack(len(value))
        for key, item in list(value.items()):
            _encode(key, out, reference, limit, depth - 1)
            _encode(item, out, reference, limit, depth - 1)
    elif isinstance(value, (list, tuple)):  # also named tuples
        out += b"l" if isinstance(value, list) else b"t"
        if len(value) > 8 and all(type(x) is int and -_LONG <= x < _LONG for x in value):
            _counted(b"I", array("q", value).tobytes(), out)
        else:
            out += _LENGTH.pack(len(value))
            for item in list(value):
                _encode(item, out, reference, limit, depth - 1)
    elif isinstance(value, (set, frozenset)):
        out += (b"e" if isinstance(value, set) else b"z") + _LENGTH.pack(len(value))
        for item in list(value):
            _encode(item, out, reference, limit, depth - 1)
    elif isinstance(value, (int, float, str)):  # a subclass such as an enumeration's
        base = int if isinstance(value, int) else float if isinstance(value, float) else str
        _encode(base(value), out, reference, limit, depth - 1)
    elif kind is type and value in TYPES.values():
        _counted(b"y", value.__name__.encode(), out)
    elif reference is not None:
        out += b"r" + _LENGTH.pack(reference(value))
    else:
        raise Unsendable(f"a {kind.__name__} is not plain data")
    if len(out) > limit:
        raise TooLarge


class Decoder:
    """Reads one value from bytes; `referred` makes what stands for an object of the sender."""

    def __init__(self, data: bytes, referred: Callable[[int], object] | None = None) -> None:
        self.data, self.at, self.referred = data, 0, referred

    def value(self) -> Any:
        """The one value of these bytes. Raises: Malformed."""
        try:
            found = self._one(DEPTH)
        except (ValueError, TypeError, OverflowError, IndexError, struct.error) as error:
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
        if tag == b"l":
            return self._sequence(depth)
        if tag == b"t":
            return tuple(self._sequence(depth))
        if tag == b"e":
            return set(self._items(depth))
        if tag == b"z":
            return frozenset(self._items(depth))
        if tag == b"m":
            pairs = [(self._one(depth - 1), self._one(depth - 1)) for _ in range(self._count())]
            return dict(pairs)
        if tag == b"y":
            name = self._take(self._count()).decode()
            if name in TYPES:
                return TYPES[name]
        if tag == b"r" and self.referred is not None:
            return self.referred(self._count())
        raise Malformed("unknown tag")


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
