"""Numbers of others: read strictly, shown apart, never ranked."""

import pytest

from pgbench.boards.markdown import to_markdown
from pgbench.boards.model import build_model
from pgbench.boards.store import empty_board
from pgbench.errors import PgbenchError
from pgbench.records.reported import read_reported
from pgbench.records.suite import read_suite

GOOD = """
[[result]]
environment = "toy"
method = "PPO | tuned"
score = 12345
spread = "± 3"
source = "a paper, table 1"
conditions = "ten times
as long"
"""
GOOD = GOOD.replace('"ten times\nas long"', '"""ten times\nas long"""')


@pytest.fixture
def root(suite_file):
    folder = suite_file().parents[1]
    (folder / "reported").mkdir()
    return folder


def suite_of(root):
    return read_suite(root / "suites" / "toy-v1.toml")


def test_a_board_shows_them_apart(root, make_record):
    assert read_reported(root, suite_of(root)) == []
    before = empty_board("toy-v1", root).model([make_record()])
    (root / "reported" / "toy-v1.toml").write_text(GOOD)
    model = empty_board("toy-v1", root).model([make_record()])
    assert model["reported"] == [
        {"environment": "toy", "method": "PPO | tuned", "score": 12345.0, "spread": "± 3",
         "source": "a paper, table 1", "conditions": "ten times as long"}
    ]  # fmt: skip
    assert model["tracks"] == before["tracks"] and model["digest"] == before["digest"]
    page, plain = to_markdown(model), to_markdown(before)
    table = page.partition("## Reported elsewhere")[2].partition("\n## ")[0]
    assert "PPO \\| tuned" in table and "12,345" in table
    assert page.replace("## Reported elsewhere" + table + "\n", "") == plain
    assert build_model("toy-v1", [make_record()], suite_of(root)) == before


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"toy"', '"tot"', "did you mean"),
        ("12345", "nan", "result[0].score must be a finite number"),
        ("12345", '"high"', "result[0].score must be a number"),
        ('source = "a paper, table 1"', "", "result[0].source is missing"),
        ('"a paper, table 1"', '" "', "result[0].source is empty"),
        ("spread", "spraed", "result[0].spraed"),
        ("[[result]]", "[result]", "result must be a list"),
        ("score =", "score", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_a_line(root, old, new, expected):
    path = root / "reported" / "toy-v1.toml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(PgbenchError) as error:
        read_reported(root, suite_of(root))
    text = str(error.value)
    assert str(path) in text and expected in text and "\n" not in text
