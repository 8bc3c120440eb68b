"""What `pgbench new` writes: plug-ins that run as they are, here under names of their own.

Nothing imports these modules; `pgbench/cli/scaffold.py` reads them as text and puts in the user's
names. They are held to the same checks as all other code.
"""
