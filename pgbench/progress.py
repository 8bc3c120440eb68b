"""The progress line of a run: steps, return, speed, time left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgbench.plan import Plan


class Progress:
    """A rich progress bar on standard error; silent with `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar: Any = None

    def start(self, plan: Plan, done: int, total: int, resumed: bool) -> None:
        """Begin the bar of one run at `done` of `total` environment steps."""
        if self.quiet:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self.console = console
        if resumed:
            console.print(f"resuming seed {plan.seed} at step {done:,}", style="dim")
        elif plan.compile:
            console.print("compiling the update (once; later runs find it cached)", style="dim")
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("return {task.fields[score]}"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=4,
        )
        name = f"{plan.algo.name} on {plan.env.id}, seed {plan.seed}"
        self.task = self.bar.add_task(name, total=total, completed=done, score="-", speed="")
        self.bar.start()

    def update(self, steps: int, train_return: float | None) -> None:
        """Show where the run stands; `train_return` is the mean of recent training episodes."""
        if self.bar:
            speed = self.bar.tasks[0].speed
            self.bar.update(
                self.task,
                completed=steps,
                score="-" if train_return is None else f"{train_return:,.1f}",
                speed=f"{speed:,.0f}/s" if speed else "",
            )

    def evaluated(self, mean: float) -> None:
        """Note an evaluation above the bar."""
        if self.bar and self.console.is_terminal:
            steps = int(self.bar.tasks[0].completed)
            self.bar.print(f"  {steps:>12,} steps   evaluation {mean:,.1f}", style="dim")

    def note(self, text: str) -> None:
        """A line above the bar."""
        if self.bar:
            self.bar.print(text)

    def stop(self) -> None:
        """Leave the bar as it stands."""
        if self.bar:
            self.bar.stop()
            self.bar = None
