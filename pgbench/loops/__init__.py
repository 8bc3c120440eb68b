"""Data flows between environments and algorithms: generators of phases, no mathematics."""
