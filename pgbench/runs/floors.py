"""The floor panel of an environment: what policies score that have learned nothing.

Text: the reference solution, nothing, the prompt itself, the best constant answer (searched over
answers of the training split, scored on held-out tasks), a random answer of the training split.
Vectors: the zero action; the random policy is an anchor of the catalogue already.

Answers are said as demonstrations are: after a space where the prompt ends in `Answer:`. Verifiers
leave white space around an answer out, so that " Yes" and "Yes" are one constant.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from pgbench.catalogue.capabilities import make
from pgbench.catalogue.fingerprint import golden, golden_of
from pgbench.catalogue.registry import EnvSpec
from pgbench.errors import PgbenchError
from pgbench.lm.evaluation import held_out
from pgbench.runs.evaluation import evaluate
from pgbench.statistics.intervals import mean, mean_interval, wilson
from pgbench.support.seeding import eval_seeds
from pgbench.worlds.tasks import Task

TASKS = 256  # held-out ones, and as many of the training split
LOOKED_AT = 24  # constants that are tried: the most frequent answers of the training split
FIRST = 64  # training tasks on which all of them are tried
BEST = 4  # of which so many are tried on all training tasks


def measure(
    spec: EnvSpec, count: int | None = None, kwargs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The panel of an environment: see `pgbench.records.floors.Panel`.

    `count` held-out tasks (256), or episodes (20); the same call gives the same panel.

    Raises: PgbenchError for keywords that the environment does not take, and for actions of which
        none is zero.
    """
    if spec.family == "text":
        return _of_texts(spec, count or TASKS, dict(kwargs or {}))
    return _of_vectors(spec, count or spec.episodes, dict(kwargs or {}))


def _of_texts(spec: EnvSpec, count: int, kwargs: dict[str, Any]) -> dict[str, Any]:
    env = make(spec, **kwargs)
    try:
        seeds = eval_seeds(spec.name, count)
        tasks, rng = held_out(env, seeds), random.Random(seeds[0])
        shown = env.sample(count, rng)
        answers = [said for task in shown if (said := task.demonstration or task.answer)]
        floors = {"empty": _said(env, tasks, [""] * len(tasks))}
        floors["echo"] = _said(env, tasks, [task.text for task in tasks])
        if all(task.demonstration for task in tasks):
            floors["reference"] = _said(env, tasks, [task.demonstration for task in tasks])
        if answers:
            drawn = [rng.choice(answers) for _ in tasks]
            floors["random"] = _said(env, tasks, drawn)
            best = constant(env, shown)
            floors["constant"] = {**_said(env, tasks, [best] * len(tasks)), "said": best}
        return _panel(spec, golden_of(env), len(tasks), floors)
    finally:
        env.close()


def constant(env: Any, shown: Sequence[Task]) -> str:
    """The one answer that is right most often on the tasks `shown`, of those that are theirs.

    Tried are the demonstrations and the bare answers, those first that are most frequent; two that
    differ by white space around them are one.
    """
    forms: dict[str, str] = {}
    often: Counter[str] = Counter()
    for task in shown:
        for said in filter(None, (task.demonstration, task.answer)):
            forms.setdefault(said.strip(), said)
        often.update({said.strip() for said in (task.demonstration, task.answer) if said})
    tried = [forms[key] for key, _ in often.most_common(LOOKED_AT)]

    def right(said: str, tasks: Sequence[Task]) -> int:
        return sum(v.correct for v in env.verify(tasks, [said] * len(tasks)))

    # Sorting is stable: of equals the more frequent one stays before the others.
    tried.sort(key=lambda said: -right(said, shown[:FIRST]))
    return max(tried[:BEST], key=lambda said: right(said, shown))


def _said(env: Any, tasks: Sequence[Task], completions: Sequence[str]) -> dict[str, Any]:
    right = sum(verdict.correct for verdict in env.verify(tasks, completions))
    return _floor(right / len(tasks), wilson(right, len(tasks)))


def _of_vectors(spec: EnvSpec, count: int, kwargs: dict[str, Any]) -> dict[str, Any]:
    vector = make(spec, **kwargs)
    try:
        action = _zero(vector.single_action_space, spec.id)
    finally:
        vector.close()
    found = evaluate(lambda obs: np.stack([action] * len(obs)), spec, count, env_kwargs=kwargs)
    within = mean_interval(found.returns, *spec.metrics[0].bounds(found.returns))
    floors = {"zero": _floor(mean(found.returns), within)}
    return _panel(spec, golden(spec, kwargs), len(found.returns), floors)


def _zero(space: Any, name: str) -> NDArray[Any]:
    if isinstance(space, Discrete):
        return np.asarray(space.start, space.dtype)
    if isinstance(space, Box) and ((space.low <= 0) & (space.high >= 0)).all():
        return np.zeros(space.shape, space.dtype)
    raise PgbenchError(f"{name} has no zero action (its actions are {space}), so no floor to show")


def _floor(score: float, within: tuple[float, float] | None) -> dict[str, Any]:
    low, high = within or (None, None)
    return {
        "score": _round(score),
        "low": None if low is None else _round(low),
        "high": None if high is None else _round(high),
    }


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def _panel(
    spec: EnvSpec, fingerprint: str, count: int, floors: Mapping[str, Any]
) -> dict[str, Any]:
    metric = spec.metrics[0].name
    return {"golden": fingerprint, "metric": metric, "episodes": count, "floors": dict(floors)}
