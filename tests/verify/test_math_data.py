"""References of GSM8K and MATH-500, where PGBENCH_DATA names a folder that holds them."""

import json
import os
from pathlib import Path

import pytest
from answers import PATIENT, box

from pgbench.verify.answers import gsm8k_gold
from pgbench.verify.math import MathVerifier, check_gold
from pgbench.verify.normal import clean
from pgbench.verify.numbers import quantity

pytest.importorskip("math_verify")


def rows(*place):
    folder = os.environ.get("PGBENCH_DATA")
    path = Path(folder or "", *place)
    if not folder or not path.is_file():
        pytest.skip(f"needs {'/'.join(place)} in the folder PGBENCH_DATA")
    return [json.loads(line)["answer"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("mode", ["strict", "lenient"])
def test_gsm8k_references_are_right_and_no_other(mode):
    answers = rows("gsm8k", "test.jsonl")
    golds = [gsm8k_gold(answer) for answer in answers]
    assert [gold for gold in golds if check_gold(gold)] == []
    with MathVerifier(mode=mode) as verifier:
        found = verifier.judge(list(zip(golds, answers, strict=True)))
        assert all(judgement.correct for judgement in found)
        shifted = verifier.judge(list(zip(golds, answers[1:] + answers[:1], strict=True)))
        same = [quantity(a).value == quantity(b).value
                for a, b in zip(golds, golds[1:] + golds[:1], strict=True)]  # fmt: skip
        assert [judgement.correct for judgement in shifted] == same
        assert verifier.counts["algebra"] == 0


@pytest.mark.parametrize("mode", ["strict", "lenient"])
def test_math500_references_are_right(mode):
    answers = rows("math500", "test.jsonl")
    golds = [answer.rsplit("The answer is: ", 1)[-1].strip() for answer in answers]
    assert [(gold, check_gold(gold)) for gold in golds if check_gold(gold)] == []
    with MathVerifier(mode=mode, deadline=PATIENT) as verifier:
        for texts in (answers, golds, [box(gold) for gold in golds]):
            found = verifier.judge(list(zip(golds, texts, strict=True)))
            assert [g for g, j in zip(golds, found, strict=True) if not j.correct] == []


@pytest.mark.slow
def test_no_math500_gold_equals_another_text_by_accident():
    answers = rows("math500", "test.jsonl")
    golds = sorted({answer.rsplit("The answer is: ", 1)[-1].strip() for answer in answers})
    golds = [gold for gold in golds if quantity(clean(gold)) is None]
    pairs = [(g, a) for g in golds for a in golds if clean(g) != clean(a)]
    with MathVerifier(deadline=PATIENT) as verifier:
        found = verifier.judge([(g, box(a)) for g, a in pairs])
    equal = sorted({p for p, j in zip(pairs, found, strict=True) if j.correct})
    assert equal == [
        ("-2,1", "1,-2"),
        ("1,-2", "-2,1"),
        (r"2 \sqrt{5}", r"2\sqrt{5}"),
        (r"2\sqrt{5}", r"2 \sqrt{5}"),
    ]
