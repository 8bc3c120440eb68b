"""One spelling for each answer: LaTeX, Unicode and plain notation brought together as text.

Nothing here computes. `clean` removes what carries no meaning (delimiters, spacing commands,
`\\left`, styles of fractions and text); `key` is the form in which two answers are equal as text.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from pgbench.verify import tex

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ",
        "÷": r"\div ", "∞": r"\infty ", "°": r"^\circ ",
        "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≃": r"\approx ",
        "≡": r"\equiv ", "∼": r"\sim ", "∝": r"\propto ", "→": r"\to ", "⇒": r"\Rightarrow ",
        "∣": r"\mid ", "∖": r"\setminus ", "ℤ": r"\mathbb{Z}", "。": ".", "′": "'", "∪": r"\cup ",
        "∩": r"\cap ", "∈": r"\in ", "±": r"\pm ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}",
        "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}",
        "⅔": r"\frac{2}{3}", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2061": "",
        "“": "", "”": "", "’": "'",
    }
)  # fmt: skip
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|(\d+|[a-z]))")

# Commands that change only how a formula looks.
_DROPPED = re.compile(
    r"\\(?:left|right|middle|mleft|mright|bigl|bigr|Bigl|Bigr|biggl|biggr|big|Big|bigg|Bigg|displaystyle"
    r"|textstyle|limits|nolimits)(?![A-Za-z])\.?|\\!"
)
_SPACE = re.compile(r"(?<!\\)\\(?:[,;: ]|(?:quad|qquad|thinspace|enspace)(?![A-Za-z]))|~")
_COMMANDS = {
    "dfrac": r"\frac", "tfrac": r"\frac", "cfrac": r"\frac", "dbinom": r"\binom",
    "tbinom": r"\binom", "smallsetminus": r"\setminus ", "backslash": r"\setminus ",
    "leq": r"\le ", "geq": r"\ge ",
    "leqslant": r"\le ", "geqslant": r"\ge ", "lt": "<", "gt": ">", "neq": r"\ne ",
    "lbrace": r"\{", "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "langle": "(", "rangle": ")",
    "degree": r"^\circ ", "lvert": "|", "rvert": "|", "vert": "|", "ast": "*",
    "varnothing": r"\emptyset ", "infin": r"\infty ", "Reals": r"\mathbb{R}",
    "colon": ":", "simeq": r"\approx ", "thickapprox": r"\approx ", "fbox": r"\boxed",
}  # fmt: skip
_COMMAND = re.compile(
    r"\\(" + "|".join(sorted(_COMMANDS, key=len, reverse=True)) + r")(?![A-Za-z])"
)
_REALS_BUT = re.compile(r"(\\mathbb\s*\{?R\}?)\s*-\s*\\\{")
_WORDS = re.compile(r"\\(?:text|mbox|textrm|textnormal|mathrm|rm)\s*\{([^{}]*)\}")
_STYLED = re.compile(
    r"\\(?:textbf|textit|mathbf|mathit|boldsymbol|bm|mathsf|boxed|emph)\s*"
    r"\{([^{}]*)\}"
)
_BOXED = re.compile(r"^\\boxed\s*\{(.*)\}$", re.S)
_PLAIN_ROOT = re.compile(r"(?<![\\A-Za-z])sqrt\s*(?:\(([^()]*)\)|(\{)|(\d+))")
_EXPONENT = re.compile(r"\^\s*(?:\(([^()]*)\)|(-\d+))")
_LEADING = re.compile(
    r"^(?:\\approx(?![A-Za-z])\s*"
    r"|(?:is|are|be|equals?(?: to)?|exactly|simply|just|only|either|the|an?(?= [a-z]{3}))\s+)"
)
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"))
_PLAIN = re.compile(r"-?[0-9]+")


def _unwrap(text: str) -> str:
    """Without delimiters of mathematics and emphasis, and without the full stop at the end."""
    before = None
    while text != before:
        before = text
        text = text.strip().strip("*").rstrip(".,;:").strip()
        if text.endswith("\\") and not text.endswith("\\\\"):
            text = text[:-1]
        for start, end in _DELIMITERS:
            inner = text[len(start) : len(text) - len(end)]
            if text.startswith(start) and text.endswith(end) and len(text) > len(start) + len(end):
                if start not in inner and not inner.endswith("\\"):
                    text = inner
                break
        if text.endswith("$") and text.count("$") == 1:  # `18$`, or half a pair
            text = text[:-1]
        if text.startswith("{") and _closes(text) == len(text) - 1:
            text = text[1:-1]
    return text


def _closes(text: str) -> int:
    """Where the brace that a text begins with closes; -1 if nowhere."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return at
    return -1


