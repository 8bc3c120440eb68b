"""Claims held against records: one JSON-able dict, from which page and terminal are rendered.

A pure function of claims files, suites and records: no clock, no locale, no file order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgbench.claims.weigh import (
    ALPHA,
    CONTRADICTED,
    SUPPORTED,
    combined,
    corrected,
    difference,
    in_all,
    p_values,
    power,
    standardised,
    state,
)
from pgbench.errors import PgbenchError

if TYPE_CHECKING:
    from pgbench.claims import Check, Claim, Claims
    from pgbench.claims.weigh import Power
    from pgbench.records.suite import Suite, SuiteEnv

FORMAT = 2
NO_RUNS = "no runs yet"
Result = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """A suite's records as its board has them; no model where there are no records."""

    suite: Suite
    model: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)  # record id -> label of its entry
    diagnostics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by record id

    def row(self, check: Check, env: str, label: str) -> Mapping[str, Any] | None:
        """The row of the suite's entry `label` in an environment; None before its first run.

        Raises: PgbenchError if two rows answer to it.
        """
        if self.model is None:
            return None
        track = next(t for t in self.model["tracks"] if t["name"] == check.track.name)
        rows: list[Mapping[str, Any]] = [
            row
            for row in track["tasks"][self.suite.environments[env].version]
            if self.labels.get(row["scores"][0]["record"]) == label
        ]
        if len(rows) > 1:
            names = " and ".join(f"'{row['name']}'" for row in rows)
            raise PgbenchError(
                f"{self.suite.name}: {names} both have the settings of '{label}' on {env} (its "
                "defaults changed between them); withdraw the records of one"
            )
        return rows[0] if rows else None


def hold(files: Sequence[Claims], root: Path) -> Result:
    """Every claim of these files with its verdict, from the records below `<root>/records`.

    Raises: PgbenchError for records that are broken or break a rule of their suite.
    """
    suites = sorted({c.suite for file in files for claim in file.claims for c in claim.checks})
    evidence = {name: gather(name, root) for name in suites}
    return {
        "format": FORMAT,
        "papers": [
            {
                "algorithm": file.algorithm,
                "paper": file.paper,
                "title": file.title,
                "registered": file.registered,
                "claims": [judge(claim, evidence) for claim in file.claims],
            }
            for file in files
        ],
    }


def gather(name: str, root: Path) -> Evidence:
    """The records of suite `name`, checked and built into their board.

    Raises: PgbenchError for records that are broken or break a rule of the suite.
    """
    from pgbench.boards.model import build_model
    from pgbench.boards.rows import find_entry
    from pgbench.records.ledger import read_board, read_stamps
    from pgbench.records.rules import find_track, obey
    from pgbench.records.suite import find_suite

    suite, folder = find_suite(name, root), root / "records" / name
    if not folder.is_dir():
        return Evidence(suite)
    records = [e.record for e in read_board(folder, lambda r, where: obey(r, suite, where))]
    envs = {env.version: env for env in suite.environments.values()}
    labels = {}
    for record in records:
        track = find_track(record, suite)
        entry = find_entry(record, track, envs[record["environment"]["id"]]) if track else None
        if entry is not None:
            labels[str(record["id"])] = entry.label
    figures = {str(r["id"]): r["result"].get("diagnostics", {}) for r in records}
    model = build_model(name, records, suite, read_stamps(folder))
    return Evidence(suite, model, labels, figures)


def judge(claim: Claim, evidence: Mapping[str, Evidence]) -> Result:
    """The claim with its checks and its verdict."""
    checks = [weigh(check, evidence[check.suite]) for check in claim.checks]
    refuting = [check for check in checks if check["role"] == "decides"]
    # The family is all of them, run or not: no later run takes back what one has refuted.
    adjusted = corrected([1.0 if c["p_against"] is None else c["p_against"] for c in refuting])
    for check, p in zip(refuting, adjusted, strict=True):
        if check["p_against"] is not None:
            check["p_against"] = p
    for check in checks:
        if check["p_against"] is not None:
            check["state"] = state(check["p_for"], check["p_against"])
    needed = [check for check in checks if check["role"] != "informs"]
    runs = _count(cell for check in needed for cell in check.pop("cells").items())
    for check in checks:
        check.pop("cells", None)
    return {
        "id": claim.id,
        "statement": claim.statement,
        "source": claim.source,
        "note": claim.note,
        "remark": claim.remark,
        "verdict": _verdict(needed, runs),
        "runs": runs,
        "checks": checks,
    }


