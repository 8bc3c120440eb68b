"""pgbench: policy-optimisation algorithms, compared honestly and fast."""
