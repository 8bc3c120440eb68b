"""Where a run's metrics go besides `events.jsonl`: TensorBoard, W&B, MLflow, trackio.

A tracker is a class with `log` and `close` (`Tracker`). TensorBoard lives in the run's own process;
the others, which bring threads, prints and networks of their own, in processes beside it
(`follow.py`). Nothing here is part of a run's identity or of its record.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from pgbench.errors import PgbenchError, install
from pgbench.support.files import lock
from pgbench.support.names import unknown

PROJECT = "pgbench"  # in W&B, MLflow and trackio, unless their own variables name another

# The package that each needs, and the class that speaks to it; the extra is named as the tracker.
TRACKERS = {
    "tensorboard": ("tensorboard", "TensorBoard"),
    "wandb": ("wandb", "Wandb"),
    "mlflow": ("mlflow", "MLflow"),
    "trackio": ("trackio", "Trackio"),
}
DEFAULT = "tensorboard"


@dataclass(frozen=True)
class Row:
    """A line of `events.jsonl`: its number, the step, and metrics as `<kind>/<name>`."""

    index: int
    step: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class About:
    """The run that a tracker is told of."""

    folder: Path
    name: str  # for people
    key: str  # of this run in this tracker, unlike any other's
    run: str  # the tracker's own name for it, from an earlier start; else empty
    config: Mapping[str, Any]  # plain values: algorithm, environment, seed, commit, every setting


class Tracker(Protocol):
    """One place that keeps metrics; its making opens the run there, or goes on with it.

    Any exception means that it is left out from then on, with one line of warning.
    """

    run: str  # its own name for the run, kept in the run's folder for the next start
    note: str  # a line for the user; may be empty
    exact: bool  # whether rows are there when `log` returns

    def log(self, rows: Sequence[Row]) -> None:
        """Take rows that it has not had."""

    def close(self, status: str, summary: Mapping[str, float]) -> None:
        """Everything has been said: the run's status, and what it came to."""


def parse_log(text: str) -> tuple[str, ...]:
    """The trackers in `tensorboard,wandb`; `none` is none.

    Raises: PgbenchError for a name that is none of them, or whose package is missing.
    """
    names = [word.strip().lower() for word in text.split(",") if word.strip()]
    if names == ["none"]:
        return ()
    if not names or "none" in names:
        raise PgbenchError(f"--log takes {', '.join(TRACKERS)}, several with commas, or none alone")
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS, f"--log takes {', '.join(TRACKERS)}, or none")
        package = TRACKERS[name][0]
        if importlib.util.find_spec(package) is None:
            raise PgbenchError(f"--log {name} needs the package {package}: {install(name)}")
    return tuple(dict.fromkeys(names))


def error_line(error: BaseException) -> str:
    """An exception as a short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def tracker(name: str) -> Any:
    """The class of that name."""
    return globals()[TRACKERS[name][1]]


def read_rows(file: IO[bytes], first: int = 0) -> Iterator[Row]:
    """The whole lines of `events.jsonl` from where `file` stands; the first has number `first`."""
    import json

    while True:
        at, line = file.tell(), file.readline()
        if not line.endswith(b"\n"):  # not there, or not whole yet
            file.seek(at)
            return
        event = json.loads(line)
        kind, step = event.pop("kind"), int(event.pop("step"))
        yield Row(first, step, {f"{kind}/{name}": float(v) for name, v in event.items()})
        first += 1


def about(record: Mapping[str, Any], folder: Path, key: str, run: str) -> About:
    """What a tracker is told of the run in `folder`, from its record."""
    algo, env, protocol = record["algorithm"], record["environment"], record["protocol"]
    origin = record["provenance"]
    config = {
        "algorithm": algo["name"],
        "environment": env["id"],
        "seed": protocol["seed"],
        "budget": protocol["budget"],
        "unit": protocol["unit"],
        "tuning": protocol["tuning"].get("class"),
        "device": record["execution"]["device"],
        "commit": origin["commit"],
        "local_changes": origin["dirty"],
        "folder": str(folder.resolve()),
        **algo["config"],
        **{f"env.{name}": value for name, value in env["kwargs"].items()},
    }
    return About(folder, f"{algo['name']} {env['id']} {folder.name}", key, run, config)


class TensorBoard:
    """`tensorboard/` in the run's folder; what it has from `step` on is taken back."""

    run, note, exact = "", "", False

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def log(self, rows: Iterable[Row]) -> None:
        """Add the scalars."""
        for row in rows:
            for name, value in row.metrics.items():
                self.board.add_scalar(name, value, row.step)

    def flush(self) -> None:
        """Hand everything to the system: a kill loses none of it."""
        self.board.flush()

    def close(self, status: str, summary: Mapping[str, float]) -> None:
        """Close the file."""
        self.board.close()


