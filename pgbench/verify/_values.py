"""Values of the standard library that come apart into plain data, and classes that do not."""

from __future__ import annotations

import datetime
import functools
import types
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

# Values of the standard library, exactly of these types: how they come apart. What gives None
# stays with the submission.
VALUES: dict[type, Callable[[Any], tuple[Any, ...] | None]] = {
    Fraction: lambda x: (x.numerator, x.denominator),
    Decimal: lambda x: (str(x),),
    range: lambda x: (x.start, x.stop, x.step),
    datetime.date: lambda x: (x.year, x.month, x.day),
    datetime.timedelta: lambda x: (x.days, x.seconds, x.microseconds),
    datetime.timezone: lambda x: (x.utcoffset(None),),
    datetime.time: lambda x: _zoned(x, x.hour, x.minute, x.second, x.microsecond),
    datetime.datetime: lambda x: _zoned(
        x, x.year, x.month, x.day, x.hour, x.minute, x.second, x.microsecond
    ),
}
MAKERS = {kind.__name__: kind for kind in VALUES}
PARTS = (int, str, type(None), datetime.timedelta, datetime.timezone)
# A class with one of these compares or computes by its own rule, which must stay where it is.
OPERATORS = frozenset(
    f"__{name}__"
    for name in "eq ne lt le gt ge add radd sub rsub mul rmul matmul truediv rtruediv floordiv mod "
    "pow neg pos abs invert and or xor lshift rshift divmod int float index round".split()
)
_BOUND = (types.MethodType, types.BuiltinFunctionType, types.WrapperDescriptorType,
          types.MethodWrapperType)  # fmt: skip


def _zoned(x: Any, *parts: int) -> tuple[Any, ...] | None:
    known = x.tzinfo is None or type(x.tzinfo) is datetime.timezone
    return (*parts, x.tzinfo, x.fold) if known else None


@functools.cache
def own_rules(kind: type) -> bool:
    """Whether objects of a class have operators of their own, `==` among them."""
    if issubclass(kind, _BOUND):
        return False
    return any(not OPERATORS.isdisjoint(vars(above)) for above in kind.__mro__[:-1])
