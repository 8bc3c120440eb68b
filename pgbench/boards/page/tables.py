"""The ranked tables of a track, complete without a script; page.js sorts and filters them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pgbench.boards.curves import SHARE
from pgbench.boards.markdown import power_sentence, rank_set
from pgbench.boards.page.marks import (
    Axis,
    Triple,
    anchors,
    mark,
    marks_of,
    scale,
    strip,
    triple,
    whisker,
)
from pgbench.boards.page.markup import Html, element, join
from pgbench.boards.page.numerals import digits_of, duration, interval, number, plural
from pgbench.boards.power import ALL

Row = Mapping[str, Any]
AGGREGATE_WIDTH = 150
SHOWN = 4  # environments without a common scale in the table of all of them


@dataclass(frozen=True)
class View:
    """What the parts of one page share."""

    model: Mapping[str, Any]
    colours: Mapping[str, int]  # name of a row -> series, the same in all tables and plots
    tables: Iterator[int]  # numbers of the captions
    figures: Iterator[int]


@dataclass(frozen=True)
class Column:
    """A head, the cell of a row, and what the column is sorted by."""

    head: str
    cell: Callable[[Row], str]
    value: Callable[[Row], float | str | None]
    first: str = "desc"  # direction of the first sort: the better end on top
    note: str = ""  # second line of the head
    kind: str = "number"
    axis: Html = Html("")  # noqa: RUF009 (immutable)


def aggregate_table(track: Mapping[str, Any], view: View) -> Html:
    """All environments of a track together, one line a row of the board."""
    rows = track["rows"]
    values = [triple(row, "iqm") for row in rows]
    axis = Axis.of_rows(
        [(low, high, iqm) for iqm, low, high in values], (0.0, 1.0), AGGREGATE_WIDTH
    )
    ends = anchors(axis, {"ref.": 1.0, "floor": 0.0})

    def iqm(row: Row) -> Html:
        # The number first: on a phone it stands beside the name.
        drawn = whisker(axis, triple(row, "iqm"), view.colours[row["name"]], (0.0, 1.0))
        return join([element("span", _triple(triple(row, "iqm"), 3), class_="beside"), drawn])

    scored = [
        Column("IQM", iqm, _first("iqm"), kind="drawn", axis=scale(axis, ends)),
        Column("mean", lambda row: _triple(triple(row, "mean"), 3), _first("mean")),
        Column("lead", lambda row: _triple(triple(row, "lead"), 3), _first("lead")),
        Column("median", lambda row: number(row["median"], 3), lambda row: row["median"]),
        Column(
            "gap", lambda row: _triple(triple(row, "gap"), 3), _first("gap"), "asc", "to reference"
        ),
    ]
    # Without a floor and a reference there is no scale that environments share.
    anchored = all(
        environment[word] is not None
        for environment in track["environments"]
        for word in ("floor", "reference")
    )
    columns = [
        _rank(),
        _algorithm(view),
        *(scored if anchored else map(partial(_own_score, track), track["environments"][:SHOWN])),
        *_standing(),
        *_costs(),
        Column(
            "parameters",
            lambda row: _two(
                number(_cost(row, "parameters")), _memory(_cost(row, "peak_memory_mib"))
            ),
            lambda row: _cost(row, "parameters"),
            "asc",
            "memory",
        ),
    ]
    count = len(track["environments"])
    level = f"{view.model['statistics']['level']:.0%}"
    caption = join(
        [
            element("b", f"Table {next(view.tables)}. "),
            f"All {count} environments of the track. " if count > 1 else "",
            f"Normalised scores, 0 = floor and 1 = reference, with {level} intervals. "
            "Rank: the best that the runs leave to a row, below it all that they leave. "
            f"{power_sentence(track['power'], ALL)}"
            if anchored
            else f"Mean scores of {f'the first {SHOWN} of them' if count > SHOWN else 'each'}. "
            "They state no floor and no reference: there is no score across them.",
        ]
    )
    return table(columns, rows, caption, "aggregate", view)


def _own_score(track: Mapping[str, Any], environment: Mapping[str, Any]) -> Column:
    """The mean score in one environment, in its own unit, where there is none across them."""
    rows = {row["name"]: row for row in track["tasks"].get(environment["id"], [])}
    digits = score_digits(list(rows.values()))

    def mean(row: Row) -> Triple:
        own = rows.get(row["name"])
        return (None, None, None) if own is None else triple(own, "mean")

    first = "asc" if rows and environment["metric"]["direction"] == "min" else "desc"
    return Column(
        environment["id"], lambda row: _triple(mean(row), digits), lambda row: mean(row)[0], first
    )


def task_table(
    track: Mapping[str, Any], environment: Mapping[str, Any], name: str, view: View
) -> Html:
    """One environment of a track, in the unit of its metric, with every seed."""
    rows: Sequence[Row] = track["tasks"].get(environment["id"], [])
    digits = score_digits(rows)
    marks = marks_of(environment)
    lines = list(marks.values())
    values = [
        (*triple(row, "mean")[1:], *(run["score"] for run in row["scores"]), row["mean"][0])
        for row in rows
    ]
    axis = Axis.of_rows(values, lines)
    better = "asc" if environment["metric"]["direction"] == "min" else "desc"

    def seeds(row: Row) -> Html:
        index = view.colours[row["name"]]
        return strip(axis, row, index, lines, digits, view.model["records"])

    def spread(row: Row) -> str:
        if row["min"] is None or row["max"] is None:
            return number(None)
        return f"{number(row['min'], digits)} to {number(row['max'], digits)}"

    columns = [
        _rank(),
        _algorithm(view),
        Column("mean", lambda row: _triple(triple(row, "mean"), digits), _first("mean"), better),
        Column("lead", lambda row: _triple(triple(row, "lead"), digits), _first("lead"), "desc"),
        Column("IQM", lambda row: number(row["iqm"], digits), lambda row: row["iqm"], better),
        Column("median", lambda r: number(r["median"], digits), lambda r: r["median"], better),
        Column("range", spread, lambda row: row["max"], better),
        Column(
            "seeds", seeds, _first("mean"), better, kind="drawn",
            axis=scale(axis, anchors(axis, marks)),
        ),
        *([_reach()] if any(row["reach"] for row in rows) else []),
        *_standing(),
        *_costs(),
    ]  # fmt: skip
    metric = environment["metric"]
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    word = "lower" if metric["direction"] == "min" else "higher"
    caption = join(
        [
            element("b", f"Table {next(view.tables)}. "),
            f"{name}: {metric['name']}{unit}, {word} is better. ",
            "A dot is a seed, the bar the interval of the mean. ",
            f"To target: median step of the first evaluation at {number(goal, digits)} or better, "
            f"{SHARE:.0%} of the way from the floor to the best mean. "
            if (goal := environment["target"]) is not None
            else "",
            power_sentence(track["power"], environment["id"]),
        ]
    )
    return table(columns, rows, caption, "task", view)


def score_digits(rows: Sequence[Row]) -> int:
    """Decimals of the scores in one environment's table."""
    return digits_of(run["score"] for row in rows for run in row["scores"])


