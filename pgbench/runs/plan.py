"""From the user's words to a resolved run: what exactly will be done, and its name on disk."""

from __future__ import annotations

import ast
import functools
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pgbench.catalogue.registry import (
    AlgoSpec,
    EnvSpec,
    LoopSpec,
    find_algo,
    find_env,
    find_loop,
    missing_capabilities,
    resolve,
)
from pgbench.errors import PgbenchError
from pgbench.records.rules import WHOLE
from pgbench.runs import origins
from pgbench.settings.config import amount, build, digest, plain
from pgbench.settings.keywords import Keyword, check_keywords, check_needs, keywords
from pgbench.support.names import named, unknown

COMPILERS = ("c++", "g++", "clang++")


@dataclass(frozen=True)
class Protocol:
    """How a run is judged; part of what makes two runs comparable."""

    episodes: int = 20  # of the final policy
    curve_points: int = 10  # evaluations, the final one included
    curve_episodes: int = 4


@dataclass(frozen=True)
class Plan:
    """A run, resolved. `identity` says what is computed, the rest only how."""

    algo: AlgoSpec
    env: EnvSpec
    config: Any
    seed: int
    budget: int
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    protocol: Protocol = field(default_factory=Protocol)
    device: str = "cpu"
    compile: bool = False
    threads: int = 1
    stack: int = 0  # seeds 0 to stack - 1 run together, this one among them; 0: it runs alone
    purpose: str = "board"  # or "tune": seeds that no board uses
    tuning: Mapping[str, Any] = field(default_factory=dict)  # class and number of trials
    words: Mapping[str, str] = field(default_factory=dict)  # the names or files that the user gave

    @property
    def loop(self) -> LoopSpec:
        """What drives the algorithm.

        Raises: PgbenchError if it is not there.
        """
        return find_loop(self.algo.loop, self.algo.name)

    @functools.cached_property  # as it was when the run began, though a file may change
    def identity(self) -> dict[str, Any]:
        """Everything that the result may depend on, but the seed and the machine.

        Raises: PgbenchError if a file that it is made from cannot be read.
        """
        config = plain(self.config)
        return {
            "algorithm": self.algo.name,
            "family": self.algo.family,
            "config": config,
            "environment": self.env.name,
            "env_kwargs": dict(self.env_kwargs),
            "budget": self.budget,
            "protocol": asdict(self.protocol),
            "purpose": self.purpose,
            "sources": origins.all_sources(self.algo, self.env, self.loop),
            **({"data": data} if (data := origins.data(config, self.env_kwargs)) else {}),
            **({"stack": self.stack} if self.stack else {}),
        }

    def folder(self, runs: Path) -> Path:
        """`<runs>/<algorithm>/<environment>/<seed>-<hash>`."""
        name = f"{self.seed}-{digest(self.identity)[:8]}"
        return runs / named("algorithm", self.algo.name) / self.env.folder / name


def make_plan(
    algo: str,
    env: str,
    *,
    seed: int = 0,
    budget: str | int | None = None,
    settings: Mapping[str, Any] | None = None,
    protocol: Protocol | None = None,
    episodes: int | None = None,
    device: str = "auto",
    compile: bool | None = None,
    threads: int | None = None,
    stack: int = 0,
    purpose: str = "board",
    tuning: Mapping[str, Any] | None = None,
) -> Plan:
    """Resolve names, config, budget and device.

    `settings` are config keys, or `env.<keyword>` for the environment's constructor (`env.` may be
    left out where the algorithm has no key of that name); without a `protocol` it is the
    environment's, with `episodes` at the end if given; `stack` seeds run together; `tuning` says
    how they were chosen (`class` and `trials`; by default `paper` for an algorithm's defaults).

    Raises: PgbenchError for anything unknown, ill-typed, out of range or incompatible.
    """
    env_spec = find_env(env)
    algo_spec = find_algo(algo, env_spec.family)
    missing = missing_capabilities(algo_spec, env_spec)
    if missing:
        raise PgbenchError(
            f"{algo_spec.name} needs {', '.join(missing)}, which {env_spec.id} lacks; "
            f"`pgbench compat {algo_spec.name}` lists what fits"
        )
    loop_spec = find_loop(algo_spec.loop, algo_spec.name)
    loop = load_loop(loop_spec)
    if seed < 0:
        raise PgbenchError(f"a seed is a whole number from 0, not {seed}")
    settings = dict(settings or {})
    config_class = resolve(algo_spec).Config
    names = {f.name for f in fields(config_class)}
    foreign = [k for k in settings if k.startswith("env.") or k not in names]
    known, complete = keywords(resolve(env_spec)) if foreign else ({}, True)
    given = {
        name: settings.pop(k)
        for k in foreign
        if (name := k.removeprefix("env.")) != k or (k in known and complete)
    }
    env_kwargs = env_settings(env_spec, given)
    config = build(config_class, settings, algo_spec.name)
    steps = _budget(algo_spec.budget if budget is None else budget, env_spec, loop_spec)
    check_needs(config, loop.needs, algo_spec.name)
    loop.steps_of(config, steps)
    if stack:
        from pgbench.loops.stack import stack_of

        stack_of(algo_spec.name, resolve(algo_spec), loop)
    device = choose_device(device)
    files = [word for word in (algo, env) if word.endswith(".py")]
    files += [key for key, _ in origins.named(plain(config), env_kwargs)]
    return Plan(
        algo=algo_spec,
        env=env_spec,
        config=config,
        seed=seed,
        budget=steps,
        env_kwargs=env_kwargs,
        protocol=protocol
        or Protocol(episodes or env_spec.episodes, curve_episodes=env_spec.curve_episodes),
        device=device,
        compile=(
            steps * max(stack, 1) >= loop.compile_from and can_compile(device)
            if compile is None
            else compile
        ),
        threads=threads or _threads(loop, config) or os.cpu_count() or 1,
        stack=stack,
        purpose=purpose,
        tuning=tuning or _tuning(config),
        words={
            "algo": _word(algo),
            "env": _word(env),
            # Whoever looks at the run from elsewhere finds there what it was made from.
            **({"folder": str(Path.cwd())} if files else {}),
        },
    )


