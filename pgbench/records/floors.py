"""Floor panels on disk: what an environment gives to policies that have learned nothing.

`leaderboards/floors.json` has a panel for an environment's id with version; `pgbench floors`
measures it (pgbench/runs/floors.py), `explain` and the boards show it. A board shows a panel beside
records of the same fingerprint only: another verifier has other floors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from pgbench.records.schema import Count, Hash, Number
from pgbench.support.files import read_bytes, write_json
from pgbench.support.strict import typed

FILE = "floors.json"
LONG = 40  # characters of a constant that are shown
NAMES = {
    "reference": "reference solution",
    "empty": "empty answer",
    "echo": "prompt echo",
    "constant": "best constant answer",
    "random": "random training answer",
    "zero": "zero action",
}


class Floor(Struct, forbid_unknown_fields=True):
    """One policy's mean score, its 95% interval where the scores tell one, and what it says."""

    score: Number
    low: Number | None
    high: Number | None
    said: str | UnsetType = UNSET  # the constant that was found


class Panel(Struct, forbid_unknown_fields=True):
    """The floors of one environment; `golden` is the fingerprint that it had."""

    golden: Hash
    metric: str
    episodes: Count  # held-out tasks, or episodes
    floors: dict[str, Floor]


def read_panels(root: Path) -> dict[str, dict[str, Any]]:
    """The panels of `<root>/floors.json` by environment with version; none without the file.

    Raises: PgbenchError naming file and field for what is no panel.
    """
    path = root / FILE
    if not path.is_file():
        return {}
    panels: dict[str, dict[str, Any]] = typed(read_bytes(path), dict[str, Panel], str(path))
    return panels


def store_panel(root: Path, name: str, panel: Mapping[str, Any]) -> None:
    """Put the panel of environment `name` (with version) into `<root>/floors.json`.

    Raises: PgbenchError if the file holds what is no panel, or cannot be written.
    """
    panels = {**read_panels(root), name: dict(panel)}
    write_json(root / FILE, {key: panels[key] for key in sorted(panels)})


def rows(panel: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Policy, score and interval of every floor, as they are shown."""
    out = []
    for key in (key for key in NAMES if key in panel["floors"]):
        floor = panel["floors"][key]
        said = ""
        if "said" in floor:
            text = json.dumps(floor["said"], ensure_ascii=False)
            said = f" {text if len(text) <= LONG else text[:LONG] + '...'}"
        within = "" if floor["low"] is None else f"[{floor['low']:.4g}, {floor['high']:.4g}]"
        out.append((NAMES[key] + said, f"{floor['score']:.4g}", within))
    return out


def sentence(panel: Mapping[str, Any]) -> str:
    """The panel in a line of a board's page."""
    told = ", ".join(f"{name} {' '.join(filter(None, rest))}" for name, *rest in rows(panel))
    return f"Floors ({panel['metric']} of {panel['episodes']} held-out episodes): {told}."
