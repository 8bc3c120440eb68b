"""The pictures of docs/inventory.md, from committed records and one trained run.

    python docs/figures/inventory.py traces          # inventory-traces.svg: cost by training traces
    python docs/figures/inventory.py gaps            # inventory-gaps.svg: every instance's gap
    python docs/figures/inventory.py orders RUN      # inventory-orders.svg: what a policy orders
    python docs/figures/inventory.py all RUN         # all three

RUN is the folder of a finished run on one store with lost sales. The same records (and the same
run) give the same bytes: no date, no random names, no reader's settings.
"""

from __future__ import annotations

import argparse
import io
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lost_sales import Curves, curves_of
from numpy.typing import NDArray

from pgbench.catalogue.registry import find_env
from pgbench.errors import PgbenchError
from pgbench.records.ledger import read_board, withdrawn
from pgbench.records.suite import Entry, Suite, Track, find_suite

SUITE = "inventory-v1"
DOCS = Path(__file__).resolve().parents[1]
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"  # Okabe and Ito's


# What the records say.


@dataclass(frozen=True)
class Results:
    """A suite's scores: (track, environment, label of the entry) -> seed -> score."""

    suite: Suite
    scores: Mapping[tuple[str, str, str], Mapping[int, float]]

    def of(self, track: Track, env: str, entry: Entry) -> Mapping[int, float]:
        """Score by seed of one cell of a table; empty before its first run."""
        return self.scores.get((track.name, env, entry.label), {})

    def missing(self, tracks: Sequence[Track]) -> tuple[int, int]:
        """Runs that these tracks still lack, and how many they ask for."""
        cells = [(t, env, e) for t in tracks for env in t.environments for e in t.entries]
        asked = sum(track.seeds for track, _, _ in cells)
        return asked - sum(len(self.of(*cell)) for cell in cells), asked


def collect(records: Sequence[Mapping[str, Any]], suite: Suite) -> Results:
    """The scores of the suite's own entries; a failed run has the floor, as on the board."""
    from pgbench.boards.rows import find_entry
    from pgbench.records.rules import find_track

    envs = {env.version: env for env in suite.environments.values()}
    scores: dict[tuple[str, str, str], dict[int, float]] = {}
    for record in records:
        track, env = find_track(record, suite), envs.get(record["environment"]["id"])
        entry = find_entry(record, track, env) if track else None
        if track is None or env is None or entry is None:
            continue
        score = record["result"]["score"]
        cell = scores.setdefault((track.name, env.id, entry.label), {})
        cell[record["protocol"]["seed"]] = env.floor if score is None else score
    return Results(suite, scores)


def read(root: Path) -> Results:
    """The committed records of the suite below `root`, without the withdrawn ones."""
    folder = root / "records" / SUITE
    gone = withdrawn(folder)
    records = [entry.record for entry in read_board(folder) if entry.id not in gone]
    return collect(records, find_suite(SUITE, root))


# How a picture becomes a file.


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="white", layout="constrained")


def _svg(draw: Callable[[], Any]) -> bytes:
    """The figure that `draw` makes, with no trace of reader, day or process."""
    try:
        import matplotlib
    except ImportError:
        raise PgbenchError("matplotlib is missing: pip install matplotlib") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({
            "svg.hashsalt": "pgbench", "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9,
            "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
        })  # fmt: skip
        out = io.BytesIO()
        draw().savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _caption(figure: Any, text: str, width: int) -> None:
    figure.supxlabel(
        textwrap.fill(text, width, break_on_hyphens=False),
        x=0.01,
        ha="left",
        fontsize=8,
        color="#333333",
    )


def _lacking(results: Results, tracks: Sequence[Track]) -> str:
    missing, asked = results.missing(tracks)
    return (
        f" Missing: {missing} of {asked} runs (-: no run yet, 1/3: one of three seeds)."
        if missing
        else ""
    )


# Training traces.


def traces_svg(results: Results) -> bytes:
    """Score against the number of training traces, a panel an environment, a line a policy."""
    tracks = [
        t for t in results.suite.tracks if all({"traces", "policy"} <= set(e.settings)
        for e in t.entries)
    ]  # fmt: skip
    return _svg(lambda: _draw_traces(results, tracks))


def _draw_traces(results: Results, tracks: Sequence[Track]) -> Any:
    columns = max(len(track.environments) for track in tracks)
    figure = _figure(2.7 * columns, 2.5 * len(tracks) + 0.6)
    grid = figure.subplots(len(tracks), columns, squeeze=False)
    names = sorted({entry.settings["policy"] for track in tracks for entry in track.entries})
    styles = dict(
        zip(names, ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREEN, "^", ":")), strict=False)
    )
    absent = []
    for track, row in zip(tracks, grid, strict=True):
        for axes in row[len(track.environments) :]:
            axes.set_axis_off()
        for axes, env in zip(row, track.environments, strict=False):
            lacking, any_run = _draw_panel(axes, results, track, env, styles)
            absent += [f"{env} {what}" for what in lacking] if any_run else [f"all of {env}"]
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, line)
    spare = [axes for axes in figure.axes if not axes.axison]
    if spare:
        spare[0].legend(handles.values(), handles.keys(), loc="center left")
    else:
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3)
    steps = " and ".join(sorted({f"{track.budget:,}" for track in tracks}))
    text = f"{SUITE}, {steps} environment steps. A point is a run (a seed), a line the mean."
    anchors = [results.suite.environments[env] for track in tracks for env in track.environments]
    origins = sorted({anchor.reference_origin for anchor in anchors if anchor.reference})
    text += f" Dash-dotted: {' or '.join(origins)}." if origins else ""
    text += " Missing: " + ", ".join(absent) + "." if absent else ""
    _caption(figure, text, 46 * columns)
    return figure


