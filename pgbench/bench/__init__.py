"""Many runs: what a suite lacks is started, watched, adopted and recorded.

Imports `runs` and below. Start with `schedule`; `launchers` says where jobs run.
"""
