"""What a record is, as types: pgbench/support/strict.py holds text from files against them.

Fields that are not named here may stand in a block, if they are plain.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from pgbench.support.strict import MOST, WIDEST

EPISODES = 10**6  # of an evaluation: their seeds are derived one by one

Count = Annotated[int, Meta(ge=0, le=WIDEST)]
Together = Annotated[int, Meta(ge=1, le=WIDEST)]  # of how many seeds, 0 to one less
Number = Annotated[float, Meta(ge=-MOST, le=MOST)]
Amount = Annotated[float, Meta(ge=0, le=MOST)]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Table = dict[str, Any]  # plain, but otherwise as it comes
Detail = Number | list[Number | list[Number]]


class Algorithm(Struct):
    """Who learned, and with which settings; more by `Algorithm.provenance`."""

    name: str
    paper: str
    config: Table
    config_hash: str
    defaults_changed: list[str]
    parameters: Count
    policies: dict[str, list[Number]] | UnsetType = UNSET

    def __post_init__(self) -> None:
        lacking = sorted(set(self.defaults_changed) - set(self.config))
        if lacking:
            raise ValueError(f"names '{lacking[0]}' in defaults_changed, which config lacks")


class Metric(Struct):
    """What the environment's score is."""

    name: str
    direction: Literal["max", "min"]
    unit: str


class Environment(Struct):
    """Where it learned."""

    id: str
    kwargs: Table
    underlying: str
    metric: Metric
    golden: str
    sandbox: str | UnsetType = UNSET
    registered: Table | UnsetType = UNSET


class Tuning(Struct):
    """How the settings were found."""

    kind: str = msgspec.field(name="class")
    trials: Count | None


class Episodes(Struct, forbid_unknown_fields=True):
    """How much is evaluated, and how often."""

    episodes: Annotated[int, Meta(ge=1, le=EPISODES)]
    curve_points: Count
    curve_episodes: Count


class Protocol(Struct):
    """By which rules it was run."""

    seed: Count
    train_seed: Count
    budget: Count
    unit: str
    episodes: Annotated[int, Meta(ge=1, le=EPISODES)]
    curve_points: Count
    curve_episodes: Count
    eval_seeds: str
    deterministic: bool
    tuning: Tuning


class Identity(Struct):
    """What the run's folder is named by."""

    algorithm: str
    family: str
    config: Table
    environment: str
    env_kwargs: Table
    budget: Count
    protocol: Episodes
    purpose: str
    # of the algorithm, of the environment, of the loop where it is a plug-in's
    sources: Annotated[list[str | None], Meta(min_length=2, max_length=3)]
    data: dict[str, str] | UnsetType = UNSET
    stack: Together | UnsetType = UNSET


class Execution(Struct):
    """How it was computed."""

    device: str
    compile: bool
    threads: Count
    algo: str
    env: str
    folder: str | UnsetType = UNSET
    stack: Together | UnsetType = UNSET


class Point(Struct):
    """One evaluation of the curve."""

    step: Count
    mean: Number
    n: Count


class Result(Struct):
    """What came out."""

    final: list[Number] | None
    lengths: list[Count] | None
    score: Number | None
    curve: list[Point]
    failure: str | None
    error: str | None
    checksum: str | None
    cut: Count | UnsetType = UNSET
    diagnostics: dict[str, Number] | UnsetType = UNSET
    details: dict[str, Detail] | UnsetType = UNSET


class Cost(Struct):
    """What it took; a loop's own counts beside it."""

    env_steps: Count
    grad_steps: Count
    wall_s: Amount
    cpu_s: Amount
    evaluate_s: Amount
    checkpoint_s: Amount
    peak_memory_mib: Count
    samples: Count | UnsetType = UNSET
    generated_tokens: Count | UnsetType = UNSET
    trained_tokens: Count | UnsetType = UNSET
    timeouts: Count | UnsetType = UNSET


class Provenance(Struct):
    """Out of which code, on which machine."""

    commit: str | None
    dirty: bool | None
    packages: dict[str, str]
    lock: str
    cpu: str
    cores: Count | None
    system: str
    python: str
    gpu: str | None
    resumed: Count
    warnings: list[str] | UnsetType = UNSET


class Record(Struct):
    """A run's record, schemas 2 and 3; docs/architecture.md has a line for each block."""

    schema: int
    id: Hash
    created: str
    status: Literal["running", "finished", "failed", "interrupted"]
    algorithm: Algorithm
    environment: Environment
    protocol: Protocol
    identity: Identity
    execution: Execution
    result: Result
    cost: Cost
    provenance: Provenance
    prev: Hash | None = None

    def __post_init__(self) -> None:
        if self.status != "finished":
            return
        for name in ("final", "lengths", "score", "curve", "checksum"):
            value = getattr(self.result, name)
            if value is None or value == []:
                raise ValueError(f"result.{name} is missing, though the run has finished")


class Stamp(Struct):
    """What was said of a record later."""

    id: Hash
    kind: Literal["verified", "reproduced", "disputed", "withdrawn"]
    record: Hash
    by: str
    prev: Hash | None = None
    created: str = ""
    reason: str = ""
    evidence: Table | UnsetType = UNSET


Heads = dict[str, tuple[Annotated[int, Meta(ge=1)], Hash]]  # lines of a file, and the last one's id
