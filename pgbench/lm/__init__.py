"""Language models as policies: where they come from, their log-probabilities, how they learn."""
