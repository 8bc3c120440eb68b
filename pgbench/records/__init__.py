"""What is kept of runs and by what rules: records, the chain of a board, the suite they obey.

Imports `catalogue`, `statistics` and below. Start with `record`, then `suite` and `rules`.
"""
