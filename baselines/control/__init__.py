"""Continuous-control algorithms."""
