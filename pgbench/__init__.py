"""pgbench: policy-optimisation algorithms, compared honestly and fast.

    import pgbench
    env = pgbench.make("hopper", num_envs=8, seed=0)
    result = pgbench.run("mdpo", "hopper", seed=0, budget="200k")
    pgbench.evaluate(result.policy, "hopper")
    pgbench.load("runs/mdpo/hopper/0-1a2b3c4d").policy

Names are resolved on first use, so importing the package imports neither torch nor gymnasium.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from pgbench.support.moved import Moved

if TYPE_CHECKING:
    from pgbench.api import run
    from pgbench.catalogue.capabilities import make
    from pgbench.catalogue.registry import (
        Anchor,
        Metric,
        register_algo,
        register_env,
        register_loop,
    )
    from pgbench.errors import PgbenchError
    from pgbench.runs.evaluation import evaluate
    from pgbench.runs.result import Result, load

_WHERE = {
    "Anchor": "pgbench.catalogue.registry",
    "Metric": "pgbench.catalogue.registry",
    "PgbenchError": "pgbench.errors",
    "Result": "pgbench.runs.result",
    "evaluate": "pgbench.runs.evaluation",
    "load": "pgbench.runs.result",
    "make": "pgbench.catalogue.capabilities",
    "register_algo": "pgbench.catalogue.registry",
    "register_env": "pgbench.catalogue.registry",
    "register_loop": "pgbench.catalogue.registry",
    "run": "pgbench.api",
}

__all__ = [
    "Anchor",
    "Metric",
    "PgbenchError",
    "Result",
    "evaluate",
    "load",
    "make",
    "register_algo",
    "register_env",
    "register_loop",
    "run",
]


sys.meta_path.insert(0, Moved())


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'pgbench' has no attribute '{name}'")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value
