"""Suites of runs: what to run, where, and how it goes on after a kill."""
