"""Makes the record of a run as it stands: everything that `pgbench.records.record` reads back."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from pgbench.errors import Diverged
from pgbench.learning.algorithm import Algorithm
from pgbench.records.record import NO_SANDBOX, PLAIN, SCHEMA, record_id
from pgbench.runs import provenance
from pgbench.runs.evaluation import Evaluation
from pgbench.settings.config import digest, plain
from pgbench.support.seeding import eval_seeds

if TYPE_CHECKING:
    from pgbench.runs.runner import Run


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


def make_record(
    run: Run, status: str, final: Evaluation | None, error: Exception | None
) -> dict[str, Any]:
    """The record of `run` as it stands (schema: docs/architecture.md)."""
    plan, loop, state = run.plan, run.loop, run.algorithm.state
    config, defaults = plain(plan.config), plain(type(plan.config)())
    costs = run.costs()
    sandbox = getattr(run.env, "sandbox", "")  # of code environments: what kept programs in
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
            **run.algorithm.provenance(),
        },
        "environment": {
            "id": plan.env.name,
            "kwargs": dict(plan.env_kwargs),
            "underlying": plan.env.underlying,
            "metric": asdict(plan.env.metrics[0]),
            "golden": run.golden,
            **({"sandbox": sandbox} if sandbox else {}),
        },
        "protocol": {
            "seed": plan.seed,
            "budget": plan.budget,
            "unit": plan.env.budget_unit,
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
            "curve": run.curve,
            **({"diagnostics": loop.summary()} if final and hasattr(loop, "summary") else {}),
            "failure": kind_of(error),
            "error": None if error is None else f"{_name(error)}: {error}",
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
