"""Equality of expressions by algebra: math-verify's parser reads, SymPy decides.

Runs only in worker processes (`python -m pgbench.verify.worker`): a hostile expression can take
any time and memory, and only killing the process ends that.

The parser (latex2sympy2_extended) is used with care: it reads `2(3)` as a mixed number, drops
primes and bases, and folds the case of letters. What it would misread is rewritten or refused.
"""

from __future__ import annotations

import functools
import hashlib
import math
import random
import re
from fractions import Fraction
from typing import Any

import sympy
from latex2sympy2_extended import latex2sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig

from pgbench.verify.compare import Comparison
from pgbench.verify.forms import Node, Unreadable, check, is_name, read
from pgbench.verify.normal import key
from pgbench.verify.numbers import quantity, rounds, whole

DIGITS = 60  # of a numerical evaluation
AGREE = sympy.Float(10, DIGITS) ** -50  # relative difference of equal values
POINTS = 8  # at which two expressions in variables must agree
MAX_BITS = 20_000  # of any integer that an expression would make
_CONFIG = ConversionConfig(lowercase_symbols=False)

_DECIMAL = re.compile(r"(?<![\d_])(\d*)\.(\d+)")
_JUXTAPOSED = re.compile(r"(?<![\d_^.\\])(\d+)\s*\(")
_SLASH = re.compile(r"(?<![\d_^./\\}A-Za-z)])(\d+)\s*/\s*(\d+)(?![\d.])")
_DEGREES = re.compile(r"(\d+|\\frac\{\d+\}\{\d+\})\s*\^\s*\\circ")
_TOO_LARGE = re.compile(r"\d{5,}\s*!|!\s*!|\\d?binom\s*\{\d{5,}|(?:\^\s*\{?\s*\d+\s*){3,}")
_NOTATION = re.compile(
    r"\\(?:l?dots|cdots|text|begin|mod|pmod|gcd|lcm|operatorname|overline|dot)(?![A-Za-z])"
)
# A function that nothing here knows, with its argument: equal only to itself.
_OPAQUE = re.compile(
    r"\\operatorname\{([A-Za-z]+)\}\s*(_\{?\w+\}?)?\s*"
    r"\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)"
)


def _symbol(found: re.Match[str]) -> str:
    """A variable that stands for a value of an unknown function."""
    digest = hashlib.sha256(key("".join(part or "" for part in found.groups())).encode())
    return rf"Q_{{{int(digest.hexdigest()[:12], 16)}}}"


def _prepared(text: str) -> str:
    """LaTeX that the parser reads as people do; refuses what it would misread."""
    if "'" in text or ("_{" in text and "," in text):
        raise Unreadable("primes or indices")
    if re.search(r"(?<![_^\d])\d+ \d", text):
        raise Unreadable("two numbers side by side")
    text = _OPAQUE.sub(_symbol, text)
    if _NOTATION.search(text) and r"\begin{vmatrix}" not in text:
        raise Unreadable("notation")
    if _TOO_LARGE.search(text):
        raise Unreadable("too large")
    text = _DEGREES.sub(r"{\\frac{\1 \\cdot \\pi}{180}}", text)
    # Decimals stay exact as fractions; a binary float would hide near misses.
    text = _DECIMAL.sub(lambda m: rf"{{\frac{{{int(m[1] + m[2])}}}{{{10 ** len(m[2])}}}}}", text)
    text = _JUXTAPOSED.sub(r"\1 \\cdot (", text)
    text = re.sub(r"\)\s*\(", r") \\cdot (", text)
    text = re.sub(r"\)\s*(?=\d)", r") \\cdot ", text)
    return _SLASH.sub(r"\\frac{\1}{\2}", text)


def _bits(tree: Any) -> float:
    """A bound on the logarithm (base 2) of the absolute value of a constant expression."""
    if tree.is_Rational:
        return float(max(abs(int(tree.p)).bit_length(), int(tree.q).bit_length()))
    if tree.is_Pow:
        base, exponent = _bits(tree.base), _bits(tree.exp)
        return float(base * 2.0 ** min(exponent, 1000.0))
    if isinstance(tree, (sympy.factorial, sympy.gamma)):
        size = 2.0 ** min(_bits(tree.args[0]), 1000.0)
        return float(size * max(math.log2(size), 1.0))
    return sum((_bits(part) for part in tree.args), 1.0)


