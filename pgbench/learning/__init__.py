"""What an algorithm's file is made of: the base class, networks, optimisers, batches, operations.

Imports `catalogue` and below. Start with `algorithm.Algorithm`; `ops` holds pure tensor functions.
"""
