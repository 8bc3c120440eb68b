"""How data flows between an environment and an algorithm; a loop holds no mathematics.

Imports `lm` and below. Start with `base.Loop`, what a run asks of a loop, then `onpolicy`.
"""
