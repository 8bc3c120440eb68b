"""The command line, one module a group of commands; heavy imports wait inside the commands.

Imports everything. Start with `run`.
"""

from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  pgbench run --algo mdpo --env hopper
  pgbench run --algo sac --env pendulum --seeds 3 --budget 20k --set lr=1e-3
  pgbench run --algo ./my_algo.py --env hopper
  pgbench show runs/mdpo/hopper/0-1a2b3c4d
  pgbench bench control-mini-v1
  pgbench board control-mini-v1
  pgbench list algos

Every command has its own --help with examples. --debug anywhere shows full tracebacks.
"""

app = typer.Typer(
    name="pgbench",
    help="Compare policy-optimisation algorithms, honestly and fast.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"pgbench {version('pgbench')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Compare policy-optimisation algorithms, honestly and fast."""


from pgbench.cli import (  # noqa: E402
    audit,
    bench,
    board,
    catalogue,
    claims,
    data,
    figures,
    floors,
    power,
    rescore,
    run,
    tools,
    tune,
)

for module in (run, bench, board, figures, power, floors, audit, rescore, claims, tune):
    module.add_to(app)
for module in (catalogue, data, tools):
    module.add_to(app)
