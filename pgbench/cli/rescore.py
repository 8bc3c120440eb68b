"""`pgbench rescore`: stored responses of a language model, judged again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  pgbench rescore runs/grpo/math-nano/0-1a2b3c4d
  pgbench rescore runs/grpo/math-nano/0-1a2b3c4d --show 20
"""


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(rescore)


def rescore(
    folder: Annotated[Path, typer.Argument(help="A finished run of a language model.")],
    show: Annotated[int, typer.Option(help="Changed verdicts to print.", min=0)] = 5,
) -> None:
    """Judge the final responses of a run again; exit code 1 if the score of a task changed."""
    from pgbench.runs.rescore import rescore as again
    from pgbench.runs.result import load

    found = again(load(folder))
    typer.echo(found.text(show))
    if found.differs:
        raise typer.Exit(1)
