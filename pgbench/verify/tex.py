"""TeX's own spellings undone: arguments without braces, accents, Greek letters, names of functions.

Nothing here computes; `pgbench.verify.normal.clean` calls it.
"""

from __future__ import annotations

import re
import unicodedata

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|[^\\]|\\", re.S)
# How many arguments a command takes; \sqrt has an optional one in brackets besides.
_TAKES = {r"\frac": 2, r"\binom": 2, r"\sqrt": 1, r"\mathbb": 1, r"\mathcal": 1, r"\overline": 1,
          r"\dot": 1, r"\bar": 1, r"\hat": 1, r"\vec": 1, r"\operatorname": 1}  # fmt: skip
_BARE = re.compile(
    r"\\(?:(?:frac|binom)(?![A-Za-z])(?!\{[^{}]*\}\{)|(?:sqrt|dot|bar|overline)(?![A-Za-z])(?!\{))"
    r"|\^\s*\\"
)
_NO_ARGUMENT = frozenset("{}[]()^_&=,;+-*/|") | {r"\\", r"\{", r"\}"}
_KEPT_RAISED = frozenset({r"\circ", r"\prime", r"\ast", r"\star"})
MAX_NESTED = 20


def braces(text: str) -> str:
    """Braces around every argument: `\\frac n2` is `\\frac{n}{2}`, `2^\\pi` is `2^{\\pi}`.

    TeX's rule: an argument without braces is the next token. A command that takes arguments itself
    takes them along (`x^\\frac12`), and a power of several digits is read whole (`x^10`), as
    people mean it. Text that TeX would refuse stays as it is.
    """
    if not _BARE.search(text):
        return text
    tokens = _TOKEN.findall(text)
    out: list[str] = []
    at = 0
    while at < len(tokens):
        part, at = _part(tokens, at, 0)
        out.append(part)
    return "".join(out)


def _part(tokens: list[str], at: int, depth: int) -> tuple[str, int]:
    """The text of the token at `at` with its arguments, and where the next one begins."""
    token = tokens[at]
    if depth > MAX_NESTED:
        return token, at + 1
    if token == "^":
        after = _skip(tokens, at + 1)
        following = tokens[after] if after < len(tokens) else ""
        if re.match(r"\\[A-Za-z]", following) and following not in _KEPT_RAISED:
            inside, end = _part(tokens, after, depth + 1)
            return "^{" + inside + "}", end
        return token, at + 1
    if token not in _TAKES:
        return token, at + 1
    out, now = token, at + 1
    if token == r"\sqrt" and (after := _skip(tokens, now)) < len(tokens) and tokens[after] == "[":
        if "]" not in tokens[after:]:
            return token, at + 1
        close = tokens.index("]", after)
        out, now = out + "".join(tokens[after : close + 1]), close + 1
    for _ in range(_TAKES[token]):
        now = _skip(tokens, now)
        if now >= len(tokens) or (tokens[now] in _NO_ARGUMENT and tokens[now] != "{"):
            return token, at + 1
        if tokens[now] == "{":
            inside, now = _group(tokens, now, depth + 1)
            if not inside:
                return token, at + 1
            out += inside
        else:
            inside, now = _part(tokens, now, depth + 1)
            out += "{" + inside + "}"
    return out, now


def _skip(tokens: list[str], at: int) -> int:
    while at < len(tokens) and tokens[at].isspace():
        at += 1
    return at


def _group(tokens: list[str], at: int, depth: int) -> tuple[str, int]:
    """The group in braces that opens at `at`; "" if it does not close."""
    out, now = ["{"], at + 1
    while now < len(tokens) and tokens[now] != "}":
        if tokens[now] == "{":
            part, now = _group(tokens, now, depth + 1) if depth <= MAX_NESTED else ("", now)
            if not part:
                return "", at
        else:
            part, now = _part(tokens, now, depth)
        out.append(part)
    return ("".join(out) + "}", now + 1) if now < len(tokens) else ("", at)


_ACCENTS = {"'": "\u0301", "`": "\u0300", '"': "\u0308", "^": "\u0302", "~": "\u0303",
            "c": "\u0327", "v": "\u030c", "H": "\u030b"}  # fmt: skip
