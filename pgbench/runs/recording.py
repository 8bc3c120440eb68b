"""Makes the record of a run as it stands: everything that `pgbench.records.record` reads back."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict
from typing import Any, Protocol

import torch

from pgbench.errors import Breach, Diverged
from pgbench.learning.algorithm import Algorithm
from pgbench.loops.base import Loop
from pgbench.records.details import checked
from pgbench.records.record import NO_SANDBOX, PLAIN, SCHEMA, record_id
from pgbench.runs import provenance
from pgbench.runs.evaluation import Evaluation
from pgbench.runs.plan import Plan
from pgbench.settings.config import digest, plain
from pgbench.support.names import NAME
from pgbench.support.seeding import eval_seeds


class Recorded(Protocol):
    """What a record is made from: `pgbench.runs.runner.Run` as it stands."""

    plan: Plan
    loop: Loop
    algorithm: Algorithm
    env: Any
    created: str
    golden: str  # fingerprint of the environment
    curve: list[dict[str, Any]]
    resumed: int

    def costs(self) -> dict[str, Any]:
        """Steps, seconds, memory so far."""
        ...


def checksum(algorithm: Algorithm) -> str:
    """SHA-256 over the names and bytes of every learned tensor."""
    total = hashlib.sha256()
    for name, value in sorted(algorithm.state.items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def kind_of(error: Exception | None) -> str | None:
    """The kind of failure that an exception is, one of `pgbench.records.record.FAILURES`."""
    if error is None:
        return None
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "out of memory"
    return "crashed"


def _name(error: Exception) -> str:
    return "diverged" if isinstance(error, Diverged) else type(error).__name__


def _count(steps: torch.Tensor) -> int:
    value = float(steps)
    return int(value) if math.isfinite(value) else 0  # a diverged run may have lost its count


def _policies(algorithm: Algorithm) -> dict[str, Any]:
    """The set of policies that was learned, by name with their weights; nothing for a single one.

    Raises: Breach for a name that the command line could not take, or weights that are no numbers.
    """
    found = {}
    for name, weights in algorithm.policies().items():
        whose = f"policy {name} of {type(algorithm).__name__}"
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise Breach(f"{name!r} cannot name a policy of {type(algorithm).__name__}")
        found[name] = checked({"weights": list(weights)}, whose)["weights"]
    if len({len(weights) for weights in found.values() if isinstance(weights, list)}) > 1:
        raise Breach(f"the policies of {type(algorithm).__name__} have weights of several lengths")
    return {"policies": found} if found else {}


def make_record(
    run: Recorded, status: str, final: Evaluation | None, error: Exception | None
) -> dict[str, Any]:
    """The record of `run` as it stands (schema: docs/architecture.md)."""
    plan, loop, state = run.plan, run.loop, run.algorithm.state
    config, defaults = plain(plan.config), plain(type(plan.config)())
    costs = run.costs()
    sandbox = getattr(run.env, "sandbox", "")  # of code environments: what kept programs in
    registered = getattr(run.env, "registered", None)  # with Gymnasium: as what, of which package
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "created": run.created,
        "status": status,
        "algorithm": {
            "name": plan.algo.name,
            "paper": plan.algo.paper,
            "config": config,
            "config_hash": digest(config),
            "defaults_changed": sorted(k for k in config if config[k] != defaults[k]),
            "parameters": sum(state[name].numel() for name in run.algorithm.trained),
            **(_policies(run.algorithm) if status == "finished" else {}),
            **run.algorithm.provenance(),
        },
        "environment": {
            "id": plan.env.name,
            "kwargs": dict(plan.env_kwargs),
            "underlying": plan.env.underlying,
            "metric": plan.env.metrics[0].told,
            "golden": run.golden,
            **({"sandbox": sandbox} if sandbox else {}),
            **({"registered": registered} if registered else {}),
        },
        "protocol": {
            "seed": plan.seed,
            "budget": plan.budget,
            "unit": plan.loop.unit,
            **asdict(plan.protocol),
            "train_seed": run.algorithm.setup.seed,
            "eval_seeds": digest(
                eval_seeds(plan.env.name, plan.protocol.episodes, purpose=plan.purpose)
            ),
            "deterministic": getattr(loop.policy, "deterministic", True),
            "tuning": dict(plan.tuning),
        },
        "identity": plan.identity,
        "execution": {
            "device": plan.device,
            "compile": plan.compile,
            "threads": plan.threads,
            **({"stack": plan.stack} if plan.stack else {}),
            **plan.words,
        },
        "result": {
            "final": final.returns if final else None,
            "lengths": final.lengths if final else None,
            # Of the final episodes: those that the evaluation's limit of steps ended.
            **({"cut": final.cut} if final and final.cut else {}),
            "score": final.mean if final else None,
            **({"details": dict(final.details)} if final and final.details else {}),
            "curve": run.curve,
            **({"diagnostics": loop.summary()} if final and hasattr(loop, "summary") else {}),
            "failure": kind_of(error),
            # A path may hold what is no text; the record says it with question marks.
            "error": error and f"{_name(error)}: {error}".encode(errors="replace").decode(),
            "checksum": checksum(run.algorithm) if status in ("finished", "failed") else None,
        },
        "cost": {
            "env_steps": loop.steps,
            "grad_steps": sum(_count(v) for k, v in state.items() if k.endswith(".t")),
            **getattr(loop, "counts", {}),
            **{key: round(value, 3) for key, value in costs.items()},
            "peak_memory_mib": provenance.peak_memory_mib(),
        },
        "provenance": {
            **provenance.git(),
            "packages": provenance.packages(),
            "lock": provenance.lock(),
            **provenance.machine(),
            "resumed": run.resumed,
            **({"warnings": [NO_SANDBOX]} if sandbox == PLAIN else {}),
        },
    }
    record["id"] = record_id(record)
    return record
