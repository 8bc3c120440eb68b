"""A record's run done again from the record alone, and compared bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgbench.errors import PgbenchError
from pgbench.runs import provenance
from pgbench.statistics.intervals import prediction_interval

if TYPE_CHECKING:
    from pgbench.runs.plan import Plan
    from pgbench.runs.progress import Progress

Record = Mapping[str, Any]
PARTS = ("checksum", "final", "curve", "failure")  # of a result: what a re-run gives again
# What else of a record a re-run gives again, where the record has it: block and field.
FACTS = (
    ("algorithm", "parameters"), ("algorithm", "defaults_changed"), ("environment", "underlying"),
    ("environment", "metric"), ("protocol", "deterministic"), ("cost", "env_steps"),
    ("cost", "grad_steps"), ("cost", "samples"), ("result", "lengths"),
)  # fmt: skip
PARTY = ("cpu", "cores", "gpu", "system")  # of a machine


@dataclass(frozen=True)
class Comparison:
    """What a re-run gave, beside what the record says."""

    old: Record
    new: Record
    others: Sequence[float]  # scores of the row's other seeds

    @property
    def differing(self) -> list[str]:
        """Parts of the result that are not bit-equal."""
        old, new = self.old["result"], self.new["result"]
        told = [*PARTS, *(["details"] if "details" in old else [])]
        facts = [f"{block}.{key}" for block, key in FACTS if key in self.old[block]
                 and self.old[block][key] != self.new[block].get(key)]  # fmt: skip
        return [*(key for key in told if old[key] != new.get(key)), *facts]

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% prediction interval of one more seed's score; None from less than two others."""
        return prediction_interval(self.others) if len(self.others) > 1 else None

    @property
    def kind(self) -> str:
        """The stamp that the outcome deserves: verified, reproduced or disputed; or undecided."""
        if not self.differing:
            return "verified" if same_machine(self.old, self.new) else "reproduced"
        if same_machine(self.old, self.new) and same_code(self.old, self.new):
            return "disputed"  # the very same machine and code must give the very same bits
        score, inside = self.new["result"]["score"], self.interval
        if score is None or inside is None:
            return "undecided"
        return "reproduced" if inside[0] <= score <= inside[1] else "disputed"

    def text(self) -> str:
        """What happened, for people."""
        old, new = self.old["result"]["score"], self.new["result"]["score"]
        if not self.differing:
            return f"bit-equal: parameters, {len(self.old['result']['final'] or [])} final episodes"
        why = [f"{', '.join(self.differing)} differ: score {_score(new)}, recorded {_score(old)}"]
        if self.interval is not None:
            low, high = self.interval
            why.append(f"the other seeds foretell [{low:,.1f}, {high:,.1f}]")
        if not same_code(self.old, self.new):
            commit = str(self.old["provenance"]["commit"])[:12]
            why.append(f"the code differs too (recorded at {commit}: check it out and try again)")
        if not same_machine(self.old, self.new):
            why.append("the machine differs too")
        return "; ".join(why)

    def stamp(self, by: str) -> dict[str, Any]:
        """What to say of the record on its board.

        Raises: PgbenchError for an undecided outcome, or from code with local changes.
        """
        where = self.new["provenance"]
        if where["dirty"]:
            raise PgbenchError("this code has local changes: commit them before you stamp a record")
        if self.kind == "undecided":
            raise PgbenchError("the outcome is undecided (see above): there is nothing to stamp")
        return {
            "kind": self.kind,
            "record": self.old["id"],
            "by": by,
            "created": provenance.utc_now(),
            "evidence": {
                "bit_equal": not self.differing,
                "score": self.new["result"]["score"],
                "checksum": self.new["result"]["checksum"],
                "commit": where["commit"],
                "machine": {key: where[key] for key in PARTY},
                "packages": where["packages"],
            },
        }


def _score(value: float | None) -> str:
    return "none (failed)" if value is None else f"{value:,.1f}"


def same_machine(a: Record, b: Record) -> bool:
    """Whether two runs name the same kind of machine."""
    return all(a["provenance"][key] == b["provenance"][key] for key in PARTY)


def same_code(a: Record, b: Record) -> bool:
    """Whether two runs were made by the same commit, without local changes."""
    one, other = a["provenance"], b["provenance"]
    return bool(one["commit"]) and one["commit"] == other["commit"] and not other["dirty"]


def replan(record: Record) -> Plan:
    """The run that a record describes, resolved by this pgbench.

    Raises: PgbenchError if it would not be the same run: the config or its defaults have changed.
    """
    from pgbench.runs.plan import Protocol, make_plan

    identity, protocol, how = record["identity"], record["protocol"], record["execution"]
    if any(identity["sources"]):
        algo, env = how["algo"], how["env"]
    else:
        algo, env = identity["algorithm"], identity["environment"]
    settings = {
        **identity["config"],
        **{f"env.{key}": value for key, value in identity["env_kwargs"].items()},
    }
    plan = make_plan(
        algo, env, seed=protocol["seed"], budget=protocol["budget"], settings=settings,
        protocol=Protocol(**identity["protocol"]), device=how["device"], compile=how["compile"],
        threads=how["threads"], stack=identity.get("stack", 0), purpose=identity["purpose"],
        tuning=protocol["tuning"],
    )  # fmt: skip
    odd = sorted(key for key in identity if identity[key] != plan.identity.get(key))
    if odd:
        raise PgbenchError(
            f"record {record['id'][:12]} cannot be run again by this pgbench: its "
            f"{', '.join(odd)} would differ; check out commit {record['provenance']['commit']}"
        )
    return plan


def rerun(
    record: Record, runs: Path, others: Sequence[float], progress: Progress | None = None
) -> Comparison:
    """Do the run again (or go on with it) below `runs`, and compare.

    Raises: PgbenchError if this is not the record's environment any more.
    """
    from pgbench.catalogue.fingerprint import golden
    from pgbench.runs.runner import Run
    from pgbench.runs.stack import StackedRuns

    plan = replan(record)
    if golden(plan.env, plan.env_kwargs) != record["environment"]["golden"]:
        raise PgbenchError(
            f"{plan.env.name} here is not what record {record['id'][:12]} was made on: its "
            f"fingerprint differs (it had {record['provenance']['packages']})"
        )
    if plan.stack:  # the others of its stack have to run, too
        plans = [replace(plan, seed=seed) for seed in range(plan.stack)]
        return Comparison(record, StackedRuns(plans, runs, progress).go()[plan.seed], others)
    return Comparison(record, Run(plan, runs, progress).go(), others)
