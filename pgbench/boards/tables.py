"""A board as one tidy CSV and as LaTeX tables: only what a re-run on the same machine reproduces.

Costs, dates and record ids differ from run to run and are left to the other forms; both forms
print the digest of the results.
"""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pgbench.boards.markdown import two_digits

Model = Mapping[str, Any]  # a board, see pgbench.boards.model

COLUMNS = (
    "board", "track", "environment", "algorithm", "rank", "rank_low", "rank_high", "complete",
    "metric", "statistic", "value", "low", "high", "runs_finished", "runs_started",
    "runs_expected", "results",
)  # fmt: skip
OVERALL = ("iqm", "mean", "lead", "median", "gap")  # of normalised scores, over all environments
SINGLE = ("mean", "lead", "median", "iqm", "min", "max")  # of one environment, in its own unit
NORMALISED = "normalised score"
PANEL = 3  # environments side by side in LaTeX; more go below

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\textbraceleft{}", "}": r"\textbraceright{}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
    "_": r"\_", "[": "{[}",
}  # fmt: skip


def escape(text: str) -> str:
    """`text` as LaTeX prints it; braces stay balanced, as BibTeX needs them.

    A bracket is wrapped because one that begins a row would be an argument of the row before.
    """
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))


def labels(track: Model) -> dict[str, str]:
    """Key -> name of every row of a track, best first; names equal up to case are numbered."""
    rows = [*track["rows"], *(row for table in track["tasks"].values() for row in table)]
    names: dict[str, str] = {}
    for row in rows:
        names.setdefault(row["key"], str(row["name"]))
    seen: Counter[str] = Counter()
    for key in sorted(names):
        seen[names[key].casefold()] += 1
        count = seen[names[key].casefold()]
        names[key] += f" ({count})" if count > 1 else ""
    return names


def metric_of(environment: Model) -> Mapping[str, str]:
    """The metric of an environment; a neutral one where no record has told it yet."""
    metric: Mapping[str, str] | None = environment["metric"]
    return metric or {"name": "score", "direction": "max", "unit": ""}


