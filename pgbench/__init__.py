"""pgbench: policy-optimisation algorithms, compared honestly and fast.

    import pgbench
    env = pgbench.make("hopper", num_envs=8, seed=0)
    result = pgbench.run("mdpo", "hopper", seed=0, budget="200k")
    pgbench.evaluate(result.policy, "hopper")
    pgbench.load("runs/mdpo/hopper/0-1a2b3c4d").policy

Names are resolved on first use, so importing the package imports neither torch nor gymnasium.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgbench.api import Result, load, run
    from pgbench.errors import PgbenchError
    from pgbench.evaluation import evaluate
    from pgbench.interface import make
    from pgbench.registry import Anchor, Metric, register_algo, register_env

_WHERE = {
    "Anchor": "pgbench.registry",
    "Metric": "pgbench.registry",
    "PgbenchError": "pgbench.errors",
    "Result": "pgbench.api",
    "evaluate": "pgbench.evaluation",
    "load": "pgbench.api",
    "make": "pgbench.interface",
    "register_algo": "pgbench.registry",
    "register_env": "pgbench.registry",
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
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'pgbench' has no attribute '{name}'")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value