def _draw_panel(
    axes: Any, results: Results, track: Track, env: str, styles: Mapping[str, tuple[str, str, str]]
) -> tuple[list[str], bool]:
    """One environment; returns which cells lack how many seeds, and whether there is any run."""
    from matplotlib.ticker import FixedLocator, NullLocator

    metric, lacking = find_env(env).metrics[0], []
    ticks = sorted({entry.settings["traces"] for entry in track.entries})
    for at, (policy, (colour, marker, line)) in enumerate(styles.items()):
        means = []
        aside = 1.05 ** (2 * at - len(styles) + 1)  # so that points of two policies never overlap
        for entry in sorted(track.entries, key=lambda e: e.settings["traces"]):
            if entry.settings["policy"] != policy:
                continue
            count, scores = entry.settings["traces"], list(results.of(track, env, entry).values())
            if len(scores) < track.seeds:
                lacking.append(f"{policy} {count} ({track.seeds - len(scores)})")
            if scores:
                x = count * aside
                axes.plot(
                    [x] * len(scores), scores, marker, color=colour, ms=6, mfc="none", mew=1.3
                )
                means.append((x, float(np.mean(scores))))
        if means:
            axes.plot(*zip(*means, strict=True), line, color=colour, label=policy)
            axes.lines[-1].set(marker=marker, ms=3)
    anchor = results.suite.environments[env]
    if anchor.reference:
        axes.axhline(anchor.reference, color=GREY, lw=1, ls="-.", label="published")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xscale("log", base=2)
    axes.set_xlim(ticks[0] / 1.6, ticks[-1] * 1.6)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlabel("training traces")
    unit = metric.unit if metric.name in metric.unit else f"{metric.name}, {metric.unit}"
    axes.set_ylabel(unit)
    axes.set_title(env)
    axes.grid(axis="y", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    return lacking, any(results.of(track, env, e) for e in track.entries)


# Gaps.


def gaps_svg(results: Results) -> bytes:
    """Mean gap of every instance in tables of lead time and penalty, a table a policy."""
    tracks = [track for track in results.suite.tracks if _grid(track)]
    return _svg(lambda: _draw_gaps(results, tracks))


def _grid(track: Track) -> tuple[list[float], list[int]] | None:
    """Penalties and lead times where the track has every pair of them, and two of each."""
    pairs = {env: find_env(env).kwargs for env in track.environments}
    if not all({"penalty", "lead_time"} <= set(kwargs) for kwargs in pairs.values()):
        return None
    penalties = sorted({kwargs["penalty"] for kwargs in pairs.values()})
    leads = sorted({kwargs["lead_time"] for kwargs in pairs.values()})
    whole = len(pairs) == len(penalties) * len(leads)
    return (penalties, leads) if whole and len(penalties) > 1 < len(leads) else None


def _draw_gaps(results: Results, tracks: Sequence[Track]) -> Any:
    from matplotlib.colors import LogNorm

    grids = [grid for track in tracks if (grid := _grid(track))]
    columns = max(len(track.entries) for track in tracks)
    heights = [0.9 + 0.34 * len(leads) for _, leads in grids]
    figure = _figure(2.75 * columns, sum(heights) + 0.7)
    panels = figure.subplots(len(tracks), columns, squeeze=False, height_ratios=heights)
    shades = {"cmap": "Blues", "norm": LogNorm(0.01, 10)}
    for track, (penalties, leads), row in zip(tracks, grids, panels, strict=True):
        for axes in row[len(track.entries) :]:
            axes.set_axis_off()
        for axes, entry in zip(row, track.entries, strict=False):
            table: NDArray[Any] = np.full((len(leads), len(penalties)), np.nan)
            notes = np.full(table.shape, "", object)
            for env in track.environments:
                kwargs, scores = find_env(env).kwargs, results.of(track, env, entry)
                at = leads.index(kwargs["lead_time"]), penalties.index(kwargs["penalty"])
                if scores:
                    table[at] = np.mean(list(scores.values()))
                    notes[at] = (
                        "" if len(scores) == track.seeds else f" {len(scores)}/{track.seeds}"
                    )
            _draw_table(axes, table, notes, shades)
            axes.set_xticks(range(len(penalties)), [f"{p:g}" for p in penalties])
            axes.set_yticks(range(len(leads)), leads)
            base = find_env(track.environments[0]).instance_of
            axes.set_title(f"{base}\n{entry.label}", fontsize=8)
            axes.set_xlabel("penalty (cost of a short unit)", fontsize=8)
            if axes is row[0]:
                axes.set_ylabel("lead time (periods)", fontsize=8)
    image = next(image for axes in figure.axes for image in axes.images)
    spare = [axes for axes in figure.axes if not axes.axison]
    where = (
        {"cax": spare[0].inset_axes((0.05, 0.05, 0.06, 0.9))} if spare else {"ax": [*panels.flat]}
    )
    bar = figure.colorbar(image, extend="both", **where)
    bar.set_ticks([0.01, 0.1, 1, 10], labels=["0.01", "0.1", "1", "10"])
    bar.minorticks_off()
    bar.set_label("gap to the optimum, %")
    text = f"{SUITE}: gap to the optimum in %, mean over seeds." + _lacking(results, tracks)
    _caption(figure, text, 46 * columns)
    return figure


def _draw_table(axes: Any, table: NDArray[Any], notes: NDArray[Any], shades: Any) -> None:
    """Coloured cells with their numbers; what is below the scale has its lowest colour."""
    axes.set_facecolor("#eeeeee")
    shown = np.ma.masked_invalid(np.clip(table, 0.01, None))
    axes.imshow(shown, aspect="auto", **shades)
    for (y, x), value in np.ndenumerate(table):
        text = "-" if np.isnan(value) else f"{_number(value)}{notes[y, x]}"
        dark = not np.isnan(value) and value > 0.9
        size = 6.5 if notes[y, x] else 8
        axes.text(
            x, y, text, ha="center", va="center", fontsize=size, color="white" if dark else "black"
        )
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8)