def to_csv(model: Model) -> str:
    r"""One line a statistic, of each algorithm, in each environment and in `all` of a track.

    RFC 4180 but for the line ends, which are "\n"; an absent value is empty.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for track in model["tracks"]:
        names = labels(track)
        tables = [("all", NORMALISED, OVERALL, track["rows"])] + [
            (env["id"], metric_of(env)["name"], SINGLE, track["tasks"].get(env["id"], []))
            for env in track["environments"]
        ]
        for environment, metric, statistics, rows in tables:
            for row in rows:
                runs = (row["runs"][name] for name in ("finished", "started", "expected"))
                head = (
                    *(model["board"], track["name"], environment, names[row["key"]]),
                    *(row["rank"], *(row["ranks"] or (None, None)), row["complete"], metric),
                )
                tail = (*runs, model["digest"]["results"])
                for name in statistics:
                    value = row.get(name)
                    triple = value if isinstance(value, list | tuple) else (value, None, None)
                    writer.writerow(map(_plain, (*head, name, *triple, *tail)))
    return out.getvalue()


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def to_latex(model: Model) -> str:
    """One table a track, for the packages booktabs and inputenc (UTF-8)."""
    digest = model["digest"]["results"]
    head = (
        f"% pgbench board {' '.join(model['board'].split())}, results sha256:{digest}\n"
        f"% {' '.join(model['statistics']['test'].split())}\n"
        r"% needs \usepackage{booktabs}"
    )
    return "\n\n".join([head, *(_table(model, track) for track in model["tracks"])]) + "\n"


def _table(model: Model, track: Model) -> str:
    environments = list(track["environments"])
    panels = [environments[i : i + PANEL] for i in range(0, len(environments), PANEL)] or [[]]
    bodies = [_panel(track, panel, panel is panels[-1]) for panel in panels]
    label = re.sub(r"[^A-Za-z0-9:.-]+", "-", f"tab:{model['board']}-{track['name']}")
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_caption(model, track)}}}",
            rf"\label{{{label}}}",
            r"\small",
            r"\setlength{\tabcolsep}{4pt}",
            "\n\n\\medskip\n".join(bodies),
            r"\end{table}",
        ]
    )


def _caption(model: Model, track: Model) -> str:
    level = f"{100 * model['statistics']['level']:g}%"
    count = track["seeds"]
    seeds = f"{count} seed{'s' * (count != 1)}" if count else "seeds"
    parts = [
        f"{model['title']}. {track['title']}: mean score of the final policy over {seeds}, below "
        f"it its {level} interval; a failed run scores the floor.",
        "IQM: interquartile mean of all runs' normalised scores, 0 = floor, 1 = reference.",
        "Rank: the best that the runs leave to a row, in brackets all that they leave. "
        "Bold: rank 1.",
    ]
    text = escape(" ".join(parts))
    if not all(row["complete"] for row in track["rows"]):
        text += r" $\dagger$: incomplete, hence not ranked."
    if found := track["power"]["tables"].get("all"):
        text += escape(
            f" With {found['seeds']} seeds a difference of {two_digits(found['pair'])} between two "
            f"rows is found with a power of {track['power']['power']:.0%}."
        )
    short = model["digest"]["results"][:12]
    where = escape(f"Board {model['board']}, rules {model['rules']}, results")
    return rf"{text} {where} \texttt{{{short}}}."


def _panel(track: Model, environments: Iterable[Model], last: bool) -> str:
    """A tabular of some environments' columns; the last one ends with the aggregate and rank."""
    overall = {row["key"]: row for row in track["rows"]}
    columns = [
        _column(
            [*_wrapped(env["id"], 14), _unit(metric_of(env))],
            {row["key"]: (row["mean"], row) for row in track["tasks"].get(env["id"], [])},
        )
        for env in environments
    ]
    if last:
        pairs = {key: (row["iqm"], row) for key, row in overall.items()}
        columns.append(_column(["IQM", r"{\scriptsize normalised $\uparrow$}"], pairs))
    ends = ["rank"] * last  # one more column, or none
    blocks = [_block(["algorithm"], [head for head, _ in columns], ends, bottom=True)]
    for key, name in labels(track).items():
        row = overall.get(key)
        names = _wrapped(name, 22)
        if row is not None and not row["complete"]:
            names[-1] += r"$^{\dagger}$"
        rank = "--" if row is None or row["rank"] is None else _ranked(row)
        cells = [column.get(key, ["--"]) for _, column in columns]
        blocks.append(_block(names, cells, [rank] * last))
    lines = [
        rf"\begin{{tabular}}{{@{{}}l{'r' * (len(columns) + last)}@{{}}}}", r"\toprule", blocks[0],
        r"\midrule", "\n\\addlinespace\n".join(blocks[1:]), r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    return "\n".join(line for line in lines if line)


def _ranked(row: Model) -> str:
    low, high = row["ranks"]
    return str(row["rank"]) if low == high else f"{row['rank']} {{[}}{low}, {high}]"


def _block(
    first: list[str], cells: Iterable[list[str]], ends: list[str], bottom: bool = False
) -> str:
    """Lines of a table from columns of lines, the short ones filled below, or above: `bottom`."""
    columns = [first, *cells, *([end] for end in ends)]
    height = max(map(len, columns))
    filled = [
        [""] * (height - len(column)) + column if bottom else column + [""] * (height - len(column))
        for column in columns
    ]
    return "\n".join(" & ".join(line).rstrip() + r" \\" for line in zip(*filled, strict=True))


def _column(
    head: list[str], rows: Mapping[str, tuple[Any, Model]]
) -> tuple[list[str], dict[str, list[str]]]:
    """Head, and key -> mean above interval, all with the digits that the largest number needs."""
    triples = {key: triple for key, (triple, _) in rows.items() if triple and triple[0] is not None}
    largest = max((abs(x) for t in triples.values() for x in t if x is not None), default=0.0)
    digits = 0 if largest >= 1000 else 1 if largest >= 10 else 3
    cells = {}
    for key, (value, low, high) in triples.items():
        row = rows[key][1]
        number = _number(value, digits)
        best = row["complete"] and row["rank"] == 1
        cells[key] = [rf"$\mathbf{{{number}}}$" if best else f"${number}$"]
        if low is not None and high is not None:
            cells[key].append(_interval(low, high, digits))
    return head, cells


def _interval(low: float, high: float, digits: int) -> str:
    return rf"{{\scriptsize $[{_number(low, digits)},\ {_number(high, digits)}]$}}"


def _number(value: float, digits: int) -> str:
    return f"{value:z,.{digits}f}".replace(",", "{,}")


def _unit(metric: Mapping[str, str]) -> str:
    arrow = "downarrow" if metric["direction"] == "min" else "uparrow"
    return rf"{{\scriptsize {escape(metric['name'])} $\{arrow}$}}"


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters where spaces and hyphens allow, escaped."""
    return [escape(line) for line in textwrap.wrap(text, width, break_long_words=False)] or [""]
