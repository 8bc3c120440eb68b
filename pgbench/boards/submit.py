"""A submission to a board: every check that a reviewer would make, then what to send."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pgbench.boards.evidence import Finding, hold
from pgbench.boards.lot import rows_of
from pgbench.boards.rows import find_entry
from pgbench.boards.store import Board
from pgbench.errors import PgbenchError
from pgbench.records import ledger
from pgbench.records.record import Entry, read_runs
from pgbench.records.rules import find_track
from pgbench.statistics.intervals import mean, welch

FASTEST = 5e6  # environment steps a second that no run on one machine reaches
BAND = 0.01  # one-sided level at which a known algorithm's runs are held for review


def read_submission(path: Path) -> list[Entry]:
    """The records of a `.jsonl` file, or of the runs below a folder.

    Raises: PgbenchError naming file and line for what is damaged, edited or no result.
    """
    if path.is_dir():
        if damaged := read_runs(path)[1]:
            raise PgbenchError(damaged[0])
        entries, _ = ledger.collect([path])
        for entry in entries:
            _named(Path(entry.where).parent.name, entry)
    elif path.suffix == ".jsonl":
        entries = ledger.read_ledger(path)
    else:
        raise PgbenchError(f"{path}: give a .jsonl file of records, or a folder of runs")
    if not entries:
        raise PgbenchError(f"{path}: there is no ended run in it")
    return entries


def _named(folder: str, entry: Entry) -> None:
    """A run's folder has its seed and the beginning of its identity's hash for a name.

    Raises: PgbenchError for one that is named so, after another run.
    """
    own, seed = entry.run
    if re.fullmatch(r"\d+-[0-9a-f]{8}", folder) and folder != f"{seed}-{own[:8]}":
        raise PgbenchError(
            f"{entry.where}: the folder {folder} is not this run's, which is {seed}-{own[:8]}"
        )


def examine(entries: Sequence[Entry], board: Board) -> list[Finding]:
    """Every check on a submission; nothing is written."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("rules of the suite", lambda: _rules(entries, board)),
        ("one run a seed", lambda: _doubles(entries, board)),
        ("all seeds", lambda: _seeds(entries, board)),
        ("code", lambda: _code(entries)),
        ("plausible cost", lambda: _cost(entries)),
        ("tuning class", lambda: _tuning(entries, board)),
        ("reference band", lambda: _band(entries, board)),
    ]
    found = [Finding("whole records", "ok", f"{len(entries)} records, ids and chain match")]
    for what, check in checks:
        try:
            found.append(check())
        except PgbenchError as error:
            found.append(Finding(what, "refused", str(error)))
    return [*found, *hold(entries, board.entries)]


def _rules(entries: Sequence[Entry], board: Board) -> Finding:
    if board.suite is None:
        raise PgbenchError(f"{board.name} has no suite file, so it takes no submissions")
    for entry in entries:
        board.rule(entry.record, entry.where)
    return Finding("rules of the suite", "ok", "fingerprint, budget, protocol and seeds are its")


def _doubles(entries: Sequence[Entry], board: Board) -> Finding:
    ledger.refuse_doubles([*board.entries, *entries])
    return Finding("one run a seed", "ok", "none is doubled or on the board already")


def _seeds(entries: Sequence[Entry], board: Board) -> Finding:
    assert board.suite is not None
    missing = []
    for name, records in _rows(entries, board).items():
        track = find_track(records[0], board.suite)
        assert track is not None
        for env in track.environments:
            version = board.suite.environments[env].version
            have = {r["protocol"]["seed"] for r in records if r["environment"]["id"] == version}
            lacks = sorted(set(range(track.seeds)) - have)
            if lacks:
                missing.append(f"{name} lacks seeds {', '.join(map(str, lacks))} on {version}")
    if missing:
        raise PgbenchError("; ".join(missing) + ": the first seeds are given, none may be left out")
    return Finding("all seeds", "ok", "every environment of the track has the first seeds, all")


def _code(entries: Sequence[Entry]) -> Finding:
    for entry in entries:
        where = entry.record["provenance"]
        if not where["commit"]:
            raise PgbenchError(f"{entry.where}: no commit: run from a git checkout of pgbench")
        if where["dirty"]:
            raise PgbenchError(f"{entry.where}: the code had local changes; commit and run again")
    commits = sorted({e.record["provenance"]["commit"][:12] for e in entries})
    return Finding("code", "ok", f"commit {', '.join(commits)}, without local changes")