def _verdict(needed: Sequence[Result], runs: Mapping[str, int]) -> str:
    if any(c["state"] == CONTRADICTED and c["role"] == "decides" for c in needed):
        return "not reproduced"  # whatever the missing runs will say
    if any(check["p_for"] is None for check in needed):
        return _waiting(runs)
    return "reproduced" if all(c["state"] == SUPPORTED for c in needed) else "inconclusive"


def _waiting(runs: Mapping[str, int]) -> str:
    if runs["started"] == 0:
        return NO_RUNS
    return f"incomplete ({runs['started']} of {runs['expected']} runs)"


def _count(cells: Iterable[tuple[Any, Mapping[str, int]]]) -> dict[str, int]:
    """The runs of some rows, each row once however many checks read it."""
    rows = dict(cells)
    names = ("finished", "started", "expected")
    return {name: sum(row[name] for row in rows.values()) for name in names}


def weigh(check: Check, evidence: Evidence) -> Result:
    """One check before the correction over its claim: effect sizes, p-values, runs."""
    tasks = [_Task(check, evidence, env) for env in check.environments]
    cells = {
        (check.suite, check.track.name, task.env.id, label): runs
        for task in tasks
        for label, runs in zip(_labels(check), task.runs, strict=True)
    }
    runs = _count(cells.items())
    complete = all(task.complete for task in tasks)
    p_for = p_against = None
    if complete:
        p_for, p_against = combined([task.p_values() for task in tasks], check.at_least)
    model = evidence.model
    spare = len(tasks) - check.at_least + 1  # as `combined` corrects for any of them
    powers = [task.power(ALPHA / spare) if complete else None for task in tasks]
    return {
        "suite": check.suite,
        "track": check.track.name,
        "budget": check.track.budget,
        "seeds": check.track.seeds,
        "kind": check.kind,
        "diagnostic": check.diagnostic,
        "a": check.a,
        "b": check.b,
        "at_least": check.at_least,
        "margin": None if not check.margin else {check.margin.unit: check.margin.amount},
        "role": check.role,
        "note": check.note,
        "state": _waiting(runs),
        "p_for": p_for,
        "p_against": p_against,
        "runs": runs,
        "results": model["digest"]["results"] if model and runs["started"] else None,
        "command": f"pgbench bench {check.suite} --track {check.track.name}",
        "power": _power(check, [one for one in powers if one is not None]),
        "environments": [
            {
                **task.result(complete),
                "power": one and {"least": _plain(one.least), "equal": _plain(one.equal)},
            }
            for task, one in zip(tasks, powers, strict=True)
        ],
        # A diagnostic has no floor and no reference to be normalised by.
        "overall": _overall(tasks) if complete and not check.diagnostic else None,
        "cells": cells,
    }


def _power(check: Check, powers: Sequence[Power]) -> Result | None:
    """Of the check: its power if both are equal, or the least differences, by environment.

    None where no environment has a spread; one without is no doubt, hence no matter of power.
    """
    if not powers:
        return None
    if check.kind != "better":
        certain = len(check.environments) - len(powers)
        equal = in_all([p.equal or 0.0 for p in powers], max(check.at_least - certain, 0))
        return {"equal": _plain(equal), "least": None}
    least = [p.least for p in powers if p.least is not None]
    return {"equal": None, "least": [_plain(min(least)), _plain(max(least))]}


