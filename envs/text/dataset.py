"""Environments whose tasks are the rows of a data set: splits, duplicates, bad rows."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.worlds.tasks import SPLITS, Task
from pgbench.worlds.text_env import TextEnv, split_of

from .rows import Row, read

NAMED = 3  # bad rows that an error names


@dataclass(frozen=True)
class Item:
    """What a row says of one problem."""

    problem: str
    answer: str = ""
    level: str = ""
    demonstration: str = ""
    hints: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""  # of its row


class BadRow(Exception):
    """A row that makes no problem; the text says why."""


def find_field(row: Row, asked: str, usual: Iterable[str]) -> str | None:
    """The name of a row's field: the one asked for, or the first usual one that it has."""
    if asked:
        if asked not in row.fields:
            raise BadRow(f"it has no field '{asked}' but {', '.join(row.fields)}")
        return asked
    names = {name.lower(): name for name in row.fields}
    return next((names[name] for name in usual if name in names), None)


class DatasetEnv(TextEnv):
    """Base of environments on rows; a subclass calls `load` and makes the prompt of an item."""

    items: dict[str, list[Item]]
    rows = 0  # of all sources
    bad: tuple[tuple[str, str], ...] = ()  # rows left out, by place, and why
    name = "data"

    def load(
        self, source: str, test_source: str, make: Callable[[Row], Item], *, config: str = "",
        skip_bad: bool = False, part: Callable[[Row], str | None] | None = None,
    ) -> None:  # fmt: skip
        """Fill `items` from the sources, a list for each split.

        `part` says to which split a row of `source` belongs: None for neither, `` for what the
        source says, or the hash of the problem's text where it has one part.

        Raises: PgbenchError for a source that cannot be read, and for bad rows unless `skip_bad`.
        """
        rows, self.digest = _rows(source, test_source, config, self.name)
        if part is not None and not test_source:
            known = [(part(row), split, row) for split, row in rows]
            rows = [(named or split, row) for named, split, row in known if named is not None]
        self.items = {split: [] for split in SPLITS}
        bad = []
        for split, row in rows:
            try:
                if row.broken is not None:
                    raise BadRow(f"its {row.broken} has half a character (a lone surrogate)")
                item = replace(make(row), place=row.place)
            except BadRow as error:
                bad.append((row.place, str(error)))
                continue
            self.items[split or split_of(item.problem)].append(item)
        self.rows, self.bad = len(rows), tuple(bad)
        named = "; ".join(f"{place}: {why}" for place, why in bad[:NAMED])
        named += "; ..." if len(bad) > NAMED else ""
        if bad and not skip_bad:
            raise PgbenchError(
                f"{self.name}: {len(bad)} of {len(rows)} rows cannot be used: {named}. "
                "Correct them, or leave them out with --set env.skip_bad=true"
            )
        self.notes = [f"{len(bad)} of {len(rows)} rows left out"] if bad else []
        self._once()
        for note in self.notes:
            warnings.warn(f"{self.name}: {note}", stacklevel=3)
        if not any(self.items.values()):
            raise PgbenchError(f"{self.name}: none of {len(rows)} rows can be used: {named}")

    def faults(self) -> list[tuple[str, str]]:
        """Rows that make no problem, by their place, and why: what `load` found."""
        return list(self.bad)

    def _once(self) -> None:
        """Keep each problem once; one that is in both splits is a test problem."""
        seen: set[str] = set()
        for split in ("test", "train"):
            kept = []
            for item in self.items[split]:
                key = " ".join(item.problem.split())
                if key not in seen:
                    kept.append(item)
                seen.add(key)
            if gone := len(self.items[split]) - len(kept):
                self.notes.append(
                    f"{gone} {split} problems removed that occur before"
                    + (" or in the test split" if split == "train" else "")
                )
            self.items[split] = kept

    def hold_out(self, count: int, seed: int) -> list[Item]:
        """Take `count` train items out, as worked examples."""
        train = self.items["train"]
        if count >= max(len(train), 1):
            raise PgbenchError(
                f"{self.name}: {count} worked examples of {len(train)} train problems; give fewer "
                "shots, or train problems with --set env.source=FILE"
            )
        chosen = random.Random(f"examples/{seed}").sample(range(len(train)), count)
        taken = [train[i] for i in chosen]
        self.items["train"] = [item for i, item in enumerate(train) if i not in set(chosen)]
        return taken

    def make_task(self, id: str, item: Item) -> Task:
        """The task of an item."""
        raise NotImplementedError

    def size(self, split: str) -> int:
        """Number of problems of a split."""
        return len(self.items[split])

    def task(self, index: int, split: str = "train") -> Task:
        """The problem of that index."""
        return self.make_task(f"{self.name}/{split}/{index}", self.items[split][index])

    def sample(self, count: int, rng: random.Random, split: str = "train") -> list[Task]:
        """`count` problems of a split, drawn uniformly.

        Raises: PgbenchError if the split is empty.
        """
        if not self.items[split]:
            keyword = "source" if split == "train" else "test_source"
            raise PgbenchError(
                f"{self.name} has no {split} problems; give some with --set env.{keyword}=FILE"
            )
        return super().sample(count, rng, split)


def _rows(
    source: str, test_source: str, config: str, name: str
) -> tuple[list[tuple[str, Row]], str]:
    """(split, row) of everything, with `` where the source does not say it; and a digest."""
    if not source and not test_source:
        raise PgbenchError(f"{name} needs data: give --set env.source=FILE")
    rows: list[tuple[str, Row]] = []
    digests = []
    if source:
        data = read(source, config)
        digests.append(data.digest)
        for split, part in data.splits.items():
            if not (split == "test" and test_source):
                rows += [("train" if test_source else split, row) for row in part]
    if test_source:
        data = read(test_source, config)
        digests.append(data.digest)
        part = data.splits.get("test") or data.splits[""]
        rows += [("test", row) for row in part]
    return rows, hashlib.sha256("".join(digests).encode()).hexdigest()[:12]
