"""The page of all boards of a folder: a pure function of the boards' own JSON files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from pgbench.boards.markdown import escape, table
from pgbench.boards.page import policy, read
from pgbench.boards.page.markup import Html, element, join
from pgbench.boards.page.numerals import plural

Model = Mapping[str, Any]
NAMED = 3  # rows of rank 1 that are named; more are counted
FILES = (
    ("page", "html"), ("Markdown", "md"), ("CSV", "csv"), ("LaTeX", "tex"), ("BibTeX", "bib"),
    ("JSON", "json"),
)  # fmt: skip
ABOUT = (
    "Every number is made from records of runs, which anybody can verify and run again. First are "
    "the rows that the runs leave at rank 1 of a track."
)


def read_models(root: Path) -> list[Model]:
    """The models of the boards of a folder, by name; a JSON file that is no board is left out."""
    found = list[Model]()
    for path in sorted(root.glob("*.json")):
        try:
            model = json.loads(path.read_bytes())
        except ValueError:
            continue
        if isinstance(model, dict) and model.get("board") == path.stem and "tracks" in model:
            found.append(model)
    return found


def outputs(root: Path) -> dict[Path, bytes]:
    """The page of all boards, as HTML and as Markdown; nothing without a board."""
    models = read_models(root)
    if not models:
        return {}
    files = {"index.html": to_html(models), "index.md": to_markdown(models)}
    return {root / name: text.encode() for name, text in files.items()}


def first(track: Model) -> str:
    """Which rows stand first in a track."""
    ranked = [row for row in track["rows"] if row["rank"] is not None]
    best = [str(row["name"]) for row in ranked if row["rank"] == 1]
    if not best:
        return "no rank yet"
    if len(best) > NAMED:
        return f"{len(best)} of {len(ranked)} rows"
    return "; ".join(best)


def _runs(model: Model) -> str:
    counts = model["counts"]
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    if counts["complete"]:
        return f"{plural(counts['records'], 'run')}{failed}"
    return f"{counts['records']} of {plural(counts['expected'], 'run')}{failed}"


def _size(track: Model) -> str:
    return (
        f"{plural(len(track['rows']), 'row')}, "
        f"{plural(len(track['environments']), 'environment')}, {plural(track['seeds'], 'seed')}"
    )


def to_markdown(models: Sequence[Model]) -> str:
    """One table of tracks for each board."""
    parts = ["# Leaderboards", ABOUT]
    for model in models:
        name = quote(model["board"])
        links = ", ".join(f"[{text}]({name}.{end})" for text, end in FILES)
        rows = [(track["title"], _size(track), first(track)) for track in model["tracks"]]
        parts += [
            f"## {escape(model['title'])}",
            f"`{model['board']}`: {_runs(model)}, the newest of {(model['newest'] or '-')[:10]}; "
            f"{links}.",
            table(("track", "size", "first"), rows, ("track", "size", "first")),
        ]
    return "\n\n".join(parts) + "\n"


def to_html(models: Sequence[Model]) -> str:
    """One document without a request."""
    style, theme = read("page.css"), read("js/theme.js")
    return Template(read("index.html")).substitute(
        policy=policy(style, (theme,)),
        style=style,
        theme=theme,
        about=join([ABOUT]),
        main=join([_section(model) for model in models], "\n"),
    )


def _section(model: Model) -> Html:
    name = quote(model["board"])
    links = [element("a", text, href=f"{name}.{end}") for text, end in FILES]
    head = [element("th", word, scope="col") for word in ("track", "size", "first")]
    rows = [
        element(
            "tr",
            *(element("td", cell) for cell in (track["title"], _size(track), first(track))),
        )
        for track in model["tracks"]
    ]
    about = f"{model['board']} · {_runs(model)} · the newest of {(model['newest'] or '–')[:10]}"
    inner = element(
        "table", element("thead", element("tr", *head)), element("tbody", *rows), class_="plain"
    )
    return element(
        "section",
        element("h2", element("a", model["title"], href=f"{name}.html")),
        element("p", about, class_="conditions"),
        element("p", model["about"], class_="note"),
        element("div", inner, class_="scroll", role="region", aria_label="tracks", tabindex=0),
        element("p", join(links, " · "), class_="downloads"),
        id=model["board"],
    )
