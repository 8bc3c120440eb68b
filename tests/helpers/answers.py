"""The corpus of answer pairs, and how tests put an answer to a verifier."""

import tomllib
from pathlib import Path

GROUPS = tomllib.loads((Path(__file__).parents[1] / "verify" / "answers.toml").read_text())["group"]


def _pairs(bare):
    return [
        (gold, answer, kind, group["why"])
        for group in GROUPS
        for kind in ("yes", "no", "lenient")
        for gold, answer in group.get(kind, [])
        if group.get("bare", False) == bare
    ]


PAIRS, COMPLETIONS = _pairs(False), _pairs(True)
# Load on the machine must not decide a test about verdicts.
PATIENT = 30.0


def box(answer):
    return rf"So it is $\boxed{{{answer}}}$."


def one(verifier, gold, answer):
    return verifier.judge([(gold, box(answer))])[0]
