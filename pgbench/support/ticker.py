"""Lines for whoever waits where no bar can be drawn: logs, pipes, notebooks."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

EVERY_S = 30.0  # between two lines
NOTEBOOK_S = 1.0  # between two states of the line that a notebook rewrites

_hushed = threading.local()


class Ticker:
    """Says `line()` on standard error every 30 s; a notebook rewrites one line instead.

    A bar that redraws itself is noise in a log, and needs a package of its own in a notebook.
    """

    def __init__(
        self,
        line: Callable[[], str],
        every: float | None = None,
        notebook: bool | None = None,
    ) -> None:
        self.line = line
        self.notebook = "ipykernel" in sys.modules if notebook is None else notebook
        self.every = every or (NOTEBOOK_S if self.notebook else EVERY_S)
        self.drawn = 0  # width of the line that a notebook shows and may rewrite
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._tick, name="ticker", daemon=True)

    def start(self) -> None:
        """Begin; the first line comes after the first interval."""
        self.thread.start()

    def _tick(self) -> None:
        while not self.ended.wait(self.every):
            self.say(self.line(), for_good=not self.notebook)

    def say(self, text: str, for_good: bool = True) -> None:
        """A line; one that is not `for_good` is overwritten by the next."""
        with self.lock:
            back = "\r" if self.notebook else ""
            print(
                f"{back}{text.ljust(self.drawn)}", end="\n" if for_good else "",
                file=sys.stderr, flush=True,
            )  # fmt: skip
            self.drawn = 0 if for_good else len(text)

    def stop(self) -> None:
        """End, and leave the last line as it stands."""
        self.ended.set()
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join()
        with self.lock:
            if self.drawn:
                print(file=sys.stderr, flush=True)
            self.drawn = 0


@contextlib.contextmanager
def hush(quiet: bool) -> Iterator[None]:
    """Within this `counted` shows nothing if `quiet`."""
    before = getattr(_hushed, "quiet", False)
    _hushed.quiet = quiet
    try:
        yield
    finally:
        _hushed.quiet = before


def counted(what: str, steps: int) -> Iterator[int]:
    """0 to `steps` - 1, and how far that is: a bar on a terminal, else lines."""
    if getattr(_hushed, "quiet", False):
        yield from range(steps)
        return
    if sys.stderr.isatty() and "ipykernel" not in sys.modules:
        from rich.console import Console
        from rich.progress import track

        yield from track(range(steps), what, console=Console(stderr=True), transient=True)
        return
    done = 0
    ticker = Ticker(lambda: f"{what}: {100 * done // steps}%, {done:,} of {steps:,} steps")
    ticker.say(f"{what}: {steps:,} steps")
    ticker.start()
    try:
        for done in range(steps):
            yield done
    finally:
        ticker.stop()
