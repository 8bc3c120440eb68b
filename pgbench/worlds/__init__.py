"""What environments are made of: batched base classes, tasks, networks, checks at the border.

Imports `settings` and below; no environment is known here by name. Start with `batch_env`, the
base of every built-in environment, or `text_env` where actions are texts; `checks` says what an
environment and an algorithm hand over.
"""