def _plain(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _labels(check: Check) -> tuple[str, ...]:
    """The rows that a check reads: the reference is none."""
    return (check.a,) if check.b is None else (check.a, check.b)


def _figures(
    name: str, row: Mapping[str, Any] | None, evidence: Evidence
) -> dict[int, float]:  # fmt: skip
    """A diagnostic of the runs of a row, by seed; a run that has not got there lacks it.

    Raises: PgbenchError if no run of the suite has such a figure.
    """
    if row and not any(name in figures for figures in evidence.diagnostics.values()):
        known = sorted({key for figures in evidence.diagnostics.values() for key in figures})
        raise PgbenchError(
            f"{evidence.suite.name}: no record has a diagnostic '{name}'; "
            f"they have {', '.join(known) or 'none'}"
        )
    pairs = [
        (score["seed"], evidence.diagnostics.get(score["record"], {}))
        for score in (row["scores"] if row else ())
    ]
    return {seed: figures[name] for seed, figures in pairs if name in figures}


class _Task:
    """A check's two rows in one environment, or its one row and the reference."""

    def __init__(self, check: Check, evidence: Evidence, env: str) -> None:
        self.check = check
        self.env: SuiteEnv = evidence.suite.environments[env]
        self.rows = [evidence.row(check, env, label) for label in _labels(check)]
        self.seed = 0
        self.metric: Mapping[str, str] | None = None
        if evidence.model is not None:
            from pgbench.statistics.intervals import content_seed

            self.seed = content_seed(evidence.model["digest"]["results"])
            track = next(t for t in evidence.model["tracks"] if t["name"] == check.track.name)
            self.metric = next(
                e["metric"] for e in track["environments"] if e["id"] == self.env.version
            )
        self.sign = -1 if self.metric and self.metric["direction"] == "min" else 1
        self.scores = [
            {s["seed"]: s["score"] for s in row["scores"]} if row else {} for row in self.rows
        ]
        if check.diagnostic:
            self.metric = {"name": check.diagnostic, "unit": "", "direction": "min"}
            self.sign = -1
            self.scores = [_figures(check.diagnostic, row, evidence) for row in self.rows]
        if check.b is None:
            self.scores.append(dict.fromkeys(self.scores[0], self.env.reference))
        none = {"finished": 0, "started": 0, "expected": check.track.seeds}
        self.runs = [row["runs"] if row else none for row in self.rows]

    @property
    def complete(self) -> bool:
        return all(row is not None and row["complete"] for row in self.rows)

    @property
    def oriented(self) -> tuple[list[float], list[float]]:
        """Scores of a and of b, in the order of their seeds, higher is better."""
        a, b = ([self.sign * scores[s] for s in sorted(scores)] for scores in self.scores)
        return a, b

    @property
    def scale(self) -> float:
        return abs(self.env.reference - self.env.floor)

    def p_values(self) -> tuple[float, float]:
        if not any(runs["finished"] for runs in self.runs):
            return 1.0, 1.0  # two rows of failures are no tie, one is no score
        return p_values(self.check.kind, *self.oriented, self.check.margin, self.scale)

    def power(self, tail: float) -> Power | None:
        return power(self.check.kind, *self.oriented, self.check.margin, self.scale, tail)

    def result(self, complete: bool) -> Result:
        from pgbench.statistics.intervals import improvement_interval

        x, y = self.oriented
        both, paired = bool(x and y), self.check.b is not None
        p_for, p_against = self.p_values() if complete else (None, None)
        margin = self.check.margin
        in_score = margin is not None and margin.unit == "scale"
        return {
            "id": self.env.version,
            "metric": self.metric["name"] if self.metric else None,
            "unit": self.metric["unit"] if self.metric else None,
            "direction": self.metric["direction"] if self.metric else None,
            "margin": margin.amount * self.scale if margin and in_score else None,
            "a": self._side(0),
            "b": self._side(1) if paired else {"reference": self.env.reference},
            "difference": _finite(difference(x, y)) if both else None,
            # A constant has neither a spread to measure in nor runs to beat.
            "standardised": _finite(standardised(x, y)) if both and paired else None,
            "probability": _finite(improvement_interval({"": x}, {"": y}, seed=self.seed))
            if both and paired
            else None,
            "p_for": p_for,
            "p_against": p_against,
        }

    def _side(self, side: int) -> Result:
        row, values = self.rows[side], list(self.scores[side].values())
        mean = row["mean"] if row else None
        if self.check.diagnostic and values:
            from pgbench.statistics.intervals import mean_interval

            limits = mean_interval(values) or (math.nan, math.nan)
            mean = _finite([sum(values) / len(values), *limits])
        return {"mean": mean, **self.runs[side]}


def _overall(tasks: Sequence[_Task]) -> Result:
    """Effect sizes over all environments, of normalised scores; the board's own figures."""
    from pgbench.statistics import ranking
    from pgbench.statistics.intervals import improvement_interval

    scores = [
        {
            task.env.version: {s: task.env.normalised(v) for s, v in task.scores[side].items()}
            for task in tasks
        }
        for side in (0, 1)
    ]
    x, y = ({name: [by[s] for s in sorted(by)] for name, by in row.items()} for row in scores)
    a, b = (ranking.estimate(list(row.values())) for row in (x, y))
    return {
        "difference": None if a is None or b is None else _finite(ranking.difference(a, b)[:3]),
        "probability": None
        if tasks[0].check.b is None
        else _finite(improvement_interval(x, y, seed=tasks[0].seed)),
    }


def _finite(values: Iterable[float]) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]
