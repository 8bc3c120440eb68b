"""What a name or a plug-in file stands for, whatever kind of thing it is."""

from __future__ import annotations

from pathlib import Path

from pgbench.catalogue.registry import (
    ALGOS,
    ENVS,
    LOOPS,
    AlgoSpec,
    EnvSpec,
    LoopSpec,
    find_algo,
    find_env,
    has_scheme,
    import_file,
)
from pgbench.errors import ROOT, PgbenchError
from pgbench.support.names import unknown

MODELS = ("nano", "smollm2-135m")  # what pgbench.lm.sources knows by name


def named(name: str) -> tuple[list[AlgoSpec], list[EnvSpec], list[LoopSpec]]:
    """Every algorithm, environment and loop of that name, or what a plug-in file registers.

    Raises: PgbenchError with the nearest names if there is none.
    """
    if name.endswith(".py"):
        where = import_file(name)
        envs, loops = ENVS.of_file(where), LOOPS.of_file(where)
        if not envs and not loops:
            return [find_algo(name)], [], []
        algos = [find_algo(name)] if ALGOS.of_file(where) else []
        return algos, [find_env(name)] if envs else [], loops
    if has_scheme(name):
        return [], [find_env(name)], []
    algos, envs, loops = ALGOS.all(), ENVS.all(), LOOPS.all()
    found = (
        [a for a in algos if a.name == name],
        [e for e in envs if name in (e.id, e.name)],
        [loop for loop in loops if loop.name == name],
    )
    if not any(found):
        known = sorted({a.name for a in algos} | {e.id for e in envs} | {x.name for x in loops})
        if words := _suite(name):
            raise PgbenchError(words)
        if name.partition(":")[0] in MODELS:
            raise PgbenchError(
                f"{name} is a language model: take it with --model {name}; docs/models.md has more"
            )
        raise unknown("name", name, known, "see `pgbench list algos` and `pgbench list envs`")
    return found


def suite_file(name: str, *roots: Path) -> Path | None:
    """The file of the suite `name`, or `name` itself if it is a .toml file; None if there is none.

    It is looked for below `roots`, here, and where this pgbench was cloned.
    """
    if name.endswith(".toml"):
        return Path(name)
    for root in (*roots, Path("leaderboards"), ROOT / "leaderboards"):
        path = root / "suites" / f"{name}.toml"
        if name == path.stem and path.is_file():
            return path
    return None


def _suite(name: str) -> str:
    """What to do with a suite's name; empty if `name` is none.

    Suites are files of a checkout: they are looked for here and where this pgbench was cloned.
    """
    from pgbench.records.suite import NAME

    if (path := suite_file(name)) is not None:
        home = path.parents[2]
        root = "" if home == Path() else f" --root {path.parents[1]}"
        return (
            f"{name} is a suite: `pgbench explain {name}{root}` says what it is, `pgbench bench "
            f"{name}{root} --dry-run` lists its runs, `pgbench board {name}{root}` its results"
        )
    if not NAME.fullmatch(name):
        return ""
    places = " nor in ".join(dict.fromkeys(str(h / "leaderboards") for h in (Path(), ROOT)))
    return (
        f"{name} would be a suite, by its name, but there is none of it in {places}; "
        "`pgbench list suites --root FOLDER` lists those of a folder"
    )
