"""Language models as policies: where they come from, how they answer, how they are trained.

Imports `learning`, `verify` and below; needs the extra `text`. Start with `learner.GroupAlgorithm`,
the base of every algorithm on texts; `engines` holds who writes the responses.
"""
