"""Tuning studies: which trials a study has, what they score, which one is chosen.

The rules: trial 0 is the algorithm's defaults, so tuning is never worse than none by its own
measure; the others are quasi-random points of a declared space, the same for everybody. A trial
scores the mean of its runs on tuning seeds, which no board uses, for training and evaluation; a
failed run scores the environment's random anchor, or the worst run of the study where there is no
anchor. Of several studies (each with seeds and points of its own) the one whose best is the median
gives the setting. Imports `bench` and below. Start here, then `space` (what is drawn) and `search`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pgbench.bench.job import Job
from pgbench.errors import PgbenchError
from pgbench.runs.plan import Plan, Protocol, make_plan
from pgbench.settings.config import active, digest, plain
from pgbench.statistics.intervals import mean, mean_interval
from pgbench.support.files import read_json, write_bytes, write_json
from pgbench.tuning.journal import Seed, draws
from pgbench.tuning.space import (
    Space,
    as_key,
    as_toml,
    default_space,
    read_space,
    restrict,
    table_of,
)

SCHEMA = 1  # of study.json
DEFAULT_TRIALS, DEFAULT_SEEDS = 20, 3

Ended = Sequence[Sequence[Sequence[Seed]]]  # study, trial, seed


@dataclass(frozen=True)
class Tuning:
    """Studies of one algorithm on one environment; everything but `studies` names their folder."""

    base: Plan  # the defaults with the fixed settings over them, seed 0
    fixed: Mapping[str, Any]  # settings that every trial has
    space: Space
    trials: int = DEFAULT_TRIALS
    seeds: int = DEFAULT_SEEDS  # a trial
    studies: int = 1

    @cached_property
    def digest(self) -> str:
        """Of all that the trials and their scores depend on, but the machine."""
        return digest(
            {
                "schema": SCHEMA,
                "base": self.base.identity,
                "space": table_of(self.space),
                "trials": self.trials,
                "seeds": self.seeds,
            }
        )

    @property
    def space_hash(self) -> str:
        """Digest of the space."""
        return digest(table_of(self.space))

    @property
    def kind(self) -> str:
        """The tuning class, as boards know it."""
        return f"fixed-{self.trials}"

    @property
    def direction(self) -> str:
        """`max` or `min`: which scores are better."""
        return self.base.env.metrics[0].direction

    def folder(self, runs: Path) -> Path:
        """`<runs>/tune/<algorithm>/<environment>/<digest>`."""
        return runs / "tune" / self.base.algo.name / self.base.env.folder / self.digest[:12]

    def sampler_seed(self, study: int) -> int:
        """What scrambles the points of a study: nobody chooses it."""
        return int(digest({"study": self.digest, "index": study})[:8], 16)

    def points(self, study: int) -> list[dict[str, Any]]:
        """The settings of each trial of a study, the space's keys alone; the defaults first.

        Raises: PgbenchError if optuna is not installed.
        """
        config = plain(self.base.config)
        defaults = {key: config[key] for key in self.space}
        return [defaults, *draws(self.space, self.trials - 1, self.sampler_seed(study))]

    def run_seeds(self, study: int) -> list[int]:
        """The tuning seeds of a study: no two studies share one."""
        return list(range(study * self.seeds, (study + 1) * self.seeds))

    def plan(self, params: Mapping[str, Any]) -> Plan:
        """A trial's run of seed 0, resolved.

        Raises: PgbenchError if the algorithm refuses the settings.
        """
        return self.job(params, 0, Path()).plan()

    def job(self, params: Mapping[str, Any], seed: int, runs: Path) -> Job:
        """A trial's run of one seed, as a command."""
        base = self.base
        return Job(
            algo=base.words["algo"],
            env=base.words["env"],
            seed=seed,
            budget=base.budget,
            runs=str(runs.resolve()),
            settings=active(type(base.config), {**self.fixed, **params}),
            protocol=asdict(base.protocol),
            purpose="tune",
            tuning={"class": self.kind, "trials": self.trials},
            device=base.device,
        )


