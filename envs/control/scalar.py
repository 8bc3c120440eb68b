"""Arithmetic that numpy rounds differently for scalars, as Gymnasium uses it, and for arrays."""

from __future__ import annotations

import numpy as np

from pgbench.worlds.batch_env import Floats


def squares(x: Floats) -> Floats:
    """`x ** 2` of each element (n,) as a numpy scalar: by `pow`, not by multiplication.

    The two differ in the last bit for about one number in a thousand.
    """
    return np.array([value**2 for value in x], x.dtype)
