"""Figures of a board's model for papers: curves, profiles, bars as SVG, PDF or PNG.

Needs matplotlib (extra `plot`). The same model gives the same figure: no date, no random names,
no reader's settings.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pgbench.errors import PgbenchError, install
from pgbench.support.names import unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("curves", "profile", "bars")
FORMATS = ("svg", "pdf", "png")
COLOURS = (  # of the page's series, on paper
    "#1460d8", "#b5502e", "#2aa368", "#702082", "#b8831e", "#084a51", "#7d7d7d", "#860b23",
)  # fmt: skip
MARKS = ("o", "s", "^", "D", "v", "P", "_", "h")
DASHES = ("-", (0, (6, 3)), (0, (2, 3)), (0, (8, 3, 2, 3)), (0, (1, 2)))
ACROSS = 3  # panels in a line
PANEL = (4.4, 3.1)  # inches
SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "pgbench", "svg.fonttype": "none", "pdf.fonttype": 42, "font.size": 9.0,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "grid.linewidth": 0.6, "axes.titlesize": 9.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "legend.frameon": False, "savefig.dpi": 160.0,
}  # fmt: skip
Row = Mapping[str, Any]


def figure(
    model: Mapping[str, Any],
    kind: str,
    form: str,
    track: str | None = None,
    environments: Sequence[str] = (),
) -> bytes:
    """One figure of one track as a file of the format `form`.

    `curves`: mean over seeds at each evaluation, with its interval, a panel an environment.
    `profile`: share of runs with a better score, of normalised scores where there are anchors.
    `bars`: mean score with its interval and every seed, a panel an environment.

    Raises: PgbenchError for an unknown name, nothing to draw, or matplotlib missing.
    """
    if kind not in KINDS:
        raise unknown("kind of figure", kind, KINDS, f"take {', '.join(KINDS)}")
    if form not in FORMATS:
        raise PgbenchError(f"a figure is {', '.join(FORMATS)}, not '{form}'; name the file so")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PgbenchError(f"matplotlib is not installed; run: {install('plot')}") from error
    own = find_track(model["tracks"], track)
    envs = chosen(own["environments"], environments)
    styles = _styles(own)
    names = _names(own)
    settings: Any = {**matplotlib.rcParamsDefault, **SETTINGS, "backend": "agg"}
    with matplotlib.rc_context(settings):
        fig = Figure(layout="constrained")
        {"curves": _curves, "profile": _profile, "bars": _bars}[kind](fig, own, envs, styles)
        if kind != "bars":
            _legend(fig, list(names.values()))
        out = io.BytesIO()
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
        fig.savefig(out, format=form, metadata=dates[form])
    return out.getvalue()


def find_track(tracks: Sequence[Row], name: str | None) -> Row:
    """The track called `name`; the first where none is given.

    Raises: PgbenchError with the nearest names.
    """
    for track in tracks:
        if name in (None, track["name"]):
            return track
    names = [str(track["name"]) for track in tracks]
    raise unknown("track", str(name), names, f"there is {', '.join(names) or 'none'}")


def chosen(found: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """The environments of those names, also short ones (`hopper` for `hopper-v0`); all for none."""
    out = []
    for name in names:
        same = [env for env in found if name in _forms(env["id"])]
        if not same:
            ids = [str(env["id"]) for env in found]
            raise unknown("environment", name, ids, f"there is {', '.join(ids) or 'none'}")
        out += [env for env in same if env not in out]
    return out or list(found)


def _forms(name: str) -> tuple[str, ...]:
    bare = name.partition(" (")[0]
    return name, bare, bare.rpartition("-v")[0]


def _names(track: Row) -> dict[str, str]:
    """Key -> name of every row, best first."""
    rows = [*track["rows"], *(row for table in track["tasks"].values() for row in table)]
    names: dict[str, str] = {}
    for row in rows:
        names.setdefault(row["key"], str(row["name"]))
    return names


def _styles(track: Row) -> dict[str, dict[str, Any]]:
    """Colour, mark and dashes of every row, best first."""
    return {
        key: {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": DASHES[i // len(COLOURS) % len(DASHES)],
            "marker": MARKS[i % len(MARKS)],
        }
        for i, key in enumerate(_names(track))
    }


def _panels(fig: Figure, count: int, height: float = PANEL[1]) -> list[Axes]:
    across = min(count, ACROSS)
    down = math.ceil(count / across)
    fig.set_size_inches(PANEL[0] * across, height * down)
    found = fig.subplots(down, across, squeeze=False).ravel().tolist()
    for axes in found[count:]:
        axes.remove()
    return list(found[:count])


def _legend(fig: Figure, rows: Sequence[str]) -> None:
    """The names of the rows, best first: beside a single panel, below several."""
    handles: dict[str, Any] = {}
    for axes in fig.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(str(label), handle)
    names = [name for name in rows if name in handles]
    width, height = fig.get_size_inches()
    single = len(fig.axes) == 1
    if single:
        fig.set_size_inches(width + 2, max(height, 0.6 + 0.165 * len(names)))
    fig.legend(
        [handles[name] for name in names], names, fontsize=8,
        loc="outside right upper" if single else "outside lower center",
        ncols=1 if single else min(len(names), int(width * 0.6)),
    )  # fmt: skip


def _marks(axes: Axes, environment: Row, across: bool = True) -> None:
    """Floor, reference and ceiling as dashed lines, those that do not double the axis."""
    limits = axes.get_ylim() if across else axes.get_xlim()
    low, high = min(limits), max(limits)
    for name in ("reference", "floor", "ceiling"):
        value = environment[name]
        if value is None or max(high, value) - min(low, value) > 2 * (high - low):
            continue
        draw = axes.axhline if across else axes.axvline
        draw(value, color="#8d8b84", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        x, y = (0.99, value) if across else (value, 1.0)
        place = axes.get_yaxis_transform() if across else axes.get_xaxis_transform()
        axes.text(
            x, y, name, transform=place, ha="right", va="bottom", fontsize=7, color="#5b6068"
        )  # fmt: skip


def _label(environment: Row) -> str:
    metric = environment["metric"]
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    better = "lower" if metric["direction"] == "min" else "higher"
    return textwrap.fill(f"{metric['name']}{unit}, {better} is better", 36)


def _curves(fig: Figure, track: Row, envs: Sequence[Row], styles: Mapping[str, Any]) -> None:
    shown = [env for env in envs if any(row["curve"] for row in track["tasks"][env["id"]])]
    if not shown:
        raise PgbenchError("no run has a curve; plot --kind bars instead")
    for axes, env in zip(_panels(fig, len(shown)), shown, strict=True):
        for row in track["tasks"][env["id"]]:
            points = row["curve"]
            steps = [point["step"] for point in points]
            if not steps:
                continue
            style = styles[row["key"]]
            axes.plot(
                steps, [point["mean"] for point in points], label=row["name"], linewidth=1.5,
                markevery=[-1], markersize=4, **style,
            )  # fmt: skip
            low, high = (
                [math.nan if point[end] is None else point[end] for point in points]
                for end in ("low", "high")
            )
            axes.fill_between(steps, low, high, color=style["color"], alpha=0.13, linewidth=0)
        _marks(axes, env)
        axes.set(title=env["id"], xlabel=track["unit"], ylabel=_label(env))


def _profile(fig: Figure, track: Row, envs: Sequence[Row], styles: Mapping[str, Any]) -> None:
    found = track["profile"]
    if found["rows"] and len(envs) == len(track["environments"]):
        (axes,) = _panels(fig, 1, 3.6)
        names = {row["key"]: row["name"] for row in track["rows"]}
        for key, row in found["rows"].items():
            style = {**styles[key], "marker": None}
            axes.plot(found["tau"], row["value"], label=names[key], linewidth=1.5, **style)
            if len(found["rows"]) <= 6:
                low, high = (
                    [math.nan if x is None else x for x in row[end]] for end in ("low", "high")
                )
                colour = style["color"]
                axes.fill_between(found["tau"], low, high, color=colour, alpha=0.1, linewidth=0)
        axes.set(
            xlabel="normalised score τ (0 = floor, 1 = reference)",
            ylabel="share of runs above τ", ylim=(-0.02, 1.02),
        )  # fmt: skip
    else:
        for axes, env in zip(_panels(fig, len(envs)), envs, strict=True):
            least = env["metric"]["direction"] == "min"
            scored = list(_scored(track, env))
            every = [score for _, scores in scored for score in scores]
            room = (max(every) - min(every)) / 20 or 1.0 if every else 0.0
            for row, scores in scored:
                style = {**styles[row["key"]], "marker": None}
                # From one end of the axis to the other: all runs, then fewer, then none.
                ends = [min(every) - room, *sorted(scores), max(every) + room]
                ends = ends[::-1] if least else ends
                shares = [1 - i / len(scores) for i in range(len(scores) + 1)] + [0.0]
                axes.step(ends, shares, where="post", label=row["name"], linewidth=1.5, **style)
            if least:
                axes.invert_xaxis()
            axes.set(title=env["id"], xlabel=_label(env), ylabel="share of runs that are better")
            axes.set_ylim(-0.02, 1.02)


def _bars(fig: Figure, track: Row, envs: Sequence[Row], styles: Mapping[str, Any]) -> None:
    most = max(len(track["tasks"][env["id"]]) for env in envs)
    for axes, env in zip(_panels(fig, len(envs), 0.9 + 0.26 * most), envs, strict=True):
        names = []
        for i, (row, scores) in enumerate(_scored(track, env)):
            names.append(row["name"])
            colour = styles[row["key"]]["color"]
            value, low, high = row["mean"]
            if low is not None:
                axes.barh(i, high - low, left=low, height=0.5, color=colour, alpha=0.25)
            axes.plot(scores, [i] * len(scores), ".", color=colour, markersize=4, alpha=0.8)
            axes.plot([value], [i], marker="|", color=colour, markersize=13, markeredgewidth=2)
        _marks(axes, env, across=False)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_title(env["id"], pad=14)
        axes.set_xlabel(_label(env))


def _scored(track: Row, env: Row) -> Iterator[tuple[Row, list[float]]]:
    """The rows of an environment that have scores, best first."""
    for row in track["tasks"][env["id"]]:
        scores = [run["score"] for run in row["scores"] if run["score"] is not None]
        if scores:
            yield row, scores
