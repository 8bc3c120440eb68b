"""Leaderboards: the model of a board, and its outputs."""
