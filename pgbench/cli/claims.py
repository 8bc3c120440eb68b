"""`pgbench claims`: the headline claims of papers, and what the runs say of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  pgbench claims                                    every claim and its verdict
  pgbench claims mdpo
  pgbench claims mdpo --json
  pgbench claims --check                            exit code 1 if the page is out of date

Registered: leaderboards/claims/ALGO.toml. Runs: pgbench bench SUITE. Page: leaderboards/claims.md,
always the same bytes out of both.
"""


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(claims)


def claims(
    algo: Annotated[str | None, typer.Argument(help="Print only the claims of its paper.")] = None,
    root: Annotated[Path, typer.Option(help="Folder of the boards.")] = Path("leaderboards"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if the page is out of date.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """The headline claims of papers: what was measured here, and a verdict."""
    from pgbench.claims import find_claims
    from pgbench.claims.page import to_markdown, to_text
    from pgbench.claims.results import hold
    from pgbench.support.files import write_bytes
    from pgbench.support.text import width

    if algo is not None:
        find_claims(root, algo)  # a wrong name is told before records are read
    results = hold(find_claims(root), root)
    page, data = root / "claims.md", to_markdown(results).encode()
    late = not page.is_file() or page.read_bytes() != data
    if late and not check:
        write_bytes(page, data)
    if algo is not None:
        results["papers"] = [p for p in results["papers"] if p["algorithm"] == algo]
    typer.echo(json.dumps(results, indent=1) if as_json else to_text(results, width()))
    if not check:
        typer.echo(f"{page} is {'written' if late else 'up to date'}", err=True)
    elif late:
        why = "differs from its claims and records" if page.exists() else "does not exist"
        typer.echo(f"{page} {why}; rebuild it: pgbench claims", err=True)
        raise typer.Exit(1)
    else:
        typer.echo(f"{page} is what its claims and records give", err=True)
