"""Two algorithms on one track: run what is missing, statistics, a paragraph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pgbench.boards.markdown import two_digits
from pgbench.boards.power import ALL
from pgbench.errors import PgbenchError
from pgbench.records.suite import Entry, Suite, Track
from pgbench.statistics.intervals import welch
from pgbench.support.names import unknown

SETTLED = 0.05  # p-value below which a difference is called one


def entry_of(word: str, settings: Mapping[str, Any], track: Track) -> Entry:
    """The track's entry called `word`, or one for an algorithm that the suite does not have."""
    if not settings:
        for entry in track.entries:
            if word == entry.label:
                return entry
        named = [entry for entry in track.entries if word == entry.algo]
        if len(named) == 1:
            return named[0]
        if named:
            raise PgbenchError(
                f"'{word}' is {len(named)} rows of track {track.name}: "
                f"{'; '.join(entry.label for entry in named)}; name one of them"
            )
    extras = ", ".join(f"{key}={value}" for key, value in settings.items())
    name = word.rpartition("/")[2].removesuffix(".py")
    return Entry(word, f"{name} ({extras})" if extras else name, dict(settings), {}, declared=False)


def choose_track(suite: Suite, name: str | None, words: Sequence[str]) -> Track:
    """The named track, or the first with both of the algorithms `words`; else with the first word.

    Where no track has the first word, it is the first track with the other.

    Raises: PgbenchError for an unknown track, or if no track has any of them.
    """
    if name is not None:
        for track in suite.tracks:
            if track.name == name:
                return track
        names = [track.name for track in suite.tracks]
        raise unknown(f"track of {suite.name}", name, names, f"there is {', '.join(names)}")
    for wanted in ({*words}, *({word} for word in words)):
        for track in suite.tracks:
            if wanted <= {name for entry in track.entries for name in (entry.algo, entry.label)}:
                return track
    raise PgbenchError(
        f"{suite.name} has no track with {' or '.join(sorted({*words}))}; choose one with --track "
        f"({', '.join(track.name for track in suite.tracks)})"
    )


def narrowed(suite: Suite, track: Track, entries: Sequence[Entry]) -> Suite:
    """The suite with this track and these entries alone, whoever chose their settings."""
    tracks = (replace(track, entries=tuple(entries)),)
    return replace(suite, tracks=tracks, tuning=(*suite.tuning, "free"))


def paragraph(model: Mapping[str, Any], a: str, b: str) -> str:
    """What the records say of rows `a` and `b` of the model's only track.

    Raises: PgbenchError if one of them is not there or not complete.
    """
    (track,) = model["tracks"]
    rows = {row["key"]: row for row in track["rows"]}
    for key in (a, b):
        if key not in rows:
            raise unknown("row", key, rows, f"there is {', '.join(rows)}")
        if not rows[key]["complete"]:
            counts = rows[key]["runs"]
            raise PgbenchError(
                f"{key} has {counts['started']} of {counts['expected']} runs; finish them first"
            )
    pair = next((p for p in track["pairs"] if {p["a"], p["b"]} == {a, b}), None)
    count = len(track["environments"])
    head = (
        f"{model['board']}, {track['title'][0].lower()}{track['title'][1:]}, {count} "
        f"environment{'s' * (count != 1)}, {track['seeds']} seeds each. "
    )
    tail = [_one(env, track["tasks"][env["id"]], a, b) for env in track["environments"]]
    tail += ["", f"Results sha256:{model['digest']['results']}."]
    if pair is None:
        said = f"{head}Verdict: inconclusive: to tell {a} and {b} apart takes three seeds or more."
        return "\n".join([said, "", *tail])
    turned = pair["a"] != a
    difference, low, high = _turn(pair["difference"], turned, 0.0)
    chance, least, most = _turn(pair["probability"], turned, 1.0)
    settled = pair["p"] is not None and pair["p"] < SETTLED
    found = track["power"]["tables"].get(ALL)
    if settled:
        verdict = f"{a} is {'better' if difference > 0 else 'worse'} than {b}"
    else:
        verdict = f"inconclusive: these runs do not tell {a} and {b} apart"
        if found is not None:
            verdict += (
                f"; with a power of {track['power']['power']:.0%} they find a difference of "
                f"{two_digits(found['pair'])} or more"
            )
    p = "unknown" if pair["p"] is None else f"{pair['p']:.2g}"
    lines = [
        f"{head}The mean normalised score of {a} less that of {b} is {difference:+.3f} "
        f"({_interval(low, high, '+.3f', '95% interval ', ', ')}Welch's test p = {p}). A run of "
        f"{a} beats a run of {b} with probability {chance:.2f}"
        f"{_interval(least, most, '.2f', ' ')}. Verdict: {verdict}.",
        "",
    ]
    return "\n".join([*lines, *tail])


def _interval(low: float, high: float, form: str, before: str = "", after: str = "") -> str:
    """`[low, high]` in its place of a sentence; nothing where the runs tell no spread."""
    return "" if math.isnan(low) else f"{before}[{low:{form}}, {high:{form}}]{after}"


def _turn(values: Sequence[Any], turned: bool, total: float) -> tuple[float, float, float]:
    """A pair's figure as seen from its other side."""
    value, low, high = (float("nan") if v is None else float(v) for v in values)
    return (total - value, total - high, total - low) if turned else (value, low, high)


def _one(env: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], a: str, b: str) -> str:
    scores = {
        row["key"]: [s["score"] for s in row["scores"]] for row in rows if row["key"] in (a, b)
    }
    cells = []
    for key in (a, b):
        value, low, high = next(row["mean"] for row in rows if row["key"] == key)
        within = "" if low is None else f" [{low:,.1f}, {high:,.1f}]"
        cells.append(f"{key} {value:,.1f}{within}")
    return f"  {env['id']}: {', '.join(cells)}; Welch's test p = {welch(scores[a], scores[b]):.2g}"