def _inline(text: str) -> str:
    """Dollars around parts of a text are delimiters if they pair up and surround no bare number."""
    if text.count("$") - text.count(r"\$") < 2:
        return text
    return re.sub(r"(?<!\\)\$([^$]*?[^$\\])\$", r"\1", text)


def _superscript(found: re.Match[str]) -> str:
    return "^{" + found[0].translate(_SUPERSCRIPTS) + "}"


@functools.lru_cache(maxsize=8192)
def clean(text: str) -> str:
    """The answer in one spelling: ASCII, bare LaTeX, no delimiters, single spaces.

    `text` must be of bounded length; callers refuse long answers before.
    """
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return text
    text = tex.endless(text)
    if not text.isascii():
        text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", _superscript, text)
        text = _ROOT.sub(lambda m: rf"\sqrt{{{m[1] or m[2]}}}", text.translate(_SIGNS))
        text = tex.greek(unicodedata.normalize("NFKC", text))
    text = _inline(_unwrap(text))
    if "\\" in text:
        text = tex.accents(re.sub(r",\\!\s*", ",", text))
        text = text.replace(r"\{,\}", ",")
        text = _DROPPED.sub("", text)
        text = _SPACE.sub(" ", text)
        text = _COMMAND.sub(lambda m: _COMMANDS[m[1]], text)
        text = _REALS_BUT.sub(r"\1\\setminus \\{", text.replace(r"\textsuperscript", "^"))
        text = tex.operators(text)
        for _ in range(4):
            inner = _BOXED.sub(r"\1", text) if text.startswith(r"\boxed") else text
            inner = _STYLED.sub(r"\1", _WORDS.sub(r" \1 ", inner))
            if inner == text:
                break
            text = inner
        text = text.replace(r"\%", "%").replace(r"^{\circ}", r"^\circ")
        text = tex.braces(text)
    text = re.sub(r"\{\s*,\s*\}", ",", text).replace("**", "^")
    text = _PLAIN_ROOT.sub(_root, tex.repeating(text))
    if "\\" not in text:
        text = tex.operators(text)
    text = re.sub(r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi ", text)
    text = re.sub(r"(?<![\\A-Za-z])(?:infinity|infty|inf|oo)(?![A-Za-z])", r"\\infty ", text)
    text = text.replace("<=", r"\le ").replace(">=", r"\ge ").replace("~=", r"\approx ")
    text = text.replace("==", "=")
    text = _EXPONENT.sub(lambda m: f"^{{{m[1] or m[2]}}}", re.sub(r"\s+\^", "^", text))
    text = _unwrap(re.sub(r"\s+", " ", text))
    before = None
    while before != text:
        before, text = text, _LEADING.sub("", text).lstrip("=: ")
    return text


def _root(found: re.Match[str]) -> str:
    if found[2]:
        return r"\sqrt{"
    return rf"\sqrt{{{found[1] if found[1] is not None else found[3]}}}"


def key(text: str) -> str:
    """What two cleaned answers have in common if they are the same text.

    Spaces count only between two digits or two letters.
    """
    text = re.sub(r" (?=[^0-9A-Za-z]|$)|(?<=[^0-9A-Za-z]) ", "", text)
    text = re.sub(r"(?<=[0-9]) (?=[A-Za-z])|(?<=[A-Za-z]) (?=[0-9])", "", text)
    return re.sub(r"([_^])\{([0-9A-Za-z])\}(?![0-9A-Za-z])", r"\1\2", text)