def table(
    columns: Sequence[Column], rows: Sequence[Row], caption: Html, kind: str, view: View
) -> Html:
    """The table in a frame of its own, which scrolls where the screen is narrow."""
    heads = [
        element(
            "th",
            element("span", column.head, class_="label"),
            element("small", column.note) if column.note else "",
            column.axis,
            scope="col", class_=column.kind, data_first=column.first,
        )
        for column in columns
    ]  # fmt: skip
    lines = [_line(columns, row, _tie(rows, i), view) for i, row in enumerate(rows)]
    if not lines:
        empty = element("td", "No runs yet.", colspan=len(columns), class_="empty")
        lines = [element("tr", empty)]
    inner = element(
        "table",
        element("caption", element("div", caption)),
        element("thead", element("tr", *heads)),
        element("tbody", join(lines, "\n")),
        class_=kind,
    )
    label = re.sub(r"<[^>]*>", "", caption).partition(". ")[0]
    return element("div", inner, class_="scroll", role="region", aria_label=label, tabindex=0)


def _line(columns: Sequence[Column], row: Row, tie: str, view: View) -> Html:
    cells = []
    for column in columns:
        value = column.value(row)
        cells.append(
            element(
                "th" if column.kind == "name" else "td",
                column.cell(row),
                class_=column.kind,
                scope="row" if column.kind == "name" else None,
                data_v=repr(value) if isinstance(value, float) else value,
            )
        )
    classes = [tie, "" if row["complete"] else "incomplete"]
    return element(
        "tr", *cells, class_=" ".join(filter(None, classes)) or None, data_key=row["key"],
        data_evidence=row["evidence"], data_tuning=row["tuning"],
        data_name=row["name"],
    )  # fmt: skip


def _tie(rows: Sequence[Row], i: int) -> str:
    """Place of row i in a run of rows of one rank: first, middle, last, or none."""
    rank = rows[i]["rank"]
    above = i > 0 and rows[i - 1]["rank"] == rank
    below = i + 1 < len(rows) and rows[i + 1]["rank"] == rank
    if rank is None or not (above or below):
        return ""
    return "tie " + ("middle" if above and below else "last" if above else "first")


