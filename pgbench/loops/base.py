"""What the runner asks of a loop: phases that it can stop, save and resume between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pgbench.errors import PgbenchError


@dataclass(frozen=True)
class Phase:
    """One completed piece of work and what there is to log of it."""

    name: str
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Loop:
    """A data flow between an environment and an algorithm; docs/plugins.md has a whole one.

    A loop inherits this class, or has all that is named here. It may besides have `counts` (what
    was spent, by name, for the record's costs), `summary()` (figures of the whole run, for its
    diagnostics) and `advice(config, budget)` (why a run ends before its budget, in a few words).
    """

    # Budgets below this do not repay compilation.
    compile_from: ClassVar[int] = 2**62
    # What it reads of the config, with types of pgbench/settings/ranges.py: a run's plan holds
    # every config against them, a plug-in's without ranges of its own, too.
    needs: ClassVar[dict[str, Any]] = {}
    # Torch threads that serve this loop best, 0 means all; or a function of the config.
    threads: ClassVar[Any] = 1
    steps: int  # in the loop's unit, so far
    budget: int  # steps after which it ends, at most what it was given
    policy: Any  # what acts in evaluation: `algorithm.policy()`, or with a normaliser
    episodes: Episodes

    def __init__(self, algorithm: Any, env: Any, budget: int, seed: int) -> None:
        raise NotImplementedError

    @staticmethod
    def steps_of(config: Any, budget: int) -> int:
        """Steps of a run with that budget, as far as the config tells; `needs` hold already.

        Raises: PgbenchError if it ends before the first update.
        """
        return budget

    def phases(self) -> Iterator[Phase]:
        """Work until the budget is spent; everything between two phases is in `state_dict`.

        A phase is seconds long at most: between two of them a run logs, stops and saves.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Everything but the algorithm: environment, generators, counters, buffers."""
        raise NotImplementedError

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        raise NotImplementedError


def check_loop(cls: Any, name: str) -> None:
    """Refuse a loop class that lacks a method, before anything is made.

    Raises: PgbenchError naming all that it lacks.
    """
    own = ("phases", "state_dict", "load_state_dict")  # Loop's are placeholders
    inherited = ("steps_of", "needs", "threads", "compile_from")
    lacks = [x for x in own if not callable(m := getattr(cls, x, None)) or m is getattr(Loop, x)]
    lacks += [x for x in inherited if not hasattr(cls, x)]
    if lacks:
        raise PgbenchError(
            f"loop {name} ({getattr(cls, '__name__', cls)}) has no {' and no '.join(lacks)}; "
            "inherit pgbench.loops.base.Loop and write them (docs/plugins.md has a whole loop)"
        )


def check_made(loop: Any, name: str) -> None:
    """Refuse a loop whose constructor leaves out what a run reads.

    Raises: PgbenchError naming all that it lacks.
    """
    lacks = [x for x in ("steps", "budget", "policy", "episodes") if not hasattr(loop, x)]
    if lacks:
        raise PgbenchError(
            f"loop {name} sets no {' and no '.join(lacks)}; its constructor does "
            "(docs/plugins.md has a whole loop)"
        )


def lane_seeds(seed: int, num_envs: int) -> list[int]:
    """The seed of each of a loop's environments; steps of two keep the training bit."""
    return [seed + 2 * i for i in range(num_envs)]


class Episodes:
    """Undiscounted returns of the training episodes, for the progress line."""

    def __init__(self, num_envs: int) -> None:
        self.running = np.zeros(num_envs)
        self.recent: deque[float] = deque(maxlen=20)

    def add(self, reward: NDArray[Any], done: NDArray[Any]) -> None:
        """Take in one step of every environment, both (n,)."""
        self.running += reward
        if done.any():
            self.recent.extend(self.running[done].tolist())
            self.running[done] = 0.0

    @property
    def mean(self) -> float | None:
        """Mean return of the last 20 finished episodes; None before the first."""
        return float(np.mean(self.recent)) if self.recent else None

    def state_dict(self) -> dict[str, Any]:
        """The running and the recent returns."""
        return {"running": self.running.tolist(), "recent": list(self.recent)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.running = np.array(saved["running"])
        self.recent = deque(saved["recent"], maxlen=20)