def _bounded(tree: Any) -> None:
    for part in sympy.preorder_traversal(tree):
        grows = isinstance(part, (sympy.Pow, sympy.factorial, sympy.gamma, sympy.binomial))
        if grows and not _bits(part) <= MAX_BITS:
            raise Unreadable("too large")


@functools.lru_cache(maxsize=2048)
def expression(text: str) -> Any:
    """SymPy's tree of an expression.

    Raises: Unreadable.
    """
    check(text)
    try:
        tree = latex2sympy(
            _prepared(text), normalization_config=None, conversion_config=_CONFIG
        )  # fmt: skip
    except (Unreadable, MemoryError, RecursionError):
        raise
    except Exception as error:  # the parser raises bare Exceptions and many other types
        raise Unreadable("expression") from error
    if not isinstance(tree, (sympy.Expr, sympy.Set)):
        raise Unreadable("expression")
    _bounded(tree)
    try:
        if isinstance(tree, sympy.Set):
            return tree
        names = {symbol: sympy.Symbol(symbol.name) for symbol in tree.free_symbols}
        names |= {symbol: sympy.I for symbol in names if symbol.name in ("i", "mathrm{i}")}
        tree = tree.xreplace(names)
        tree = tree.replace(
            lambda part: isinstance(part, sympy.UnevaluatedExpr), lambda p: p.args[0]
        )
        tree = tree.doit()
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise Unreadable("expression") from error
    if tree.has(sympy.nan, sympy.zoo):
        raise Unreadable("undefined")
    return tree


def _points(left: str, right: str, names: list[str], lenient: bool) -> list[dict[Any, Any]]:
    """Rational points drawn from the pair itself, so that no answer can be made to fit them."""
    seed = hashlib.sha256(f"{left}\n{right}".encode()).digest()
    draw = random.Random(seed)
    whole = lenient and set(names) <= {"n", "k", "m", "j"}
    out = []
    for _ in range(2 * POINTS):
        point = {}
        for name in names:
            value = sympy.Rational(draw.randint(101, 997), draw.randint(101, 499))
            if whole:
                value = sympy.Integer(draw.randint(1, 30))
            point[sympy.Symbol(name)] = value if lenient or draw.random() < 0.5 else -value
        out.append(point)
    return out


def _near(left: Any, right: Any) -> bool | None:
    """Whether two constants are equal: exactly if rational, else to 50 digits; None: undefined."""
    if left == right:
        return True
    if left.is_Rational and right.is_Rational:
        return False
    if left.is_infinite or right.is_infinite:
        return False
    values = [sympy.N(side, DIGITS) for side in (left, right)]
    if any(not value.is_number or value.has(sympy.nan, sympy.zoo, sympy.oo) for value in values):
        return None
    size = max(abs(value) for value in values)
    if size == 0:
        return True
    gap = abs(values[0] - values[1])
    if gap > sympy.Float("1e-10") * size:
        return False
    if gap > AGREE * size:
        # A sum that vanishes has no leading digits: SymPy marks that with a precision of one bit.
        small = sympy.N(left - right, 15)
        return bool(small == 0 or (small.is_Float and small._prec <= 4))
    difference = sympy.expand(left - right)
    return not (difference.is_Rational and difference != 0)


def equal(gold: str, answer: str, lenient: bool = False) -> bool:
    """Whether two expressions have the same value wherever they are defined."""
    g, a = expression(gold), expression(answer)
    if g == a:
        return True
    if isinstance(g, sympy.Set) or isinstance(a, sympy.Set):
        return False
    return _identical(g, a, f"{gold}\n{answer}", lenient)


