"""A board as Markdown: results first (what a re-run gives again), then cost and provenance."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from pgbench.boards.power import ALL
from pgbench.records.floors import sentence

LEFT = ("algorithm", "IQM", "mean", "score", "lead", "optimality gap", "evidence", "tuning")
REPORTED = (
    "Numbers of papers and of others' documentation, as they stand there: not run here, under "
    "other conditions, in no rank."
)
LEGEND = (
    "IQM, optimality gap (lower is better) and mean across environments are of normalised scores: "
    "0 is the floor (and what is below it), 1 the reference. Brackets are 95% intervals; none "
    "where fewer than three runs, or equal ones, tell no spread. Runs: finished / started, and of "
    "how many where some are missing. Rank: the best that the runs leave to a row, and all that "
    "they leave; `-`: no rank yet, because seeds are missing or fewer than three, or because "
    "nothing tells the row apart from any other. Lead: its mean less the best of the others', "
    "positive where better."
)


def to_markdown(model: Mapping[str, Any]) -> str:
    """The page of a board's model."""
    counts = model["counts"]
    parts = [f"# {model['title']}: leaderboard {model['board']}", escape(model["about"])]
    if not counts["complete"]:
        parts.append(
            f"**Incomplete: {counts['records']} of {counts['expected']} runs.** Rows whose seeds "
            "are not all there are shown without a rank."
        )
    parts.append(LEGEND)
    for track in model["tracks"]:
        parts += _track(track)
    if "reported" in model:
        head = ("environment", "method", "score", "spread", "source", "conditions")
        cells = [
            (r["environment"], r["method"], f"{r['score']:,g}",
             *(r[key] for key in ("spread", "source", "conditions")))
            for r in model["reported"]
        ]  # fmt: skip
        parts += [
            "## Reported elsewhere",
            REPORTED,
            table(head, cells, [key for key in head if key != "score"]),
        ]
    if model["failures"]:
        lines = [
            f"- {f['name']} on {f['environment']}, seed {f['seed']}: {f['error'][:200]}"
            for f in model["failures"]
        ]
        parts += ["## Failed runs (each scores the floor)", "\n".join(map(escape, lines))]
    if model["withdrawn"]:
        lines = [
            f"- {w['record'][:12]}, by {w['by']} on {w['created']}: {w['reason']}"
            for w in model["withdrawn"]
        ]
        parts += ["## Withdrawn records", "\n".join(map(escape, lines))]
    parts += [
        "## How it was made",
        f"{model['statistics']['test']} Results sha256:{model['digest']['results']}.",
        *_cost(model),
    ]
    return "\n\n".join(parts) + "\n"


def to_tables(model: Mapping[str, Any]) -> str:
    """The tables alone, for any set of runs."""
    return "\n\n".join(part for track in model["tracks"] for part in _track(track)) + "\n"


def results_part(text: str) -> str:
    """The part of a page that a re-run of its records gives again to the byte."""
    return text.partition("\n## Cost and provenance")[0]


def _track(track: Mapping[str, Any]) -> list[str]:
    parts = [f"## {track['title']}"]
    anchors = all(env["floor"] is not None for env in track["environments"])
    if anchors and track["rows"]:
        head = (
            "rank", "algorithm", "IQM", "optimality gap", "mean", "lead", "runs", "evidence",
            "tuning",
        )  # fmt: skip
        rows = [
            (
                _rank(row),
                row["name"],
                *(_triple(row[key], 3) for key in ("iqm", "gap", "mean", "lead")),
                runs(row["runs"]),
                _evidence(row),
                row["tuning"],
            )
            for row in track["rows"]
        ]
        count = len(track["environments"])
        parts += [f"### {count} environment{'s' * (count != 1)}", table(head, rows)]
        parts += _power(track, ALL)
        if below := sum(row["below_floor"] for row in track["rows"]):
            runs_are = "run is" if below == 1 else "runs are"
            parts.append(f"{below} {runs_are} below the floor, and count as the floor here.")
    for env in track["environments"]:
        parts += _environment(env, track)
    if track["apart"]:
        lines = [
            f"- {a['name']} on {a['environment']} ({a['records']} runs): {a['reason']}"
            for a in track["apart"]
        ]
        parts += ["Not comparable with the tables above:", "\n".join(map(escape, lines))]
    return parts


def _environment(env: Mapping[str, Any], track: Mapping[str, Any]) -> list[str]:
    rows = track["tasks"][env["id"]]
    parts = [f"### {env['id']}"]
    if not rows:
        return [*parts, "No runs yet."]
    metric = env["metric"]
    better = "lower" if metric["direction"] == "min" else "higher"
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    episodes = f"{track['episodes']} " if track["episodes"] else ""
    about = (
        f"{env['underlying']}; score: {metric['name']}{unit}, {better} is better; mean over seeds "
        f"of the final policy's {episodes}evaluation episodes."
    )
    if env["floor"] is not None:
        about += f" Floor {env['floor']:g}, reference {env['reference']:g}."
    largest = max((abs(r[k] or 0.0) for r in rows for k in ("min", "max")), default=0.0)
    digits = 0 if largest >= 1000 else 1 if largest >= 10 else 3
    head = ("rank", "algorithm", "score", "lead", "median", "lowest", "highest", "runs")
    cells = [
        (
            _rank(row),
            row["name"],
            _triple(row["mean"], digits),
            _triple(row["lead"], digits),
            *(_number(row[key], digits) for key in ("median", "min", "max")),
            runs(row["runs"]),
        )
        for row in rows
    ]
    floors = [escape(sentence(env["floors"]))] if "floors" in env else []
    return [*parts, escape(about), table(head, cells), *floors, *_power(track, env["id"])]


