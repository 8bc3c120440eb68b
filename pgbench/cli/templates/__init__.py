"""What `pgbench new` writes: plug-ins that run as they are, here under names of their own.

Import what docs/plugins.md promises, and nothing imports them: `pgbench/cli/scaffold.py` reads them
as text and puts in the user's names. Start with `algo_control`.
"""
