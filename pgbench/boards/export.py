"""A board in the formats of other tools: rliable, MARL-eval and the Hugging Face Hub.

Only complete rows go out: none of these formats can mark a row as incomplete, and the first two
read matrices without holes. What is left out is named, with the reason, beside the data.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pgbench.boards.tables import labels, metric_of
from pgbench.support.names import unknown

Model = Mapping[str, Any]  # a board, see pgbench.boards.model
Files = dict[str, bytes]  # file name -> content
Left = dict[str, str]  # name of what is left out -> why

FAILED = "A failed run has the floor of its environment as its score."
RLIABLE = (
    "A score is one number a run, the mean over the evaluation episodes of its final policy. "
    "'scores' are normalised, 0 = floor (and no less), 1 = reference of each task, higher is "
    f"better; 'raw' are in each task's own unit. {FAILED} Load with {{name: numpy.array(matrix) "
    "for name, matrix in file['scores'].items()}; the axes are (run, task). The format carries no "
    "interval, no rank and no failure."
)
MARL_EVAL = f"""\
Each `marl-eval-TRACK.json` is raw data for `data_process_pipeline` of MARL-eval. A track is an
environment there, an environment is a task. A step carries the mean of its evaluation episodes,
`absolute_metrics` the evaluation episodes of the final policy: not of the best one, as MARL-eval's
authors propose. MARL-eval's own normalisation is by the least and largest value seen, not by floor
and reference, and it takes higher for better. The format carries no interval, no rank and no
failure. {FAILED}
The points of its curve after the failure carry that score too.
"""
HUGGING_FACE = """\
One folder an algorithm: its `.eval_results` belongs in that algorithm's model repository on the
Hub. `dataset.id` must be a data set that the Hub lists as a benchmark, with the same task ids in
its `eval.yaml`; edit it here if this board stands there under another id. The value is the mean
score over seeds in the environment's own unit. The format has no field for intervals, seeds,
failures and ranks: `notes` carries them as text.
"""


def export(model: Model, kind: str) -> Files:
    """The files of a board in one of `KINDS`, by name; `/` in a name is a folder.

    Raises: PgbenchError for an unknown kind.
    """
    if kind not in KINDS:
        raise unknown("export", kind, KINDS, f"one of {', '.join(KINDS)}")
    return KINDS[kind](model)


def _rliable(model: Model) -> Files:
    files = {}
    for track in model["tracks"]:
        environments, seeds = track["environments"], _seeds(track)
        anchored = [env for env in environments if _anchored(env)]
        kept, left = _complete(track)
        raw = {
            name: [[table[env["id"]][seed]["score"] for env in environments] for seed in seeds]
            for name, table in kept.items()
        }
        scores = {
            name: [[_normalised(table[env["id"]][s], env) for env in anchored] for s in seeds]
            for name, table in kept.items()
            if anchored
        }
        left |= {
            env["id"]: "only in raw: it has no floor and reference that differ"
            for env in environments
            if env not in anchored
        }
        body = {
            "board": model["board"],
            "track": track["name"],
            "pgbench": model["pgbench"],
            "digest": model["digest"],
            "note": RLIABLE,
            "axes": ["run", "task"],
            "runs": [f"seed {seed}" for seed in seeds],
            "tasks": [env["id"] for env in anchored],
            "scores": scores,
            "raw_tasks": [
                {"id": env["id"], "metric": metric_of(env), "floor": env["floor"],
                 "reference": env["reference"]}
                for env in environments
            ],
            "raw": raw,
            "left_out": left,
        }  # fmt: skip
        files[f"rliable-{_slug(track['name'])}.json"] = _json(body)
    return files


def _marl_eval(model: Model) -> Files:
    files: Files = {}
    left: dict[str, Left] = {}
    for track in model["tracks"]:
        environments = [env["id"] for env in track["environments"]]
        kept, left[track["name"]] = _complete(track)
        metrics = {metric_of(env)["name"] for env in track["environments"]}
        # The pipeline wants one name in every task of a file; its plots split names at "_".
        metric = metrics.pop().replace("_", " ") if len(metrics) == 1 else "score"
        others = {env: [table[env] for table in kept.values()] for env in environments}
        runs = {
            (env, name, seed): _marl_run(model, [table[env], *others[env]], seed, metric)
            for name, table in kept.items()
            for env in environments
            for seed in _seeds(track)
        }
        lengths = Counter(len(run) for run in runs.values())
        usual = max(lengths, key=lambda n: (lengths[n], n), default=0)
        for name in list(kept):
            if any(len(run) != usual for key, run in runs.items() if key[1] == name):
                left[track["name"]][name] = "its curves have another number of points than most"
                del kept[name]
        tasks = {
            env: {
                # MARL-eval separates the two algorithms of a pair by a comma.
                name.replace(",", ";"): {
                    f"seed_{seed}": runs[env, name, seed] for seed in _seeds(track)
                }
                for name in kept
            }
            for env in environments
        }
        files[f"marl-eval-{_slug(track['name'])}.json"] = _json({track["name"]: tasks})
    return {**files, "README.md": _readme(model, MARL_EVAL, left)}


def _marl_run(
    model: Model, tables: Sequence[Mapping[int, Model]], seed: int, metric: str
) -> dict[str, Any]:
    """Steps of one run of the first table; a failed run gets those of the first finished one."""
    records = model["records"]
    score = tables[0][seed]
    record = records[score["record"]]
    points = {step: value for step, value in record["curve"]}
    if score["status"] != "finished":
        every = (s for table in tables for s in table.values())
        whole = next((records[s["record"]] for s in every if s["status"] == "finished"), record)
        points = {step: points.get(step, score["score"]) for step, _ in whole["curve"]}
    steps: dict[str, Any] = {
        f"step_{index}": {"step_count": step, metric: [value]}
        for index, (step, value) in enumerate(points.items(), 1)
    }
    finals = record["episodes"] if score["status"] == "finished" else [score["score"]]
    return {**steps, "absolute_metrics": {metric: finals}}


def _hugging_face(model: Model) -> Files:
    files: Files = {}
    left: dict[str, Left] = {}
    dataset = f"pgbench/{_slug(model['board'])}"
    for track in model["tracks"]:
        left[track["name"]] = {}
        names = labels(track)
        for env in track["environments"]:
            for row in track["tasks"].get(env["id"], []):
                name = names[row["key"]]
                if not row["complete"] or row["mean"][0] is None:
                    left[track["name"]][f"{name} on {env['id']}"] = _lacks(row)
                    continue
                dates = [model["records"][score["record"]]["created"] for score in row["scores"]]
                lines = [
                    "- dataset:",
                    f"    id: {_quoted(dataset)}",
                    f"    task_id: {_quoted(track['name'] + '/' + env['id'])}",
                    f"  value: {_yaml_number(row['mean'][0])}",
                    f"  date: {_quoted(max(dates))}",
                    f"  notes: {_quoted(_notes(model, track, env, row, name))}",
                ]
                where = "--".join(map(_slug, (model["board"], track["name"], env["id"])))
                folder = _slug(name)
                while (file := f"{folder}/.eval_results/{where}.yaml") in files:
                    folder += "-2"
                files[file] = ("\n".join(lines) + "\n").encode()
    return {**files, "README.md": _readme(model, HUGGING_FACE, left)}


KINDS: dict[str, Callable[[Model], Files]] = {
    "rliable": _rliable,
    "marl-eval": _marl_eval,
    "huggingface": _hugging_face,
}


def _notes(model: Model, track: Model, env: Model, row: Model, name: str) -> str:
    metric, runs = metric_of(env), row["runs"]
    seeds = sum(score["score"] is not None for score in row["scores"])
    value, low, high = row["mean"]
    level = f"{100 * model['statistics']['level']:g}%"
    interval = "" if low is None or high is None else f", {level} interval [{low:.6g}, {high:.6g}]"
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    better = "lower" if metric["direction"] == "min" else "higher"
    parts = [
        f"{name} on {env['underlying']}, {track['budget']:,} {track['unit']}",
        f"{metric['name']}{unit}, {better} is better",
        f"mean {value:.6g} over {seeds} seeds{interval}, "
        f"{track['episodes']} evaluation episodes a seed",
        f"{runs['finished']} of {runs['started']} runs finished, a failed run scores the floor",
        f"rank {_ranks(row)}, evidence {row['evidence']}, tuning {row['tuning']}",
        f"pgbench {model['pgbench']}, board {model['board']}, results "
        f"sha256:{model['digest']['results']}",
    ]
    return "; ".join(parts)


def _ranks(row: Model) -> str:
    if row["rank"] is None:
        return "none yet"
    low, high = row["ranks"]
    return f"{row['rank']} (between {low} and {high})"


def _seeds(track: Model) -> list[int]:
    """The seeds that the track asks for; without a suite all that any row has."""
    rows = (row for table in track["tasks"].values() for row in table)
    found = sorted({score["seed"] for row in rows for score in row["scores"]})
    return list(range(track["seeds"])) or found


def _anchored(env: Model) -> bool:
    return None not in (env["floor"], env["reference"]) and env["floor"] != env["reference"]


def _normalised(score: Model, env: Model) -> float:
    value: float = (score["score"] - env["floor"]) / (env["reference"] - env["floor"])
    return max(value, 0.0)  # as on the board


def _complete(track: Model) -> tuple[dict[str, dict[str, dict[int, Model]]], Left]:
    """Name -> environment -> seed -> score, of the complete rows; the other names, and why."""
    kept, left, seeds = {}, {}, _seeds(track)
    for key, name in labels(track).items():
        tables: dict[str, dict[int, Model]] = {env["id"]: {} for env in track["environments"]}
        for env, table in tables.items():
            for row in track["tasks"].get(env, []):
                if row["key"] == key:
                    table |= {s["seed"]: s for s in row["scores"] if s["score"] is not None}
        short = [
            f"{len(table.keys() & set(seeds))} of {len(seeds)} seeds on {env}"
            for env, table in tables.items()
            if not table.keys() >= set(seeds)
        ]
        if short:
            left[name] = "; ".join(short)
        else:
            kept[name] = tables
    return kept, left


def _lacks(row: Model) -> str:
    return f"{row['runs']['started']} of {row['runs']['expected']} runs"


def _readme(model: Model, about: str, left: Mapping[str, Left]) -> bytes:
    lines = [
        f"- {track}: {name}: {why}" for track, named in left.items() for name, why in named.items()
    ]
    parts = [
        f"# {model['title']}, board {model['board']}",
        about.strip(),
        "\n".join(["Left out:", "", *lines]) if lines else "Nothing is left out.",
        f"pgbench {model['pgbench']}, rules {model['rules']}; "
        f"content sha256:{model['digest']['records']}; "
        f"results sha256:{model['digest']['results']}.",
    ]
    return ("\n\n".join(parts) + "\n").encode()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _quoted(text: str) -> str:
    """A JSON string is a YAML one too, once what does not print is escaped as YAML does."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def _yaml_number(value: float) -> str:
    """YAML 1.1 reads an exponent only behind a decimal point: 1e-05 would be a text."""
    text = repr(float(value))
    return text if "." in text else text.replace("e", ".0e")


def _slug(text: str) -> str:
    words = text.replace("+", "-plus")  # reinforce++ is not reinforce
    return re.sub(r"[^A-Za-z0-9._]+", "-", words).strip("-.") or "x"
