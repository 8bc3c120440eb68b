"""What `pgbench tune` asks of Optuna: quasi-random points, and a journal that survives a kill.

The points depend on the space, their number and a seed alone, never on results, so a study is
planned whole before its first run and a kill cannot shift it. The journal takes a trial once, when
all its seeds have ended, in one line; until then the run folders hold what was done. It is an
ordinary journal of Optuna: its dashboard and its importance analysis read it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pgbench.errors import PgbenchError, install
from pgbench.records.schema import Count, Number
from pgbench.settings.config import canonical
from pgbench.support.files import write_bytes
from pgbench.tuning.space import Choices, Range, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

Seed = Mapping[str, Any]  # what one run gave, see `_Seed`
PAYLOAD = "pgbench"  # the user attribute of a trial that holds all that is read back


class _Seed(msgspec.Struct):
    seed: Count
    status: str
    score: Number | None
    failure: str | None
    error: str | None
    record: str | None
    checksum: str | None


class _Payload(msgspec.Struct):
    params: dict[str, Any]
    seeds: list[_Seed]


def need_optuna() -> Any:
    """The optuna package, silenced.

    Raises: PgbenchError naming the pip extra if it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise PgbenchError(f"optuna is not installed; run: {install('tune')}") from error
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


def draws(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """`count` points of a Sobol sequence over the space, scrambled by `seed`.

    The order of the space's keys makes no difference.

    Raises: PgbenchError if optuna is not installed.
    """
    optuna = need_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(scramble=True, seed=seed)
        study = optuna.create_study(sampler=sampler)
    distributions = _distributions(dict(sorted(space.items())))
    study.ask(
        distributions
    )  # the first is not of the sequence: from it the sampler learns the space
    return [
        {key: _outer(space[key], asked[_name(key, space[key])]) for key in space}
        for asked in (study.ask(distributions).params for _ in range(count))
    ]


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    from optuna import distributions as d

    out: dict[str, BaseDistribution] = {}
    for key, dimension in space.items():
        kind: BaseDistribution
        if isinstance(dimension, Choices):
            kind = d.CategoricalDistribution([_word(value) for value in dimension.values])
        elif dimension.whole:
            low, high = int(dimension.low), int(dimension.high)
            kind = d.IntDistribution(low, high, log=dimension.scale == "log")
        else:
            kind = d.FloatDistribution(*dimension.ends, log=dimension.scale != "linear")
        out[_name(key, dimension)] = kind
    return out


def _name(key: str, dimension: Range | Choices) -> str:
    """The name of a setting in Optuna's study."""
    return f"1-{key}" if isinstance(dimension, Range) and dimension.scale == "1-x" else key


def _word(value: Any) -> Any:
    """A choice as Optuna keeps it: lists become text."""
    return canonical(value) if isinstance(value, list) else value


def _outer(dimension: Range | Choices, drawn: Any) -> Any:
    if isinstance(dimension, Range):
        return dimension.outer(drawn)
    return next(value for value in dimension.values if _word(value) == drawn)


class Journal:
    """The ended trials of several studies in one file; only its process may write it."""

    def __init__(self, path: Path, space: Space, direction: str) -> None:
        self.path, self.space, self.direction = path, space, direction
        self.studies: dict[str, Study] = {}
        optuna = need_optuna()
        from optuna.storages import journal

        self._mend()
        try:
            lock = journal.JournalFileOpenLock(str(path))
            backend = journal.JournalFileBackend(str(path), lock_obj=lock)
            self.storage = optuna.storages.JournalStorage(backend)
        except Exception as error:  # replaying a damaged journal raises whatever it meets
            raise self._damaged(f"{type(error).__name__}: {error}") from error

    def _mend(self) -> None:
        """Remove what a kill leaves: a lock that nobody holds, a last line cut short."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.with_name(f"{self.path.name}.lock").unlink(missing_ok=True)
        data = self.path.read_bytes() if self.path.exists() else b""
        if data and not data.endswith(b"\n"):
            kept, end, _ = data.rpartition(b"\n")
            write_bytes(self.path, kept + end)

    def _damaged(self, why: str) -> PgbenchError:
        return PgbenchError(
            f"the journal {self.path} is damaged ({why}); delete it and give the same command "
            "again: nothing is lost, ended runs are read from their folders"
        )

    def _study(self, name: str) -> Study:
        if name not in self.studies:
            optuna = need_optuna()
            direction = "minimize" if self.direction == "min" else "maximize"
            there = name in optuna.get_all_study_names(storage=self.storage)
            self.studies[name] = (
                optuna.load_study(storage=self.storage, study_name=name)
                if there
                else optuna.create_study(storage=self.storage, study_name=name, direction=direction)
            )
        return self.studies[name]

    def read(self, name: str, planned: Sequence[Mapping[str, Any]]) -> list[list[Seed]]:
        """The results of the seeds of each ended trial of study `name`, in the order of `planned`.

        Raises: PgbenchError if the journal is damaged, or its trials are not the planned ones.
        """
        found = list[list[Seed]]()
        try:
            for trial in self._study(name).trials:
                payload = msgspec.convert(trial.user_attrs[PAYLOAD], _Payload)
                if canonical(payload.params) != canonical(planned[trial.number]):
                    raise PgbenchError(
                        f"the journal {self.path} has another trial {trial.number} than this "
                        "optuna and scipy draw; install the versions that it began with, or "
                        f"delete {self.path.parent.parent} to start over"
                    )
                found.append(trial.user_attrs[PAYLOAD]["seeds"])
        except (LookupError, TypeError, ValueError, msgspec.ValidationError) as error:
            raise self._damaged(f"{type(error).__name__}: {error}") from error
        return found

    def add(
        self, name: str, params: Mapping[str, Any], score: float, seeds: Sequence[Seed]
    ) -> None:
        """Commit the next trial of study `name`: its settings, its score, what each seed gave."""
        from optuna.trial import create_trial

        # The defaults may lie outside the space; Optuna is told of what lies inside.
        inside = [key for key, dimension in self.space.items() if dimension.has(params[key])]
        some = {key: self.space[key] for key in inside}
        distributions = _distributions(some)
        told = {_name(key, d): _inner(d, params[key]) for key, d in some.items()}
        self._study(name).add_trial(
            create_trial(
                params=told,
                distributions=distributions,
                value=score,
                user_attrs={PAYLOAD: {"params": dict(params), "seeds": list(seeds)}},
            )
        )


def _inner(dimension: Range | Choices, value: Any) -> Any:
    if isinstance(dimension, Choices):
        return _word(value)
    low, high = dimension.ends
    return min(max(dimension.inner(value), low), high)  # 1 - x may leave by its last bit
