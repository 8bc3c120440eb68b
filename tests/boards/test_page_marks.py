"""Axes, marks and numerals of a board's page: worked examples."""

from pgbench.boards.page.marks import Axis, anchors, marks_of, scale
from pgbench.boards.page.numerals import digits_of, duration, interval, number


def test_worked_numerals():
    assert [number(x, 1) for x in (3168.04, -0.04, None)] == ["3,168.0", "0.0", "–"]
    assert interval(-1.25, 2, 2) == "[-1.25, 2.00]" and interval(None, None, 2) == ""
    assert [digits_of([x]) for x in (-2000.0, 10.0, 9.99)] == [0, 1, 3]
    times = (None, 9.94, 54.4, 119.4, 121, 7100, 7300)
    assert [duration(x) for x in times] == [
        "–",
        "9.9 s",
        "54 s",
        "119 s",
        "2 min",
        "118 min",
        "2.0 h",
    ]


def test_worked_axis():
    axis = Axis.over([3.0, None, 1.0, 2.0], width=114)  # 7 pixels free at both ends
    assert [axis.x(x) for x in (1.0, 2.0, 3.0)] == [7.0, 57.0, 107.0]
    assert Axis.over([5.0]).x(5.0) == 7.0 and Axis.over([]).x(0.0) == 7.0


def test_an_axis_zooms_to_the_data():
    # Values 4 to 6: marks that double the axis at most are on it, the others at its ends.
    near = Axis.zoomed([4.0, 6.0, None], [7.0, 0.0])
    assert (near.low, near.high) == (4.0, 7.0)
    assert near.inside([7.0, 0.0]) == [7.0]
    assert (lambda a: (a.low, a.high))(Axis.zoomed([4.0, 6.0], [2.0, 8.0])) == (2.0, 6.0)
    assert (lambda a: (a.low, a.high))(Axis.zoomed([], [0.0])) == (0.0, 1.0)


def test_one_far_row_in_six_does_not_squash_the_others():
    rows = [(1.0, 2.0 + i / 10) for i in range(5)]
    axis = Axis.of_rows([*rows, (90.0, 100.0)], [0.0], width=114)
    assert (axis.low, axis.high) == (0.0, 2.4)
    assert axis.x(100.0) == 107.0 and axis.x(-5.0) == 7.0
    assert axis.outside(100.0) == "M111 9v8l6 -4z" and axis.outside(-5.0) == "M3 9v8l-6 -4z"
    assert axis.outside(2.4) == ""
    assert Axis.of_rows([*rows[:4], (90.0, 100.0)], []).high == 100.0  # one of five counts
    assert Axis.of_rows([*rows, (2.0, 3.7)], []).high == 3.7  # not far enough
    assert Axis.of_rows([(None, None)], []).high == 1.0


def test_marks_outside_the_axis_are_named_at_its_ends():
    axis = Axis(4.0, 6.0, 114)
    environment = {"reference": 10.0, "floor": 0.0, "ceiling": 5.0}
    assert anchors(axis, marks_of(environment)) == [
        (107.0, "ref. 10 ▸"), (7.0, "◂ floor 0"), (57.0, "ceiling 5"),
    ]  # fmt: skip
    one = marks_of({"reference": 1.0, "floor": None, "ceiling": 1.0})
    assert one == {"ref. = ceiling": 1.0}
    assert marks_of({"reference": None, "floor": None, "ceiling": None}) == {}
    drawn = scale(axis, [(57.0, "here"), (60.0, "upon it"), (7.0, "left")])
    assert "here" in drawn and "<text" in drawn and ">upon it<" not in drawn
