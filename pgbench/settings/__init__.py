"""Settings with ranges: what an option of an algorithm, an environment or a loop may be.

Imports `support`. Start with `config.option`, which declares one setting of an algorithm, and
`ranges`, the types that declare one keyword of an environment.
"""
