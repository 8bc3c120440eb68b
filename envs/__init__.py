"""The catalogue of environments: one `register_env` line each, nothing heavy imported."""

if __name__ != "pgbench.envs":
    raise ImportError(f"this tree is installed as pgbench.envs; it was imported as {__name__}")

from pgbench.registry import Metric, register_env
