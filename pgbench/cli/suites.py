"""A suite in words: what `pgbench explain SUITE` prints, and what runs of it would cost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgbench.boards.costs import Times
    from pgbench.records.suite import Cell, Suite, Track


def known_times(suite: Suite, root: Path) -> Times:
    """Wall times by the records of the suite's board below `root`; nothing without any."""
    from pgbench.boards.costs import wall_times
    from pgbench.records.ledger import read_board, withdrawn

    folder = root / "records" / suite.name
    if not folder.is_dir():
        return {}
    gone = withdrawn(folder)
    return wall_times(suite, [e.record for e in read_board(folder) if e.id not in gone])


def cost_of(times: Times, cells: Iterable[Cell]) -> str:
    """`about 3.2 h, one run after the other`, as far as records tell it."""
    from pgbench.boards.costs import total
    from pgbench.boards.page.numerals import duration, plural

    seconds, unknown = total(times, cells)
    if not seconds:
        return "cost unknown: no run of it is recorded"
    rest = f"; nothing is known of {plural(unknown, 'run')}" if unknown else ""
    return f"about {duration(seconds)}, one run after the other{rest}"


def suite_page(suite: Suite, root: Path) -> str:
    """What a suite is: environments with fingerprints and anchors, tracks, rows, costs."""
    from pgbench.boards.page.numerals import duration, plural
    from pgbench.support.text import fitted, table, width

    cells, times = list(suite.cells()), known_times(suite, root)
    rules = suite.protocol
    parts = [
        f"{suite.name}: {suite.title}",
        fitted(suite.about, width()),
        fitted(
            f"{plural(len(cells), 'run')}, {cost_of(times, cells)}. A run is evaluated "
            f"{plural(rules['curve_points'], 'time')} with "
            f"{plural(rules['curve_episodes'], 'episode')} and at its end with "
            f"{rules['episodes']:,}; it has {duration(suite.limit_s)}. Ranked together: tuning "
            f"{', '.join(suite.tuning)}.",
            width(),
        ),
    ]
    rows = [
        (
            env.version, f"{env.floor:g}", f"{env.reference:g}", env.golden[:12],
            ", ".join([*_words(env.kwargs), *([env.simulator] if env.simulator else [])]) or "-",
        )
        for env in suite.environments.values()
    ]  # fmt: skip
    head = ("environment", "floor", "reference", "fingerprint", "settings, simulator")
    parts.append(table(head, rows, width()))
    parts += [_track(suite, track, times) for track in suite.tracks]
    parts.append(
        f"Run it:                   pgbench bench {suite.name}\n"
        f"Its results:              pgbench board {suite.name}\n"
        f"What its seeds can tell:  pgbench power {suite.name}"
    )
    return "\n\n".join(parts)


def _track(suite: Suite, track: Track, times: Times) -> str:
    from pgbench.boards.page.numerals import duration, plural
    from pgbench.support.text import fitted, table, width

    own = [cell for cell in suite.cells() if cell.track == track]
    samples = f", {track.samples:,} responses" if track.samples else ""
    about = (
        f"Track {track.name}: {track.title}. Budget {track.budget:,}{samples}; "
        f"{plural(track.seeds, 'seed')} on {', '.join(track.environments)}: "
        f"{plural(len(own), 'run')}, {cost_of(times, own)}."
    )
    rows = []
    for entry in track.entries:
        walls = [times.get((track.name, entry.label, env)) for env in track.environments]
        told = [wall for wall in walls if wall is not None]
        ends = [duration(wall) for wall in (min(told), max(told))] if told else ["-"]
        settings = {**track.settings, **entry.settings}
        inside = [
            f"{word} on {env}" for env in entry.settings_in for word in _words(entry.in_env(env))
            if word not in _words(settings)
        ]  # fmt: skip
        rows.append(
            (
                entry.label,
                entry.algo,
                " to ".join(dict.fromkeys(ends)),
                ", ".join([*_words(settings), *inside]) or "its defaults",
            )
        )
    head = ("row", "algorithm", "a run takes", "settings")
    return f"{fitted(about, width())}\n\n{table(head, rows, width())}"


def _words(settings: Any) -> list[str]:
    return [f"{key}={value}" for key, value in settings.items()]
