"""Programs that judge answers and code, in processes of their own; no environment is known here.

Imports `support`. Start with `math` and `code`; `sandbox` says what a judged program cannot do.
"""
