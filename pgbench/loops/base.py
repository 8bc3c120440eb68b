"""What the runner asks of a loop: phases that it can stop, save and resume between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Phase:
    """One completed piece of work and what there is to log of it."""

    name: str
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Loop(Protocol):
    """A data flow between an environment and an algorithm."""

    compile_from: ClassVar[int]  # budgets below this do not repay compilation
    # What it reads of the config, with types of pgbench/settings/ranges.py: a run's plan holds
    # every config against them, a plug-in's without ranges of its own, too.
    needs: ClassVar[dict[str, Any]]
    # Torch threads that serve this loop best, 0 means all; or a function of the config.
    threads: ClassVar[Any]
    steps: int  # in the environment's unit (environment steps, batches of responses), so far
    budget: int
    policy: Any
    episodes: Episodes

    def __init__(self, algorithm: Any, env: Any, budget: int, seed: int) -> None: ...

    @staticmethod
    def steps_of(config: Any, budget: int) -> int:
        """Steps of a run with that budget, as far as the config tells; `needs` hold already.

        Raises: PgbenchError if it ends before the first update.
        """
        ...

    def phases(self) -> Iterator[Phase]:
        """Work until the budget is spent; everything between two phases is in `state_dict`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything but the algorithm: environment, generators, counters, buffers."""
        ...

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...


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
