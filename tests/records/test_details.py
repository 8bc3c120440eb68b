"""What evaluators measure beside scores: small, finite, named by the one rule, or refused."""

import numpy as np
import pytest
import torch

from pgbench.errors import Breach, Diverged
from pgbench.records.details import MOST, NUMBERS, checked, show


def test_arrays_tensors_and_lists_become_plain_lists():
    given = {
        "gap": np.float32(0.5), "count": 3, "best": torch.tensor(2.0), "flag": np.int64(1),
        "regret": np.array([3.0, 2.0]), "front": torch.tensor([[0.0, 1.0], [1.0, 0.0]]),
        "rows": [np.array([1.0, 2.0, 3.0])], "pairs": [(1, 2), (3, 4)], "none": [],
    }  # fmt: skip
    found = checked(given, "it")
    assert found == {
        "gap": 0.5, "count": 3.0, "best": 2.0, "flag": 1.0, "regret": [3.0, 2.0],
        "front": [[0.0, 1.0], [1.0, 0.0]], "rows": [[1.0, 2.0, 3.0]],
        "pairs": [[1.0, 2.0], [3.0, 4.0]], "none": [],
    }  # fmt: skip
    assert type(found["count"]) is float


@pytest.mark.parametrize(
    ("details", "kind", "said"),
    [
        ([1], Breach, "must be a dict by name, not list"),
        ({"a b": 1}, Breach, "'a b' cannot name a detail of it; take at most 64 letters"),
        ({3: 1}, Breach, "3 cannot name"),
        ({"x": "text"}, Breach, "detail x of it must be made of numbers, not str"),
        ({"x": None}, Breach, "not NoneType"),
        ({"x": {"y": 1}}, Breach, "not dict"),
        ({"x": [1, [2]]}, Breach, "must be a number, a row, or a table"),
        ({"x": [[1, 2], [3]]}, Breach, "must be a number, a row, or a table"),
        ({"x": np.zeros((2, 9))}, Breach, "with m up to 8"),
        ({"x": np.zeros((2, 2, 2))}, Breach, "must be made of numbers, not list"),
        ({"x": [[]]}, Breach, "must be a number, a row, or a table"),
        ({"x": 1j}, Breach, "not complex"),
        ({"x": float("nan")}, Diverged, "detail x of it is not finite"),
        ({"x": [[0.0, np.inf]]}, Diverged, "detail x of it is not finite"),
        ({"x": torch.zeros(NUMBERS + 1)}, Breach, "are 4,097 numbers; a record holds 4,096"),
        ({f"x{i}": 0 for i in range(MOST + 1)}, Breach, "gave 17 details; a record holds 16"),
    ],
)
def test_what_a_record_does_not_hold_is_refused_in_a_line(details, kind, said):
    with pytest.raises(kind) as caught:
        checked(details, "it")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_terminal_shows_numbers_rows_and_little_tables():
    lines = show({"front": [[0.0, 1.0], [0.5, 0.25]], "gap": 0.125, "regret": [3.0, 2.5],
                  "long": [float(i) for i in range(100)]})  # fmt: skip
    assert lines == [
        "front  front 1", "-----  -------", "    0        1", "  0.5     0.25", "gap  0.125",
        f"long  {'  '.join(map(str, range(12)))}  ... and 88 more (--json has all)",
        "regret  3  2.5",
    ]  # fmt: skip
