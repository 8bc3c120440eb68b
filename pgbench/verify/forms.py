"""The shape of an answer: number, word, expression, equation, tuple or interval, list, matrix.

`read` splits the text down to leaves. Only a leaf that is neither number nor word ever needs
algebra, so most answers are judged without it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from fractions import Fraction

from pgbench.verify.normal import clean, key
from pgbench.verify.numbers import Quantity, quantity, strip_unit

MAX_CHARS = 1000  # of an answer; the longest reference answer of MATH has about 150
MAX_DEPTH = 20  # of nested brackets
MAX_ITEMS = 64  # of a list, tuple or matrix


class Unreadable(Exception):
    """The text is no answer; the message says why in a few words."""


@dataclass(frozen=True)
class Node:
    """One part of an answer.

    kind: "number", "word", "leaf" (an expression), "based" (number in base b), "seq" (ordered,
    `brackets` are its ends), "list" (unordered), "union", "matrix" (a list of rows), "chain"
    (members joined by `ops`).
    """

    kind: str
    text: str
    items: tuple[Node, ...] = ()
    brackets: str = ""
    ops: tuple[str, ...] = ()
    number: Quantity | None = None
    name: str | None = None  # the variable that an interval was written for
    unit: str | None = None  # of an expression


_OPENING = "([{"
_CLOSING = ")]}"
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[^\\]", re.S)
_MATRIX = re.compile(
    r"^\\begin\{([pbBv]?matrix|smallmatrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}$"
)
_BASED = re.compile(r"^(\d+) ?_ ?\{?(?:\\text\{)?\s*(\d+)\s*\}?\}?$")
_L = r"[^\W\d_]"  # a letter of any script
_WORD = re.compile(rf"^{_L}(?:{_L}|['’.-])*(?: (?:{_L}|['’.-])+)*$")
_LETTER = re.compile(r"^\(?([A-Za-z])\)?$")
_RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    r"\le": "<=",
    r"\ge": ">=",
    r"\approx": "~",
    r"\ne": "!=",
}
_UNSUPPORTED = (
    r"\equiv", r"\sim", r"\cong", r"\propto", r"\to", r"\rightarrow", r"\implies", r"\Rightarrow",
    r"\iff", r"\ll", r"\gg",
)  # fmt: skip
_SIDED = {"<": ")", ">": "(", "<=": "]", ">=": "["}
_REALS = {r"\mathbb{R}", "all real numbers", "all reals", "all real number", "real numbers"}
_FUNCTION = r"[A-Za-z](?:_\{?\w+\}?)?\s*\([^()=]*\)"
_NAME = re.compile(
    rf"^(?:{_FUNCTION}|[A-Za-z](?:_\{{?\w+\}}?|'+)?|\\[A-Za-z]+(?:_\{{?\w+\}}?)?"
    r"|\\(?:angle|triangle|overline|vec|hat|bar|widehat|mathbf)\s*\{?[A-Za-z]+\}?"
    r"|\|?[A-Z]{1,4}\|?|m?\\angle [A-Z]{1,3}|[A-Za-z]{2,}(?: [A-Za-z]+){0,8}"
    r"|\((?:[A-Za-z](?:_\{?\w\}?)?,? ?)+\))$"
)
_CONSTANTS = {r"\pi", r"\infty", "e", "i", r"\emptyset"}
_VARIABLE = re.compile(
    r"\\(?!pi|infty|frac|sqrt|cdot|times|div|pm|mp)[A-Za-z]+|(?<![\\A-Za-z])[A-Za-z]"
)


def tokens(text: str) -> list[str]:
    """LaTeX commands and single characters."""
    return _TOKEN.findall(text)


def check(text: str) -> None:
    """Refuse what must not reach a parser: long or deeply nested text.

    Raises: Unreadable with "too long", "empty" or "too deep".
    """
    if len(text) > MAX_CHARS:
        raise Unreadable("too long")
    if not text.strip():
        raise Unreadable("empty")
    depth = 0
    for char in text:
        depth += (char in _OPENING) - (char in _CLOSING)
        if depth > MAX_DEPTH:
            raise Unreadable("too deep")


def split(text: str, where: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Parts between separators that lie outside all brackets, and these separators.

    A bracket need not close with its own kind: `(3,4]` is an interval.
    """
    if not any(mark in text for mark in where):
        return [text], []
    parts, found, depth, part = [], [], 0, ""
    for token in tokens(text):
        if token in ("(", "[", "{", r"\{", r"\begin"):
            depth += 1
        elif token in (")", "]", "}", r"\}", r"\end"):
            depth -= 1
        if depth == 0 and token in where:
            parts.append(part.strip())
            found.append(token)
            part = ""
        else:
            part += token
    return [*parts, part.strip()], found


