"""Observations as vectors and actions as vectors or numbers, of environments made elsewhere.

| space | an algorithm sees |
| --- | --- |
| observation: Box (d,) | the same |
| observation: Box of another shape | its numbers in C order; pictures (uint8) are refused |
| observation: Discrete(n) | one of n as a one-hot vector, float32 |
| action: Box of floats | a vector, given to the environment in its own shape |
| action: Discrete | the same |

Every other space is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pgbench.errors import PgbenchError

MOST_STATES = 10_000  # of a Discrete observation: a rollout holds a vector of that length each step
WRAP = (
    "wrap it into vectors in a file of your own, with Gymnasium's FlattenObservation for instance "
    "(docs/environments.md, 'What is refused')"
)

Observe: TypeAlias = Callable[[Any], NDArray[Any]]
Act: TypeAlias = Callable[[Any], Any]


def flat_observation(space: spaces.Space[Any], name: str) -> tuple[spaces.Box, Observe]:
    """The space of vectors that stands for `space`, and the function that makes such a vector.

    Raises: PgbenchError, starting with `name`, for a space that is neither Box nor Discrete, for
    pictures and for more than `MOST_STATES` states.
    """
    if isinstance(space, spaces.Discrete):
        size, start = int(space.n), int(space.start)
        if size > MOST_STATES:
            raise PgbenchError(
                f"{name} observes one of {size:,} states, too many for one-hot vectors (at most "
                f"{MOST_STATES:,}); {WRAP}"
            )

        def one_hot(value: Any) -> NDArray[Any]:
            vector = np.zeros(size, np.float32)
            vector[int(value) - start] = 1.0
            return vector

        return spaces.Box(0.0, 1.0, (size,), np.float32), one_hot
    if not isinstance(space, spaces.Box):
        raise PgbenchError(f"{name} observes {_what(space)}, no vector of numbers; {WRAP}")
    if space.dtype == np.uint8 and len(space.shape) > 1:
        raise PgbenchError(
            f"{name} observes pictures, uint8 of shape {space.shape}; the algorithms here take "
            f"vectors: choose an observation of another kind if it has one, or {WRAP}"
        )
    if len(space.shape) == 1:
        return space, np.asarray
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    box = spaces.Box(low, high, dtype=space.dtype.type)
    return box, lambda value: np.asarray(value).reshape(-1)


def flat_action(space: spaces.Space[Any], name: str) -> tuple[spaces.Box | spaces.Discrete, Act]:
    """The space that an algorithm acts in, and the function that turns such an action into its own.

    Raises: PgbenchError, starting with `name`, for another space than a Box of floats or Discrete.
    """
    if isinstance(space, spaces.Discrete):
        return space, int
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f":
        raise PgbenchError(
            f"{name} acts by {_what(space)}; the algorithms here act by a Box of floats or by "
            "Discrete: wrap it into one in a file of your own, with Gymnasium's TransformAction "
            "for instance (docs/environments.md, 'What is refused')"
        )
    if len(space.shape) == 1:
        return space, lambda action: action
    shape = space.shape
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    return spaces.Box(low, high, dtype=space.dtype.type), lambda action: action.reshape(shape)


def _what(space: Any) -> str:
    """A space in a few words: its kind, and what is in it where that is short."""
    kind = type(space).__name__
    if isinstance(space, spaces.Dict):
        return f"a {kind} of {', '.join(space.spaces)}"
    if isinstance(space, spaces.Box):
        return f"a {kind} of {space.dtype}"
    return f"a {kind} space"
