"""What exists: environments and algorithms as specs, plug-ins, capabilities, pages of `explain`.

Imports `worlds` and below; entry points are strings, so that listing imports neither torch nor
gymnasium. Start with `registry`, then `capabilities`.
"""
