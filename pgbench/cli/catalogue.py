"""`pgbench list`, `explain`, `compat`: what there is, what it is, what fits what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgbench.catalogue.registry import AlgoSpec, EnvSpec, LoopSpec
    from pgbench.records.suite import Suite

KINDS = ("algos", "envs", "loops", "suites")
FOREIGN = (
    "and gym:ID, any that is registered with Gymnasium (gym:CartPole-v1, gym:PACKAGE:ID), and "
    "mo:ID, one of MO-Gymnasium's (docs/environments.md)"
)
EXAMPLES = """\b
Examples:
  pgbench list algos
  pgbench list envs --all
  pgbench list loops
  pgbench explain ppo
  pgbench explain hopper
  pgbench explain gym:CartPole-v1
  pgbench explain control-mini-v1                   a suite: tracks, rows, fingerprints, costs
  pgbench compat ./my_algo.py
"""


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("list", epilog=EXAMPLES)(list_)
    app.command(epilog=EXAMPLES)(explain)
    app.command(epilog=EXAMPLES)(compat)


def list_(
    kind: Annotated[str, typer.Argument(help="algos, envs, loops or suites.")],
    every: Annotated[
        bool, typer.Option("--all", help="A row for each instance of an environment, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON; always all.")] = False,
    root: Annotated[Path, typer.Option(help="Folder of the boards.")] = Path("leaderboards"),
) -> None:
    """The catalogue: algorithms, environments, loops, suites."""
    from pgbench.catalogue.registry import ALGOS, ENVS, LOOPS
    from pgbench.support.names import unknown
    from pgbench.support.text import fitted, table, width

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    if kind == "algos":
        algos = ALGOS.all()
        data = [_algo_json(spec) for spec in algos]
        head = ("algorithm", "family", "loop", "summary (paper)")
        rows = [
            (s.name, s.family, s.loop, f"{s.summary}{f' ({s.paper})' if s.paper else ''}")
            for s in algos
        ]
    elif kind == "envs":
        envs = ENVS.all()
        data = [_env_json(spec) for spec in envs]
        head = ("environment", "family", "small", "paper", "summary (underlying)")
        folded = {} if every else {s.id: _instances(s) for s in envs}
        hidden = {s.id for instances in folded.values() for s in instances}
        rows = [
            (
                s.id, s.family, *_budgets(s, "small", "paper"),
                f"{s.summary} ({s.underlying}){_range(s, folded.get(s.id, []))}",
            )
            for s in envs
            if s.id not in hidden
        ]  # fmt: skip
    elif kind == "loops":
        loops = LOOPS.all()
        data = [_loop_json(spec) for spec in loops]
        head = ("loop", "a budget counts", "summary")
        rows = [(s.name, s.unit, s.summary) for s in loops]
    elif kind == "suites":
        from pgbench.records.suite import read_suite

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
        if kind == "envs":
            typer.echo(f"\n{fitted(FOREIGN, width())}", err=True)
    else:
        where = f" in {root / 'suites'}" if kind == "suites" else ""
        typer.echo(f"there are no {kind}{where} yet")


def _instances(base: EnvSpec) -> list[EnvSpec]:
    """The environments that are `base` with other keywords, in the order of their registration."""
    from pgbench.catalogue.registry import ENVS

    return [spec for spec in ENVS.specs.values() if spec.instance_of == base.id]


def _range(base: EnvSpec, instances: Sequence[EnvSpec]) -> str:
    """`; 16 instances: base-first ... -last`; empty without instances."""
    if not instances:
        return ""
    first, last = instances[0].id, instances[-1].id
    if len(instances) == 1:
        return f"; 1 instance: {first}"
    short = last.removeprefix(base.id) if first.startswith(f"{base.id}-") else last
    return f"; {len(instances)} instances: {first} ... {short}"


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
        "instance_of": spec.instance_of or None,
        "kwargs": dict(spec.kwargs),
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


def _loop_json(spec: LoopSpec) -> dict[str, Any]:
    from pgbench.catalogue.registry import ALGOS

    batch = spec.batch if isinstance(spec.batch, str) else spec.batch.__name__
    return {
        "loop": spec.name,
        "unit": spec.unit,
        "batch": batch.rpartition(":")[2],
        "algorithms": [f"{a.family}/{a.name}" for a in ALGOS.all() if a.loop == spec.name],
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
    name: Annotated[
        str, typer.Argument(help="An algorithm, environment, loop, suite, or .py file.")
    ],
    root: Annotated[Path, typer.Option(help="Folder of the boards.")] = Path("leaderboards"),
) -> None:
    """One algorithm, environment, loop or suite: equations, settings, budgets, costs."""
    from pgbench.catalogue.pages import algo_page, env_page, loop_page
    from pgbench.cli.lookup import named, suite_file

    if (file := suite_file(name, root)) is not None:
        from pgbench.cli.suites import suite_page
        from pgbench.records.suite import read_suite

        typer.echo(suite_page(read_suite(file), file.parents[1]))
        return
    algos, envs, loops = named(name)
    parts = []
    if len(algos) > 1:
        *most, last = [spec.family for spec in algos]
        families = f"{', '.join(most)} and {last}"
        parts.append(f"{name} is there for {len(algos)} families: {families}.")
    parts += [algo_page(spec, name) for spec in algos]
    for env in envs:
        parts += [env_page(env, name), *_floors(env, root), *_more(env)]
    parts += [loop_page(loop) for loop in loops]
    typer.echo("\n\n".join(parts))


def _floors(spec: EnvSpec, root: Path) -> list[str]:
    """The floor panel of an environment, if one was measured."""
    from pgbench.records.floors import read_panels, rows
    from pgbench.support.text import table, width

    panel = read_panels(root).get(spec.name)
    if panel is None:
        return []
    head = ("floor", panel["metric"], f"95% interval ({panel['episodes']} held-out)")
    return [table(head, rows(panel), width())]


def _more(spec: EnvSpec) -> list[str]:
    """What the page of an environment lacks: its family's interface, instances, the optimum."""
    from pgbench.support.text import fitted, table, width

    parts = []
    if spec.instance_of:
        parts.append(
            fitted(
                f"An instance of {spec.instance_of}, with {_keywords(spec)}; the defaults above "
                f"are those of {spec.instance_of}.",
                width(),
            )
        )
    if doc := _family_doc(spec):
        parts.append(f"As every environment of its family:\n\n{doc}")
    if instances := _instances(spec):
        rows = [(s.id, _keywords(s)) for s in instances]
        example = " ".join(f"--set env.{word}" for word in _keywords(instances[0]).split(", "))
        parts.append(table(("instance", "settings"), rows, width()))
        parts.append(f"Settings choose these and others:\n  --env {spec.id} {example}")
    if "KnownOptimum" in spec.capabilities:
        parts.append(fitted(_optimum(spec), width()))
    return parts