def env_settings(env: EnvSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of an environment's constructor, texts read as what it declares.

    Raises: PgbenchError for one that it does not have, or whose value it does not take.
    """
    if not given:
        return {}
    if "num_envs" in given:
        raise PgbenchError(
            "env.num_envs: the algorithm says how many environments it steps; where it has the "
            "setting, it is --set num_envs"
        )
    entry = resolve(env)
    known, complete = keywords(entry)
    found = {name: _literal(value, known.get(name)) for name, value in given.items()}
    for name in found:
        if complete and name not in known:
            raise unknown(f"setting of {env.id}", name, known, f"see `pgbench explain {env.id}`")
    check_keywords(entry, found, env.id)
    return found


def _budget(word: str | int, env: EnvSpec, loop: LoopSpec) -> int:
    """A budget in the loop's unit; the environment's named ones where they count the same.

    Raises: PgbenchError for what is none.
    """
    if word in env.budgets and env.budget_unit != loop.unit:
        raise PgbenchError(
            f"budgets of {env.id} are in {env.budget_unit}, and loop {loop.name} counts "
            f"{loop.unit}: '{word}' says nothing there; give --budget a number"
        )
    return amount(word, env.budgets)


def _threads(loop: Any, config: Any) -> int:
    """Torch threads that serve the loop best; 0 means all."""
    count: int = loop.threads(config) if callable(loop.threads) else loop.threads
    return count


def _tuning(config: Any) -> dict[str, Any]:
    """The class of settings that nobody has declared: the defaults, or somebody's choice."""
    if config == type(config)():
        return {"class": "paper", "trials": 0}
    return {"class": "free", "trials": None}


def shortfall(plan: Plan) -> str:
    """What to say before a run that will stop short of its budget; empty if it will not.

    Boards take runs that spend `WHOLE` of it (pgbench/records/rules.py).
    """
    loop = load_loop(plan.loop)
    steps = loop.steps_of(plan.config, plan.budget)
    if steps >= WHOLE * plan.budget:
        return ""
    why = loop.advice(plan.config, plan.budget) if hasattr(loop, "advice") else "its loop says so"
    return f"the run will end after {steps:,} of {plan.budget:,} steps, {why}"


def _word(name: str) -> str:
    """How to find a spec again: its name, or its file, relative where that is possible."""
    if not name.endswith(".py"):
        return name
    path = Path(name).resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def load_loop(loop: str | LoopSpec) -> Any:
    """The class of a loop, or of the one of that name.

    Raises: PgbenchError if there is none, or if it lacks a method.
    """
    from pgbench.loops.base import check_loop

    spec = find_loop(loop) if isinstance(loop, str) else loop
    cls = resolve(spec)
    check_loop(cls, spec.name)
    return cls


def choose_device(device: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:<n>` as a device that this machine has.

    Raises: PgbenchError if it has not.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not device.startswith("cuda"):
        raise PgbenchError(f"unknown device '{device}'; take auto, cpu, cuda or cuda:<number>")
    if device != "cpu":
        number = device.partition(":")[2] or "0"
        if not number.isdigit():
            raise PgbenchError(f"unknown device '{device}'; take auto, cpu, cuda or cuda:<number>")
        if not torch.cuda.is_available() or int(number) >= torch.cuda.device_count():
            raise PgbenchError(f"this machine has no {device}; take --device cpu (or auto)")
    return device


def can_compile(device: str) -> bool:
    """Whether torch.compile can build code for this device here."""
    return device != "cpu" or any(shutil.which(name) for name in COMPILERS)


def _literal(text: Any, keyword: Keyword | None) -> Any:
    """`"0.5"` -> 0.5, `"true"` -> True, `"none"` -> None; other words, and texts, as they are."""
    if not isinstance(text, str):
        return text
    kinds = keyword.options if keyword else ()
    if text.lower() == "none" and type(None) in kinds:
        return None
    if str in kinds:
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
    if isinstance(value, float) and not math.isfinite(value):
        raise PgbenchError(f"{text} is no finite number, which a setting of an environment must be")
    return value
