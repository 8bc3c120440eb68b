"""`pgbench doctor`, `new`, `check`: the machine, files of your own, their contract."""

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
  pgbench new algo mine --family text --in plugins
  pgbench new env my-world                          an environment; --family text: of texts
  pgbench new loop my-loop                          a data flow, and an algorithm that uses it
  pgbench new suite my-suite                        a suite of your own, that runs as it is
"""
CHECK_EXAMPLES = """\b
Examples:
  pgbench check ./mine.py
  pgbench check ./mine.py --env pendulum
  pgbench check ppo --env hopper
  pgbench check --env ./world.py                    an environment, by itself
  pgbench check --env math --set source=rows.jsonl
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


Folder = Annotated[Path, typer.Option("--in", help="Folder of the file.")]


@new.command("algo", epilog=NEW_EXAMPLES)
def new_algo(
    name: Annotated[str, typer.Argument(help="Name of the algorithm, for example my-algo.")],
    family: Annotated[
        str, typer.Option("--family", "-f", help="control, inventory or text.")
    ] = "control",
    folder: Folder = Path(),
) -> None:
    """Write a plug-in file that runs as it is, to be changed."""
    env = {"inventory": "one-store-lost-sales-p9-l2", "text": "math-nano"}
    word = _written("algo", name, family, folder)
    typer.echo(
        f"  pgbench run --algo {word} --env {env.get(family, 'inverted-pendulum')} --budget smoke\n"
        f"  pgbench explain {word}      its docstring and settings\n"
        f"  pgbench compat {word}       the environments that fit it\n"
        f"  pgbench check {word}        the contract that every algorithm keeps"
    )


@new.command("env", epilog=NEW_EXAMPLES)
def new_env(
    name: Annotated[str, typer.Argument(help="Name of the environment, for example my-world.")],
    family: Annotated[str, typer.Option("--family", "-f", help="control or text.")] = "control",
    folder: Folder = Path(),
) -> None:
    """Write an environment in a file that runs as it is, to be changed."""
    word = _written("env", name, family, folder)
    algo = "grpo" if family == "text" else "ppo"
    typer.echo(
        f"  pgbench run --algo {algo} --env {word} --budget smoke\n"
        f"  pgbench explain {word}      its docstring and settings\n"
        f"  pgbench check {word}        the contract that every environment keeps"
    )


@new.command("loop", epilog=NEW_EXAMPLES)
def new_loop(
    name: Annotated[str, typer.Argument(help="Name of the loop, for example my-loop.")],
    folder: Folder = Path(),
) -> None:
    """Write a loop, and an algorithm that uses it, in a file that runs as it is."""
    word = _written("loop", name, "", folder)
    typer.echo(
        f"  pgbench run --algo {word} --env inverted-pendulum\n"
        f"  pgbench explain {word}      what it counts, reads and hands over\n"
        f"  pgbench check {word}        the contract, by its algorithm"
    )


def _written(kind: str, name: str, family: str, folder: Path) -> str:
    """What the user calls the new file, after saying so."""
    from pgbench.cli.scaffold import new_plugin

    path = new_plugin(kind, name, family, folder)
    typer.echo(f"{path} is written and runs as it is:\n")
    return str(path) if path.is_absolute() else f"./{path}"


@new.command("suite", epilog=NEW_EXAMPLES)
def new_suite(
    name: Annotated[str, typer.Argument(help="Name of the suite, for example my-suite.")],
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", help="An environment (may be repeated).")
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family", "-f", help="control, inventory or text (default: the environment's)."
        ),
    ] = None,
    root: Annotated[Path, typer.Option(help="Folder of the boards.")] = Path("leaderboards"),
) -> None:
    """Write a suite that runs as it is: environments with their fingerprints, to be changed."""
    from pgbench.cli.scaffold import new_suite as write

    path = write(name, root, env or [], family)
    where = "" if root == Path("leaderboards") else f" --root {root}"
    typer.echo(
        f"{path} is written and runs as it is:\n\n"
        f"  pgbench bench {path.stem} --dry-run{where}    what it will run\n"
        f"  pgbench bench {path.stem}{where}              runs it; rebuilds its board"
    )


def check(
    name: Annotated[
        str | None, typer.Argument(help="An algorithm or environment, or a .py file.")
    ] = None,
    env: Annotated[
        str | None,
        typer.Option("--env", "-e", help="Check an algorithm on it; without one, itself."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="A config key (key=value) or env.<keyword>=value."),
    ] = None,
) -> None:
    """The contract of an algorithm or environment, tested; exit code 1 if broken."""
    from pgbench.catalogue.registry import find_env
    from pgbench.cli.lookup import named
    from pgbench.errors import PgbenchError
    from pgbench.runs.contract import check_algorithm
    from pgbench.runs.env_contract import check_environment
    from pgbench.runs.plan import env_settings
    from pgbench.settings.config import parse_settings

    settings = parse_settings(set_ or [])
    algo, world = name, env if name is None else None
    if name is not None:
        algos, envs, loops = named(name)
        if loops and not algos and not envs:
            raise PgbenchError(f"{name} is a loop; check an algorithm that uses it")
        if envs and env is None:
            world = name
        if not algos:
            algo = None
        elif envs and env is None:
            env = name  # a file that brings both
    if algo is None and world is None:
        raise PgbenchError("name what to check: an algorithm, or --env an environment")
    passed = True
    if world is not None:
        mine = {key.removeprefix("env."): value for key, value in settings.items()}
        given = mine if algo is None else {
            key: mine[key] for key in mine if f"env.{key}" in settings
        }  # fmt: skip
        passed = check_environment(world, env_settings(find_env(world), given), typer.echo)
    if algo is not None:
        passed = check_algorithm(algo, env, typer.echo, settings) and passed
    if not passed:
        raise typer.Exit(1)
