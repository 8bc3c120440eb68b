"""BibTeX for a board: the board with its digests, and the paper of every algorithm in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pgbench.boards.tables import escape
from pgbench.catalogue.registry import ALGOS
from pgbench.errors import PgbenchError

PAPERS = "papers.bib"
SHORT = 16  # hexadecimal digits of a digest in print, where a whole one would overrun the margin

START = re.compile(r"@(\w+)\s*\{\s*([^\s,{}\"#%'()=~\\]+)\s*,")
IDENTIFIER = re.compile(r"[,\s](?:eprint|doi)\s*=\s*[{\"]*\s*([^{}\",\s]+)", re.IGNORECASE)
ADDRESS = re.compile(r"^(?:https?://)?(?:(?:dx\.)?doi\.org/|arxiv\.org/(?:abs|pdf)/)")
VERSION = re.compile(r"^(\d{4}\.\d{4,5}|[a-z.-]+/\d{7})v\d+$")


@dataclass(frozen=True)
class Entry:
    """One BibTeX entry: its citation key, its text as written, the papers that it identifies."""

    key: str
    text: str
    papers: frozenset[str]


def paper_id(text: str) -> str:
    """The bare arXiv number or DOI, in lower case, of an id or an address; "" of none."""
    bare = ADDRESS.sub("", text.strip().lower().replace("\\", ""))
    bare = re.sub(r"^(?:arxiv|doi):\s*", "", bare)
    bare = re.sub(r"^10\.48550/arxiv\.", "", bare)  # arXiv's own DOIs
    return VERSION.sub(r"\1", bare)


def read_entries(text: str, where: str = PAPERS) -> list[Entry]:
    """The entries of a BibTeX file in their order, without @comment, @string and @preamble.

    Raises: PgbenchError, naming `where` and the entry, if its braces do not close.
    """
    entries, position = [], 0
    while (start := START.search(text, position)) is not None:
        depth, end = 0, start.start()
        for end in range(text.index("{", start.start()), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                break
        if depth:
            raise PgbenchError(
                f"{where}: the braces of entry '{start[2]}' do not close; balance them"
            )
        position = end + 1
        if start[1].lower() not in ("comment", "string", "preamble"):
            whole = text[start.start() : position]
            papers = frozenset(paper_id(found) for found in IDENTIFIER.findall(whole))
            entries.append(Entry(start[2], whole, papers))
    return entries


def find_papers(plugins: bool = True) -> list[str]:
    """The BibTeX files of the built-in algorithms and, with `plugins`, of the packages of those.

    Raises: PgbenchError for a file that is not UTF-8 or whose entries do not close.
    """
    builtin = resources.files("pgbench.baselines") / PAPERS
    found = {str(builtin): builtin} if builtin.is_file() else {}
    if not plugins:
        return [file.read_text(encoding="utf-8") for file in found.values()]
    for spec in ALGOS.all():
        path = Path(spec.origin.rpartition(":")[0]).parent / PAPERS
        if path.is_file():
            found.setdefault(str(path), path)
    texts = []
    for where, file in found.items():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise PgbenchError(
                f"{where} is not UTF-8 ({error.reason}); save it as UTF-8"
            ) from error
        read_entries(text, where)  # here the error can name the file
        texts.append(text)
    return texts


def cite(
    model: Mapping[str, Any],
    papers: Iterable[str],
    commit: str | None = None,
    url: str | None = None,
) -> str:
    """BibTeX of a board and of the papers whose algorithms stand in its tables.

    `papers` are texts of BibTeX files, the first entry of a paper wins; `commit` is where the
    records were retrieved. An algorithm without an entry gets a comment line.

    Raises: PgbenchError if an entry's braces do not close.
    """
    known: dict[str, Entry] = {}
    for text in papers:
        for entry in read_entries(text):
            for paper in sorted(entry.papers):
                known.setdefault(paper, entry)
    board = _key(model)
    wanted = sorted(
        {(row["algorithm"], row["paper"] or "") for t in model["tracks"] for row in t["rows"]}
    )
    found = {known[p] for p in (paper_id(paper) for _, paper in wanted) if p in known}
    used = {board.lower()}
    cited = sorted(found, key=lambda entry: (entry.key, entry.text))
    parts = [_board(model, board, commit, url), *(_distinct(entry, used) for entry in cited)]
    missing = [
        f"% no BibTeX entry for {_comment(name)} "
        + (f"({_comment(paper)})" if paper else "(registered without a paper)")
        for name, paper in wanted
        if paper_id(paper) not in known
    ]
    return "\n\n".join([*parts, *(["\n".join(missing)] if missing else [])]) + "\n"


def _distinct(entry: Entry, used: set[str]) -> str:
    """The text of an entry, with another key where a different paper has taken its own."""
    key, count = entry.key, 1
    while key.lower() in used:
        count += 1
        key = f"{entry.key}-{count}"
    used.add(key.lower())
    start = START.match(entry.text)
    assert start is not None
    return entry.text[: start.start(2)] + key + entry.text[start.end(2) :]


def _key(model: Mapping[str, Any]) -> str:
    return "pgbench-" + re.sub(r"[^A-Za-z0-9:._-]+", "-", model["board"])


def _board(model: Mapping[str, Any], key: str, commit: str | None, url: str | None) -> str:
    counts, digests = model["counts"], model["digest"]
    note = (
        f"{counts['records']} records, {counts['finished']} finished and {counts['failed']} "
        f"failed, {counts['expected']} expected: "
        f"{'complete' if counts['complete'] else 'incomplete'}; "
        f"content sha256:{digests['records'][:SHORT]}, results sha256:{digests['results'][:SHORT]};"
        f" pgbench {model['pgbench'] or 'unknown'}, rules {model['rules']}"
    )
    if commit:
        note += f"; retrieved at commit {commit[:SHORT]}"
    title = f"pgbench leaderboard {model['board']}"
    if model["title"] != model["board"]:
        title += f": {model['title']}"
    fields = {
        "author": "{The pgbench authors}",
        "title": f"{{{escape(title)}}}",
        "year": (model["newest"] or "")[:4],
        "version": escape(model["board"]),
        "note": escape(note),
        # Printed by no style; whole, for whoever wants to check.
        "contentdigest": f"sha256:{digests['records']}",
        "resultsdigest": f"sha256:{digests['results']}",
        "commit": escape(commit or ""),
        "url": re.sub(r"[{}\s]", "", url or ""),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def _comment(text: str) -> str:
    """One line that does not begin an entry: to BibTeX an @ does, in a comment too."""
    return " ".join(text.split()).replace("@", " at ")
