"""A track of the board: its tables, the frames of its figures, the runs that stand apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pgbench.boards.page.marks import PREFIX, triple
from pgbench.boards.page.markup import Html, element, join
from pgbench.boards.page.numerals import exact, plural
from pgbench.boards.page.tables import View, aggregate_table, task_table

FEW = 6  # rows whose pairs fit in half of the width


def anchor(text: str) -> str:
    """A fragment of an address for a name; ids of the page itself start with `page-`."""
    return re.sub(r"[^\w.-]+", "-", text)


def track_section(track: Mapping[str, Any], view: View) -> Html:
    """A track: the aggregate, the figures, one table an environment, runs apart."""
    name = anchor(track["name"])
    environments = track["environments"]
    about = [f"{track['budget']:,} {track['unit']}"]
    if track["seeds"]:
        about.append(plural(track["seeds"], "seed"))
    if track["episodes"]:
        about.append(f"{plural(track['episodes'], 'evaluation episode')} a run")
    about.append(plural(len(environments), "environment"))
    parts = [
        element("h2", track["title"], element("a", "#", href=f"#{name}", class_="self")),
        element("p", join(about, " · "), class_="conditions"),
        element("div", class_="controls", hidden=True),
        aggregate_table(track, view),
        *_figures(track, view),
    ]
    for environment in environments:
        short = environment["id"]
        inner = [
            element(
                "h3",
                short,
                element("a", "#", href=f"#{name}/{anchor(short)}", class_="self"),
            ),
            _environment(environment),
            task_table(track, environment, short, view),
        ]
        parts.append(element("section", *inner, id=f"{name}/{anchor(short)}", class_="environment"))
    parts.append(_apart(track))
    return element("section", *parts, id=name, class_="track", data_track=track["name"])


def _environment(environment: Mapping[str, Any]) -> Html:
    parts: list[str] = []
    if environment["underlying"]:
        parts.append(f"{environment['id']} is {environment['underlying']}.")
    for word in ("floor", "reference"):
        if environment[word] is not None:
            origin = environment.get(f"{word}_origin")
            text = f"{word.capitalize()} {exact(environment[word])}"
            parts.append(f"{text}: {origin}." if origin else f"{text}.")
    if environment.get("golden"):
        parts.append(join(["Golden trajectory ", short(environment["golden"], copy=False), "."]))
    return element("p", join(parts, " "), class_="note")


def _figures(track: Mapping[str, Any], view: View) -> list[Html]:
    """Empty figures that the script fills; those without data are left out."""
    level = f"{view.model['statistics']['level']:.0%}"
    curves = any(row["curve"] for rows in track["tasks"].values() for row in rows)
    alpha = f"{1 - view.model['statistics']['level']:.2g}"
    matrix = (
        "Squares: chance that a run of the row is better than a run of the column, "
        f"bold where p < {alpha} after Holm's correction. "
    )
    wanted = [
        (
            "curves", curves, "Learning curves. ",
            f"Mean over seeds at each evaluation, with its {level} interval; dashed: floor, "
            "reference, ceiling. An arrow: outside the axis; a row far from all others lies so.",
        ),
        (
            "sample", track["curves"], "Sample efficiency. ",
            f"Mean normalised score over all environments at each evaluation, with its {level} "
            "interval.",
        ),
        (
            "profile", (track["profile"] or {}).get("rows"), "Performance profile. ",
            f"Share of runs whose normalised score exceeds τ, with {level} bands.",
        ),
        (
            "cost", any(triple(row, "iqm")[0] is not None and row["cost"] for row in track["rows"]),
            "Cost against score. ",
            f"Interquartile mean with its {level} interval; cost is a median over runs.",
        ),
        (
            "pairs", track["pairs"], "Probability of improvement. ",
            f"{matrix if _whole(track['pairs']) else ''}Dots: chance that a run of one algorithm "
            f"is better than a run of another, with {level} intervals.",
        ),
    ]  # fmt: skip
    # Those that do not need the whole width.
    single, pairs = len(track["environments"]) == 1, track["pairs"]
    narrow = {"curves"} if single else set()
    narrow |= {"pairs"} if len(track["rows"]) <= FEW or not _whole(pairs) else set()
    figures = [
        element(
            "figure",
            element("div", class_="plots"),
            element(
                "figcaption",
                element("b", f"Figure {next(view.figures)}. "),
                element("b", title),
                text,
            ),
            data_figure=kind,
            data_single=kind in narrow,
        )
        for kind, data, title, text in wanted
        if data
    ]
    if not figures:
        return []
    legend = element("div", class_="legend", role="group", aria_label="Series in the figures")
    return [element("div", legend, *figures, class_="figures", hidden=True)]


def _whole(pairs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every row is paired with every other, as a matrix needs."""
    count = len({key for pair in pairs for key in (pair["a"], pair["b"])})
    return len(pairs) == count * (count - 1) // 2


def _apart(track: Mapping[str, Any]) -> Html:
    if not track["apart"]:
        return Html("")
    rows = [
        (row["name"], row.get("environment", ""), plural(row["records"], "record"), row["reason"])
        for row in track["apart"]
    ]
    return element(
        "section",
        element("h3", "Not comparable with the tables above"),
        listing(("algorithm", "environment", "records", "reason"), rows),
        class_="apart",
    )


def listing(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """A plain table in a frame of its own."""
    cells = [element("th", name, scope="col") for name in head]
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    inner = element(
        "table",
        element("thead", element("tr", *cells)),
        element("tbody", *body),
        class_="plain",
    )
    return element(
        "div", inner, class_="scroll", role="region", aria_label=", ".join(head), tabindex=0
    )


def short(digest: str, copy: bool = True) -> Html:
    """The start of a digest; whole on hover, and for the copy button."""
    return element("code", digest[:PREFIX], title=digest, data_copy=digest if copy else None)
