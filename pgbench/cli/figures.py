"""`pgbench plot`, `table`: figures and tables of any set of runs, or of a board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pgbench.errors import install

PLOT_EXAMPLES = f"""\b
Examples:
  pgbench plot runs/mdpo runs/ppo                   learning curves to curves.svg
  pgbench plot runs --kind bars --out scores.pdf    mean, interval and every seed
  pgbench plot control-mini-v1 --kind profile --out profile.png
  pgbench plot control-mini-v1 --track off-policy-50k --env hopper
  pgbench plot runs --suite control-mini-v1 --kind profile

Runs with other settings are other lines; a track is a budget, or one of the suite's. The file's
ending says the format: svg, pdf or png. Needs: {install("plot")}
"""
TABLE_EXAMPLES = """\b
Examples:
  pgbench table runs                                Markdown, to the screen
  pgbench table runs/my_algo runs/ppo --format latex --out table.tex
  pgbench table control-mini-v1 --format csv
  pgbench table runs --suite control-mini-v1        with the suite's floors and references

Any runs: of a plug-in and without a suite, too. Runs with other settings are other rows.
"""
FORMATS = ("markdown", "latex", "csv")
Sources = Annotated[
    list[str],
    typer.Argument(help="Run folders, folders of runs, .jsonl records; or the name of a board."),
]
SuiteName = Annotated[
    str | None, typer.Option("--suite", help="Read runs with this suite's tracks and anchors.")
]
Root = Annotated[Path, typer.Option(help="Folder of the boards.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(epilog=PLOT_EXAMPLES)(plot)
    app.command(epilog=TABLE_EXAMPLES)(table)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def plot(
    sources: Sources,
    kind: Annotated[str, typer.Option(help="curves, profile or bars.")] = "curves",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write (default: KIND.svg).")
    ] = None,
    track: Annotated[str | None, typer.Option(help="Track (default: the first).")] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="Only this environment (repeatable).")
    ] = None,
    suite: SuiteName = None,
    root: Root = Path("leaderboards"),
) -> None:
    """A figure of runs or of a board: curves, performance profiles, bars."""
    from pgbench.boards.gather import gather
    from pgbench.boards.plot import figure
    from pgbench.support.files import write_bytes

    file = out or Path(f"{kind}.svg")
    model = gather(sources, root, suite, _say)
    data = figure(model, kind, file.suffix.lstrip(".").lower(), track, env or ())
    tracks = [item["name"] for item in model["tracks"]]
    if track is None and len(tracks) > 1:
        _say(f"drawn: track {tracks[0]}; others with --track: {', '.join(tracks[1:])}")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(file, data)
    typer.echo(file)


def table(
    sources: Sources,
    format_: Annotated[str, typer.Option("--format", help="markdown, latex or csv.")] = "markdown",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write (default: the screen).")
    ] = None,
    track: Annotated[str | None, typer.Option(help="Only this track.")] = None,
    suite: SuiteName = None,
    root: Root = Path("leaderboards"),
) -> None:
    """Tables of runs or of a board, as Markdown, LaTeX or CSV."""
    from pgbench.boards.gather import gather
    from pgbench.boards.markdown import to_tables
    from pgbench.boards.plot import find_track
    from pgbench.boards.tables import to_csv, to_latex
    from pgbench.support.files import write_bytes
    from pgbench.support.names import unknown

    makers: dict[str, Any] = {"markdown": to_tables, "latex": to_latex, "csv": to_csv}
    if format_ not in makers:
        raise unknown("format", format_, FORMATS, f"take {', '.join(FORMATS)}")
    model = gather(sources, root, suite, _say)
    if track is not None:
        model = {**model, "tracks": [find_track(model["tracks"], track)]}
    text = makers[format_](model)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, text.encode())
    typer.echo(out)
