"""Numbers that others report of a board's environments: shown apart, never ranked.

`leaderboards/reported/<board>.toml` has them, each with where it stands and under which conditions
it came about. They are no records: nothing was run here; budgets, versions and seeds are others'.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pgbench.records.suite import Suite
from pgbench.support.names import unknown
from pgbench.support.toml import Table, read_table

_RESULT = {"environment", "method", "score", "spread", "source", "conditions"}


def read_reported(root: Path, suite: Suite) -> list[dict[str, Any]]:
    """What `<root>/reported/<suite>.toml` reports, in the file's order; nothing without a file.

    Each has environment (as the suite calls it), method, score, spread (a text, may be empty),
    source and conditions.

    Raises: PgbenchError naming file and fields for all that is missing, unknown or ill-typed.
    """
    path = root / "reported" / f"{suite.name}.toml"
    if not path.is_file():
        return []
    table = read_table(path, "reported", {"result"})
    found = [_result(inner, suite) for inner in table.inners("result", _RESULT)]
    table.done()
    return found


def _result(table: Table, suite: Suite) -> dict[str, Any]:
    environment = table.get("environment", str)
    if environment not in suite.environments:
        table.fault(
            "environment",
            text=str(
                unknown(
                    f"environment of {suite.name}", environment, suite.environments, "remove it"
                )
            ),
        )
    score = float(table.get("score", (int, float)))
    if not math.isfinite(score):
        table.fault("score", f"must be a finite number, not {score}")
    words = {key: table.get(key, str) for key in ("method", "source", "conditions")}
    for key, text in words.items():
        if not text.strip():
            table.fault(key, "is empty: say it, or leave the result out")
    return {
        "environment": environment,
        "score": score,
        "spread": table.get("spread", str, ""),
        **{key: " ".join(text.split()) for key, text in words.items()},
    }