def make_tuning(
    algo: str,
    env: str,
    *,
    trials: int = DEFAULT_TRIALS,
    seeds: int = DEFAULT_SEEDS,
    studies: int = 1,
    budget: str | int | None = None,
    settings: Mapping[str, Any] | None = None,
    space: Path | None = None,
    only: Sequence[str] = (),
    protocol: Protocol | None = None,
    device: str = "auto",
) -> Tuning:
    """Resolve names, fixed settings and space (a TOML file, or the default rule's).

    Raises: PgbenchError for anything unknown, ill-typed, out of range, incompatible or empty.
    """
    for word, count in (("--trials", trials), ("--tune-seeds", seeds), ("--studies", studies)):
        if count < 1:
            raise PgbenchError(f"{word} is at least 1, not {count}")
    base = make_plan(
        algo, env, budget=budget, settings=settings, protocol=protocol, device=device,
        purpose="tune", tuning={"class": f"fixed-{trials}", "trials": trials},
    )  # fmt: skip
    config, name = plain(base.config), base.algo.name
    keys = [key for key in settings or {} if not key.startswith("env.")]
    fixed = {key: config[key] for key in keys}
    fixed.update({f"env.{key}": value for key, value in base.env_kwargs.items()})
    if both := sorted(set(keys) & set(only)):
        raise PgbenchError(f"{', '.join(both)}: fixed by --set and named by --only; remove one")
    found: Space = (
        default_space(base.config, name, keys, base.budget)
        if space is None
        else read_space(space, base.config, name, keys)
    )
    if only:
        found = restrict(found, only)
    found = {key: found[key] for key in config if key in found}
    return Tuning(base, fixed, found, trials, seeds, studies)


@dataclass(frozen=True)
class Floor:
    """What a failed run scores."""

    score: float | None  # None: no run has failed, or none has ended well
    origin: str


def floor_of(tuning: Tuning, study: Sequence[Sequence[Seed]]) -> Floor:
    """The random anchor of the environment, else the worst score in the study."""
    anchor = tuning.base.env.anchors.get("random")
    if anchor is not None:
        return Floor(anchor.value, "the environment's random anchor")
    scores = [seed["score"] for trial in study for seed in trial if seed["score"] is not None]
    worst: Callable[[Sequence[float]], float] = max if tuning.direction == "min" else min
    return Floor(worst(scores) if scores else None, "the worst finished run of the study")


def counted(seeds: Sequence[Seed], floor: float | None) -> list[float] | None:
    """What each run of a trial counts as; None while a failed one has no floor."""
    values = [floor if seed["score"] is None else float(seed["score"]) for seed in seeds]
    return None if None in values else [value for value in values if value is not None]


