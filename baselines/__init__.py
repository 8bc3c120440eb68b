"""The catalogue of algorithms: one `register_algo` line each, nothing heavy imported."""

if __name__ != "pgbench.baselines":
    raise ImportError(f"this tree is installed as pgbench.baselines; it was imported as {__name__}")

from pgbench.registry import register_algo
