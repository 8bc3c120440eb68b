"""Modules by the names that they had in 0.1, so that a plug-in written for it still runs."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

WHERE = {
    "rollout": "worlds",
    "files": "support.files",
    "toml": "support.toml",
    "text": "support.text",
    "signals": "support.signals",
    "seeding": "support.seeding",
    "ranges": "settings.ranges",
    "config": "settings.config",
    "keywords": "settings.keywords",
    "rollout.batch_env": "worlds.batch_env",
    "rollout.mujoco_batch": "worlds.mujoco_batch",
    "rollout.text_env": "worlds.text_env",
    "rollout.copying": "worlds.copying",
    "network": "worlds.network",
    "tasks": "worlds.tasks",
    "loops.checks": "worlds.checks",
    "registry": "catalogue.registry",
    "pages": "catalogue.pages",
    "fingerprint": "catalogue.fingerprint",
    "interface": "catalogue.capabilities",
    "algorithm": "learning.algorithm",
    "policy": "learning.policy",
    "nets": "learning.nets",
    "optim": "learning.optim",
    "batches": "learning.batches",
    "ops": "learning.ops",
    "rollout.engines": "lm.engines",
    "plan": "runs.plan",
    "runner": "runs.runner",
    "recording": "runs.recording",
    "log": "runs.log",
    "progress": "runs.progress",
    "provenance": "runs.provenance",
    "origins": "runs.origins",
    "evaluation": "runs.evaluation",
    "video": "runs.video",
    "report": "runs.report",
    "check": "runs.contract",
    "bootstrap": "statistics.bootstrap",
    "ranking": "statistics.ranking",
    "record": "records.record",
    "ledger": "records.ledger",
    "rules": "records.rules",
    "bench.suite": "records.suite",
    "scaffold": "cli.scaffold",
    "doctor": "cli.doctor",
}


def now(name: str) -> str | None:
    """What the module `name` of 0.1 is called; None if that is its name still."""
    words = name.split(".")[1:]
    for count in range(len(words), 0, -1):
        if new := WHERE.get(".".join(words[:count])):
            return ".".join(["pgbench", new, *words[count:]])
    return None


class Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module of 0.1 as what it became, the same object, and warns."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for an old name; None for any other."""
        if not name.startswith("pgbench.") or (new := now(name)) is None:
            return None
        warnings.warn(f"{name} is {new} now", DeprecationWarning, stacklevel=2)
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module under its new name."""
        module = importlib.import_module(now(spec.name) or spec.name)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: Any) -> None:
        """It has run under its new name, and keeps it."""
        module.__spec__ = module.__spec__.loader_state
