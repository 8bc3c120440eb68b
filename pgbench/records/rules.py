"""What a record must satisfy to stand on a board: agree with itself, and with the suite's rules.

Each refusal names file, line and field. What cannot be true of a record, or of several, is in
`pgbench.records.evidence`; what only a re-run can tell (a number made up from first to last) is
left to `pgbench submit` and `pgbench verify --sample`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pgbench.errors import PgbenchError
from pgbench.records.evidence import plausible
from pgbench.records.record import FAILURES, PLAIN
from pgbench.settings.config import digest
from pgbench.statistics.intervals import mean
from pgbench.support.names import NAME
from pgbench.support.seeding import PURPOSES, eval_seeds, train_seed

if TYPE_CHECKING:
    from pgbench.records.suite import Suite, Track

Record = Mapping[str, Any]
ENDED = ("finished", "failed")
WHOLE = 0.9  # of the budget must be spent; on-policy runs end with a whole iteration below it


def verify(record: Record, where: str) -> None:
    """Refuse a record, read by `pgbench.records.record.parse`, that is at odds with itself.

    The same fact told twice must be the same, and derived facts must follow.

    Raises: PgbenchError starting with `where`.
    """
    algorithm, identity = record["algorithm"], record["identity"]
    protocol, environment = record["protocol"], record["environment"]
    if not NAME.fullmatch(algorithm["name"]):
        raise PgbenchError(f"{where}: '{algorithm['name']}' cannot name a file of a board")
    if identity["purpose"] not in PURPOSES:
        raise PgbenchError(f"{where}: identity.purpose takes {' or '.join(PURPOSES)}")
    told = {
        "algorithm": (identity["algorithm"], algorithm["name"]),
        "config": (identity["config"], algorithm["config"]),
        "config_hash": (digest(algorithm["config"]), algorithm["config_hash"]),
        "environment": (identity["environment"], environment["id"]),
        "env_kwargs": (identity["env_kwargs"], environment["kwargs"]),
        "budget": (identity["budget"], protocol["budget"]),
        "stack": (identity.get("stack"), record["execution"].get("stack")),
    }
    told.update({key: (value, protocol[key]) for key, value in identity["protocol"].items()})
    for key, (one, other) in told.items():
        if one != other:
            raise PgbenchError(f"{where}: the record contradicts itself about '{key}'")
    _derived(record, where)
    if record["status"] not in ENDED:
        raise PgbenchError(f"{where}: a run of status '{record['status']}' is no result")
    if record["status"] == "failed":
        if record["result"]["score"] is not None:
            raise PgbenchError(f"{where}: a failed run cannot have a score")
        if record["result"]["failure"] not in FAILURES:
            raise PgbenchError(f"{where}: result.failure takes {', '.join(FAILURES)}")
    else:
        _final_policy(record, where)
    plausible(record, where)


def _derived(record: Record, where: str) -> None:
    """Seeds follow from names alone: a chosen one is not what the rule gives."""
    protocol, name = record["protocol"], record["environment"]["id"]
    purpose = record["identity"]["purpose"]
    stack = record["identity"].get("stack")
    if stack is not None and not protocol["seed"] < stack:
        raise PgbenchError(
            f"{where}: execution.stack: {stack} seeds that ran together are 0 to {stack} - 1, not "
            f"{protocol['seed']}"
        )
    rule = train_seed(name, protocol["seed"], "algorithm", purpose=purpose)
    if protocol["train_seed"] != rule:
        raise PgbenchError(
            f"{where}: protocol.train_seed {protocol['train_seed']} was chosen: seed "
            f"{protocol['seed']} on {name} derives {rule}"
        )
    if protocol["eval_seeds"] != digest(eval_seeds(name, protocol["episodes"], purpose=purpose)):
        raise PgbenchError(
            f"{where}: protocol.eval_seeds are not those that {name} derives for everybody"
        )


def _final_policy(record: Record, where: str) -> None:
    """The score is the mean over the episodes of the policy at the end of the budget."""
    protocol, result = record["protocol"], record["result"]
    final, last = result["final"], result["curve"][-1]
    if len(final) != protocol["episodes"]:
        raise PgbenchError(
            f"{where}: {len(final)} final episodes, but its protocol has {protocol['episodes']}"
        )
    if abs(mean(final) - result["score"]) > 1e-9 * max(map(abs, final)):
        raise PgbenchError(f"{where}: the score is not the mean of the final episodes")
    steps = record["cost"]["env_steps"]
    if last["mean"] != result["score"] or last["n"] != len(final) or last["step"] != steps:
        raise PgbenchError(
            f"{where}: the score is not the curve's last point: a best checkpoint is no result, "
            "the policy at the end of the budget is"
        )


def find_track(record: Record, suite: Suite) -> Track | None:
    """The track that a record belongs to by its budget and environment; None if there is none.

    Of several the one whose common settings the record has, and the most of them.
    """
    name, budget = record["environment"]["id"], record["protocol"]["budget"]
    keywords = {f"env.{k}": v for k, v in record["environment"]["kwargs"].items()}
    config, found = {**record["algorithm"]["config"], **keywords}, []
    for track in suite.tracks:
        versions = {suite.environments[env].version for env in track.environments}
        wanted = track.settings.items()
        fits = all(key in config and config[key] == value for key, value in wanted)
        if track.budget == budget and name in versions and fits:
            found.append(track)
    return max(found, key=lambda track: len(track.settings), default=None)


def judged_by(record: Record) -> dict[str, Any]:
    """The environment's keywords that a score depends on.

    All of them but the random-reward control of texts, which is a matter of training alone: its
    rows stand beside the others.
    """
    kwargs = dict(record["environment"]["kwargs"])
    if record["identity"].get("family") == "text" and kwargs.get("reward") == "random":
        del kwargs["reward"]
    return kwargs


def refuse_plain(record: Record, where: str) -> None:
    """Refuse a record whose programs could reach their judge: on no board, with or without a suite.

    Raises: PgbenchError starting with `where`.
    """
    if record["environment"].get("sandbox") == PLAIN:
        raise PgbenchError(
            f"{where}: environment.sandbox: programs were judged without a sandbox, so they could "
            "reach their judge; run it again where `pgbench doctor` finds one"
        )


def obey(record: Record, suite: Suite, where: str) -> None:
    """Refuse a record that breaks a rule of the suite's board.

    Raises: PgbenchError starting with `where`.
    """
    environment, protocol = record["environment"], record["protocol"]
    name = environment["id"]
    known = {env.version: env for env in suite.environments.values()}
    if name not in known:
        raise PgbenchError(
            f"{where}: environment.id {name} is not one of {suite.name}'s "
            f"({', '.join(sorted(known))})"
        )
    env = known[name]
    if environment["golden"] != env.golden:
        made = record["provenance"]["packages"].get("mujoco")
        raise PgbenchError(
            f"{where}: environment.golden: this was not {name} as {suite.name} knows it: its "
            f"fingerprint differs (made with MuJoCo {made}; the suite is for "
            f"{env.simulator or 'another version'}); run it again with that version"
        )
    made = record["provenance"]["packages"].get("mujoco", "none")
    wanted = env.simulator.removeprefix("MuJoCo ")
    if wanted != env.simulator and not f"{made}.".startswith(f"{wanted}."):
        raise PgbenchError(
            f"{where}: provenance.packages.mujoco: {made} does not play {name} with that "
            f"fingerprint; {env.simulator} does"
        )
    if dict(env.kwargs) not in (environment["kwargs"], judged_by(record)):
        raise PgbenchError(f"{where}: environment.kwargs are not {suite.name}'s for {name}")
    refuse_plain(record, where)
    track = find_track(record, suite)
    if track is None:
        budgets = sorted({f"{track.budget:,}" for track in suite.tracks})
        raise PgbenchError(
            f"{where}: protocol.budget {protocol['budget']:,} on {name} is no track of "
            f"{suite.name} (budgets: {'; '.join(budgets)})"
        )
    for key, value in suite.protocol.items():
        if protocol[key] != value:
            raise PgbenchError(
                f"{where}: protocol.{key} is {protocol[key]}, {suite.name} takes {value}"
            )
    steps, budget = record["cost"]["env_steps"], protocol["budget"]
    if record["status"] == "finished" and not WHOLE * budget <= steps <= budget:
        raise PgbenchError(
            f"{where}: evaluated after {steps:,} of {budget:,} steps; a score is the final "
            "policy's, at the end of the budget"
        )
    samples = record["cost"].get("samples", 0)
    if track.samples is not None and samples > track.samples:
        raise PgbenchError(
            f"{where}: cost.samples: {samples:,} responses were drawn, track {track.name} of "
            f"{suite.name} allows {track.samples:,}"
        )
    if record["identity"]["purpose"] != "board":
        raise PgbenchError(f"{where}: a tuning run is no result; boards have seeds of their own")
    if protocol["seed"] >= track.seeds:
        raise PgbenchError(
            f"{where}: protocol.seed {protocol['seed']} is not one of {suite.name}'s "
            f"0 to {track.seeds - 1} in track {track.name}: seeds are given, not chosen"
        )