class Wandb:
    """Weights & Biases; without a key or a network files in `wandb/`, which `wandb sync` sends."""

    exact = False

    def __init__(self, about: About) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.run, self.note = about.run or about.key, ""

        def begin(mode: Any) -> Any:
            return wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                id=self.run,
                name=about.name,
                group=f"{about.config['algorithm']} {about.config['environment']}",
                config=dict(about.config),
                dir=str(about.folder),
                resume="allow",
                mode=mode,
                settings=wandb.Settings(
                    silent=True, console="off", disable_git=True, x_stats_pid=os.getppid()
                ),
            )

        try:
            self.made = begin(None)
        except (wandb.errors.UsageError, wandb.errors.CommError) as error:
            self.made = begin("offline")
            self.note = f"{' '.join(str(error).split())[:80].rstrip('.')}; "
        if self.made.settings.mode == "offline":
            made = f"{about.folder}/wandb/offline-run-*-{self.run}"
            self.note += f"kept offline; to send it: wandb sync {made}"
        self.made.define_metric("*", step_metric="steps")

    def log(self, rows: Sequence[Row]) -> None:
        """Add the rows: its own steps are their numbers, which only ever rise."""
        for row in rows:
            self.made.log({"steps": row.step, **row.metrics}, step=row.index)

    def close(self, status: str, summary: Mapping[str, float]) -> None:
        """Send what is left."""
        self.made.summary.update({"status": status, **summary})
        self.made.finish(exit_code=0 if status == "finished" else 1)


class MLflow:
    """MLflow: the store that MLFLOW_TRACKING_URI names, else `mlflow.db` in the working folder."""

    note, exact = "", True

    def __init__(self, about: About) -> None:
        for name, value in (
            ("MLFLOW_DISABLE_TELEMETRY", "true"),
            # Its own patience is an hour.
            ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3"),
            ("MLFLOW_HTTP_REQUEST_TIMEOUT", "20"),
        ):
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"
        self.run = about.run
        with _alone(uri):
            self.client = MlflowClient(tracking_uri=uri)
            experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        if self.run:
            self.client.update_run(self.run, status="RUNNING")
            return
        made = self.client.create_run(experiment, run_name=about.name)
        self.run = made.info.run_id
        params = [Param(_allowed(k), str(v)[:6000]) for k, v in about.config.items()]
        for i in range(0, len(params), 100):  # as many as it takes at once
            self.client.log_batch(self.run, params=params[i : i + 100])

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self.client.create_experiment(name))
            except MlflowException:  # another run made it meanwhile
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _send(self, values: Sequence[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(_allowed(name), value, now, step) for name, value, step in values]
        for i in range(0, len(metrics), 1000):
            self.client.log_batch(self.run, metrics=metrics[i : i + 1000])

    def log(self, rows: Sequence[Row]) -> None:
        """Add the rows, in as few requests as it takes."""
        self._send([(name, v, row.step) for row in rows for name, v in row.metrics.items()])

    def close(self, status: str, summary: Mapping[str, float]) -> None:
        """Say how it ended; an interrupted run is `KILLED` until it goes on."""
        self._send([(name, value, 0) for name, value in summary.items()])
        ends = {"finished": "FINISHED", "failed": "FAILED"}
        self.client.set_terminated(self.run, ends.get(status, "KILLED"))


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Within this no other run opens the data base: two that make its tables at once spoil it."""
    scheme, _, path = uri.partition(":///")
    if scheme != "sqlite":
        yield
        return
    with open(Path(path).with_name(f".{Path(path).name}.lock"), "w") as held:
        lock(held)
        yield


def _allowed(name: str) -> str:
    """`name` with the characters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)


class Trackio:
    """trackio: its local folder, or the Space or server that its variables name."""

    note, exact = "", False

    def __init__(self, about: About) -> None:
        self.heard: list[str] = []
        # It swallows its own errors and warns.
        warnings.showwarning = lambda message, *rest: self.heard.append(str(message))
        warnings.simplefilter("always")
        import trackio

        self.run = about.run or f"{about.name} {about.key}"
        self.made: Any = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=self.run,
            group=f"{about.config['algorithm']} {about.config['environment']}",
            config=dict(about.config),
            resume="allow" if about.run else "never",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        self._check()

    def _check(self) -> None:
        bad = [text for text in self.heard if "trackio" in text.lower() or "flush" in text]
        if bad:
            raise RuntimeError(bad[0])

    def log(self, rows: Sequence[Row]) -> None:
        """Add the rows."""
        for row in rows:
            self.made.log(row.metrics, step=row.step)
        self._check()

    def close(self, status: str, summary: Mapping[str, float]) -> None:
        """Send what is left."""
        if summary:
            self.made.log({f"final/{name}": value for name, value in summary.items()})
        self.made.finish()
        self._check()