def _power(track: Mapping[str, Any], name: str) -> list[str]:
    return [text] if (text := power_sentence(track["power"], name)) else []


def two_digits(value: float) -> str:
    """`0.0093`, `1,700`."""
    return f"{float(f'{value:.2g}'):,g}"


def power_sentence(power: Mapping[str, Any], name: str) -> str:
    """What the seeds of a table can tell, in words; empty where its runs do not tell it."""
    found = power["tables"].get(name)
    if found is None:
        return ""
    against = f", and of {two_digits(found['rank'])} among all {found['rows']} rows"
    return (
        f"With {found['seeds']} seeds a difference of {two_digits(found['pair'])} between two rows "
        f"is found with a power of {power['power']:.0%} at a level of {power['alpha']:.0%}"
        f"{against * (found['rows'] > 2)}."
    )


def _cost(model: Mapping[str, Any]) -> list[str]:
    parts = ["## Cost and provenance", "Medians over finished runs, evaluation included."]
    for track in model["tracks"]:
        if track["rows"]:
            head = ("algorithm", "steps/s", "wall time", "CPU time", "memory", "parameters")
            rows = [(row["name"], *_spent(row["cost"])) for row in track["rows"]]
            parts += [f"### {track['title']}", table(head, rows)]
    counts, where = model["counts"], model["provenance"]
    total = counts["records"]
    packages = (f"{name} {_counted(found, total)}" for name, found in where["packages"].items())
    lines = [
        f"- Records: {total} ({counts['finished']} finished, {counts['failed']} failed), the "
        f"newest of {model['newest']}; content sha256:{model['digest']['records']}; rules "
        f"{model['rules']}, board format {model['format']}.",
        f"- Packages: {', '.join(packages)}.",
        f"- Code: {_counted(where['code'], total)}.",
        f"- Hardware: {_counted(where['hardware'], total, '; ')}.",
    ]
    return [*parts, "\n".join(map(escape, lines))]


def _spent(cost: Mapping[str, Any]) -> list[str]:
    def say(key: str, unit: str = "") -> str:
        return "-" if cost[key] is None else f"{cost[key]:,.0f}{unit}"

    return [
        say("steps_per_s"),
        *(_duration(cost[key]) for key in ("wall_s", "cpu_s")),
        say("peak_memory_mib", " MiB"),
        say("parameters"),
    ]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def runs(counts: Mapping[str, int]) -> str:
    """`9 / 10`, or `7 / 7 of 10` where three were never started."""
    text = f"{counts['finished']} / {counts['started']}"
    return text if counts["started"] >= counts["expected"] else f"{text} of {counts['expected']}"


def _evidence(row: Mapping[str, Any]) -> str:
    if row["evidence"] == "claimed":
        return "claimed"
    return f"{row['evidence']} ({row['checked']} of {row['runs']['started']})"


def _rank(row: Mapping[str, Any]) -> str:
    return "-" if row["rank"] is None else f"{row['rank']} {rank_set(row)}".strip()


def rank_set(row: Mapping[str, Any]) -> str:
    """The ranks that the runs leave to a row: `[2, 5]`, or nothing where it is one."""
    low, high = row["ranks"] or (None, None)
    return "" if low == high else f"[{low}, {high}]"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:z,.{digits}f}"


def _triple(values: Sequence[float | None] | None, digits: int) -> str:
    if values is None or values[0] is None:
        return "-"
    centre, low, high = (_number(value, digits) for value in values)
    return centre if low == "-" else f"{centre} [{low}, {high}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Container[str] = LEFT) -> str:
    """An aligned Markdown table: the columns named in `left` to the left, numbers to the right."""
    cells = [[escape(cell) for cell in row] for row in [head, *rows]]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    sides = [name in left for name in head]

    def line(row: Sequence[str]) -> str:
        padded = (
            c.ljust(w) if a else c.rjust(w) for c, w, a in zip(row, widths, sides, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = (
        ":" + "-" * (w - 1) if a else "-" * (w - 1) + ":"
        for w, a in zip(widths, sides, strict=True)
    )
    return "\n".join([line(cells[0]), f"| {' | '.join(rule)} |", *map(line, cells[1:])])


def escape(text: str) -> str:
    """Text that Markdown takes as text, in a table too."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def _counted(counts: Mapping[str, int], total: int, between: str = " or ") -> str:
    """Values, each with its number of runs unless all have it."""
    return between.join(
        value if counts[value] == total else f"{value} ({counts[value]} runs)"
        for value in sorted(counts)
    )
