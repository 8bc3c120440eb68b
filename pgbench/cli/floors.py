"""`pgbench floors`: what an environment gives to policies that have learned nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  pgbench floors math-nano syllogism                measured, and kept in leaderboards/floors.json
  pgbench floors syllogism --check                  measured, and compared with what is kept
  pgbench floors gsm8k --set env.source=FOLDER      measured and printed
"""


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(floors)


def floors(
    envs: Annotated[list[str], typer.Argument(help="Environments, as `pgbench list envs` has.")],
    tasks: Annotated[
        int | None,
        typer.Option(help="Held-out tasks (default: 256), or episodes (20).", min=1),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="env.key=value; then nothing is kept.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 if a panel differs.")
    ] = False,
    root: Annotated[Path, typer.Option(help="Folder of the boards.")] = Path("leaderboards"),
) -> None:
    """Reference, empty answer, echo, best constant, random answer; zero action of vectors."""
    from pgbench.catalogue.registry import find_env
    from pgbench.errors import PgbenchError
    from pgbench.records.floors import FILE, read_panels, rows, store_panel
    from pgbench.runs.floors import measure
    from pgbench.runs.plan import env_settings
    from pgbench.settings.config import parse_settings
    from pgbench.support.text import table

    given = {key.removeprefix("env."): v for key, v in parse_settings(set_ or []).items()}
    if check and given:
        raise PgbenchError("panels are kept of the default settings: give --check or --set")
    specs = [find_env(env) for env in envs]
    settings = [env_settings(spec, given) for spec in specs]
    kept = read_panels(root)  # what is wrong with the file is said before the work
    late = False
    for spec, kwargs in zip(specs, settings, strict=True):
        stored = kept.get(spec.name)
        count = tasks or (stored["episodes"] if check and stored else None)
        panel = measure(spec, count, kwargs)
        text = table(("policy", panel["metric"], "95% interval"), rows(panel))
        typer.echo(f"{spec.name}: {panel['episodes']} held-out episodes\n\n{text}\n")
        if check:
            late |= stored != panel
            said = "is what" if stored == panel else "DIFFERS from what"
            typer.echo(f"{root / FILE}: {spec.name} {said} was measured\n")
        elif not kwargs:
            store_panel(root, spec.name, panel)
    if late:
        raise typer.Exit(1)
