"""The catalogue: what exists, where it lives, what it needs; imports neither torch nor gymnasium.

Environments, algorithms and loops are registered by one line each, with lazy entry points
(`"package.module:Name"`), in the `__init__` of `envs`, `baselines` and `pgbench/loops`, in a third
party's module named by the entry-point group `pgbench.plugins`, or in a file given on the command
line, which may bring one of each.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pgbench.catalogue import plugins
from pgbench.errors import PgbenchError, install
from pgbench.support.names import named, unknown

ORDER = ("smoke", "small", "paper")


@dataclass(frozen=True)
class Metric:
    """What an evaluation reports; the first metric of an environment is its score.

    `lower` and `upper`: values that no policy's mean can pass, such as 0 and 1 of a share. Boards
    keep intervals between them; None where nothing is known.
    """

    name: str
    direction: str = "max"  # or "min"
    unit: str = ""
    lower: float | None = None
    upper: float | None = None

    @property
    def told(self) -> dict[str, str]:
        """What records carry of it."""
        return {"name": self.name, "direction": self.direction, "unit": self.unit}

    def bounds(self, values: Iterable[float]) -> tuple[float | None, float | None]:
        """`lower` and `upper`; None for one that a value passes: under its settings it is none."""
        low, high = self.lower, self.upper
        for value in values:
            low = None if low is None or value < low else low
            high = None if high is None or value > high else high
        return low, high


@dataclass(frozen=True)
class Anchor:
    """A score that normalises others (random, reference, optimum) and where it comes from."""

    value: float
    origin: str


@dataclass(frozen=True)
class EnvSpec:
    """One environment of the catalogue; `entry_point` makes a `gymnasium.vector.VectorEnv`.

    The entry point is called with `num_envs` and `kwargs`; `budgets` are in `budget_unit`.
    """

    id: str
    family: str
    entry_point: str | Callable[..., Any]
    summary: str
    underlying: str
    metrics: tuple[Metric, ...]
    budgets: Mapping[str, int]
    version: int = 0
    budget_unit: str = "environment steps"
    capabilities: frozenset[str] = frozenset()
    anchors: Mapping[str, Anchor] = field(default_factory=dict)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    extra: str | None = None
    # How a policy is judged where whole episodes of equal weight are not the measure: an entry
    # point `(policy, spec, seeds, env_kwargs) -> (scores, lengths)`, one of each an episode;
    # details may follow: numbers, rows and tables by name (pgbench/records/details.py).
    evaluator: str | Callable[..., Any] = ""
    instance_of: str = ""  # the environment that this one is with other `kwargs`
    needs: str = ""  # keywords without which it cannot be made, such as `source=FILE`
    episodes: int = 20  # of the final evaluation, unless the user says otherwise
    curve_episodes: int = 4  # of an evaluation in between
    # The time limit that `entry_point` has by default and takes as a keyword, for Gymnasium's spec;
    # None where episodes end by themselves.
    max_episode_steps: int | None = None
    origin: str = ""

    @property
    def name(self) -> str:
        """The id with its version, as records carry it: `hopper-v0`."""
        return f"{self.id}-v{self.version}"

    @property
    def folder(self) -> str:
        """The id as a name of files: `gym+CartPole` of `gym:CartPole`; Windows takes no colon."""
        return named("environment", self.id.replace(":", "+").replace("/", "+"))


@dataclass(frozen=True)
class AlgoSpec:
    """One algorithm of the catalogue for one family of environments.

    `loop` names the data flow that drives it, `requires` the capabilities that it needs from an
    environment (one of several where they stand as "ContinuousActions|DiscreteActions"), `budget`
    the default of `--budget` (a name such as `small`, or a number).
    """

    name: str
    family: str
    entry_point: str | Callable[..., Any]
    loop: str
    summary: str
    requires: frozenset[str] = frozenset()
    paper: str = ""
    budget: str = "small"
    extra: str | None = None
    origin: str = ""


@dataclass(frozen=True)
class LoopSpec:
    """One data flow between an environment and an algorithm.

    The entry point is a class as pgbench/loops/base.py describes it; `unit` is what a budget
    counts; `batch` is the type that `Algorithm.update` gets.
    """

    name: str
    entry_point: str | Callable[..., Any]
    summary: str
    unit: str
    batch: str | type
    # What the contract suite runs, in seconds, yet with three phases or more: settings (those that
    # a config lacks are left out) and a budget.
    tiny: Mapping[str, Any]
    tiny_budget: int
    extra: str | None = None
    origin: str = ""


Spec = TypeVar("Spec", EnvSpec, AlgoSpec, LoopSpec)


class Catalogue(Generic[Spec]):
    """Specs by key, filled on first use; a key registered twice is refused.

    `call` is the function that adds to it.
    """

    def __init__(self, what: str, builtin: str, call: str) -> None:
        self.what, self.builtin, self.call = what, builtin, call
        self.specs: dict[Any, Spec] = {}

    def add(self, key: Any, spec: Spec) -> None:
        """Register `spec` under `key`.

        Raises: PgbenchError if the key is taken by another origin, or no name (see `named`).
        """
        named(self.what, key if isinstance(key, str) else key[0])
        old = self.specs.get(key)
        if old is not None:
            name = key if isinstance(key, str) else f"{key[0]} (family {key[1]})"
            raise PgbenchError(
                f"{self.what} '{name}' is registered twice: in {old.origin} and in {spec.origin}; "
                "rename one of them"
            )
        self.specs[key] = spec

    def all(self) -> list[Spec]:
        """Every spec, sorted by key, built-in and plug-ins."""
        importlib.import_module(self.builtin)
        plugins.load_installed()
        return [self.specs[key] for key in sorted(self.specs)]

    def of_file(self, file: str) -> list[Spec]:
        """What the file (its whole path) has registered."""
        return [s for s in self.specs.values() if s.origin.rpartition(":")[0] == file]


ENVS: Catalogue[EnvSpec] = Catalogue("environment", "pgbench.envs", "register_env")
ALGOS: Catalogue[AlgoSpec] = Catalogue("algorithm", "pgbench.baselines", "register_algo")
LOOPS: Catalogue[LoopSpec] = Catalogue("loop", "pgbench.loops", "register_loop")
CATALOGUES: tuple[Catalogue[Any], ...] = (ENVS, ALGOS, LOOPS)
# Names with such a prefix are found elsewhere: functions that make an `EnvSpec` of a whole name.
SCHEMES = {
    "gym": "pgbench.catalogue.foreign:foreign_env",
    "mo": "pgbench.catalogue.foreign:foreign_env",
}


def _caller() -> str:
    frame = sys._getframe(2)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def register_env(
    id: str,
    entry_point: str | Callable[..., Any],
    *,
    family: str,
    summary: str,
    underlying: str,
    metrics: Iterable[Metric],
    budgets: Mapping[str, int],
    capabilities: Iterable[str] = (),
    **more: Any,
) -> EnvSpec:
    """Add an environment to the catalogue; see `EnvSpec` for the fields."""
    spec = EnvSpec(
        id=id, family=family, entry_point=entry_point, summary=summary, underlying=underlying,
        metrics=tuple(metrics), budgets=dict(budgets), capabilities=frozenset(capabilities),
        origin=_caller(), **more,
    )  # fmt: skip
    ENVS.add(id, spec)
    return spec


def register_algo(
    name: str,
    entry_point: str | Callable[..., Any],
    *,
    family: str,
    loop: str,
    summary: str,
    requires: Iterable[str] = (),
    **more: Any,
) -> AlgoSpec:
    """Add an algorithm to the catalogue; see `AlgoSpec` for the fields."""
    spec = AlgoSpec(
        name=name, family=family, entry_point=entry_point, loop=loop, summary=summary,
        requires=frozenset(requires), origin=_caller(), **more,
    )  # fmt: skip
    ALGOS.add((name, family), spec)
    return spec


def register_loop(
    name: str,
    entry_point: str | Callable[..., Any],
    *,
    summary: str,
    unit: str,
    batch: str | type,
    tiny: Mapping[str, Any],
    tiny_budget: int,
    **more: Any,
) -> LoopSpec:
    """Add a loop to the catalogue; see `LoopSpec` for the fields."""
    spec = LoopSpec(
        name=name, entry_point=entry_point, summary=summary, unit=unit, batch=batch,
        tiny=dict(tiny), tiny_budget=tiny_budget, origin=_caller(), **more,
    )  # fmt: skip
    LOOPS.add(name, spec)
    return spec


def load_file(path: str, catalogue: Catalogue[Spec]) -> Spec:
    """Import a plug-in file and return the one spec that it registers in `catalogue`.

    Raises: PgbenchError if the file is missing, does not import, or registers none or several.
    """
    found = catalogue.of_file(import_file(path))
    if len(found) != 1:
        names = f" ({', '.join(sorted(_name(s) for s in found))})" if found else ""
        raise PgbenchError(
            f"plug-in {path} registers {len(found)} {catalogue.what}s{names}; it must call "
            f"pgbench.{catalogue.call}(...) exactly once"
        )
    return found[0]


def _name(spec: EnvSpec | AlgoSpec | LoopSpec) -> str:
    return spec.id if isinstance(spec, EnvSpec) else spec.name


def import_file(path: str) -> str:
    """Import a plug-in file, once; returns its whole path, by which `Catalogue.of_file` finds it.

    Raises: PgbenchError if the file is missing or does not import; then nothing of it is left.
    """
    return plugins.import_file(path, CATALOGUES)


def find_env(name: str) -> EnvSpec:
    """The environment of that id (`-v<version>` may follow), or the one a `.py` file defines.

    `gym:ID` is any that Gymnasium has registered, `mo:ID` MO-Gymnasium.
    """
    if name.endswith(".py"):
        return load_file(name, ENVS)
    if has_scheme(name):
        found: EnvSpec = load(SCHEMES[name.partition(":")[0]])(name)
        return found
    specs = ENVS.all()
    for spec in specs:
        if name in (spec.id, spec.name):
            return spec
    raise unknown("environment", name, [s.id for s in specs], "see `pgbench list envs`")


def has_scheme(name: str) -> bool:
    """Whether a name is one of another catalogue, such as `gym:CartPole-v1`."""
    return ":" in name and name.partition(":")[0] in SCHEMES


def scores() -> dict[str, Metric]:
    """What each environment is scored by, under its name with the version (`hopper-v0`)."""
    return {spec.name: spec.metrics[0] for spec in ENVS.all()}


def score_of(environment: Mapping[str, Any], known: Mapping[str, Metric]) -> Metric | None:
    """The metric of a record's environment among `known`; None for a stranger, or another score."""
    metric = known.get(environment["id"])
    return metric if metric is not None and metric.told == environment["metric"] else None


