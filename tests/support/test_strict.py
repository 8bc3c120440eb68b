"""JSON held against types: what is plain, and every fault by the field that it is in."""

from typing import Literal

import pytest
from msgspec import Struct

from pgbench.errors import PgbenchError
from pgbench.support.strict import LEVELS, plain, typed


class Point(Struct):
    x: float
    name: str


class Shape(Struct):
    kind: Literal["line", "area"]
    points: list[Point]
    more: dict[str, list[int]]


def said(data, kind=None):
    with pytest.raises(PgbenchError) as caught:
        plain(data, "file") if kind is None else typed(data, kind, "file")
    text = str(caught.value)
    assert text.startswith("file: ") and "\n" not in text
    return text.removeprefix("file: ")


def test_plain_keeps_numbers_as_they_are():
    value = plain(b'{"a": 1, "b": 1.0, "c": 0.1, "d": -9223372036854775808, "e": 5e-324}', "h")
    assert [type(v) for v in value.values()] == [int, float, float, int, float]
    assert list(value.values()) == [1, 1.0, 0.1, -(2**63), 5e-324]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b'{"a": [1, {"b": 1e400}]}', "a[1].b is no finite number of 64 bits"),
        (b'{"a": 9223372036854775808}', "a is no finite number of 64 bits"),
        (b'{"a": -Infinity}', "a is no finite number of 64 bits"),
        (b'{"a": {"b": 1, "b": 2}}', "a.b stands there twice"),
        (b'{"a": {"b" : 1, "\\u0062" :2}}', "a.b stands there twice"),
        (b'["\\ud800"]', "[0] holds half a character (a lone surrogate)"),
        (b'{"a": {"\\udfff": 1}}', "a has a key that holds half a character (a lone surrogate)"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8 text (byte 7)"),
        (b"[" * 9 + b"]" * 9, f"{'[0]' * LEVELS} is nested more than {LEVELS} levels deep"),
        (b'{"a": {"b": ' + b"[" * 9999, f"a.b is nested more than {LEVELS} levels deep"),
        (b'{"a": 1,}', "not valid JSON"),
        (b'{"a": 01}', "not valid JSON"),
        (b'{"a": 1} 2', "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": "\t"}', "not valid JSON"),
    ],
)
def test_what_is_not_plain_is_named(data, fault):
    assert said(data).startswith(fault)


def test_what_only_looks_odd_is_plain():
    odd = b' {"a\\"b": "\\ud83d\\ude00", "c" :[ ] , "\\u00e9": "a\\nb"}\n'
    assert plain(odd, "h") == {'a"b': "\U0001f600", "c": [], "é": "a\nb"}
    assert plain('{"é": "\U0001f600"}'.encode(), "h") == {"é": "\U0001f600"}


def test_types_are_held_by_field_the_keys_of_tables_too():
    good = b'{"kind": "line", "points": [{"x": 1, "name": "a"}], "more": {"u": [1], "v": []}}'
    assert typed(good, Shape, "h")["points"] == [{"x": 1, "name": "a"}]
    for was, now, fault in (
        (b'"x": 1', b'"x": "1"', "points[0].x must be a number, not a text"),
        (b'"x": 1', b'"y": 1', "lacks the field 'points[0].x'; it is not whole"),
        (b'"v": []', b'"v": [2, null]', "more.v[1] must be a whole number, not null"),
        (b'"v": []', b'"v": {}', "more.v must be a list, not a table"),
        (b'"line"', b'"lines"', "kind has the unknown value 'lines'"),
        (b'"line"', b"true", "kind must be a text, not true or false"),
        (good, b"[]", "it must be a table, not a list"),
    ):
        assert said(good.replace(was, now), Shape) == fault
