"""A bench as it goes: on a terminal a live table of all runs, elsewhere a line for each end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pgbench.bench.schedule import Task

SIGNS = {
    "queued": ("·", "dim"),
    "elsewhere": ("~", "yellow"),
    "finished": ("■", "green"),
    "failed": ("×", "red"),
    "refused": ("!", "red bold"),
    "stopped": ("□", "yellow"),
}
LEGEND = "· waits   1-9 runs (tenths)   ~ runs elsewhere   ■ finished   × failed   □ stopped"
EVERY_S = 1.0
MIN_RUNS = 2  # ended here, before a time left is guessed


class Lines:
    """For logs: a line when a run ends."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.seen: set[int] | None = None

    def __call__(self, tasks: Sequence[Task]) -> None:
        """Say which tasks have ended since the last call."""
        ended = {i for i, task in enumerate(tasks) if task.ended}
        for i in sorted(ended - self.seen) if self.seen is not None else []:
            task = tasks[i]
            score = "" if task.score is None else f" {task.score:,.1f}"
            note = f" ({task.note})" if task.note else ""
            self.say(
                f"{len(ended)}/{len(tasks)} {task.cell.entry.label} on {task.cell.env.id}, seed "
                f"{task.cell.seed}: {task.state}{score}{note}"
            )
        self.seen = ended

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Table:
    """For a terminal: a row for each algorithm and environment, a sign for each seed."""

    def __init__(self, title: str, console: Any) -> None:
        from rich.live import Live

        self.title = title
        self.live = Live(console=console, refresh_per_second=4, transient=False)
        self.drawn = 0.0
        self.began = time.monotonic()
        self.before: int | None = None

    def __call__(self, tasks: Sequence[Task]) -> None:
        """Draw, at most once a second."""
        now = time.monotonic()
        if now - self.drawn >= EVERY_S or all(task.ended for task in tasks):
            self.drawn = now
            self.live.update(self.render(tasks))

    def __enter__(self) -> Table:
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def render(self, tasks: Sequence[Task]) -> Any:
        """The table as it stands."""
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(title=self.title, caption=self._caption(tasks), expand=False)
        for name in ("track", "environment", "algorithm", "seeds"):
            table.add_column(name)
        for name in ("done", "mean so far"):
            table.add_column(name, justify="right")
        rows: dict[tuple[str, str, str], list[Task]] = {}
        for task in tasks:
            cell = task.cell
            rows.setdefault((cell.track.name, cell.env.id, cell.entry.label), []).append(task)
        for (track, env, label), inside in rows.items():
            seeds = Text()
            for task in sorted(inside, key=lambda t: t.cell.seed):
                sign, style = SIGNS.get(task.state, ("", ""))
                if task.state == "running":
                    sign, style = str(min(9, max(1, int(10 * task.progress())))), "cyan"
                seeds.append(sign, style)
            scores = [task.score for task in inside if task.score is not None]
            mean = f"{sum(scores) / len(scores):,.1f}" if scores else "-"
            done = sum(task.state in ("finished", "failed") for task in inside)
            table.add_row(track, env, label, seeds, f"{done}/{len(inside)}", mean)
        return table

    def _caption(self, tasks: Sequence[Task]) -> str:
        done = sum(task.ended for task in tasks)
        if self.before is None:
            self.before = done
        here, spent = done - self.before, time.monotonic() - self.began
        left = ""
        if here >= MIN_RUNS and done < len(tasks):
            left = f", about {spent / here * (len(tasks) - done) / 60:,.0f} min left"
        notes = [f"{t.cell.entry.label} on {t.cell.env.id}: {t.note}" for t in tasks if t.note]
        return "\n".join([f"{done} of {len(tasks)} runs ended{left}", LEGEND, *notes[-4:]])