def _keywords(spec: EnvSpec) -> str:
    words = {k: f"{v:g}" if isinstance(v, float) else str(v) for k, v in spec.kwargs.items()}
    return ", ".join(f"{key}={value}" for key, value in words.items())


def _family_doc(spec: EnvSpec) -> str:
    """What a base class beside the environment's own says of observations, if it does not."""
    import inspect

    from pgbench.catalogue.registry import resolve

    entry = resolve(spec)
    word = "observation"
    if not inspect.isclass(entry) or word in (entry.__doc__ or "").lower():
        return ""
    package = entry.__module__.rpartition(".")[0]
    for base in entry.__mro__[1:]:
        doc = base.__dict__.get("__doc__") or ""
        if base.__module__.rpartition(".")[0] == package and word in doc.lower():
            return inspect.cleandoc(doc)
    return ""


def _optimum(spec: EnvSpec) -> str:
    """The best score, or what bounds it; computed here, which may take seconds."""
    from pgbench.catalogue.capabilities import make

    found = make(spec).optimum
    most = spec.metrics[0].direction == "max"
    what = "The highest return" if most else "The least cost"
    if found.kind != "optimum":
        what = "An upper bound on the return" if most else "A lower bound on the cost"
    where = ", with the default settings," if _instances(spec) else ""
    return f"{what} of any policy{where} is {found.value:.6g} (by {found.origin})."


def compat(
    name: Annotated[str, typer.Argument(help="An algorithm or environment, or a .py file.")],
) -> None:
    """Which environments fit an algorithm, or the reverse, and why not."""
    from pgbench.catalogue.registry import ALGOS, ENVS, in_words
    from pgbench.cli.lookup import named
    from pgbench.errors import PgbenchError
    from pgbench.support.text import table, width

    algos, envs, loops = named(name)
    if loops and not algos and not envs:
        raise PgbenchError(f"{name} is a loop; `pgbench explain {name}` lists what uses it")
    parts = []
    for algo in algos:
        rows = _fits(algo, ENVS.all())
        needs = ", ".join(in_words(algo.requires)) or "nothing"
        title = f"{algo.name} (family {algo.family}) needs {needs}"
        parts.append(f"{title}\n\n{table(('environment', 'family', 'fit'), rows, width())}")
    for env in envs:
        rows = [(algo.name, algo.family, _misfit(algo, env) or "fits") for algo in ALGOS.all()]
        has = ", ".join(sorted(env.capabilities)) or "nothing"
        title = f"{env.id} (family {env.family}) has {has}"
        body = table(("algorithm", "family", "fit"), _sorted(rows), width()) if rows else "-"
        parts.append(f"{title}\n\n{body}")
    typer.echo("\n\n".join(parts))


def _fits(algo: AlgoSpec, envs: Sequence[EnvSpec]) -> list[tuple[str, str, str]]:
    """A row an environment; instances that fit as their base does are counted in its row."""
    fit = {env.id: _misfit(algo, env) or "fits" for env in envs}
    alike = {env.id: [s for s in _instances(env) if fit[s.id] == fit[env.id]] for env in envs}
    folded = {s.id for instances in alike.values() for s in instances}
    rows = _sorted([(env.id, env.family, fit[env.id]) for env in envs if env.id not in folded])
    counts = {name: len(instances) for name, instances in alike.items() if instances}
    return [
        (name, family, f"{text} (so {_plural(counts[name])})" if name in counts else text)
        for name, family, text in rows
    ]


def _plural(count: int) -> str:
    return "does its 1 instance" if count == 1 else f"do its {count} instances"


def _sorted(rows: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return sorted(rows, key=lambda row: (row[2] != "fits", row[0], row[1]))


def _misfit(algo: AlgoSpec, env: EnvSpec) -> str:
    """Why the two do not fit; empty where they do."""
    from pgbench.catalogue.registry import missing_capabilities

    reasons = []
    if algo.family != env.family:
        reasons.append(f"family {env.family}, not {algo.family}")
    if missing := missing_capabilities(algo, env):
        reasons.append(f"lacks {', '.join(missing)}")
    return "; ".join(reasons)
