"""Plain helpers that know nothing of learning: files, TOML, text, names, seeds, signals.

They import each other and `pgbench.errors`, nothing else of the house, and torch only inside
functions. Start with `files` (atomic writes, locks) and `reporting` (an error becomes one line).
"""
