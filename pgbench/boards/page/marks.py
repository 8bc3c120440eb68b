"""The small drawings inside tables: a series' mark, an interval on an axis, a strip of seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgbench.boards.page.markup import Html, element
from pgbench.boards.page.numerals import exact, number

Triple = tuple[float | None, float | None, float | None]
SHAPES = (  # one a colour, 10 units across: colour is never the only sign
    "M4.5 0A4.5 4.5 0 1 1-4.5 0A4.5 4.5 0 1 1 4.5 0Z",
    "M-4-4H4V4H-4Z",
    "M0-5L5 4H-5Z",
    "M0-5.5L5.5 0L0 5.5L-5.5 0Z",
    "M0 5L-5-4H5Z",
    "M-1.6-5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6Z",
    "M-5-2H5V2H-5Z",
    "M0-5.4L4.7-2.7V2.7L0 5.4L-4.7 2.7V-2.7Z",
)
COLOURS = len(SHAPES)
WIDTH, HEIGHT, PAD = 208, 26, 7
PREFIX = 12  # digits of a record's id in a link


def sprite() -> Html:
    """The shapes, defined once a page."""
    shapes = (element("path", id=f"mark-{i}", d=shape) for i, shape in enumerate(SHAPES))
    return element(
        "svg", element("defs", *shapes), id="page-marks", width=0, height=0, aria_hidden="true"
    )


def series(index: int) -> str:
    """CSS class of the colour of series `index`."""
    return f"s{index % COLOURS}"


def mark(index: int) -> Html:
    """The sign of series `index` beside its name."""
    use = element("use", href=f"#mark-{index % COLOURS}")
    kind = f"mark {series(index)}{' open' if index // COLOURS % 2 else ''}"
    return element("svg", use, class_=kind, viewBox="-7 -7 14 14", aria_hidden="true")


def triple(row: Mapping[str, Any], field: str) -> Triple:
    """The (value, low, high) of a row; three times None where it has none."""
    value, low, high = row[field] or (None, None, None)
    return value, low, high


@dataclass(frozen=True)
class Axis:
    """Values [low, high] on `width` pixels."""

    low: float
    high: float
    width: int = WIDTH

    @classmethod
    def over(cls, values: Sequence[float | None], width: int = WIDTH) -> Axis:
        """The axis that just holds the values."""
        known = [value for value in values if value is not None]
        low, high = min(known, default=0.0), max(known, default=1.0)
        return cls(low, high if high > low else low + 1.0, width)

    @classmethod
    def zoomed(
        cls, values: Sequence[float | None], marks: Sequence[float], width: int = WIDTH
    ) -> Axis:
        """The axis of the values, and of the marks that do not double it; the rest lies outside."""
        axis = cls.over(values, width)
        most = 2 * (axis.high - axis.low)
        for mark in sorted(marks, key=lambda m: max(axis.low - m, m - axis.high)):
            low, high = min(axis.low, mark), max(axis.high, mark)
            if high - low <= most:
                axis = cls(low, high, width)
        return axis

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[Sequence[float | None]],
        marks: Sequence[float],
        width: int = WIDTH,
    ) -> Axis:
        """`zoomed` over the values of rows, the last of each its mean, without far rows.

        Far rows, one in six at most, are those that would double the axis or more.
        """
        known = [row for row in rows if row and row[-1] is not None]
        middle = sorted(row[-1] or 0.0 for row in known)[len(known) // 2] if known else 0.0
        kept = sorted(known, key=lambda row: abs((row[-1] or 0.0) - middle))

        def span(some: Sequence[Sequence[float | None]]) -> float:
            values = [value for row in some for value in row if value is not None]
            return max(values) - min(values)

        for count in range(len(known) // 6, 0, -1):
            end = len(known) - count
            if 2 * span(kept[:end]) < span(kept[: end + 1]):
                kept = kept[:end]
                break
        return cls.zoomed([value for row in kept for value in row], marks, width)

    def outside(self, value: float) -> str:
        """An arrow at the end of the axis where the value lies beyond it; empty if it does not."""
        if self.low <= value <= self.high:
            return ""
        edge, tip = (self.width - 3, 6) if value > self.high else (3, -6)
        return f"M{edge} {HEIGHT // 2 - 4}v8l{tip} -4z"

    def inside(self, values: Iterable[float]) -> list[float]:
        """Those of the values that are on the axis."""
        return [value for value in values if self.low <= value <= self.high]

    def x(self, value: float) -> float:
        """Pixel of a value; the end of the axis for one beyond it."""
        share = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return PAD + (self.width - 2 * PAD) * share


def marks_of(environment: Mapping[str, Any]) -> dict[str, float]:
    """Reference, floor and ceiling of an environment, those that it has, the foremost first."""
    found = {"ref.": environment["reference"], "floor": environment["floor"]}
    ceiling = environment["ceiling"]
    if ceiling is not None and ceiling == environment["reference"]:
        found = {"ref. = ceiling": ceiling, "floor": environment["floor"]}
    else:
        found["ceiling"] = ceiling
    return {name: value for name, value in found.items() if value is not None}


def anchors(axis: Axis, marks: Mapping[str, float]) -> list[tuple[float, str]]:
    """Where the marks are named on the axis: at an end, with an arrow, what lies outside."""
    found = []
    for name, value in marks.items():
        text = f"{name} {exact(value)}"
        if value < axis.low:
            found.append((axis.x(axis.low), f"◂ {text}"))
        elif value > axis.high:
            found.append((axis.x(axis.high), f"{text} ▸"))
        else:
            found.append((axis.x(value), text))
    return found


def scale(axis: Axis, ends: Sequence[tuple[float, str]]) -> Html:
    """Labels of the axis in a column's head, the foremost first; none upon another."""
    parts: list[Html] = []
    taken: list[tuple[float, float]] = []
    for x, text in ends:
        # Inwards from the two ends: a label never leaves the drawing.
        right = x > axis.width / 2
        start = x + 2 - len(text) * 5 if right else x - 2
        span = (start, start + len(text) * 5)
        if any(span[0] < high + 6 and low < span[1] + 6 for low, high in taken):
            continue
        taken.append(span)
        parts.append(
            element(
                "text", text, x=x + (2 if right else -2), y=9, text_anchor="end" if right else None
            )
        )
    return element(
        "svg", *parts, class_="scale", width=axis.width, height=12, role="img",
        aria_label="axis: " + ", ".join(text for _, text in ends),
    )  # fmt: skip