def _enclosed(text: str) -> tuple[str, str, str] | None:
    """Opening bracket, inside and closing bracket, if one pair encloses the whole text."""
    found = tokens(text)
    if len(found) < 2 or found[0] not in ("(", "[", r"\{"):
        return None
    if found[-1] not in (")", "]", r"\}"):
        return None
    depth = 0
    for at, token in enumerate(found):
        depth += token in ("(", "[", "{", r"\{")
        depth -= token in (")", "]", "}", r"\}")
        if depth == 0 and at < len(found) - 1:
            return None
    return found[0], "".join(found[1:-1]).strip(), found[-1]


def is_name(text: str) -> bool:
    """Whether the text only names a value: `x`, `f(x)`, `AB`, `\\angle ABC`, `the area`."""
    return text not in _CONSTANTS and _NAME.match(text) is not None


def has_variables(text: str) -> bool:
    """Whether letters stand for something unknown in the text."""
    return any(found not in ("e", "i") for found in _VARIABLE.findall(text))


def read(text: str) -> Node:
    """The shape of one answer.

    Raises: Unreadable for text that is too long, too deep, empty or has too many parts.
    """
    check(text)
    return _read(clean(text))


@functools.lru_cache(maxsize=4096)
def _read(text: str) -> Node:
    if not text:
        raise Unreadable("empty")
    number = quantity(text)
    if number is not None:
        return Node("number", text, number=number)
    if letter := _LETTER.match(text):
        return Node("leaf", letter[1])
    if text in _REALS:
        return Node("seq", text, (_read(r"-\infty"), _read(r"\infty")), "()")
    return _parts(text) or _relation(text) or _signs(text) or _bracketed(text) or _leaf(text)


def _items(texts: list[str]) -> tuple[Node, ...]:
    if len(texts) > MAX_ITEMS:
        raise Unreadable("too long")
    out: list[Node] = []
    for text in texts:
        node = _read(clean(text))
        # `1 \pm \sqrt 5, -2` is a list of three.
        out += node.items if node.kind == "list" and not _enclosed(text) else (node,)
    return tuple(out)


def _commas(text: str) -> str:
    """A list with `and` and `or` as separators."""
    return re.sub(r",?(?<![A-Za-z\\])\s*(?<![A-Za-z])(and|or)(?![A-Za-z])", " ; ", text)


def _parts(text: str) -> Node | None:
    """A list: `1, -2`, `x = 1 or x = -2`; a union of intervals."""
    parts, found = split(text, (r"\cup",))
    if found:
        return Node("union", text, _items(parts))
    if (r"\setminus" in text or r"\ne" in text) and (without := _without(text)):
        return without
    spelled = _commas(text)
    if spelled != text and not _WORD.match(text):
        found_words = set(re.findall(r"(?<![A-Za-z])(?:and|or)(?![A-Za-z])", text))
    else:
        spelled, found_words = text, set()
    parts, found = split(spelled, (",", ";"))
    parts = [part for part in parts if part]
    if not found or not parts:
        return None
    if len(parts) == 1:
        return _read(clean(parts[0])) if parts[0] != text else None
    items = list(_items(parts))
    if "or" in found_words and all(item.kind == "seq" and item.name for item in items):
        return Node("union", text, tuple(items), name=items[0].name)
    first = items[0]
    alone = not any(item.kind == "chain" for item in items[1:])
    if first.kind == "chain" and alone and named(first) is not None:
        # `x = 1, 2, 3` gives three values of x.
        items[0] = first.items[-1]
        return Node("list", text, tuple(items), name=named(first))
    return Node("list", text, tuple(items))


