"""A board as one HTML document: no request at view time, a pure function of the model.

The tables are written here and are complete without a script. The script (js/, concatenated)
sorts and filters them, draws the figures and shows the records; its data are in the document.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any

from pgbench.boards.page import sections
from pgbench.boards.page.marks import sprite
from pgbench.boards.page.markup import Html, element, join, script_json
from pgbench.boards.page.tables import View, score_digits
from pgbench.boards.page.tracks import track_section
from pgbench.errors import PgbenchError

SCRIPTS = ("base", "tables", "axes", "plots", "pairs", "record", "details", "main")
POOLED = ("changed", "config", "packages")  # equal in most records: stored once


def render_page(model: Mapping[str, Any]) -> str:
    """The document of a board model; the same model gives the same bytes.

    Raises: PgbenchError if the model holds a number that JSON lacks (NaN, infinity).
    """
    view = View(model, _colours(model), itertools.count(1), itertools.count(1))
    style, theme = read("page.css"), read("js/theme.js")
    # A page without details is the same to the byte as it was before there were any.
    plain = not any("details" in record for record in model["records"].values())
    names = [name for name in SCRIPTS if not (plain and name == "details")]
    script = "\n".join(read(f"js/{name}.js") for name in names)
    try:
        data, records = script_json(_data(view)), script_json(_records(model["records"]))
    except ValueError as error:
        raise PgbenchError(
            f"board {model['board']}: the model holds a number that is not finite ({error}); "
            "give null for a value that does not exist"
        ) from None
    return Template(read("page.html")).substitute(
        policy=policy(style, (theme, script)),
        generator=element("meta", name="generator", content=f"pgbench {model['pgbench']}"),
        title=join([f"{model['title']} ({model['board']})"]),
        style=style,
        theme=theme,
        sprite=sprite(),
        navigation=sections.navigation(view),
        header=sections.header(view),
        main=join(
            [
                *(track_section(track, view) for track in model["tracks"]),
                sections.failures(view),
                sections.withdrawn(view),
                sections.statistics(view),
                sections.provenance(view),
            ]
        ),
        footer=sections.footer(view),
        data=data,
        records=records,
        script=script,
    )


def _colours(model: Mapping[str, Any]) -> dict[str, int]:
    """Name of a row -> series, in the order of their first appearance."""
    colours: dict[str, int] = {}
    for track in model["tracks"]:
        tasks = (track["tasks"].get(environment["id"], ()) for environment in track["environments"])
        for row in itertools.chain(track["rows"], *tasks):
            colours.setdefault(row["name"], len(colours))
    return colours


def _data(view: View) -> dict[str, Any]:
    """What the script draws from: the model without its records, and what the tables chose."""
    model = {key: value for key, value in view.model.items() if key != "records"}
    digits = {
        track["name"]: {name: score_digits(rows) for name, rows in track["tasks"].items()}
        for track in model["tracks"]
    }
    return {"model": model, "colours": view.colours, "digits": digits}


def _records(records: Mapping[str, Any]) -> dict[str, Any]:
    """The records; equal configs and package lists are stored once, in `pool`."""
    pool: dict[str, int] = {}
    values = []
    pooled = {}
    for key in sorted(records):
        record = dict(records[key])
        for field in filter(record.__contains__, POOLED):
            text = script_json(record[field])
            if text not in pool:
                pool[text] = len(pool)
                values.append(record[field])
            record[field] = pool[text]
        pooled[key] = record
    return {"fields": POOLED, "pool": values, "records": pooled}


def read(name: str) -> str:
    """A file of this folder."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def policy(style: str, scripts: tuple[str, ...]) -> Html:
    """A content security policy: this style, these scripts, nothing from anywhere else."""

    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return Html(
        f"default-src 'none'; style-src {allowed(style)}; "
        f"script-src {' '.join(map(allowed, scripts))}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
