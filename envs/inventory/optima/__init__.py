"""Exact optima and lower bounds of inventory problems: what a trained policy is held to."""
