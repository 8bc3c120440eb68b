"""`pgbench data`: which rows of a data set make no problem, and why."""

from __future__ import annotations

import ast
import json
import warnings
from typing import Annotated, Any

import typer

EXAMPLES = """\b
Examples:
  pgbench data problems.jsonl                       answers, as the environment math reads them
  pgbench data tasks.jsonl --env code               tests, run against the row's own solution
  pgbench data --env mbpp
  pgbench data problems.csv --set problem_field=task

A run leaves out, with --set env.skip_bad=true, the rows whose text alone shows it; remove those
whose tests or solution fail.
"""


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(data)


def data(
    source: Annotated[
        str, typer.Argument(help="A file, a folder or a data set of the hub.", show_default=False)
    ] = "",
    env: Annotated[
        str, typer.Option("--env", "-e", help="The environment that reads it.")
    ] = "math",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the environment, key=value.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Whether every row of a data set makes a problem; exit code 1 if one does not."""
    from pgbench.catalogue.capabilities import make
    from pgbench.catalogue.registry import find_env, resolve
    from pgbench.errors import PgbenchError
    from pgbench.settings.config import parse_settings
    from pgbench.support.text import table, width

    spec = find_env(env)
    if not hasattr(resolve(spec), "faults"):
        raise PgbenchError(f"{spec.id} reads no rows; take --env math or --env code")
    settings = {k.removeprefix("env."): _value(v) for k, v in parse_settings(set_ or []).items()}
    if source:
        settings["source"] = source
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # said below, in full
        world = make(spec, **{**settings, "skip_bad": True})
    try:
        found = world.faults()
        rows = world.rows
    finally:
        world.close()
    if as_json:
        typer.echo(json.dumps([{"row": place, "why": why} for place, why in found], indent=1))
    elif found:
        typer.echo(table(("row", "why it makes no problem"), found, width()))
    if not as_json:
        typer.echo(f"{len(found) or 'none'} of {rows} rows cannot be used")
    if found:
        raise typer.Exit(1)


def _value(text: str) -> Any:
    """`2` as a number, `true` as a truth value, anything else as it stands."""
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        return text
