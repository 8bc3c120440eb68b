"""Judged responses as batches."""

from pgbench.lm.rollout import numbered


def test_answers_are_numbered_by_value_and_as_written():
    answers = numbered(["0.5", "1/2", "", "7", "0.5", ""])
    assert answers is not None
    value, written = answers.T.tolist()
    assert value[0] == value[1] == value[4] and len({value[0], value[2], value[3]}) == 3
    assert written[0] == written[4] != written[1]
    # A response that states none has the same answer as another that states none.
    assert value[2] == value[5] and written[2] == written[5]


def test_a_verifier_without_answers_gives_none():
    assert numbered(["1", None]) is None
    assert numbered([]) is not None