def find_algo(name: str, family: str | None = None) -> AlgoSpec:
    """The algorithm of that name in `family` (None: its only family), or the one a file defines."""
    if name.endswith(".py"):
        return load_file(name, ALGOS)
    specs = ALGOS.all()
    found = [s for s in specs if s.name == name and family in (None, s.family)]
    if len(found) == 1:
        return found[0]
    if found:
        raise PgbenchError(
            f"algorithm '{name}' has an implementation in several families "
            f"({', '.join(s.family for s in found)}); name an environment"
        )
    elsewhere = [s.family for s in specs if s.name == name]
    if elsewhere:
        raise PgbenchError(
            f"algorithm '{name}' is for family {', '.join(elsewhere)}, not {family}; "
            f"`pgbench compat {name}` lists its environments"
        )
    raise unknown("algorithm", name, sorted({s.name for s in specs}), "see `pgbench list algos`")


def find_loop(name: str, whose: str = "") -> LoopSpec:
    """The loop of that name; `whose` is the algorithm that asks for it.

    Raises: PgbenchError with the nearest names if there is none.
    """
    specs = LOOPS.all()
    if name in LOOPS.specs:
        return LOOPS.specs[name]
    asks = f"{whose} asks for a loop that is not there: " if whose else ""
    line = unknown("loop", str(name), [s.name for s in specs], "see `pgbench list loops`")
    raise PgbenchError(f"{asks}{line}")


