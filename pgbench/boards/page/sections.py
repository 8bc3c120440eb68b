"""What holds for a whole board: header, failed and withdrawn runs, how the numbers are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pgbench.boards.page.marks import PREFIX
from pgbench.boards.page.markup import Html, element, join
from pgbench.boards.page.numerals import number, plural
from pgbench.boards.page.tables import View
from pgbench.boards.page.tracks import anchor, listing, short

FEW = 6  # environments that the contents list without a fold
EVIDENCE = (
    ("claimed", "the record is valid; nobody ran it again"),
    ("verified", "run again on the same machine: the same bits"),
    ("reproduced", "run again elsewhere: the same, or inside what the other seeds foretell"),
    ("disputed", "run again, with another result"),
)
TUNING = (
    ("paper", "the defaults of the algorithm, no trial"),
    ("declared", "the settings that the board declares for this row"),
    ("fixed-20", "20 trials from a declared space, on seeds that the board does not use"),
    ("free", "any choice of settings; not ranked with the others"),
)


def navigation(view: View) -> Html:
    """The bar on top: tracks, then what holds for all of them."""
    model = view.model
    links = [(anchor(track["name"]), track["title"]) for track in model["tracks"]]
    links += _closing(model)
    items = [element("li", element("a", text, href=f"#{to}", title=text)) for to, text in links]
    home = element("a", model["board"], href="#page-top", class_="home")
    return element(
        "nav", home, element("ul", *items), element("span", id="page-theme"), aria_label="Sections"
    )


def header(view: View) -> Html:
    """Title, what the board is, its counts and digests."""
    model, counts = view.model, view.model["counts"]
    facts: list[tuple[str, str]] = [
        ("runs", f"{counts['records']:,} of {counts['expected']:,}"),
        ("finished", f"{counts['finished']:,}"),
        ("failed", f"{counts['failed']:,}"),
        ("newest run", _day(model["newest"])),
        ("records", short(model["digest"]["records"])),
        ("results", short(model["digest"]["results"])),
    ]
    terms = [element("div", element("dt", name), element("dd", text)) for name, text in facts]
    parts = [
        element("p", f"Leaderboard {model['board']}, rules {model['rules']}", class_="over"),
        element("h1", model["title"]),
        element("p", model["about"], class_="about"),
        element("dl", *terms, class_="facts"),
    ]
    if not counts["complete"]:
        parts.append(
            element(
                "p",
                element("strong", f"{counts['records']:,} of {counts['expected']:,} runs; "),
                "incomplete rows are not ranked.",
                class_="banner",
                role="note",
            )
        )
    parts += [_downloads(model["board"]), contents(view)]
    text = "Sorting, figures and the details of a run need JavaScript; the tables do not."
    parts.append(element("noscript", element("p", text, class_="banner")))
    return element("header", *parts, id="page-top")


def _downloads(board: str) -> Html:
    """The board's other files, which lie beside the page, and the page of all boards."""
    files = (
        ("CSV", "csv"), ("LaTeX", "tex"), ("BibTeX", "bib"), ("Markdown", "md"), ("JSON", "json"),
    )  # fmt: skip
    links = [element("a", text, href=f"{quote(board)}.{end}") for text, end in files]
    every = element("a", "All boards", href="index.html")
    return element("p", join([every, *links], " · "), class_="downloads")


def contents(view: View) -> Html:
    """What is on the page: tracks with their environments, and what holds for all of them."""
    items = []
    for track in view.model["tracks"]:
        name = anchor(track["name"])
        places = [
            element("a", env["id"], href=f"#{name}/{anchor(env['id'])}")
            for env in track["environments"]
        ]
        inner = join(places, " ")
        if len(places) > FEW:
            said = element("summary", plural(len(places), "environment"))
            inner = element("details", said, inner)
        link = element("a", track["title"], href=f"#{name}")
        items.append(element("li", link, element("div", inner, class_="places")))
    items += [element("li", element("a", text, href=f"#{to}")) for to, text in _closing(view.model)]
    title = element("h2", "Contents", id="page-contents")
    return element(
        "div", title, element("ol", *items), class_="contents", role="navigation",
        aria_labelledby="page-contents",
    )  # fmt: skip