def whisker(axis: Axis, measured: Triple, index: int, lines: Sequence[float]) -> Html:
    """A value with its interval between the lines of the axis."""
    value, low, high = measured
    middle = HEIGHT // 2
    parts = [_line(axis.x(at), "anchor") for at in axis.inside(lines)]
    if low is not None and high is not None:
        parts.append(_band(axis, low, high))
    if value is not None and (arrow := axis.outside(value)):
        parts.append(element("path", class_="value", d=arrow))
    elif value is not None:
        parts.append(element("circle", class_="value", cx=axis.x(value), cy=middle, r=4))
    return element(
        "svg", *parts, class_=f"strip {series(index)}", width=axis.width, height=HEIGHT,
        aria_hidden="true",  # the numbers stand beside it
    )  # fmt: skip


def strip(
    axis: Axis, row: Mapping[str, Any], index: int, lines: Sequence[float], digits: int,
    known: Mapping[str, Any],
) -> Html:  # fmt: skip
    """One dot a seed, each a link to its record, over the interval and the mean of the row."""
    value, low, high = triple(row, "mean")
    parts = [_line(axis.x(at), "anchor") for at in axis.inside(lines)]
    if low is not None and high is not None:
        parts.append(_band(axis, low, high))
    if value is not None and (arrow := axis.outside(value)):
        parts.append(element("path", class_="value", d=arrow))
    elif value is not None:
        parts.append(_line(axis.x(value), "centre"))
    scored = [run for run in row["scores"] if run["score"] is not None]
    lanes = [-100.0] * 3  # the last dot of each lane, so that dots stay apart
    for run in sorted(scored, key=lambda run: (run["score"], run["seed"])):
        x = axis.x(run["score"])
        lane = next((i for i in range(3) if x - lanes[i] >= 6), lanes.index(min(lanes)))
        lanes[lane] = x
        parts.append(_dot(run, x, HEIGHT / 2 + (0, -7, 7)[lane], digits, run["record"] in known))
    return element(
        "svg", *parts, class_=f"strip seeds {series(index)}", width=axis.width, height=HEIGHT,
        role="group", aria_label=f"scores of the seeds of {row['name']}",
    )  # fmt: skip


def _dot(run: Mapping[str, Any], x: float, y: float, digits: int, known: bool) -> Html:
    text = f"seed {run['seed']}: {number(run['score'], digits)}"
    if run["status"] == "finished":
        shape = element("circle", cx=x, cy=y, r=3.2)
    else:
        text += f", {run['status']}"
        shape = element("path", d=f"M{x - 3:.2f} {y - 3:.2f}l6 6m-6 0l6 -6", class_="failed")
    if not known:
        return element("g", shape, role="img", aria_label=text)
    return element("a", shape, href=f"#record={run['record'][:PREFIX]}", aria_label=text)


def _line(x: float, kind: str) -> Html:
    return element("line", class_=kind, x1=x, x2=x, y1=1, y2=HEIGHT - 1)


def _band(axis: Axis, low: float, high: float) -> Html:
    x = axis.x(low)
    return element(
        "rect", class_="interval", x=x, width=max(axis.x(high) - x, 1.0),
        y=HEIGHT / 2 - 4, height=8, rx=2,
    )  # fmt: skip