def summary(tuning: Tuning, ended: Ended) -> dict[str, Any]:
    """The whole of `study.json`: space, seeds, every trial with what each run gave, the best.

    Raises: PgbenchError if no run has finished.
    """
    base, metric = tuning.base, tuning.base.env.metrics[0]
    all_seeds = [seed for study in ended for trial in study for seed in trial]
    if all(seed["score"] is None for seed in all_seeds):
        raise PgbenchError(
            f"all {len(all_seeds)} runs of {base.algo.name} on {base.env.id} failed, at last with "
            f"'{all_seeds[-1]['error']}'; check the settings with `pgbench run` first"
        )
    studies = [_study(tuning, k, study) for k, study in enumerate(ended)]
    sign = -1.0 if tuning.direction == "max" else 1.0
    # From the best study to the worst; of an even number the lesser of the two in the middle.
    order = sorted(range(len(studies)), key=lambda k: (sign * _best(studies[k])["score"], k))
    median = order[len(order) // 2]
    best = _best(studies[median])
    return {
        "schema": SCHEMA,
        "study": tuning.digest,
        "algorithm": base.algo.name,
        "environment": base.env.name,
        "budget": base.budget,
        "unit": base.loop.unit,
        "protocol": asdict(base.protocol),
        "metric": metric.told,
        "fixed": dict(tuning.fixed),
        "identity": base.identity,
        "space": table_of(tuning.space),
        "space_hash": tuning.space_hash,
        "class": tuning.kind,
        "trials": tuning.trials,
        "seeds": tuning.seeds,
        "purpose": "tune",
        "failed_runs": sum(seed["score"] is None for seed in all_seeds),
        "studies": studies,
        "best": {
            "study": median,
            "trial": best["trial"],
            "params": best["params"],
            "settings": active(type(tuning.base.config), {**tuning.fixed, **best["params"]}),
            "score": best["score"],
            "defaults_score": studies[median]["trials"][0]["score"],
        },
        "tuning": {
            "class": tuning.kind,
            "trials": tuning.trials,
            "studies": tuning.studies,
            "study": tuning.digest,
            "space_hash": tuning.space_hash,
            "metric": f"mean final {metric.name} over {tuning.seeds} tuning seeds"
            + (", median of the studies' bests" if tuning.studies > 1 else ""),
        },
        "made_with": {name: importlib.metadata.version(name) for name in ("optuna", "scipy")},
    }


def _study(tuning: Tuning, index: int, ended: Sequence[Sequence[Seed]]) -> dict[str, Any]:
    """One study: its trials with scores, and which is the best (of equals the first)."""
    floor = floor_of(tuning, ended)
    if floor.score is None:
        raise PgbenchError(
            f"all runs of study {index} failed and {tuning.base.env.id} has no random anchor to "
            "score them by; check the settings with `pgbench run` first"
        )
    trials = list[dict[str, Any]]()
    for number, (params, seeds) in enumerate(zip(tuning.points(index), ended, strict=True)):
        values = counted(seeds, floor.score)
        assert values is not None
        interval = mean_interval(values, *tuning.base.env.metrics[0].bounds(values))
        trials.append(
            {
                "trial": number,
                "params": params,
                "score": mean(values),
                "interval": interval and list(interval),
                "seeds": [dict(seed) for seed in seeds],
            }
        )
    sign = -1.0 if tuning.direction == "max" else 1.0
    best = min(trials, key=lambda trial: (sign * trial["score"], trial["trial"]))
    return {
        "index": index,
        "sampler": {"name": "scrambled Sobol", "seed": tuning.sampler_seed(index)},
        "seeds": tuning.run_seeds(index),
        "failed_run": asdict(floor),
        "best": best["trial"],
        "trials": trials,
    }


def _best(study: Mapping[str, Any]) -> Any:
    return study["trials"][study["best"]]


def best_toml(study: Mapping[str, Any]) -> str:
    """The chosen setting as a file for `pgbench run --config`, with where it comes from.

    Its `[tuning]` table is what records of such runs say about how their settings were found.
    """
    best, tuning = study["best"], study["tuning"]
    seeds = study["studies"][best["study"]]["seeds"]
    head = [
        f"{study['algorithm']} on {study['environment']}: the setting that `pgbench tune` chose",
        f"on tuning seeds {span(seeds)}, which no board uses.",
        f"study   {tuning['study']}",
        f"space   {tuning['space_hash']}",
        f"trials  {tuning['trials']} (class {tuning['class']}; trial 0: the defaults); "
        f"this is trial {best['trial']} of study {best['study']} (of {tuning['studies']})",
        f"budget  {study['budget']} {study['unit']}",
        f"score   {best['score']:.6g} ({tuning['metric']}); the defaults: "
        f"{best['defaults_score']:.6g}",
    ]
    lines = [f"# {line}" for line in head]
    for name, table in (("config", best["settings"]), ("tuning", tuning)):
        lines += ["", f"[{name}]"]
        lines += [f"{as_key(key)} = {as_toml(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def span(numbers: Sequence[int]) -> str:
    """Whole numbers in a row as text: `3`, `0 to 2`."""
    first, last = numbers[0], numbers[-1]
    return str(first) if first == last else f"{first} to {last}"


def write(study: Mapping[str, Any], folder: Path) -> None:
    """Write `study.json` and `best.toml`, each whole.

    Raises: PgbenchError if the folder holds another study, or cannot be written.
    """
    path = folder / "study.json"
    same_study(path, study["study"])
    write_json(path, study)
    write_bytes(folder / "best.toml", best_toml(study).encode())


def same_study(path: Path, study: str) -> None:
    """Refuse a `study.json` of another study, which would be overwritten.

    Raises: PgbenchError naming the file.
    """
    if not path.exists():
        return
    old = read_json(path)
    if not isinstance(old, dict) or old.get("study") != study:
        raise PgbenchError(f"{path} is of another study than this command's; move it away")
