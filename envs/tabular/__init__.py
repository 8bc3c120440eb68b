"""Environments with finitely many states, whose optimum is known exactly."""
