"""The progress of a run: a bar on a terminal, elsewhere a plain line from time to time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pgbench.runs.report import number
from pgbench.support.reporting import say
from pgbench.support.ticker import Ticker

if TYPE_CHECKING:
    from pgbench.runs.plan import Plan


class Progress:
    """Where a run stands, on standard error; with `quiet` warnings alone."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar: Any = None
        self.ticker: Ticker | None = None
        self.warned = False

    def start(self, plan: Plan, done: int, total: int, resumed: bool) -> None:
        """Begin the run at `done` of `total` steps (in the loop's unit)."""
        if self.quiet:
            return
        from rich.console import Console

        self.total, self.compiling = total, plan.compile
        self.steps, self.score = done, "-"
        self.first, self.began = done, time.monotonic()
        console = Console(stderr=True, force_jupyter=False)
        self.ticker = Ticker(self.line)
        unit = "" if plan.loop.unit == "environment steps" else f" ({plan.loop.unit})"
        who = f"{plan.stack} seeds stacked" if plan.stack else f"seed {plan.seed}"
        self.note(f"{plan.algo.name} on {plan.env.id}, {who}{unit}")
        if resumed:
            self.note(f"resuming at step {done:,}")
        elif plan.compile:
            self.note("the first update compiles it, for up to a minute; later runs find it cached")
        if console.is_terminal and not self.ticker.notebook:
            self.bar = self._bar(console)
            self.bar.start()
        else:
            self.ticker.start()

    def _bar(self, console: Any) -> Any:
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
            console=console,
            expand=True,
            refresh_per_second=4,
        )
        speed = "compiling" if self.compiling else ""
        self.task = bar.add_task("", total=self.total, completed=self.steps, score="-", speed=speed)
        return bar

    def line(self) -> str:
        """Where the run stands, in a line of less than 80 columns."""
        share = 100 * self.steps // max(self.total, 1)
        words = [f"{share}%  {self.steps:,}/{self.total:,} steps", f"return {self.score}"]
        if self.compiling:
            words.append("compiling")
        elif self.steps > self.first:
            spent = time.monotonic() - self.began
            words.append(_left(spent * (self.total - self.steps) / (self.steps - self.first)))
        return ", ".join(words)

    def update(
        self, steps: int, train_return: float | None, metrics: Mapping[str, Any] | None = None
    ) -> None:
        """Show where the run stands.

        `train_return` is the mean of recent training episodes, `metrics` what the last phase
        logged: nothing until the first update.
        """
        if metrics and not self.warned and float(metrics.get("cut_off", 0.0)) == 1.0:
            self.warned = True
            self.warn(
                "the limit cut off every response of this step; give them more room with "
                "--set max_tokens=..."
            )
        if self.ticker is None:
            return
        if metrics and self.compiling:  # which says nothing of how long the rest takes
            self.compiling, self.first, self.began = False, steps, time.monotonic()
        self.steps, self.score = steps, number(train_return)
        if self.bar:
            speed = self.bar.tasks[0].speed
            text = "compiling" if self.compiling else f"{speed:,.0f}/s" if speed else ""
            self.bar.update(self.task, completed=steps, score=self.score, speed=text)

    def evaluated(self, mean: float) -> None:
        """Note an evaluation above the bar."""
        if self.bar:
            self.bar.print(f"  {self.steps:>12,} steps   evaluation {number(mean)}", style="dim")

    def note(self, text: str) -> None:
        """A line, above the bar where there is one."""
        if self.bar:
            self.bar.print(text, markup=False, highlight=False)
        elif self.ticker is not None:
            self.ticker.say(text)

    def warn(self, text: str) -> None:
        """A line that is said though everything else is not (`quiet`)."""
        if self.bar or self.ticker is not None:
            self.note(f"warning: {text}")
        else:
            say(f"warning: {text}")

    def stop(self) -> None:
        """Leave the bar, or the line, as it stands."""
        if self.bar:
            self.bar.stop()
            self.bar = None
        if self.ticker is not None:
            self.ticker.stop()


def _left(seconds: float) -> str:
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    minutes = seconds / 60
    return f"about {minutes:.0f} min left" if minutes < 90 else f"about {minutes / 60:.1f} h left"