def _number(value: float) -> str:
    """Two decimals, one from 10 on; no minus before a rounded zero."""
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    return text.removeprefix("-") if not float(text) else text


# Orders.


def orders_svg(found: Curves) -> bytes:
    """Orders against units on hand, a panel a pipeline."""
    return _svg(lambda: _draw_orders(found))


def _draw_orders(found: Curves) -> Any:
    panels = len(found.pipelines)
    figure = _figure(max(3.1 * panels, 5.5), 3.9)
    row = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
    x, (level, gap), (up_to, cap, gap_capped) = found.on_hand, found.base, found.capped
    for i, (axes, pipeline) in enumerate(zip(row, found.pipelines, strict=True)):
        rest = sum(pipeline)
        real = found.learned[i]
        base = np.clip(level - x - rest, 0, None)
        axes.plot(x, base, "--", color=GREEN, label=f"best base stock: S {level}, gap {gap:.2f}%")
        capped = np.clip(up_to - x - rest, 0, cap)
        label = f"best capped base stock: S {up_to}, cap {cap}, gap {gap_capped:.2f}%"
        axes.plot(x, capped, "-.", color=ORANGE, label=label)
        axes.plot(
            x,
            found.optimal[i],
            "s",
            color="black",
            mfc="none",
            ms=6,
            label="optimal, value iteration",
        )
        axes.plot(x, real, "-", color=BLUE, lw=1.6, label="learned, real numbers")
        axes.plot(x, np.rint(real), "o", color=BLUE, ms=3, label="learned, rounded (as evaluated)")
        if visit := found.visits[i]:
            axes.axvspan(visit[1] - 0.5, visit[2] + 0.5, color="#e8e8e8", lw=0, zorder=0)
        share = f"{100 * visit[0]:.2g}% of periods" if visit else "never reached"
        held = " + ".join(map(str, pipeline)) or "nothing"
        axes.set_title(f"{held} on the way ({share})")
        axes.set_xlabel("units on hand")
    row[0].set_ylabel("units ordered")
    # Base stock is cut off where it orders far more than the others do.
    most = max(cap, *(float(y.max()) for y in (*found.learned, *found.optimal)))
    row[0].set_ylim(-0.5, 1.5 * most)
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    text = f"{found.title}. Grey: where the optimal policy is in 98% of the periods with this "
    text += "pipeline. Gaps are those of the long-run cost to the optimum, exact."
    _caption(figure, text, 42 * panels)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/inventory.md.")
    parser.add_argument("what", choices=("traces", "gaps", "orders", "all"))
    parser.add_argument("run", nargs="?", type=Path, help="a finished run, for orders and all")
    parser.add_argument("--root", type=Path, default=DOCS.parent / "leaderboards")
    parser.add_argument("--out", type=Path, default=DOCS)
    given = parser.parse_args(arguments)
    try:
        if given.what in ("orders", "all") and given.run is None:
            raise PgbenchError(f"{given.what} needs the folder of a run on one-store-lost-sales")
        made: dict[str, bytes] = {}
        if given.what in ("traces", "all"):
            made["traces"] = traces_svg(read(given.root))
        if given.what in ("gaps", "all"):
            made["gaps"] = gaps_svg(read(given.root))
        if given.what in ("orders", "all"):
            made["orders"] = orders_svg(curves_of(given.run))
    except PgbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, data in made.items():
        path = given.out / f"inventory-{name}.svg"
        path.write_bytes(data)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
