"""`pgbench explain` as text: generated from the specs and the sources, so it cannot drift."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import textwrap
import typing
from typing import Any

from pgbench.catalogue.registry import (
    ALGOS,
    ENVS,
    ORDER,
    AlgoSpec,
    EnvSpec,
    LoopSpec,
    find_loop,
    in_words,
    load,
    missing_capabilities,
    resolve,
)
from pgbench.settings.config import conditions
from pgbench.settings.keywords import hint_words, keywords
from pgbench.support.text import fitted, table, width

LONG = 60  # characters of a default that is shown


def algo_page(spec: AlgoSpec, word: str) -> str:
    """Paper, equations, departures, settings, an example; `word` is what the user calls it.

    Raises: PgbenchError if a package is missing, or its loop.
    """
    cls, loop = resolve(spec), find_loop(spec.loop, spec.name)
    doc = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or cls.__doc__ or spec.summary)
    facts = {
        "paper": spec.paper,
        "family": spec.family,
        "loop": spec.loop,
        "requires": ", ".join(in_words(spec.requires)),
        "budget": f"{spec.budget} by default, in {loop.unit}",
        "pip extra": spec.extra or "",
        "source": spec.origin if word.endswith(".py") else inspect.getsourcefile(cls) or "",
    }
    ENVS.all()
    fits = [e for e in ENVS.specs.values() if _fit(spec, e) and not e.needs]
    parts = [
        _title(spec.name, spec.summary),
        doc,  # as it is: an equation that is broken elsewhere is another one to the eye
        _facts(facts),
        _settings(cls.Config),
    ]
    if fits:
        run = f"pgbench run --algo {word} --env {fits[0].id}"
        more = f"--seeds 3{_example(cls.Config)}"
        cut = " " if len(f"  {run} {more}") <= width() else " \\\n    "
        parts.append(f"Run it:\n  {run}\n  {run}{cut}{more}")
    return "\n\n".join(parts)


def _fit(algo: AlgoSpec, env: EnvSpec) -> bool:
    return algo.family == env.family and not missing_capabilities(algo, env)


def _example(config: type) -> str:
    """` --set key=value` of a setting worth changing: the step size, or the first number."""
    numbers = {
        f.name: f.default for f in dataclasses.fields(config) if isinstance(f.default, float)
    }
    name = "lr" if "lr" in numbers else next(iter(numbers), None)
    return f" --set {name}={numbers[name] / 2:g}" if name else ""


def _settings(config: type) -> str:
    hints = typing.get_type_hints(config)
    rows = []
    for field in dataclasses.fields(config):
        choices = field.metadata.get("choices", ())
        doc, source = field.metadata.get("doc", ""), field.metadata.get("source", "")
        kind = " or ".join(choices) or _type(hints[field.name])
        if len(choices) > 3:  # the last column wraps, this one does not
            kind, doc = "text", f"{doc}: {', '.join(choices)}"
        if bounds := field.metadata.get("bounds"):
            doc = f"{doc}; {bounds}"
        if when := conditions(field):
            doc = f"{doc}; for {when}"
        rows.append(
            (
                field.name,
                kind,
                _value(field.default),
                doc + (f" [{source}]" if source else ""),
            )
        )
    head = ("setting", "type", "default", "meaning [source]")
    about = inspect.getdoc(config) or ""
    intro = fitted(f"Settings (--set key=value). {about}", width())
    return f"{intro}\n\n{table(head, rows, width())}"


def _type(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _value(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return " ".join(textwrap.shorten(text, LONG, placeholder=" ...").split())


def env_page(spec: EnvSpec, word: str) -> str:
    """Observation, action, reward, budgets, anchors, settings; `word` is what the user calls it.

    Raises: PgbenchError if a package is missing.
    """
    entry = resolve(spec)
    doc = inspect.cleandoc(entry.__doc__ or spec.summary)
    maker = inspect.unwrap(entry)
    score = spec.metrics[0]
    facts = {
        "version": spec.name,
        "underlying": spec.underlying,
        "family": spec.family,
        "score": f"{score.name}, {'lower' if score.direction == 'min' else 'higher'} is better",
        "also measured": ", ".join(metric.name for metric in spec.metrics[1:]),
        "has": ", ".join(sorted(spec.capabilities)),
        "needs": f"--set {spec.needs}" if spec.needs else "",
        "budgets": f"{_budgets(spec)} {spec.budget_unit}",
        "pip extra": spec.extra or "",
        **getattr(entry, "facts", {}),
        "source": spec.origin if word.endswith(".py") else inspect.getsourcefile(maker) or "",
    }
    parts = [_title(spec.id, spec.summary), doc, _facts(facts)]
    if spec.anchors:
        rows = [(name, f"{a.value:,g}", a.origin) for name, a in spec.anchors.items()]
        parts.append(table(("anchor", "score", "origin"), rows, width()))
    options = [
        (name, _value(word.default), f"{word.bounds or ''}")
        for name, word in keywords(entry)[0].items()
        if word.default is not inspect.Parameter.empty
    ]
    if options:
        shown = table(("setting", "default", "range"), options, width())
        parts.append(f"Settings (--set env.key=value):\n\n{shown}")
    ALGOS.all()
    algos = [a.name for a in ALGOS.specs.values() if _fit(a, spec)]
    need = spec.needs.partition(" ")[0]
    if algos and not need:
        parts.append(f"Run on it:\n  pgbench run --algo {algos[0]} --env {word}")
    elif algos:
        parts.append(f"Run on it:\n  pgbench run --algo {algos[0]} --env {word} --set {need}")
    return "\n\n".join(parts)


def loop_page(spec: LoopSpec) -> str:
    """What a loop counts, hands over and reads, and which algorithms it drives.

    Raises: PgbenchError if a package is missing.
    """
    cls, batch = resolve(spec), load(spec.batch, spec.extra)
    algos = [f"{a.name} ({a.family})" for a in ALGOS.all() if a.loop == spec.name]
    facts = {
        "a budget counts": spec.unit,
        "update gets": f"{batch.__name__}, as described below",
        "compiles": f"from a budget of {cls.compile_from:,}" if cls.compile_from < 2**62 else "not",
        "algorithms": ", ".join(algos) or "none here",
        "pip extra": spec.extra or "",
        "source": inspect.getsourcefile(cls) or spec.origin,
    }
    parts = [_title(spec.name, spec.summary), _doc(cls), _facts(facts)]
    if rows := [(name, hint_words(hint)) for name, hint in cls.needs.items()]:
        parts.append(f"Settings that it reads:\n\n{table(('setting', 'must be'), rows, width())}")
    parts.append(_doc(batch, f"{batch.__name__}: "))
    if fields := _fields(batch):
        parts.append(table(("field", "what"), fields, width()))
    return "\n\n".join(part for part in parts if part)


def _doc(cls: Any, head: str = "") -> str:
    return fitted(head + inspect.cleandoc(cls.__doc__ or ""), width())


def _fields(batch: type) -> list[tuple[str, str]]:
    """Fields of a dataclass with the comments that stand beside them in its source."""
    if not dataclasses.is_dataclass(batch):
        return []
    rows: list[tuple[str, str]]
    names, rows = {f.name for f in dataclasses.fields(batch)}, []
    try:
        source = inspect.getsource(batch)
    except OSError:  # typed into a notebook, or a terminal
        source = ""
    for line in source.splitlines():
        name, _, rest = line.strip().partition(": ")
        if name in names:
            rows.append((name, rest.partition("  # ")[2]))
    return rows


def _budgets(spec: EnvSpec) -> str:
    names = sorted(spec.budgets, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))
    return ", ".join(f"{name} {spec.budgets[name]:,}" for name in names)


def _title(name: str, summary: str) -> str:
    title = fitted(f"{name}: {summary}", width())
    return f"{title}\n{'=' * max(map(len, title.splitlines()))}"


def _facts(facts: dict[str, str]) -> str:
    rows = [(key, value) for key, value in facts.items() if value]
    pad = max(len(key) for key, _ in rows)
    out = []
    for key, value in rows:
        # A path stays whole, to be copied.
        lines = [value] if key == "source" else textwrap.wrap(
            value, width() - pad - 2, break_on_hyphens=False
        )  # fmt: skip
        out.append(f"{key.ljust(pad)}  " + f"\n{' ' * (pad + 2)}".join(lines))
    return "\n".join(out)
