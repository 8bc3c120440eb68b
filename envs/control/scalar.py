"""Arithmetic that numpy rounds differently for scalars, as Gymnasium uses it, and for arrays."""

from __future__ import annotations

import math

import numpy as np

from pgbench.worlds.batch_env import Floats


def squares(x: Floats) -> Floats:
    """`x ** 2` of each element (n,) as a numpy scalar: by `pow`, not by multiplication.

    The two differ in the last bit for about one number in a thousand.
    """
    return np.array([value**2 for value in x], x.dtype)


def powers(x: Floats) -> Floats:
    """`squares` of float64 numbers (n,), by way of Python's, which are faster."""
    return np.array([value**2 for value in x.tolist()])


def cosines(x: Floats) -> Floats:
    """`math.cos` of each element (n,), float64: numpy's own may differ in the last bit."""
    return np.array([math.cos(value) for value in x.tolist()])
