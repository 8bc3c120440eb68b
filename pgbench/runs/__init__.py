"""One run: words become a plan, a plan a folder, the folder resumes and ends in a record.

Imports `loops`, `records` and below. Start with `plan.make_plan`, then `runner.Run`.
"""
