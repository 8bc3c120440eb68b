"""Copies of a running environment: by `copy.deepcopy`, or by `pickle` in another process.

What holds native memory, threads, processes or a screen cannot be copied. A copy is made by the
constructor's own arguments, gets the settings that are plain values now, and goes on from the
state: the next steps of both are equal to the bit.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from pgbench.errors import PgbenchError

PLAIN = (bool, int, float, str, Enum, spaces.Space, EnvSpec, type(None))
NAMED = ("metadata", "made_of", "_seeds")  # of other types, yet plain


class Copied:
    """Makes an environment with `state_dict` and `load_state_dict` fit for deepcopy and pickle.

    An attribute that is set after construction is carried if it is a number, a text, a space or an
    enumeration. What the constructor made from a file is read anew.
    """

    _made: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Keep what the constructor is given."""
        made = super().__new__(cls)
        made._made = args, kwargs
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """How to make this environment again.

        Raises: PgbenchError if it is closed.
        """
        if getattr(self, "closed", False):
            raise PgbenchError("a closed environment cannot be copied; copy it before close()")
        plain = {
            key: value
            for key, value in vars(self).items()
            if isinstance(value, PLAIN) or key in NAMED
        }
        args, kwargs = self._made
        version, saved = getattr(self, "version", ""), self.state_dict()  # type: ignore[attr-defined]
        state = {"plain": plain, "version": version, "state": saved}
        return _remade, (type(self), args, kwargs), state

    def __setstate__(self, saved: dict[str, Any]) -> None:
        """Go on from where the original was.

        Raises: PgbenchError if what it was made from has changed since.
        """
        now = getattr(self, "version", "")
        if now != saved["version"]:
            raise PgbenchError(
                f"the environment was copied as '{saved['version']}' and is '{now}' here; "
                "make it anew"
            )
        vars(self).update(saved["plain"])
        self.load_state_dict(saved["state"])  # type: ignore[attr-defined]


def _remade(cls: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return cls(*args, **kwargs)
