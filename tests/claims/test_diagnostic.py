"""A claim about a figure of the records other than the score."""

import pytest

from pgbench.claims import read_claims
from pgbench.claims.results import Evidence, _figures
from pgbench.errors import PgbenchError

ROW = {"scores": [{"seed": 0, "record": "a" * 64}, {"seed": 1, "record": "b" * 64}]}


class Named:
    name = "x-v1"


def test_figures_are_taken_by_seed():
    evidence = Evidence(Named(), diagnostics={"a" * 64: {"cv": 0.5}, "b" * 64: {"cv": 0.25}})
    assert _figures("cv", ROW, evidence) == {0: 0.5, 1: 0.25}
    assert _figures("cv", None, evidence) == {}
    late = Evidence(Named(), diagnostics={"a" * 64: {"cv": 0.5}, "b" * 64: {}})
    assert _figures("cv", ROW, late) == {0: 0.5}
    with pytest.raises(PgbenchError, match=r"no record has a diagnostic 'norm'; they have cv"):
        _figures("norm", ROW, evidence)


def test_a_diagnostic_goes_with_better_alone(tmp_path):
    from pathlib import Path

    root = Path(__file__).parents[2] / "leaderboards"
    text = (root / "claims" / "bnpo.toml").read_text()
    assert 'diagnostic = "grad_norm_cv"' in text
    file = tmp_path / "bnpo.toml"
    file.write_text(text.replace('kind = "better"', 'kind = "on-par"'))
    with pytest.raises(PgbenchError, match=r"diagnostic.* goes with kind 'better' alone"):
        read_claims(file, root)
