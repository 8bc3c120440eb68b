"""Runs as text for the terminal: one page a run, one line each for many."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pgbench.catalogue.registry import score_of, scores
from pgbench.errors import PgbenchError
from pgbench.records.details import show
from pgbench.records.record import read_runs
from pgbench.statistics.intervals import mean_interval
from pgbench.support.files import is_held
from pgbench.support.strict import plain
from pgbench.support.text import table, width

Found = Sequence[tuple[Path, dict[str, Any]]]


def is_run(folder: Path) -> bool:
    """Whether `folder` is a run's, whole or not, rather than a folder of runs."""
    return any((folder / name).exists() for name in ("run.json", "events.jsonl", "checkpoint"))


def newest(folder: Path, algo: str | None = None, env: str | None = None) -> Path:
    """The run below `folder` that began last of those finished, of an algorithm, an environment.

    Raises: PgbenchError if there is none.
    """
    fits = [
        (record["created"], path)
        for path, record in read_runs(folder)[0]
        if record["status"] == "finished"
        and algo in (None, record["algorithm"]["name"], record["execution"]["algo"])
        and env in (None, record["execution"]["env"], record["environment"]["id"], _id(record))
    ]
    if not fits:
        what = f"{algo or 'any algorithm'} on {env or 'any environment'}"
        raise PgbenchError(f"no finished run of {what} below {folder}; `pgbench show` lists runs")
    return max(fits)[1]


def _id(record: dict[str, Any]) -> str:
    return str(record["environment"]["id"]).rpartition("-v")[0]


def status_of(folder: Path, record: dict[str, Any]) -> str:
    """The record's status; a run that a kill ended is not `running` any more."""
    status = str(record["status"])
    return "interrupted" if status == "running" and not is_held(folder) else status


def number(value: float | None) -> str:
    """A score with a sensible number of digits; `-` for none."""
    if value is None:
        return "-"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3f}"


def runs_table(found: Found) -> str:
    """A line for each run, and the mean over seeds of each group of equal runs."""
    if not found:
        return "no runs here; make one: pgbench run --algo mdpo --env hopper"
    rows, below, groups = [], [], dict[str, list[float]]()
    for path, record in found:
        result, cost = record["result"], record["cost"]
        seconds = cost["wall_s"]
        rows.append(
            (
                record["algorithm"]["name"],
                record["environment"]["id"],
                str(record["protocol"]["seed"]),
                status_of(path, record),
                f"{cost['env_steps']:,}",
                number(result["score"]),
                f"{seconds:,.0f}",
                f"{cost['env_steps'] / seconds:,.0f}" if seconds > 0 else "-",
            )
        )
        # A path stays whole, on a line of its own, to be copied.
        below.append(f"  {path}" + "".join(f"  {word}" for word in changed(record)))
        if result["score"] is not None:
            groups.setdefault(str(record["identity"]), []).append(result["score"])
    head = ("algorithm", "environment", "seed", "status", "steps", "score", "s", "steps/s")
    text = table(head, rows)
    if max(map(len, text.splitlines())) > width():  # the last column is the least of them
        text = table(head[:-1], [row[:-1] for row in rows])
    top, line, *body = text.splitlines()
    pairs = zip(body, below, strict=True)
    lines = ["\n".join([top, line, *(part for pair in pairs for part in pair)])]
    for _, record in found:
        scores = groups.pop(str(record["identity"]), None)
        if scores is None:
            continue
        name = f"{record['algorithm']['name']} on {record['environment']['id']}"
        metric = record["environment"]["metric"]["name"]
        values, over = scores, f"{len(scores)} seeds"
        if len(scores) == 1:
            values = record["result"]["final"] if len(found) == 1 else []
            over = f"{len(values)} episodes"
        if len(values) > 1:
            mean = sum(values) / len(values)
            lines.append(
                f"\n{name}: {metric} {number(mean)}\n{interval(record, values)}over {over}"
                + ("" if len(scores) > 1 else " of one seed\n(seeds differ more: try --seeds 5)")
            )
    for path, record in found:
        if record["result"]["error"]:
            lines.append(f"\n{path} failed: {record['result']['error']}")
    return "".join(lines)


def interval(record: dict[str, Any], values: Sequence[float]) -> str:
    """The 95% interval of a mean of scores, within their bounds; nothing where none is told."""
    metric = score_of(record["environment"], scores())
    found = mean_interval(values, *(metric.bounds(values) if metric else (None, None)))
    return "" if found is None else f"95% interval [{number(found[0])}, {number(found[1])}] "


