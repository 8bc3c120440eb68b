"""`pgbench list`, `explain`, `compat`: what there is, what it is, what fits what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgbench.bench.suite import Suite
    from pgbench.registry import AlgoSpec, EnvSpec

KINDS = ("algos", "envs", "suites")
EXAMPLES = """\b
Examples:
  pgbench list algos
  pgbench explain ppo
  pgbench explain hopper
  pgbench compat ./my_algo.py
"""


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("list", epilog=EXAMPLES)(list_)
    app.command(epilog=EXAMPLES)(explain)
    app.command(epilog=EXAMPLES)(compat)


def list_(
    kind: Annotated[str, typer.Argument(help="algos, envs or suites.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    root: Annotated[Path, typer.Option(help="Folder of the boards.")] = Path("leaderboards"),
) -> None:
    """The catalogue: algorithms, environments, suites."""
    from pgbench.registry import ALGOS, ENVS, unknown
    from pgbench.text import table, width

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    if kind == "algos":
        algos = ALGOS.all()
        data = [_algo_json(spec) for spec in algos]
        head = ("algorithm", "family", "loop", "paper", "summary")
        rows = [(s.name, s.family, s.loop, s.paper, s.summary) for s in algos]
    elif kind == "envs":
        envs = ENVS.all()
        data = [_env_json(spec) for spec in envs]
        head = ("environment", "family", "small", "paper", "summary (underlying)")
        rows = [
            (s.id, s.family, *_budgets(s, "small", "paper"), f"{s.summary} ({s.underlying})")
            for s in envs
        ]
    elif kind == "suites":
        from pgbench.bench.suite import read_suite

        suites = [read_suite(file) for file in sorted((root / "suites").glob("*.toml"))]
        data = [_suite_json(suite) for suite in suites]
        head = ("suite", "runs", "title: tracks")
        rows = [
            (s.name, str(d["runs"]), f"{s.title}: {', '.join(t.name for t in s.tracks)}")
            for s, d in zip(suites, data, strict=True)
        ]
    else:
        raise unknown("kind", kind, KINDS, f"take {', '.join(KINDS)}")
    if as_json:
        typer.echo(json.dumps(data, indent=1))
    elif rows:
        typer.echo(table(head, rows, width()))
    else:
        where = f" in {root / 'suites'}" if kind == "suites" else ""
        typer.echo(f"there are no {kind}{where} yet")


def _budgets(spec: EnvSpec, *names: str) -> list[str]:
    return [_short(spec.budgets[name]) if name in spec.budgets else "-" for name in names]


def _short(amount: int) -> str:
    """As `--budget` takes it: 200k, 3M."""
    for unit, letter in ((1_000_000, "M"), (1000, "k")):
        if amount % unit == 0:
            return f"{amount // unit}{letter}"
    return str(amount)


def _algo_json(spec: AlgoSpec) -> dict[str, Any]:
    return {
        "algorithm": spec.name,
        "family": spec.family,
        "loop": spec.loop,
        "requires": sorted(spec.requires),
        "budget": spec.budget,
        "paper": spec.paper,
        "summary": spec.summary,
        "extra": spec.extra,
        "origin": spec.origin,
    }


def _env_json(spec: EnvSpec) -> dict[str, Any]:
    return {
        "environment": spec.id,
        "version": spec.version,
        "family": spec.family,
        "underlying": spec.underlying,
        "capabilities": sorted(spec.capabilities),
        "budgets": dict(spec.budgets),
        "budget_unit": spec.budget_unit,
        "metrics": [
            {"name": m.name, "direction": m.direction, "unit": m.unit} for m in spec.metrics
        ],
        "summary": spec.summary,
        "extra": spec.extra,
        "origin": spec.origin,
    }


def _suite_json(suite: Suite) -> dict[str, Any]:
    return {
        "suite": suite.name,
        "title": suite.title,
        "about": suite.about,
        "runs": sum(1 for _ in suite.cells()),
        "tracks": [
            {
                "track": track.name,
                "budget": track.budget,
                "seeds": track.seeds,
                "environments": list(track.environments),
                "algorithms": [entry.label for entry in track.entries],
            }
            for track in suite.tracks
        ],
    }


def explain(
    name: Annotated[str, typer.Argument(help="An algorithm or environment, or a .py file.")],
) -> None:
    """One algorithm or environment: equations, settings, budgets."""
    from pgbench.pages import algo_page, env_page

    algos, envs = _named(name)
    pages = [algo_page(spec, name) for spec in algos] + [env_page(spec, name) for spec in envs]
    typer.echo("\n\n".join(pages))


def compat(
    name: Annotated[str, typer.Argument(help="An algorithm or environment, or a .py file.")],
) -> None:
    """Which environments fit an algorithm, or the reverse, and why not."""
    from pgbench.registry import ALGOS, ENVS
    from pgbench.text import table, width

    algos, envs = _named(name)
    parts = []
    for algo in algos:
        rows = [(env.id, env.family, _misfit(algo, env) or "fits") for env in ENVS.all()]
        needs = ", ".join(sorted(algo.requires)) or "nothing"
        title = f"{algo.name} (family {algo.family}) needs {needs}"
        parts.append(
            f"{title}\n\n{table(('environment', 'family', 'fit'), _sorted(rows), width())}"
        )
    for env in envs:
        rows = [(algo.name, algo.family, _misfit(algo, env) or "fits") for algo in ALGOS.all()]
        has = ", ".join(sorted(env.capabilities)) or "nothing"
        title = f"{env.id} (family {env.family}) has {has}"
        body = table(("algorithm", "family", "fit"), _sorted(rows), width()) if rows else "-"
        parts.append(f"{title}\n\n{body}")
    typer.echo("\n\n".join(parts))


def _sorted(rows: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return sorted(rows, key=lambda row: (row[2] != "fits", row[0], row[1]))


def _misfit(algo: AlgoSpec, env: EnvSpec) -> str:
    """Why the two do not fit; empty where they do."""
    from pgbench.registry import missing_capabilities

    reasons = []
    if algo.family != env.family:
        reasons.append(f"family {env.family}, not {algo.family}")
    if missing := missing_capabilities(algo, env):
        reasons.append(f"lacks {', '.join(missing)}")
    return "; ".join(reasons)


def _named(name: str) -> tuple[list[AlgoSpec], list[EnvSpec]]:
    """Every algorithm and environment of that name, or what a plug-in file registers.

    Raises: PgbenchError with the nearest names if there is none.
    """
    from pgbench.errors import PgbenchError
    from pgbench.registry import ALGOS, ENVS, find_algo, find_env, unknown

    if name.endswith(".py"):
        try:
            return [find_algo(name)], []
        except PgbenchError:
            where = str(Path(name).resolve())
            if any(s.origin.rpartition(":")[0] == where for s in ENVS.specs.values()):
                return [], [find_env(name)]
            raise
    algos, envs = ALGOS.all(), ENVS.all()
    found = [s for s in algos if s.name == name], [s for s in envs if name in (s.id, s.name)]
    if not any(found):
        known = sorted({s.name for s in algos} | {s.id for s in envs})
        raise unknown("name", name, known, "see `pgbench list algos` and `pgbench list envs`")
    return found
