"""Algorithms for supply networks whose simulator can be differentiated."""
