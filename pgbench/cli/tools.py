"""`pgbench doctor`, `new`, `check`: the machine, a new algorithm, its contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

DOCTOR_EXAMPLES = """\b
Examples:
  pgbench doctor
  pgbench doctor --runs /scratch/runs               and whether runs can be written there
  pgbench doctor --json
"""
NEW_EXAMPLES = """\b
Examples:
  pgbench new algo mine                             mine.py, a plug-in that runs as it is
  pgbench new algo mine --in plugins
  pgbench new suite my-suite                        a suite of your own, that runs as it is
"""
CHECK_EXAMPLES = """\b
Examples:
  pgbench check ./mine.py
  pgbench check ./mine.py --env pendulum
  pgbench check ppo --env hopper
"""

new = typer.Typer(
    no_args_is_help=True, help="Begin a file of your own.",
    epilog=NEW_EXAMPLES, rich_markup_mode=None,
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(epilog=DOCTOR_EXAMPLES)(doctor)
    app.add_typer(new, name="new")
    app.command(epilog=CHECK_EXAMPLES)(check)


def doctor(
    runs: Annotated[Path, typer.Option("--runs", help="Folder of the run folders.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Whether this machine can do the work; exit code 1 if it cannot."""
    from dataclasses import asdict

    from pgbench.cli.doctor import examine

    findings = []
    for finding in examine(runs):
        findings.append(finding)
        if not as_json:
            typer.echo(f"{finding.status:<4}  {finding.what:<12}  {finding.found}")
            if finding.advice:
                typer.echo(f"{'':20}-> {finding.advice}")
    failed = sum(finding.status == "fail" for finding in findings)
    warned = sum(finding.status == "warn" for finding in findings)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    elif failed:
        typer.echo(f"\n{failed} essential things are missing; see the lines marked fail")
    else:
        typer.echo(f"\nready to run{f' ({warned} optional things are missing)' if warned else ''}")
    if failed:
        raise typer.Exit(1)


@new.command("algo", epilog=NEW_EXAMPLES)
def new_algo(
    name: Annotated[str, typer.Argument(help="Name of the algorithm, for example my-algo.")],
    folder: Annotated[Path, typer.Option("--in", help="Folder of the file.")] = Path(),
) -> None:
    """Write a plug-in file that runs as it is, to be changed."""
    from pgbench.cli.scaffold import new_algorithm

    path = new_algorithm(name, folder)
    word = path if path.is_absolute() else f"./{path}"
    typer.echo(
        f"{path} is written and runs as it is:\n\n"
        f"  pgbench run --algo {word} --env inverted-pendulum --budget smoke\n"
        f"  pgbench explain {word}      its docstring and settings\n"
        f"  pgbench compat {word}       the environments that fit it\n"
        f"  pgbench check {word}        the contract that every algorithm keeps"
    )


@new.command("suite", epilog=NEW_EXAMPLES)
def new_suite(
    name: Annotated[str, typer.Argument(help="Name of the suite, for example my-suite.")],
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", help="An environment (may be repeated).")
    ] = None,
    root: Annotated[Path, typer.Option(help="Folder of the boards.")] = Path("leaderboards"),
) -> None:
    """Write a suite that runs as it is: environments with their fingerprints, to be changed."""
    from pgbench.cli.scaffold import new_suite as write

    path = write(name, root, env or ["inverted-pendulum"])
    where = "" if root == Path("leaderboards") else f" --root {root}"
    typer.echo(
        f"{path} is written and runs as it is:\n\n"
        f"  pgbench bench {path.stem} --dry-run{where}    what it will run\n"
        f"  pgbench bench {path.stem}{where}              runs it; rebuilds its board"
    )


def check(
    name: Annotated[str, typer.Argument(help="An algorithm, or a .py file.")],
    env: Annotated[
        str | None,
        typer.Option("--env", "-e", help="Environment to check on (default: a small one)."),
    ] = None,
) -> None:
    """The contract of every algorithm, tested; exit code 1 if broken."""
    from pgbench.runs.contract import check_algorithm

    if not check_algorithm(name, env, typer.echo):
        raise typer.Exit(1)
