"""The progress of a run: a bar on a terminal, elsewhere a plain line from time to time."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgbench.runs.plan import Plan

EVERY_S = 30.0  # between two lines where there is no terminal


class Progress:
    """Where a run stands, on standard error; silent with `quiet`.

    Logs and notebooks get lines of text: a bar that redraws itself is noise in the one, and needs
    a package of its own in the other.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar: Any = None
        self.console: Any = None

    def start(self, plan: Plan, done: int, total: int, resumed: bool) -> None:
        """Begin the run at `done` of `total` steps (in the environment's unit)."""
        if self.quiet:
            return
        from rich.console import Console

        self.console = Console(stderr=True, force_jupyter=False)
        self.total, self.first, self.compiling = total, done, plan.compile
        self.began = self.said = time.monotonic()
        self.warned = False
        unit = "" if plan.env.budget_unit == "environment steps" else f" ({plan.env.budget_unit})"
        who = f"{plan.stack} seeds stacked" if plan.stack else f"seed {plan.seed}"
        self.note(f"{plan.algo.name} on {plan.env.id}, {who}{unit}")
        if resumed:
            self.note(f"resuming at step {done:,}")
        elif plan.compile:
            self.note("the first update compiles it, for up to a minute; later runs find it cached")
        if self.console.is_terminal:
            self.bar = self._bar(total, done)
            self.bar.start()

    def _bar(self, total: int, done: int) -> Any:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        # Within 80 columns whatever the names are: those stand above, and only the bar shrinks.
        whole = Column(no_wrap=True, overflow="ignore")
        bar = Progress(
            BarColumn(bar_width=None, table_column=Column(min_width=6, ratio=1)),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps", table_column=whole),
            TextColumn("{task.fields[speed]}", table_column=whole),
            TextColumn("return {task.fields[score]}", table_column=whole),
            TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
            console=self.console,
            expand=True,
            refresh_per_second=4,
        )
        speed = "compiling" if self.compiling else ""
        self.task = bar.add_task("", total=total, completed=done, score="-", speed=speed)
        return bar

    def update(
        self, steps: int, train_return: float | None, metrics: Mapping[str, Any] | None = None
    ) -> None:
        """Show where the run stands.

        `train_return` is the mean of recent training episodes, `metrics` what the last phase
        logged: nothing until the first update.
        """
        if self.console is None:
            return
        if metrics:
            self.compiling = False
            if not self.warned and float(metrics.get("cut_off", 0.0)) == 1.0:
                self.warned = True
                self.note(
                    "warning: the limit cut off every response of this step; give them more room "
                    "with --set max_tokens=..."
                )
        score = "-" if train_return is None else f"{train_return:,.1f}"
        if self.bar:
            speed = self.bar.tasks[0].speed
            text = "compiling" if self.compiling else f"{speed:,.0f}/s" if speed else ""
            self.bar.update(self.task, completed=steps, score=score, speed=text)
        elif (now := time.monotonic()) - self.said >= EVERY_S:
            self.said = now
            left = (now - self.began) * (self.total - steps) / max(steps - self.first, 1)
            self.note(
                f"{steps:,}/{self.total:,} steps, return {score}, about {left / 60:,.0f} min left"
            )

    def evaluated(self, mean: float) -> None:
        """Note an evaluation above the bar."""
        if self.bar:
            steps = int(self.bar.tasks[0].completed)
            self.bar.print(f"  {steps:>12,} steps   evaluation {mean:,.1f}", style="dim")

    def note(self, text: str) -> None:
        """A line, above the bar where there is one."""
        if self.bar:
            self.bar.print(text, markup=False, highlight=False)
        elif self.console is not None:
            print(text, file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Leave the bar as it stands."""
        if self.bar:
            self.bar.stop()
            self.bar = None
