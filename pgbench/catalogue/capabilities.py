"""What environments promise beyond `gymnasium.vector.VectorEnv`: capabilities, by name.

An algorithm names the capabilities that it requires, an environment those that it has; the
registry matches the names, these protocols say what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gymnasium.spaces import Box, Discrete

from pgbench.catalogue.registry import EnvSpec, find_env, resolve
from pgbench.errors import PgbenchError
from pgbench.settings.keywords import check_keywords, keywords
from pgbench.support.names import unknown

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from torch import Tensor

    from pgbench.worlds.network import Network, Traces
    from pgbench.worlds.tabular import TabularModel
    from pgbench.worlds.tasks import Task, Verdict


@runtime_checkable
class Resumable(Protocol):
    """Every environment: a saved state continues to the same bits, in another process too."""

    def state_dict(self) -> dict[str, Any]:
        """Simulator state, generators, counters, as arrays and plain values."""
        ...

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...


@runtime_checkable
class ContinuousActions(Protocol):
    """Observations (n, d) and actions (n, a) are vectors; both spaces are a Box of one dimension.

    Actions are floats; their bounds may be infinite (an algorithm that scales to them refuses
    that). Observations and rewards are finite numbers below 1e18. What every environment must be
    besides is in docs/plugins.md, and checked by `pgbench.worlds.checks`.
    """

    single_observation_space: Box
    single_action_space: Box


@runtime_checkable
class DiscreteActions(Protocol):
    """Observations (n, d) are vectors (a Box of one dimension), actions (n,) of a Discrete space.

    An algorithm counts actions from 0; the environment gets int64 numbers from the space's
    `start` on. All else is as for `ContinuousActions`.
    """

    single_observation_space: Box
    single_action_space: Discrete


@runtime_checkable
class Graph(Protocol):
    """Observations and actions belong to the locations and edges of a supply network."""

    network: Network


@runtime_checkable
class Differentiable(Protocol):
    """The dynamics are also a differentiable function of tensors, for recorded exogenous traces."""

    network: Network

    def simulator(self, device: Any = "cpu") -> Any:
        """`step(state, orders, demand, fixed)` and what it needs, on `device`."""
        ...

    def horizon(self, split: str) -> tuple[int, int]:
        """Periods to simulate, and how many of them warm up: `train`, `dev` or `test`."""
        ...

    def traces(self, count: int, seed: int, split: str = "train") -> Traces:
        """Samples of everything exogenous, on the CPU; the same for the same seed."""
        ...


@dataclass(frozen=True)
class Optimum:
    """The best score that any policy can reach (`optimum`), or a bound on it (`bound`)."""

    value: float
    kind: str
    origin: str  # the method that computed it


@runtime_checkable
class KnownOptimum(Protocol):
    """How far a policy is from the best one can be told."""

    @property
    def optimum(self) -> Optimum:
        """The optimum, computed on first use; may take seconds."""
        ...


@runtime_checkable
class Tabular(Protocol):
    """Finitely many states and actions, whose probabilities and rewards are known as tables."""

    model: TabularModel


@runtime_checkable
class VectorReward(Protocol):
    """Every step is rewarded by a vector of `reward_size` numbers: rewards are float (n, k).

    Only an algorithm that requires this fits such an environment.
    """

    reward_size: int


@runtime_checkable
class WeeklySales(Protocol):
    """Past sales and the season are observed; the profit of an oracle is the yardstick."""

    def yardstick(self, traces: Traces) -> Tensor:
        """Profit per store and period of a policy that knows the future, for each sample (B,)."""
        ...


@runtime_checkable
class Text(Protocol):
    """Prompts and completions are texts; what a completion may take and where it ends is told."""

    stop: tuple[str, ...]
    max_tokens: int
    chat: bool
    turns: int


@runtime_checkable
class Groups(Protocol):
    """Tasks can be drawn apart from stepping, so that many completions of one can be asked for."""

    def size(self, split: str) -> int | None:
        """Number of tasks of a split; None where they are generated without end."""
        ...

    def task(self, index: int, split: str = "train") -> Task:
        """The task of that index, the same at every call."""
        ...

    def sample(self, count: int, rng: random.Random, split: str = "train") -> list[Task]:
        """Tasks drawn uniformly."""
        ...


@runtime_checkable
class Verifier(Protocol):
    """Completions are judged by a program; what its verdicts depend on has a version."""

    @property
    def version(self) -> str:
        """The verifier, its packages, the data's digest."""
        ...

    def verify(self, tasks: Sequence[Task], completions: Sequence[str]) -> list[Verdict]:
        """Judge a completion for each task."""
        ...


@runtime_checkable
class Demonstrations(Protocol):
    """Every task has a completion that is judged correct (`Task.demonstration`)."""

    def task(self, index: int, split: str = "train") -> Task:
        """The task of that index."""
        ...


@runtime_checkable
class Hints(Protocol):
    """Tasks have hints, from the faintest to the clearest (`Task.hints`)."""

    def task(self, index: int, split: str = "train") -> Task:
        """The task of that index."""
        ...


CAPABILITIES: dict[str, type] = {
    "ContinuousActions": ContinuousActions,
    "Demonstrations": Demonstrations,
    "Differentiable": Differentiable,
    "DiscreteActions": DiscreteActions,
    "Graph": Graph,
    "Groups": Groups,
    "Hints": Hints,
    "KnownOptimum": KnownOptimum,
    "Text": Text,
    "Verifier": Verifier,
    "Tabular": Tabular,
    "VectorReward": VectorReward,
    "WeeklySales": WeeklySales,
}


def promises(spec: EnvSpec) -> dict[str, type]:
    """What an environment has to have: `Resumable`, and its capabilities, as far as known here."""
    known = {name: CAPABILITIES[name] for name in sorted(spec.capabilities & set(CAPABILITIES))}
    return {"Resumable": Resumable, **known}


def make(env: str | EnvSpec, num_envs: int = 1, seed: int | None = None, **kwargs: Any) -> Any:
    """A vector environment of the catalogue; with `seed` it is reset already.

    Raises: PgbenchError for an unknown id, an unknown keyword, a value out of its
    type or range, or a missing package.
    """
    spec = find_env(env) if isinstance(env, str) else env
    entry = resolve(spec)
    known = env_keywords(spec)
    for key in kwargs:
        if known and key not in known:
            raise unknown(f"setting of {spec.id}", key, known, f"see `pgbench explain {spec.id}`")
    check_keywords(entry, kwargs, spec.id)
    if num_envs < 1:
        raise PgbenchError(f"num_envs must be at least 1, not {num_envs}")
    try:
        vector = entry(num_envs=num_envs, **{**spec.kwargs, **kwargs})
    except (TypeError, ValueError) as error:
        if not kwargs:
            raise
        raise PgbenchError(f"{spec.id} does not take {kwargs}: {error}") from error
    vector.made_of = spec.name, kwargs
    if seed is not None:
        vector.reset(seed=seed)
    return vector


def env_keywords(spec: EnvSpec) -> set[str]:
    """The keywords that an environment takes, those that it passes on to a base class included.

    Empty where a function swallows any keyword: then only a call can tell.
    """
    known, complete = keywords(resolve(spec))
    return set(known) if complete else set()