def missing_capabilities(algo: AlgoSpec, env: EnvSpec) -> list[str]:
    """What `algo` requires and `env` lacks, in words; empty when the two fit.

    Every algorithm requires rewards that are numbers, but those that ask for vectors.
    """
    lacks = {need for need in algo.requires if env.capabilities.isdisjoint(need.split("|"))}
    if "VectorReward" in env.capabilities - algo.requires:
        lacks.add("rewards that are numbers")
    return in_words(lacks)


def in_words(capabilities: Iterable[str]) -> list[str]:
    """Capabilities sorted, alternatives as "this or that"."""
    return sorted(name.replace("|", " or ") for name in capabilities)


def resolve(spec: EnvSpec | AlgoSpec | LoopSpec) -> Any:
    """Import what a spec's entry point names.

    Raises: PgbenchError naming the pip extra if a package is missing.
    """
    return load(spec.entry_point, spec.extra)


def load(point: str | Callable[..., Any], extra: str | None = None) -> Any:
    """Import `"package.module:Name"`; anything else is returned as it is.

    Raises: PgbenchError naming the pip extra if a package is missing.
    """
    if not isinstance(point, str):
        return point
    module, _, attribute = point.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        if extra:
            raise PgbenchError(
                f"{error.name or error} is not installed; run: {install(extra)}"
            ) from error
        raise