def changed(record: dict[str, Any]) -> list[str]:
    """The settings that are not the defaults, as `--set` takes them."""
    algo, kwargs = record["algorithm"], record["environment"]["kwargs"]
    own = [f"{key}={_plain(algo['config'][key])}" for key in algo["defaults_changed"]]
    return own + [f"env.{key}={value}" for key, value in kwargs.items()]


def _long(label: str, text: str) -> list[str]:
    """`text` behind its label, broken at spaces where the terminal ends."""
    gap = " " * len(label)
    return textwrap.wrap(
        text, width(), initial_indent=label, subsequent_indent=gap, break_on_hyphens=False
    )


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def last_metrics(folder: Path) -> dict[str, Any]:
    """What the run in `folder` logged of its last update; empty where there is nothing to read."""
    with contextlib.suppress(OSError, PgbenchError), open(folder / "events.jsonl", "rb") as file:
        file.seek(max(0, file.seek(0, 2) - 20_000))
        for line in reversed(file.read().splitlines()):
            if line.startswith(b'{"kind": "train"'):
                return dict(plain(line, file.name))
    return {}


def run_page(folder: Path, record: dict[str, Any]) -> str:
    """Everything a reader wants to know of one run."""
    algo, env, cost = record["algorithm"], record["environment"], record["cost"]
    result, where, how = record["result"], record["provenance"], record["execution"]
    lines = [
        f"{algo['name']} on {env['id']} ({env['underlying']}), seed {record['protocol']['seed']}",
        f"  status      {status_of(folder, record)}"
        + (f": {result['error']}" if result["error"] else ""),
        f"  settings    {', '.join(changed(record)) or 'all defaults'}",
    ]
    if result["final"]:
        lines.append(
            f"  score       {env['metric']['name']} {number(result['score'])}, "
            f"{interval(record, result['final'])}over {len(result['final'])} episodes"
        )
    if last_metrics(folder).get("cut_off") == 1.0:
        lines.append(
            "  cut off     every response of the last step, by the limit: --set max_tokens=..."
        )
    if policies := algo.get("policies"):
        each = (
            f"{name} ({', '.join(map(number, w))})" if w else name for name, w in policies.items()
        )
        lines += _long("  policies    ", ", ".join(each))
    for i, line in enumerate(show(result.get("details", {}))):
        lines.append(f"  {'' if i else 'details':<12}{line}")
    if result["curve"]:
        points = result["curve"]
        top = max(p["mean"] for p in points)
        low_point = min(p["mean"] for p in points)
        span = (top - low_point) or 1.0
        bars = "".join("▁▂▃▄▅▆▇█"[int(7 * (p["mean"] - low_point) / span)] for p in points)
        lines.append(
            f"  curve       {bars}  {number(points[0]['mean'])} at {points[0]['step']:,} steps"
            f" to {number(points[-1]['mean'])} at {points[-1]['step']:,}"
        )
        if len(points) > 1 and points[0]["n"] != points[-1]["n"]:
            lines.append(
                f"              each point is {points[0]['n']} episodes, and so less sure than the "
                f"last, the score: {points[-1]['n']}"
            )
    seconds = max(cost["wall_s"], 1e-9)
    packages = ", ".join(f"{k} {v}" for k, v in where["packages"].items())
    dirty = " with local changes" if where["dirty"] else ""
    lines += [
        f"  cost        {cost['env_steps']:,} of {record['protocol']['budget']:,} "
        f"{record['protocol']['unit']}, {cost['grad_steps']:,} gradient steps",
        f"  time        {cost['wall_s']:,.1f} s ({cost['env_steps'] / seconds:,.0f} steps/s)",
        f"              evaluation {100 * cost['evaluate_s'] / seconds:.1f}%, "
        f"checkpoints {100 * cost['checkpoint_s'] / seconds:.1f}%, "
        f"peak memory {cost['peak_memory_mib']:,} MiB",
        f"  machine     {where['cpu']}, {where['cores']} cores, Python {where['python']}",
        f"              device {how['device']}, {how['threads']} threads"
        + (", compiled" if how["compile"] else "")
        + (f", in a stack of {how['stack']} seeds" if "stack" in how else ""),
        *_long("  versions    ", packages),
        f"  commit      {where['commit'] or 'not in git'}{dirty}; resumed {where['resumed']} times",
        f"  record      {record['id'][:16]}",
        f"  parameters  {algo['parameters']:,}, checksum {(result['checksum'] or '-')[:16]}",
        f"  folder      {folder}",
        f"  curves      tensorboard --logdir {folder}",
    ]
    if record["status"] == "finished" and cost["env_steps"] < record["protocol"]["budget"]:
        at = next(i for i, line in enumerate(lines) if line.startswith("  cost"))
        lines.insert(at + 1, "              iterations are whole: one more would exceed the budget")
    return "\n".join(lines)
