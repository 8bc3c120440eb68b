"""Boards: pure functions from records to one model, and from that to tables, pages, citations.

Imports `bench` and below. Start with `model`, then `store`, which keeps a board on disk.
"""