def _identical(g: Any, a: Any, seed: str, lenient: bool) -> bool:
    symbols = g.free_symbols | a.free_symbols
    if any(part.is_Function and isinstance(part.func, sympy.core.function.UndefinedFunction)
           for side in (g, a) for part in sympy.preorder_traversal(side)):  # fmt: skip
        return bool(sympy.expand(g - a) == 0)
    if not symbols:
        return _near(g, a) is True
    names = sorted(str(symbol) for symbol in symbols)
    seen = 0
    for point in _points(seed, "", names, lenient):
        verdict = _near(*(side.xreplace(point).doit() for side in (g, a)))
        if verdict is False:
            return False
        seen += verdict is True
        if seen == POINTS:
            return True
    return False


def related(
    gold: tuple[str, str, str], answer: tuple[str, str, str], lenient: bool = False
) -> bool:
    """Whether two equations or inequalities differ only by a constant factor."""
    (g0, op, g1), (a0, other, a1) = gold, answer
    flipped = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
    g = expression(g0) - expression(g1)
    a = expression(a0) - expression(a1)
    if op in flipped and op != other:
        a, other = -a, flipped.get(other, "")
    if op != other or not g.free_symbols or g.free_symbols != a.free_symbols:
        return False
    names = sorted(str(symbol) for symbol in g.free_symbols)
    ratio = None
    for point in _points(f"{gold}", f"{answer}", names, True):
        sides = [side.xreplace(point).doit() for side in (g, a)]
        if not (sides[0] == 0 or sides[1] == 0):
            ratio = sympy.nsimplify(sides[0] / sides[1]) if sides[0].is_Rational else (
                sympy.simplify(sides[0] / sides[1]))  # fmt: skip
            break
    if ratio is None or not ratio.is_real or (op in flipped and not ratio.is_positive):
        return False
    return _identical(g, sympy.expand(ratio * a), f"{gold}{answer}", lenient)


def rounding(exact: str, written: str) -> bool:
    """Whether the decimal `written` is a correct rounding of the expression `exact`."""
    decimal = quantity(written)
    value = expression(exact)
    if decimal is None or value.free_symbols or not value.is_real:
        return False
    number = sympy.nsimplify(sympy.N(value, DIGITS), rational=True)
    return rounds(Fraction(int(number.p), int(number.q)), whole(decimal), 1)


def _folded(text: str) -> str:
    """An expression without primes and without capital letters (but in commands)."""
    text = re.sub(r"'|\^\s*\{?\s*\\prime\s*\}?", "", text)
    letter = r"\\operatorname\{[A-Za-z]+\}|\\[A-Za-z]+|[A-Z]"
    return re.sub(letter, lambda m: m[0] if len(m[0]) > 1 else m[0].lower(), text)


def judge(gold: str, answer: str, lenient: bool) -> tuple[bool, str]:
    """Verdict and reason for a pair that needs algebra."""
    comparison = Comparison(
        lenient,
        lambda g, a: equal(g, a, lenient),
        lambda g, a: related(g, a, lenient),
        rounding,
    )
    try:
        g = read(gold)
    except Unreadable:
        return False, "gold unreadable"
    try:
        a = read(answer)
        if comparison.same(g, a):
            return True, "symbolic"
        reason = "different"
    except Unreadable as error:
        if problem(gold):
            return False, "gold unreadable"
        reason = "too large" if str(error) == "too large" else "unreadable"
    if lenient and reason != "too large" and g.kind == "leaf" and _alike(g, answer):
        return True, "symbolic"
    return False, reason


def _alike(gold: Node, answer: str) -> bool:
    """Lenient: whether two expressions are equal but for primes and the case of letters."""
    try:
        node = read(answer)
        return node.kind == "leaf" and equal(_folded(gold.text), _folded(node.text), True)
    except Unreadable:
        return False


def problem(gold: str) -> str | None:
    """Why a gold answer cannot be judged, or None."""
    try:
        _readable(read(gold))
    except Unreadable as error:
        return str(error)
    return None


def _readable(node: Node) -> None:
    """Raise Unreadable unless every leaf is a number, a short word or an expression."""
    if node.kind == "word" and len(node.text.split()) > 6:
        raise Unreadable("a sentence, no answer")
    if node.kind == "leaf":
        expression(node.text)
    named = node.kind == "chain" and any(not is_name(item.text) for item in node.items)
    for item in node.items:
        if not (named and is_name(item.text)):
            _readable(item)
