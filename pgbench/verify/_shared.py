"""Objects that two processes hold together: a change on one side is made on the other as well.

A list that the tests pass to a function is the function's own list in one process. Here each side
has its own, under one number, and every message begins with the contents of those that changed
since the last: a test sees what a function did to its argument, and that two results are one
object. Only the contents of mutable plain containers travel; `_plain` writes and reads them.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from operator import is_
from typing import Any

KINDS: dict[type, bytes] = {
    list: b"l", dict: b"m", set: b"e", deque: b"q", bytearray: b"a",
    Counter: b"C", OrderedDict: b"O", defaultdict: b"D",
}  # fmt: skip
MAPPINGS = b"mCOD"
EMPTY: dict[bytes, Callable[[], Any]] = {
    b"l": list, b"m": dict, b"e": set, b"a": bytearray, b"C": Counter, b"O": OrderedDict,
}  # fmt: skip


def tag_of(thing: object) -> bytes | None:
    """How a mutable container is written; a class of one's own is its base. None for others."""
    tag = KINDS.get(type(thing))
    if tag is None:
        for kind in reversed(KINDS):  # a Counter is a dict, too
            if isinstance(thing, kind):
                return KINDS[kind]
    return tag


def fill(thing: Any, tag: bytes, parts: Any) -> None:
    """Replace the contents: bytes, the items, or the (key, value) pairs of a mapping."""
    if tag == b"a":
        thing[:] = parts
        return
    thing.clear()
    if tag in MAPPINGS:
        for key, value in parts:
            thing[key] = value
    elif tag == b"e":
        thing.update(parts)
    else:
        thing.extend(parts)


def _parts(thing: Any) -> list[Any] | bytes:
    if isinstance(thing, bytearray):
        return bytes(thing)
    if isinstance(thing, dict):
        return [*dict.keys(thing), *dict.values(thing)]
    return list(thing)


def _same(now: list[Any] | bytes, seen: list[Any] | bytes) -> bool:
    if isinstance(now, bytes):
        return now == seen
    return len(now) == len(seen) and all(map(is_, now, seen))  # `==` would be the submission's


class Shared:
    """The shared containers by number. New ones get even numbers here and odd ones there."""

    def __init__(self, first: int) -> None:
        self.first = self.next = first
        self.things: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}  # by id(), which stays taken while `things` holds it
        self.seen: dict[int, list[Any] | bytes] = {}

    def add(self, thing: object, number: int | None = None) -> int:
        """Share a container: under the other side's number, or a new one."""
        if number is None:
            number, self.next = self.next, self.next + 2
        self.things[number] = thing
        self.numbers[id(thing)] = number
        return number

    def is_theirs(self, number: int) -> bool:
        """Whether the other side may give this number to something new."""
        return number % 2 != self.first and number not in self.things

    def mark(self, number: int) -> None:
        """Both sides have the present contents."""
        self.seen[number] = _parts(self.things[number])

    def changed(self) -> list[int]:
        """What changed here since it was marked; marked now."""
        found = []
        for number, thing in self.things.items():
            now = _parts(thing)
            if not _same(now, self.seen[number]):
                found.append(number)
                self.seen[number] = now
        return found

    def unused(self) -> list[int]:
        """Forget what nothing here refers to any more; the other side may forget it as well."""
        found = []
        for number in list(self.things):  # a container comes before what it holds
            if sys.getrefcount(self.things[number]) <= 2:
                found.append(number)
                self.forget([number])
        return found

    def forget(self, numbers: Iterable[int]) -> None:
        """Share these no longer."""
        for number in numbers:
            if number in self.things:
                self.numbers.pop(id(self.things.pop(number)), None)
                self.seen.pop(number, None)
