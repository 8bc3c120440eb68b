"""Numbers from numbers: intervals, bootstrap, rank groups; no file and no record is known here.

Imports `support`. Start with `intervals`.
"""