def _closing(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The sections after the tracks: fragment and title."""
    links = []
    if model["failures"]:
        links.append(("page-failures", f"Failures ({len(model['failures'])})"))
    if model["withdrawn"]:
        links.append(("page-withdrawn", f"Withdrawn ({len(model['withdrawn'])})"))
    return [*links, ("page-statistics", "Statistics"), ("page-provenance", "Provenance")]


def failures(view: View) -> Html:
    """Every failed run, with its error."""
    found = view.model["failures"]
    if not found:
        return Html("")
    rows = [
        (
            run["name"], run["environment"], str(run["seed"]), " ".join(str(run["error"]).split()),
            _record(run["record"], view),
        )
        for run in found
    ]  # fmt: skip
    return element(
        "section",
        element("h2", "Failed runs"),
        element(
            "p", "A failed run counts: its score is the floor of the environment.", class_="note"
        ),
        listing(("algorithm", "environment", "seed", "error", "record"), rows),
        id="page-failures",
    )


def withdrawn(view: View) -> Html:
    """Every withdrawn record, with the reason."""
    found = view.model["withdrawn"]
    if not found:
        return Html("")
    rows = [
        (_record(item["record"], view), item["reason"], item["by"], _day(item["created"]))
        for item in found
    ]
    return element(
        "section",
        element("h2", "Withdrawn records"),
        element("p", "Withdrawn records stay in the files and count in no table.", class_="note"),
        listing(("record", "reason", "by", "date"), rows),
        id="page-withdrawn",
    )


def statistics(view: View) -> Html:
    """How every number is made, and what the words in the tables mean."""
    how = view.model["statistics"]
    made = [
        ("intervals and ranks", how["test"]),
        ("level", f"{how['level']:.0%}; {how['replications']:,} bootstrap replications"),
        ("normalised score", "0 is the environment's floor, 1 its reference"),
        ("IQM", "interquartile mean: the mean of the middle half of the runs' scores"),
        ("gap", "optimality gap: how far runs stay below the reference on average; less is better"),
        ("failed run", "has the score of the floor, and counts in every statistic"),
        ("steps/s, wall time", "medians over finished runs, evaluation and checkpoints included"),
    ]
    numbers = element("div", element("h3", "Numbers"), _terms(made))
    words = [
        join([element("h3", title), _terms(terms)])
        for title, terms in (("Evidence", EVIDENCE), ("Tuning", TUNING))
    ]
    return element(
        "section",
        element("h2", "How the numbers are made"),
        element("div", numbers, element("div", *words), class_="columns pair-of"),
        id="page-statistics",
    )


def provenance(view: View) -> Html:
    """Packages, code and machines of the runs."""
    known, total = view.model["provenance"], view.model["counts"]["records"]
    packages = [
        (name, _counted(versions, total))
        for name, versions in sorted(known.get("packages", {}).items())
    ]
    parts = []
    if packages:
        parts.append(element("div", element("h3", "Packages"), _terms(packages)))
    for title, key in (("Code", "code"), ("Hardware", "hardware")):
        if known.get(key):
            items = [
                element("li", _count(name, n, total)) for name, n in sorted(known[key].items())
            ]
            parts.append(element("div", element("h3", title), element("ul", *items)))
    if not parts:
        parts = [element("p", "No runs yet.", class_="note")]
    return element(
        "section",
        element("h2", "Provenance"),
        element("div", *parts, class_="columns"),
        id="page-provenance",
    )


def footer(view: View) -> Html:
    """Versions and full digests, so that a printed table can be traced."""
    model = view.model
    lines = [
        f"{model['board']} · rules {model['rules']} · board format {model['format']} · "
        f"pgbench {model['pgbench']}",
        f"records sha256:{model['digest']['records']}",
        f"results sha256:{model['digest']['results']}",
    ]
    return element("footer", *(element("p", line) for line in lines))


def _terms(terms: Sequence[tuple[str, str]]) -> Html:
    pairs = [element("div", element("dt", term), element("dd", text)) for term, text in terms]
    return element("dl", *pairs, class_="terms")


def _record(key: str, view: View) -> Html:
    code = element("code", key[:PREFIX], title=key)
    if key not in view.model["records"]:
        return code
    return element("a", code, href=f"#record={key[:PREFIX]}")


def _day(created: str | None) -> Html:
    if not created:
        return Html(number(None))
    return element("time", created[:10], datetime=created, title=created)


def _counted(counts: Mapping[str, int], total: int) -> str:
    return " or ".join(_count(name, counts[name], total) for name in sorted(counts))


def _count(name: str, count: int, total: int) -> str:
    """A value, with its number of runs unless all have it."""
    return name if count == total else f"{name} ({plural(count, 'run')})"