def _rank() -> Column:
    def cell(row: Row) -> str:
        if row["rank"] is None:
            why = "incomplete" if not row["complete"] else "its runs do not tell it from any other"
            if row["complete"] and row["ranks"] is None:
                why = "fewer than three seeds"
            return element("abbr", number(None), title=f"no rank yet: {why}")
        return _two(str(row["rank"]), rank_set(row))

    return Column("rank", cell, lambda row: row["rank"], "asc", kind="rank")


def _algorithm(view: View) -> Column:
    def cell(row: Row) -> Html:
        notes: list[str] = []
        flag = Html("")
        if not row["complete"]:
            flag = element("span", "incomplete", class_="flag")
        if row.get("paper"):
            notes.append(paper(row["paper"]))
        settings = [
            f"{key} = {value}"
            for key, value in sorted(row.get("changed", {}).items())
            if f"{key}=" not in row["name"]
        ]
        if settings:
            said = element("summary", f"{plural(len(settings), 'setting')} changed")
            notes.append(element("details", said, join(settings, " · ")))
        name = element("span", row["name"], class_="name")
        return join([mark(view.colours[row["name"]]), _two(name, join([flag, join(notes, " ")]))])

    return Column("algorithm", cell, lambda row: row["name"], "asc", kind="name")


def _reach() -> Column:
    def cell(row: Row) -> str:
        found = row["reach"]
        if found is None:
            return number(None)
        return _two(number(found["step"]), f"{found['runs']} of {row['runs']['started']} runs")

    return Column("to target", cell, lambda row: (row["reach"] or {}).get("step"), "asc", "steps")


def _standing() -> list[Column]:
    def runs(row: Row) -> Html:
        counts = row["runs"]
        failed = counts["started"] - counts["finished"]
        missing = counts["expected"] - counts["started"]
        notes = [f"{failed} failed"] if failed else []
        notes += [f"{missing} not run"] if missing > 0 else []
        text = _two(f"{counts['finished']} of {counts['expected']}", ", ".join(notes))
        about = ", ".join(f"{counts[key]} {key}" for key in ("finished", "started", "expected"))
        return element("span", text, title=about)

    def evidence(row: Row) -> Html:
        word, checked = row["evidence"], row.get("checked", 0)
        note = f"{checked} of {row['runs']['started']} run again"
        return _two(element("span", word, class_=f"evidence {word}"), note)

    return [
        Column("runs", runs, lambda row: row["runs"]["finished"], note="finished"),
        Column(
            "evidence",
            evidence,
            lambda row: row["evidence"], "asc", kind="word",
        ),
        Column("tuning", lambda row: row["tuning"], lambda row: row["tuning"], "asc", kind="word"),
    ]  # fmt: skip


def _costs() -> list[Column]:
    return [
        Column(
            "steps/s",
            lambda row: number(_cost(row, "steps_per_s")),
            lambda row: _cost(row, "steps_per_s"),
        ),
        Column(
            "wall time",
            lambda row: _two(duration(_cost(row, "wall_s")), duration(_cost(row, "cpu_s"))),
            lambda row: _cost(row, "wall_s"), "asc", "CPU time",
        ),
    ]  # fmt: skip


def _cost(row: Row, field: str) -> float | None:
    found: float | None = (row["cost"] or {}).get(field)
    return found


def _memory(mebibytes: float | None) -> str:
    return number(None) if mebibytes is None else f"{number(mebibytes)} MiB"


def _first(field: str) -> Callable[[Row], float | None]:
    return lambda row: triple(row, field)[0]


def _triple(measured: Triple, digits: int) -> Html:
    value, low, high = measured
    return _two(number(value, digits), interval(low, high, digits))


def _two(above: str, below: str) -> Html:
    """A cell of two lines, the lower one small."""
    return element("span", above, element("small", below) if below else "", class_="two")


def paper(text: str) -> Html:
    """A link to the paper where its identifier has an address."""
    if found := re.fullmatch(r"(?i)arxiv:\s*([\w.\-/]+)", text):
        return element("a", text, href=f"https://arxiv.org/abs/{found[1]}", class_="fixed")
    if found := re.fullmatch(r"(?i)(?:doi:\s*)?(10\.\d{4,}/[^\s\"<>]+)", text):
        return element("a", text, href=f"https://doi.org/{found[1]}")
    if re.fullmatch(r"https?://[^\s\"<>]+", text):
        return element("a", text.split("//", 1)[1].rstrip("/"), href=text)
    return Html(element("span", text))
