"""How a language model is judged: pass@1 on held-out tasks, and pass@k."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from pgbench.catalogue.capabilities import make
from pgbench.errors import PgbenchError
from pgbench.support.seeding import eval_seeds
from pgbench.worlds.tasks import Task

SAMPLES = 4  # responses to each held-out task


def held_out(env: Any, seeds: Sequence[int]) -> list[Task]:
    """A test task for each evaluation seed; all of them once if there are no more.

    The tasks depend on the environment and the seeds alone.

    Raises: PgbenchError if there is no test task.
    """
    size = env.size("test")
    if size == 0:
        raise PgbenchError(
            "the data have no test problem (one in eight is one, by the hash of its text); give "
            "more of them, or a test file of their own"
        )
    if size is None:
        return [env.task(seed, "test") for seed in seeds]
    count = min(len(seeds), size)
    return [env.task(i, "test") for i in random.Random(seeds[0]).sample(range(size), count)]


def evaluate(
    policy: Any, spec: Any, seeds: list[int], env_kwargs: dict[str, Any], samples: int = SAMPLES
) -> tuple[list[float], list[int], dict[str, Any]]:
    """Share of right responses to each of the held-out tasks, and their mean length in tokens.

    The details are pass@k, a point (k, its mean over the tasks) for each power of two. `policy` is
    a `TextPolicy`, or any function from prompts to completions (lengths are then in characters).
    """
    right, lengths = counts(policy, spec, seeds, env_kwargs, samples)
    points = []
    for k in powers(samples):
        values = [pass_at_k(count, samples, k) for count in right]
        points.append([k, sum(values) / len(values)])
    return [count / samples for count in right], lengths, {"pass-at-k": points}


def powers(samples: int) -> list[int]:
    """1, 2, 4, ... up to `samples`: the k that pass@k is given for."""
    return [2**i for i in range(samples.bit_length())]


def counts(
    policy: Any, spec: Any, seeds: list[int], env_kwargs: dict[str, Any], samples: int
) -> tuple[list[int], list[int]]:
    """How many of `samples` responses to each held-out task are right, and their mean length."""
    if not hasattr(policy, "answer"):
        return _counts_of_function(policy, spec, seeds, env_kwargs, samples)
    own = getattr(policy.env, "made_of", None) == (spec.name, env_kwargs)
    env = policy.env if own else make(spec, num_envs=1, **env_kwargs)
    try:
        tasks = held_out(env, seeds)
        rollout = policy.answer(tasks, samples, seeds[0] % 2**48, env=env)
    finally:
        if not own:
            env.close()
    right = [verdict.correct for verdict in rollout.verdicts]
    size = [sum(row.mask) for row in rollout.rows]
    groups = [slice(i * samples, (i + 1) * samples) for i in range(len(tasks))]
    return [sum(right[g]) for g in groups], [round(sum(size[g]) / samples) for g in groups]


def _counts_of_function(
    policy: Any, spec: Any, seeds: list[int], env_kwargs: dict[str, Any], samples: int
) -> tuple[list[int], list[int]]:
    env = make(spec, num_envs=1, **env_kwargs)
    try:
        tasks = held_out(env, seeds)
        right, lengths = [0] * len(tasks), [0.0] * len(tasks)
        for _ in range(samples):
            texts = list(policy(tuple(task.text for task in tasks)))
            for i, verdict in enumerate(env.verify(tasks, texts)):
                right[i] += verdict.correct
                lengths[i] += len(texts[i]) / samples
    finally:
        env.close()
    return right, [round(length) for length in lengths]


def report(
    policy: Any, spec: Any, episodes: int, seed: int, samples: int, temperature: float | None = None
) -> tuple[str, dict[str, Any]]:
    """pass@k for k = 1, 2, 4, ... up to `samples`, with intervals, as text and as data.

    Tasks are the clusters: the responses to one task are not independent of each other, so an
    interval comes from the spread of the tasks' own estimates (Miller 2024, arXiv:2411.00640).
    """
    from pgbench.statistics.intervals import mean_interval
    from pgbench.support.text import table

    seeds = eval_seeds(spec.name, episodes, seed)
    tasks = held_out(policy.env, seeds)
    rollout = policy.answer(tasks, samples, seeds[0] % 2**48, temperature)
    flags = [verdict.correct for verdict in rollout.verdicts]
    right = [sum(flags[i * samples : (i + 1) * samples]) for i in range(len(tasks))]
    rows, data = [], {}
    for k in powers(samples):
        values = [pass_at_k(count, samples, k) for count in right]
        mean, interval = sum(values) / len(values), mean_interval(values, 0.0, 1.0)
        low, high = interval or (None, None)
        data[f"pass@{k}"] = {"mean": mean, "low": low, "high": high}
        within = "-" if interval is None else f"[{low:.4f}, {high:.4f}]"
        rows.append((f"pass@{k}", f"{mean:.4f}", within))
    text = table(("metric", "mean", "95% interval"), rows)
    how = "training's temperature" if temperature is None else f"temperature {temperature:g}"
    head = f"{spec.id}: {len(tasks)} held-out tasks, {samples} responses each, {how}"
    if rollout.unread:
        head += f"; {rollout.unread} prompts are too long for the model and count as wrong"
    by_level: dict[str, list[float]] = {}
    for task, count in zip(tasks, right, strict=True):
        by_level.setdefault(task.level, []).append(count / samples)
    if len(by_level) > 1:
        levels = [
            (name, str(len(values)), f"{sum(values) / len(values):.4f}")
            for name, values in sorted(by_level.items())
        ]
        text += "\n\n" + table(("level", "tasks", "pass@1"), levels)
    return f"{head}\n\n{text}", {
        "tasks": len(tasks), "samples": samples, "right": right, "too_long": rollout.unread, **data,
    }  # fmt: skip


def completions(policy: Any, spec: Any, count: int, seed: int = 0) -> str:
    """A response to each of several held-out tasks, judged, `count` of them: half right if it can.

    Four times as many are asked for, and right and wrong ones are shown in turn.
    """
    seeds = eval_seeds(spec.name, 4 * count, seed)
    tasks = held_out(policy.env, seeds)
    rollout = policy.answer(tasks, 1, seeds[0] % 2**48)
    rows = sorted(rollout.rows, key=lambda row: not row.verdict.correct)
    right = sum(row.verdict.correct for row in rows)
    wanted = min(right, max(count - count // 2, count - (len(rows) - right)))
    shown = [*rows[:wanted], *rows[right : right + count - wanted]]
    parts = [f"{spec.id}: {right} of {len(rows)} responses to held-out tasks are right"]
    for row in shown:
        verdict = "right" if row.verdict.correct else "wrong"
        how = f" ({row.verdict.how})" if row.verdict.how else ""
        end = "" if row.finished else " [cut off by the limit]"
        gold = f"\n-- answer: {row.task.answer}" if row.task.answer else ""
        parts.append(
            f"== {row.task.id}\n{row.task.text}\n-- {verdict}{how}:\n{row.said}{end}{gold}"
        )
    return "\n\n".join(parts)


def pass_at_k(right: int, samples: int, k: int) -> float:
    """Unbiased estimate that one of k responses is right (Chen et al. 2021, Eq. 1).

    Raises: ValueError unless 1 <= k <= samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k must be from 1 to {samples} (the samples), not {k}")
    if samples - right < k:
        return 1.0
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)
