"""Numbers from numbers: intervals, bootstrap, ranks, power; no file and no record is known here.

Imports `support`. Start with `intervals`.
"""
