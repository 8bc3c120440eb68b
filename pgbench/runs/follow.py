"""A tracker in a process of its own: `python -m pgbench.runs.follow <tracker> <run folder>`.

It follows `events.jsonl`, and ends when its standard input does: with the run, or when a kill took
the run away. How far it has come is kept in `trackers/<tracker>.json`, so that a run that resumes,
cut back to its checkpoint, says nothing twice, and one whose tracker failed says it all next time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.records.record import read_run
from pgbench.runs.trackers import Row, Tracker, about, error_line, read_rows, tracker
from pgbench.support.files import lock, read_json, write_json

EVERY_S = 0.5  # between two looks for new lines
BATCH = 200  # rows handed over at once: what a kill may lose of a long history
FAILED = "failed: "  # begins the line that says why it gave up
COUNTS = ("env_steps", "grad_steps", "wall_s")


class Place:
    """How far a tracker has come with the run in `folder`: read and kept on disk."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.path = folder, place(folder, name)
        self.inode = folder.stat().st_ino
        self.state = state(self.path)

    def put(self, **changes: Any) -> None:
        """Keep the changes; a folder that `--fresh` has set aside is left alone."""
        if self.folder.stat().st_ino != self.inode:
            raise FileNotFoundError(f"{self.folder} was set aside")
        self.state.update(changes)
        write_json(self.path, self.state)


def fresh() -> dict[str, Any]:
    """Of a run that the tracker has not heard of."""
    return {"key": secrets.token_hex(4), "run": "", "rows": 0, "ended": ""}


def state(path: Path) -> dict[str, Any]:
    """What the file at `path` says; one that is not there, or damaged, is that of a new run."""
    with contextlib.suppress(PgbenchError):
        found = read_json(path)
        if isinstance(found, dict) and found.keys() == fresh().keys():
            return found
    return fresh()


def place(folder: Path, name: str) -> Path:
    """The file that says how far tracker `name` has come with the run in `folder`."""
    return folder / "trackers" / f"{name}.json"


def behind(folder: Path, name: str, record: dict[str, Any]) -> bool:
    """Whether tracker `name` has not had all of the ended run in `folder`."""
    return bool(state(place(folder, name))["ended"] != record["id"])


def follow(name: str, folder: Path, ended: threading.Event, tell: Callable[[str], None]) -> None:
    """Hand the run's rows to the tracker until `ended`, then how it ended; `tell` the user."""
    (folder / "trackers").mkdir(exist_ok=True)
    with open(folder / "trackers" / f".{name}.lock", "w") as held:
        lock(held)  # the follower of a start that was killed may still be sending
        at = Place(folder, name)
        made: Tracker = tracker(name)(
            about(read_run(folder), folder, at.state["key"], at.state["run"])
        )
        at.put(run=made.run, ended="")
        if made.note:
            tell(made.note)
        try:
            _rows(made, at, folder, ended)
            record = read_run(folder)
            made.close(*_end(record))
        except Exception:
            if not made.exact:  # nobody knows what it has: all of it next time, as another run
                at.put(**fresh())
            raise
        at.put(ended=record["id"])


def _end(record: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """Status and summary; a record that says `running` is that of a killed run."""
    status = "interrupted" if record["status"] == "running" else record["status"]
    if status == "interrupted":
        return status, {}
    summary = {key: float(record["cost"][key]) for key in COUNTS}
    if record["result"]["score"] is not None:
        summary["score"] = float(record["result"]["score"])
    return status, summary


def _rows(made: Tracker, at: Place, folder: Path, ended: threading.Event) -> None:
    seen = 0
    with open(folder / "events.jsonl", "rb") as file:
        while True:
            last = ended.wait(EVERY_S)  # asked before reading: nothing comes after it
            waiting: list[Row] = []
            for row in read_rows(file, seen):
                seen = row.index + 1
                if row.index >= at.state["rows"]:
                    waiting.append(row)
            for i in range(0, len(waiting), BATCH):
                batch = waiting[i : i + BATCH]
                # Before they are said: a kill between the two loses some and doubles none.
                at.put(rows=batch[-1].index + 1)
                try:
                    made.log(batch)
                except Exception:
                    at.put(rows=batch[0].index)
                    raise
            if last:
                return


def main() -> None:
    """Follow; standard output has lines for the run's user alone, the rest is the tracker's log."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    # A terminal's Ctrl-C, a scheduler's SIGTERM: the run ends first, and then the input does.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout, told = sys.stderr, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    try:
        follow(name, folder, ended, lambda text: print(text, file=told, flush=True))
    except BaseException as error:
        print(FAILED + error_line(error), file=told, flush=True)
        raise


if __name__ == "__main__":
    main()
