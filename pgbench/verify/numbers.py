"""Numbers as answers write them: exact values, with what stands around them (%, $, units).

Integers, decimals, thousands separators, fractions, mixed numbers, powers of ten. All values are
exact fractions; a decimal remembers its digits for the lenient comparison.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from fractions import Fraction

_INT = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:[ ]\d{3})+|\d+)"
_DEC = rf"(?:{_INT}(?:\.\d*)?|\.\d+)"
_BODY = re.compile(
    rf"""(?:
      (?P<whole>{_INT})?\s*\\frac\s*\{{\s*(?P<top>-?\s*{_DEC})\s*\}}\s*\{{\s*(?P<bottom>-?\s*{_DEC})\s*\}}
    | (?P<whole2>\d+)\s+(?P<top2>\d+)\s*/\s*(?P<bottom2>\d+)
    | (?P<top3>{_DEC})\s*/\s*(?P<bottom3>-?{_DEC})
    | (?P<mantissa>{_DEC})\s*(?:\\times|\\cdot|\*|x)\s*
        10\s*\^\s*(?:\{{\s*)?(?P<power>[+-]?\s*\d+)\s*\}}?
    | 10\s*\^\s*(?:\{{\s*(?P<power2>[+-]?\s*\d+)\s*\}}|(?P<power3>\d+))
    | (?P<mantissa2>{_DEC})[eE](?P<power4>[+-]?\d+)
    | (?P<lead>{_INT}?\.\d*)\\overline\s*\{{\s*(?P<cycle>\d+)\s*\}}
    | (?P<plain>{_DEC})
    )""",
    re.VERBOSE,
)  # fmt: skip
_SIGN = re.compile(r"[+-]?")
_CURRENCY = re.compile(r"\\?\$|€|£|¥|₹|USD ?|EUR ?|Rs\.? ?|US\\?\$")
_MONEY = {"$": "$", "€": "euro", "£": "pound sterling", "¥": "yen", "₹": "rupee", "E": "euro"}
MAX_POWER = 1000

_KNOWN = {
    "%": "% percent percentage pct",
    "degree": r"^\circ degree deg",
    "$": "dollar usd buck",
    "cent": "cent",
    "euro": "euro eur",
    "rupee": "rupee rs",
    "inch": "inch inche in",
    "foot": "foot feet ft",
    "yard": "yard yd",
    "mile": "mile mi",
    "mm": "mm millimeter millimetre",
    "cm": "cm centimeter centimetre",
    "m": "m meter metre",
    "km": "km kilometer kilometre",
    "g": "g gram gm",
    "kg": "kg kilogram kilo",
    "mg": "mg milligram",
    "ounce": "ounce oz",
    "lb": "lb pound",
    "ton": "ton tonne",
    "second": "s second sec",
    "minute": "minute min",
    "hour": "hour hr h",
    "day": "day",
    "week": "week",
    "month": "month",
    "year": "year yr",
    "l": "l L liter litre",
    "ml": "ml mL milliliter millilitre",
    "gallon": "gallon gal",
    "radian": "radian rad",
    "unit": "unit",
    "mph": "mph",
    "km per hour": "kmph kph",
}
# Units and counters that other scripts write without a space.
_FOREIGN = {
    "元": "yuan", "块": "yuan", "美元": "$", "欧元": "euro", "米": "m", "千米": "km", "公里": "km",
    "厘米": "cm", "毫米": "mm", "千克": "kg", "公斤": "kg", "克": "g", "小时": "hour",
    "分钟": "minute",
    "秒": "second", "天": "day", "日": "day", "周": "week", "月": "month", "年": "year", "升": "l",
    "毫升": "ml", "度": "degree", "円": "yen", "원": "won", "км": "km", "м": "m", "см": "cm",
    "мм": "mm", "кг": "kg", "г": "g", "л": "l", "平方米": "m^2", "平方厘米": "cm^2",
    "平方千米": "km^2", "立方米": "m^3", "立方厘米": "cm^3",
}  # fmt: skip
_MULTIPLIERS = frozenset("一二三四五六七八九十百千万萬亿億兆零半双对打几余多约不非或和与到至之成折")
_CANONICAL = {word: name for name, words in _KNOWN.items() for word in words.split()}
# A word that changes the value, or that hedges, is no unit.
_NOT_UNITS = frozenset(
    """thousand million billion trillion hundred dozen half halves third thirds quarter quarters
    fourth fourths fifth fifths tenth tenths hundredth hundredths thousandth thousandths
    pair pairs score gross double triple and or not no nor plus minus times over divided modulo mod
    maybe perhaps possibly probably approximately about roughly around almost nearly to out than
    but if unless either except base factorial squared cubed infinity pi root is are was
    equals equal versus vs thou mil bil mio mille tausend millionen millones milliard lakh crore
    wrong incorrect false isn aren doesn cannot never neither
    тысяча тысяч тысячи миллион миллиона миллионов млн тыс половина не или и millón""".split()
)
_ORDINAL = re.compile(
    r"(?: ?\^ ?\{ ?(?:st|nd|rd|th) ?\}| ?\^? ?-?(?:st|nd|rd|th))(?![A-Za-z]) ?(?P<noun>.*)"
)
_UNIT = re.compile(
    r"(?P<circ>\^\s*\\circ(?: ?[CF])?)|(?P<percent>%)"
    r"|(?P<words>[^\W\d_]+\.?(?:[ -][^\W\d_]+\.?| ?/ ?[^\W\d_]+){0,5})"
    r"(?:\^\s*\{?(?P<power>[23])\}?)?"
)
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}


@dataclass(frozen=True)
class Quantity:
    """An exact number with its unit (None: none; "": a word that is no known unit)."""

    value: Fraction
    unit: str | None = None
    decimals: int | None = None  # digits after the point, where the number was written as a decimal
    digits: int = 0  # significant digits of the decimal

    @property
    def percent(self) -> bool:
        """Whether it is a number of hundredths."""
        return self.unit == "%"


def _word(word: str) -> str | None:
    """The known unit that a word names, or None."""
    bare = word.rstrip(".")
    for form in (bare, bare.lower()):
        if form in _CANONICAL:
            return _CANONICAL[form]
        if form.endswith("s") and len(form) > 2 and form[:-1] in _CANONICAL:
            return _CANONICAL[form[:-1]]
    return None


@functools.lru_cache(maxsize=4096)
def unit(text: str, spaced: bool) -> str | None:
    """The canonical unit, "" for words that name none, None where the text is no unit.

    `spaced` says that a space stands before it: `5 m` is a length, `5m` may be 5 times m.
    """
    found = _UNIT.fullmatch(text)
    if found is None:
        return None
    if found["circ"]:
        return "degree"
    if found["percent"]:
        return "%"
    if found["words"] in _FOREIGN:
        return _FOREIGN[found["words"]]
    if any("\u3040" <= char <= "\u9fff" for char in found["words"]):
        return None if _MULTIPLIERS & set(found["words"]) else ""
    words = re.sub(r" ?/ ?", " per ", found["words"]).replace("-", " ").split()
    power = int(found["power"] or 1)
    if len(words) > 1 and words[0].lower().rstrip(".") in _POWERS:
        power *= _POWERS[words.pop(0).lower().rstrip(".")]
    names = [_word(word) for word in words]
    lowered = [word.lower().rstrip(".") for word in words]
    if any(word in _NOT_UNITS or word.removesuffix("s") in _NOT_UNITS for word in lowered):
        return None
    for word, name in zip(lowered, names, strict=True):
        if len(word) < 3 and name is None and word not in ("of", "in", "on", "at", "am", "pm", "a"):
            return None
    if not spaced and (names[0] is None or len(words[0]) < 2):
        return None
    if power > 1 and names[-1] is None:
        return None
    if power > 1:
        return f"{names[-1]}^{power}"
    if "per" in lowered:
        at = lowered.index("per")
        if at == 1 and at + 1 < len(names) and names[0] and names[at + 1]:
            whole = f"{names[0]} per {names[at + 1]}"
            return "mph" if whole == "mile per hour" else whole
        return ""
    return names[0] if len(names) == 1 and names[0] else ("" if names[0] is None else names[0])


def strip_unit(text: str) -> tuple[str, str | None]:
    """An expression without the known unit at its end (`16\\sqrt{3} cm`), and that unit."""
    found = re.search(r"(\^\s*\\circ|%)$", text)
    if found and not _FUNCTION.search(text):
        return text[: found.start()].strip(), unit(found[1], False)
    found = re.search(r" ((?:(?:square|sq|cubic|cu)\.? )?[A-Za-z]{2,})\.?(\^\s*\{?[23]\}?)?$", text)
    if found and found.start() > 0:
        name = unit(found[1] + (found[2] or ""), True)
        if name:
            return text[: found.start()].strip(), name
    return text, None


def _number(text: str) -> Fraction:
    text = text.replace(",", "").replace(" ", "").rstrip(".")
    return Fraction(text if not text.startswith(".") else "0" + text)


def _ratio(top: str, bottom: str) -> Fraction | None:
    under = _number(bottom)
    return _number(top) / under if under else None


def _scaled(mantissa: str, power: str) -> Fraction | None:
    exponent = int(power.replace(" ", ""))
    return _number(mantissa) * Fraction(10) ** exponent if abs(exponent) <= MAX_POWER else None


def _value(found: re.Match[str]) -> Fraction | None:
    got = found.groupdict()
    if got["plain"]:
        return _number(got["plain"])
    if got["top"]:
        value = _ratio(got["top"], got["bottom"])
        if got["whole"] and value is not None:
            # A whole number before a proper fraction is a mixed number; otherwise it is a factor.
            if not 0 < value < 1:
                return None
            value += _number(got["whole"])
        return value
    if got["top2"]:
        value = _ratio(got["top2"], got["bottom2"])
        return None if value is None or not value < 1 else value + int(got["whole2"])
    if got["top3"]:
        return _ratio(got["top3"], got["bottom3"])
    if got["cycle"]:
        lead, cycle = got["lead"].replace(",", "").replace(" ", ""), got["cycle"]
        places = len(lead) - lead.index(".") - 1
        return _number(lead + "0") + Fraction(int(cycle), 10**places * (10 ** len(cycle) - 1))
    power = next(got[name] for name in ("power", "power2", "power3", "power4") if got[name])
    return _scaled(got["mantissa"] or got["mantissa2"] or "1", power)


@functools.lru_cache(maxsize=8192)
def quantity(text: str) -> Quantity | None:
    """The number a cleaned answer writes, or None if it writes anything else."""
    at, sign, money = 0, 1, None
    for pattern in (_SIGN, _CURRENCY, _SIGN):
        found = pattern.match(text, at)
        if found and found[0]:
            if pattern is _CURRENCY:
                money = _MONEY.get(found[0].strip("\\ U")[:1], "")
                money = "$" if "$" in found[0] or found[0].startswith("USD") else money
                money = "rupee" if found[0].startswith("Rs") else money
            elif found[0] == "-":
                sign = -sign
            at = found.end()
            at += len(text[at:]) - len(text[at:].lstrip(" "))
    found = _BODY.match(text, at)
    if found is None:
        return None
    rest = text[found.end() :]
    name = money
    if found["plain"] and found["plain"].isdigit() and (nth := _ORDINAL.fullmatch(rest)):
        # `12th`, `3rd place`: what it counts is a word at most.
        rest = nth["noun"].rstrip()
        if rest and unit(rest, True) is None:
            return None
        rest, name = "", name or ""
    if rest:
        suffix = unit(rest.strip(" "), rest.startswith(" "))
        if suffix is None:
            return None
        name = money or suffix
    value = _value(found)
    if value is None:
        return None
    plain = found["plain"]
    if plain is None or "." not in plain:
        return Quantity(sign * value, name)
    written = plain.replace(",", "").replace(" ", "")
    decimals = len(written.split(".")[1])
    return Quantity(sign * value, name, decimals, len(written.replace(".", "").lstrip("0")))


def whole(written: Quantity) -> Quantity:
    """A whole number as a decimal without places, so that it can round something."""
    if written.decimals is not None or written.value.denominator != 1:
        return written
    digits = str(abs(written.value.numerator))
    # `6400` rounds to hundreds; one digit that counts is too few for that.
    zeros = len(digits) - len(digits.rstrip("0"))
    places = -zeros if len(digits) - zeros >= 2 else 0
    return replace(written, decimals=places, digits=len(digits))


def rounds(exact: Fraction, written: Quantity, digits: int = 3) -> bool:
    """Whether a decimal of at least so many significant digits is `exact`, correctly rounded."""
    if written.decimals is None or written.digits < digits:
        return False
    return abs(exact - written.value) * 2 <= Fraction(10) ** -written.decimals


def equal(gold: Quantity, answer: Quantity, lenient: bool = False) -> bool:
    """Whether two numbers are the same answer; the rules are in docs/verifiers.md."""
    # A percentage and a bare number have a relation of their own, below.
    units = {gold.unit, answer.unit} - {None, "", "%"}
    if len(units) > 1 and not lenient:
        return False
    g, a = gold.value, answer.value
    if gold.percent == answer.percent:
        values = [(g, a)]
    elif gold.percent:
        values = [(g, a), (g / 100, a)]
    elif lenient or abs(g) > 1:
        values = [(g, a), (g, a / 100)]
    else:
        values = [(g, a / 100)]
    if any(x == y for x, y in values):
        return True
    return lenient and any(
        (answer.unit != "%" and rounds(x, answer)) or (gold.unit != "%" and rounds(y, gold))
        for x, y in values
    )