def _without(text: str) -> Node | None:
    """`\\mathbb{R} \\setminus \\{2\\}` and `x \\ne 2, 3` as a union of intervals."""
    parts, found = split(text, (r"\setminus",))
    name = None
    if len(found) == 1:
        whole, pair = _read(clean(parts[0])), _enclosed(parts[1])
        if pair is None or pair[0] != r"\{":
            return None
        listed = split(pair[1], (",", ";"))[0]
    else:
        members = [split(part, (r"\ne",)) for part in split(_commas(text), (",", ";"))[0] if part]
        names = {key(sides[0]) for sides, marks in members if marks}
        if len(names) != 1 or not is_name(members[0][0][0]) or len(members[0][0]) != 2:
            return None
        name, listed = names.pop(), [sides[-1] for sides, _ in members]
        whole = _read(r"\mathbb{R}")
    if whole.kind != "seq" or len(whole.items) != 2 or not all(listed):
        return None
    points = [_read(clean(one)) for one in listed]
    ends = list(whole.items)
    sizes = [end.number.value if end.number else None for end in (ends[0], *points, ends[1])]
    if len(points) > 1 and not all(point.number for point in points):
        return None  # their order takes algebra
    if not _inside(sizes):
        return None
    points.sort(key=lambda point: point.number.value if point.number else 0)
    marks = [whole.brackets[0], *["("] * len(points)]
    closing = [*[")"] * len(points), whole.brackets[1]]
    bounds = [ends[0], *points, ends[1]]
    pieces = tuple(
        Node("seq", text, (low, high), left + right)
        for low, high, left, right in zip(bounds, bounds[1:], marks, closing, strict=False)
    )
    return Node("union", text, pieces, name=name)


def _inside(sizes: list[Fraction | None]) -> bool:
    """Whether different points lie between two ends, where these are known."""
    low, *points, high = sizes
    known = [point for point in points if point is not None]
    return (
        len(set(known)) == len(known)
        and (low is None or all(point > low for point in known))
        and (high is None or all(point < high for point in known))
    )


def named(node: Node) -> str | None:
    """The name in `name = value`, or None if the chain is anything else."""
    if node.kind == "chain" and node.ops == ("=",) and is_name(node.items[0].text):
        return key(node.items[0].text)
    return None


def _relation(text: str) -> Node | None:
    if any(mark in text for mark in _UNSUPPORTED):
        return None
    parts, found = split(text, (r"\in",))
    if len(parts) == 2 and is_name(parts[0]):
        return replace(_read(clean(parts[1])), name=key(parts[0]))
    parts, found = split(text, tuple(_RELATIONS))
    if not found:
        return None
    if not all(parts):
        raise Unreadable("half an equation")
    ops = tuple(_RELATIONS[mark] for mark in found)
    members = tuple(_read(clean(part)) for part in parts)
    node = Node("chain", text, members, ops=ops)
    return _interval(node) or node