def _cost(entries: Sequence[Entry]) -> Finding:
    for entry in entries:
        cost, where = entry.record["cost"], entry.record["provenance"]
        wall, cpu = cost["wall_s"], cost["cpu_s"]
        if wall <= 0 or cost["env_steps"] / wall > FASTEST:
            raise PgbenchError(
                f"{entry.where}: cost.wall_s {wall} for {cost['env_steps']:,} steps is impossible"
            )
        if cpu > 1.2 * wall * where["cores"] + 10:
            raise PgbenchError(f"{entry.where}: cost.cpu_s {cpu} is more than {wall} s can hold")
    return Finding("plausible cost", "ok", "times, steps and processors agree")


def _tuning(entries: Sequence[Entry], board: Board) -> Finding:
    assert board.suite is not None
    for entry in entries:
        kind = entry.record["protocol"]["tuning"]["class"]
        if kind not in board.suite.tuning:
            return Finding(
                "tuning class", "held",
                f"class {kind} stands apart on the board, unranked "
                f"(ranked: {', '.join(board.suite.tuning)})",
            )  # fmt: skip
        if kind == "declared" and _entry(entry.record, board) is None:
            raise PgbenchError(
                f"{entry.where}: protocol.tuning.class: settings that the suite does not declare"
            )
    return Finding("tuning class", "ok", "ranked with the others")


def _band(entries: Sequence[Entry], board: Board) -> Finding:
    """Runs of an algorithm that the board has already should look like those it has."""
    odd = []
    theirs = _rows(board.entries, board)
    for name, records in _rows(entries, board).items():
        for env in sorted({r["environment"]["id"] for r in records}):
            new, old = (_scores(part, env) for part in (records, _same(theirs, records[0])))
            p = welch(new, old)
            if not math.isnan(p) and p / 2 < BAND:
                side = "above" if mean(new) > mean(old) else "below"
                odd.append(f"{name} on {env} lies {side} the board's own runs (p = {p / 2:.2g})")
    if odd:
        return Finding("reference band", "held", "; ".join(odd))
    return Finding("reference band", "ok", "no run of a known algorithm stands out")


def _same(rows: Mapping[str, Sequence[Any]], record: Any) -> Sequence[Any]:
    """The board's runs of the record's algorithm and settings, whatever they are called."""
    config = record["algorithm"]["config"]
    return next((found for found in rows.values() if found[0]["algorithm"]["config"] == config
                 and found[0]["algorithm"]["name"] == record["algorithm"]["name"]), [])  # fmt: skip


def _scores(records: Iterable[Any], env: str) -> list[float]:
    return [
        r["result"]["score"]
        for r in records
        if r["environment"]["id"] == env and r["result"]["score"] is not None
    ]


def _entry(record: Any, board: Board) -> Any:
    assert board.suite is not None
    track = find_track(record, board.suite)
    known = {env.version: env for env in board.suite.environments.values()}
    return track and find_entry(record, track, known[record["environment"]["id"]])


def _rows(entries: Iterable[Entry], board: Board) -> dict[str, list[Any]]:
    """Records by the name of their row and track; those of no track are refused elsewhere."""
    assert board.suite is not None
    inside = [entry for entry in entries if find_track(entry.record, board.suite)]
    return {name: [e.record for e in found] for name, found in rows_of(inside, board).items()}


def plugins(entries: Iterable[Entry]) -> list[str]:
    """A line for each plug-in file that the records were made with: it must come along."""
    digests = {
        source: entry.record["execution"]
        for entry in entries
        for source in entry.record["identity"]["sources"]
        if source
    }
    return [
        f"Add the plug-in file too, it is part of the runs (sha256 {digest[:12]}): "
        f"{' '.join(word for word in (how['algo'], how['env']) if word.endswith('.py'))}"
        for digest, how in sorted(digests.items())
    ]


def pull_request(
    before: Mapping[str, Any], after: Mapping[str, Any], files: Sequence[Path], again: str
) -> str:
    """What to open a pull request with: commands, and a text with the ranks that change.

    `again` says which of the records were run again.
    """
    name = after["board"]
    old = {(t["name"], r["key"]): r["rank"] for t in before["tracks"] for r in t["rows"]}
    lines = []
    for track in after["tracks"]:
        for row in track["rows"]:
            was = old.get((track["name"], row["key"]), "new")
            if was != row["rank"]:
                rank = "not ranked" if row["rank"] is None else f"rank {row['rank']}"
                before_ = "new row" if was == "new" else f"was {was or 'not ranked'}"
                lines.append(f"- {track['name']}: {row['name']}: {rank} ({before_})")
    changes = "\n".join(lines) or "- no rank changes"
    return (
        f"git switch -c {name}-submission\n"
        f"git add {' '.join(map(str, files))}\n"
        f"git commit -m 'Records for {name}'\n\n"
        f"Title: Records for {name}\n\n{changes}\n\n"
        f"Run again: {again}\n"
        f"Records: {after['counts']['records']} (before: {before['counts']['records']}), "
        f"content sha256:{after['digest']['records']}"
    )
