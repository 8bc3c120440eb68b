"""A board in its place on disk: suite, records, stamps in; pages and tables out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.records import ledger
from pgbench.records.evidence import as_catalogued
from pgbench.records.floors import read_panels
from pgbench.records.record import Entry
from pgbench.records.reported import read_reported
from pgbench.records.rules import obey, refuse_plain
from pgbench.records.suite import Suite, read_suite
from pgbench.support.files import write_bytes
from pgbench.support.names import named


@dataclass(frozen=True)
class Board:
    """What is on disk of one board."""

    name: str
    root: Path
    suite: Suite | None
    entries: list[Entry] = field(default_factory=list)
    stamps: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where its records are."""
        return self.root / "records" / self.name

    def rule(self, record: Mapping[str, Any], where: str) -> None:
        """Raise what a record breaks of the rules: every board's, and the suite's."""
        refuse_plain(record, where)
        as_catalogued(record, where)
        if self.suite is not None:
            obey(record, self.suite, where)

    def model(self, more: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The board as a plain dict (docs/leaderboards.md); `more` records are added to it."""
        from pgbench.boards.model import build_model

        records = [*(entry.record for entry in self.entries), *more]
        reported = read_reported(self.root, self.suite) if self.suite else []
        panels = read_panels(self.root)
        return build_model(self.name, records, self.suite, self.stamps, panels, reported)

    def find(self, start: str) -> Entry:
        """The record whose id begins with `start`.

        Raises: PgbenchError if there is none, or more than one.
        """
        found = [entry for entry in self.entries if entry.id.startswith(start)]
        if len(found) == 1:
            return found[0]
        what = f"{len(found)} records" if found else "no record"
        raise PgbenchError(f"{self.name} has {what} whose id begins with '{start}'")


def open_board(name: str, root: Path, mend: bool = False) -> Board:
    """The board `name` below `root`; `mend` repairs torn last lines first.

    Raises: PgbenchError for a bad name, no such board, or records that break a rule.
    """
    board = empty_board(name, root)
    if mend:
        ledger.repair(board.folder)
    if not board.folder.is_dir() and board.suite is not None:
        raise PgbenchError(
            f"{name} has no records yet ({board.folder}); make them: pgbench bench {name}"
        )
    entries = ledger.read_board(board.folder, board.rule)
    return Board(name, root, board.suite, entries, ledger.read_stamps(board.folder))


def empty_board(name: str, root: Path) -> Board:
    """The board without its records, for what is to be added to it.

    Raises: PgbenchError for a bad name or a broken suite file.
    """
    named("board", name)
    path = root / "suites" / f"{name}.toml"
    return Board(name, root, read_suite(path) if path.is_file() else None)


def outputs(model: Mapping[str, Any], root: Path) -> dict[Path, bytes]:
    """Every file of a board by its path: a pure function of the model."""
    from pgbench.boards.cite import cite, find_papers
    from pgbench.boards.markdown import to_markdown
    from pgbench.boards.page import render_page
    from pgbench.boards.tables import to_csv, to_latex
    from pgbench.settings.config import canonical

    texts = {
        "md": to_markdown(model),
        "csv": to_csv(model),
        "tex": to_latex(model),
        # Of the built-in papers alone: what is installed beside pgbench must not change a byte.
        "bib": cite(model, find_papers(plugins=False)),
        "json": canonical(model) + "\n",
        "html": render_page(model),
    }
    return {root / f"{model['board']}.{end}": text.encode() for end, text in texts.items()}


def publish(model: Mapping[str, Any], root: Path) -> list[Path]:
    """Write every file of a board, then the page of all boards; returns those that differed."""
    from pgbench.boards import index

    return [*write(outputs(model, root)), *write(index.outputs(root))]


def write(files: Mapping[Path, bytes]) -> list[Path]:
    """Write the files that differ from what is there; returns them."""
    changed = [path for path, data in files.items() if stale(path, data)]
    for path in changed:
        write_bytes(path, files[path])
    return changed


def stale(path: Path, data: bytes) -> bool:
    """Whether `path` does not hold `data`."""
    return not path.is_file() or path.read_bytes() != data
