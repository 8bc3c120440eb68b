"""The responses of a run's final evaluation, kept so that a later verifier can judge them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from pgbench.records.schema import Hash
from pgbench.support.files import read_bytes
from pgbench.support.strict import hold, plain
from pgbench.worlds.tasks import Task

if TYPE_CHECKING:
    from pgbench.lm.rollout import Row

FILE = "responses.jsonl"
MOST = 16 * 2**20  # bytes of the file: the responses to as many tasks as fit, the first ones


class Response(Struct, forbid_unknown_fields=True):
    """A line of the file: what was said last to a task, and what the verifier said of it."""

    task: str
    prompt: Hash  # SHA-256 of the task's text, by which the task is known again
    said: str
    correct: bool
    how: str


def prompt_hash(task: Task) -> str:
    """What tells whether a task of the same id is still the same one."""
    return hashlib.sha256(task.text.encode(errors="replace")).hexdigest()


def to_lines(rows: Sequence[Row], most: int = MOST) -> bytes:
    """Judged responses as lines of JSON, at most `most` bytes; all to a task or none of them."""
    out = b""
    for _, group in groupby(rows, lambda row: row.prompt):
        part = b"".join(_line(row) for row in group)
        if len(out) + len(part) > most:
            break
        out += part
    return out


def _line(row: Row) -> bytes:
    verdict = row.verdict
    assert verdict is not None
    response = {
        "task": row.task.id,
        "prompt": prompt_hash(row.task),
        "said": row.said,
        "correct": verdict.correct,
        "how": verdict.how,
    }
    # Half a character is no text; a question mark stands for it.
    return json.dumps(response, ensure_ascii=False).encode(errors="replace") + b"\n"


def read_responses(folder: Path) -> list[Response]:
    """The responses that a run kept.

    Raises: PgbenchError naming the file, and the line and field of what is no response.
    """
    path, out = folder / FILE, []
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        value = plain(line, f"{path}:{number}")
        hold(line, Response, f"{path}:{number}")
        out.append(Response(**value))
    return out