_ACCENT = re.compile(
    r"\\(?:(['`\"^~])\s*(?:\{\s*([A-Za-z])\s*\}|([A-Za-z]))|([cvH])\{([A-Za-z])\})"
)
_LIGATURES = re.compile(r"\\(ss|oe|OE|ae|AE|aa|AA|o|O|l|L)(?![A-Za-z])(?:\{\}|\s)?")
_LETTERS = {"ss": "ß", "oe": "œ", "OE": "Œ", "ae": "æ", "AE": "Æ", "aa": "å", "AA": "Å",
            "o": "ø", "O": "Ø", "l": "ł", "L": "Ł"}  # fmt: skip


def accents(text: str) -> str:
    """`Poincar\\'e` and `K\\"onig` with the letters that they stand for."""

    def letter(found: re.Match[str]) -> str:
        mark, wide = found[1] or found[4], found[2] or found[3] or found[5]
        return unicodedata.normalize("NFC", wide + _ACCENTS[mark])

    return _LIGATURES.sub(lambda m: _LETTERS[m[1]], _ACCENT.sub(letter, text))


_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]+")
_NAMED = dict(zip(
    "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ",
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega".split(),
    strict=True,
))  # fmt: skip


def greek(text: str) -> str:
    """Greek letters as commands; three or more in a row are a word and stay."""

    def commands(found: re.Match[str]) -> str:
        if len(found[0]) > 2 or not all(char in _NAMED for char in found[0]):
            return found[0]
        return "".join(f"\\{_NAMED[char]} " for char in found[0])

    return _GREEK.sub(commands, text)


_KNOWN = (
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp max min gcd lcm det"
).split()
_KNOWN_SET = frozenset(_KNOWN)
_OPERATOR = re.compile(r"\\operatorname\*?\s*\{\s*([A-Za-z]+)\s*\}")
_CALLED = re.compile(
    r"\\(?:mathrm|text|textrm|rm|mathsf|mathit)\s*\{\s*([A-Za-z]{2,})\s*\}(?=\s*\()"
)
_PLAIN_CALL = re.compile(
    r"(?<![\\A-Za-z])(arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|csc|sec|ln|log|exp)"
    r"(?=\s*[(_]|\s*\\(?:frac|pi|theta|alpha|sqrt)|\s*\d)"
)


def operators(text: str) -> str:
    """Names of functions: `\\operatorname{arctan}` and `sin(` as commands.

    A name that nothing here knows stays `\\operatorname{...}`: no product of its letters.
    """

    def command(found: re.Match[str]) -> str:
        name = found[1]
        if name in _KNOWN_SET:
            return f"\\{name} "
        return name if found[0] == text else rf"\operatorname{{{name}}}"

    if "\\" in text:
        text = _OPERATOR.sub(command, _CALLED.sub(command, text))
    return _PLAIN_CALL.sub(r"\\\1 ", text)


_DOTS = re.compile(r"(?<![\d.,])(\d*)\.(\d+)\s*(?:\.{2,}|\\(?:l|c)?dots(?![A-Za-z])|\u2026)")
_DOTTED = re.compile(r"(\.\d*)\\dot\s*\{(\d)\}(?:\s*(\d*)\s*\\dot\s*\{(\d)\})?")
_BARRED = re.compile(r"(\.\d*)\s*\\(?:bar|overline)\s*\{(\d+)\}")
_PARENTHESES = re.compile(r"(?<![\d.])(\d+)\.\((\d+)\)")


def repeating(text: str) -> str:
    """Repeating decimals in one spelling, `0.1\\overline{6}`.

    Also `0.\\dot{1}4285\\dot{7}`, `0.\\bar{3}`, `0.(3)`, and `0.1666...`: dots after the third
    repetition of a period. Other decimals that end in dots stay as they are.
    """
    text = _BARRED.sub(r"\1\\overline{\2}", text)
    text = _DOTTED.sub(lambda m: rf"{m[1]}\overline{{{m[2]}{m[3] or ''}{m[4] or ''}}}", text)
    text = _PARENTHESES.sub(r"\1.\\overline{\2}", text)
    return text


def endless(text: str) -> str:
    """`0.1666...` as `0.1\\overline{6}`; must come before the full stops at the end go."""

    def period(found: re.Match[str]) -> str:
        whole, digits = found[1], found[2]
        for length in range(1, len(digits) // 3 + 1):
            cycle = digits[-length:]
            if digits.endswith(cycle * 3):
                before = digits
                while before.endswith(cycle):
                    before = before[:-length]
                return rf"{whole}.{before}\overline{{{cycle}}}"
        return found[0]

    return _DOTS.sub(period, text) if "dots" in text or ".." in text or "\u2026" in text else text
