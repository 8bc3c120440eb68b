"""Algorithms on groups of responses of a language model, judged by a verifier."""
