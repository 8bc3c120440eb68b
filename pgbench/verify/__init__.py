"""Verifiers: programs that judge a completion against a reference answer or against tests."""