def _interval(node: Node) -> Node | None:
    """`0 \\le x < 1` as `[0, 1)`, `x > 2` as `(2, \\infty)`; None for other relations."""
    ops, items = node.ops, node.items
    low, high = _leaf(r"-\infty"), _leaf(r"\infty")
    if any(op not in _SIDED for op in ops):
        return None
    names = [is_name(item.text) for item in items]
    if names == [True, False]:
        bound, op = items[1], ops[0]
    elif names == [False, True]:
        bound, op = items[0], {"<": ">", ">": "<", "<=": ">=", ">=": "<="}[ops[0]]
    elif names == [False, True, False] and ops[0][0] == ops[1][0]:
        first, last = (0, 2) if ops[0][0] == "<" else (2, 0)
        open_ = "(" if ops[0 if first == 0 else 1] in "<>" else "["
        close = ")" if ops[1 if first == 0 else 0] in "<>" else "]"
        ends = (items[first], items[last])
        return Node("seq", node.text, ends, open_ + close, name=key(items[1].text))
    else:
        return None
    name = key(items[names.index(True)].text)
    if op[0] == "<":
        return Node("seq", node.text, (low, bound), "(" + _SIDED[op], name=name)
    return Node("seq", node.text, (bound, high), _SIDED[op] + ")", name=name)


def _signs(text: str) -> Node | None:
    """`a \\pm b` as the list of its two values."""
    if (r"\pm" not in text and r"\mp" not in text) or text.startswith(r"\{"):
        return None
    both = []
    for plus, minus in (("+", "-"), ("-", "+")):
        one = re.sub(r"\\pm(?![A-Za-z])", plus, text)
        one = re.sub(r"\\mp(?![A-Za-z])", minus, one)
        if r"\pm" in one or r"\mp" in one:  # of a longer command
            raise Unreadable("signs")
        both.append(re.sub(r"\s+", " ", one).strip().removeprefix("+").strip())
    return Node("list", text, tuple(_read(one) for one in both))


def _bracketed(text: str) -> Node | None:
    matrix = _MATRIX.match(text)
    if matrix and matrix[1] != "vmatrix" and r"\begin" not in matrix[2]:
        rows = [row.split("&") for row in re.split(r"\\\\", matrix[2]) if row.strip()]
        return Node("matrix", text, tuple(Node("seq", "", _items(row), "()") for row in rows))
    pair = _enclosed(text)
    if pair is None:
        return None
    open_, inside, close = pair
    parts, found = split(inside, (",", ";"))
    if (open_ == r"\{") != (close == r"\}"):
        raise Unreadable("brackets")
    if open_ == r"\{":
        if not inside:
            return _leaf(r"\emptyset")
        if any(mark in inside for mark in (r"\mid", "|", ":")):
            return _described(inside) or _leaf(text)
        return Node("list", text, _items(parts), "{}")
    if found:
        return Node("seq", text, _items(parts), open_ + close)
    return _read(clean(inside)) if open_ == "(" and close == ")" else None


def _described(inside: str) -> Node | None:
    """`x \\mid x \\ge 0` as the interval that it describes; None where it describes another set."""
    for mark in (r"\mid", "|", ":"):
        parts, found = split(inside, (mark,))
        if len(found) == 1 and all(parts):
            name, belongs = split(parts[0], (r"\in",))
            if not is_name(name[0]) or (belongs and name[1] not in _REALS):
                return None
            node = _read(clean(parts[1]))
            plain = replace(node, name=None)
            return plain if node.name == key(name[0]) and _is_interval(plain) else None
    return None


def _is_interval(node: Node) -> bool:
    parts = node.items if node.kind == "union" else (node,)
    return all(part.kind == "seq" and len(part.items) == 2 for part in parts)


def _leaf(text: str) -> Node:
    if _BASED.match(text):
        return Node("based", text)
    # Single letters in a row are a product of variables.
    spelled = not text.isascii() or (
        len(text) > 2 and any(len(word) > 1 for word in text.split(" "))
    )
    if _WORD.match(text) and (spelled or text.lower() == "no"):
        return Node("word", text)
    bare, unit = strip_unit(text)
    number = quantity(bare) if unit else None
    if number is not None:
        return Node("number", bare, number=replace(number, unit=unit))
    return Node("leaf", bare, unit=unit)
