"""A finished or stopped run, read from its folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pgbench.catalogue.fingerprint import golden
from pgbench.catalogue.registry import (
    AlgoSpec,
    EnvSpec,
    LoopSpec,
    find_algo,
    find_env,
    find_loop,
    resolve,
)
from pgbench.errors import PgbenchError
from pgbench.learning.policy import Policy
from pgbench.records.record import read_run
from pgbench.runs import origins
from pgbench.settings.config import build
from pgbench.support.files import load_tensors, whole
from pgbench.support.names import unknown


@dataclass(frozen=True)
class Result:
    """A run on disk: its record, and its policy where it has finished."""

    folder: Path
    record: Mapping[str, Any]
    anyway: bool = False  # load the policy even if what the run was made from has changed
    member: str = ""  # of a set of policies: the one that `policy` is
    _policy: list[Policy] = field(default_factory=list, repr=False)

    def __repr__(self) -> str:
        """One line: the record is long, and `result.record` shows it."""
        algo, env = self.record["algorithm"]["name"], self.record["environment"]
        score = self.record["result"]["score"]
        found = "" if score is None else f", {env['metric']['name']} {score:,.4g}"
        return (
            f"<Result of {algo} on {env['id']}, seed {self.record['protocol']['seed']}: "
            f"{self.record['status']}{found}; {self.folder}>"
        )

    @property
    def score(self) -> float:
        """Mean of the environment's first metric over the final evaluation."""
        return float(self.record["result"]["score"])

    @property
    def env(self) -> EnvSpec:
        """The environment that it ran on.

        Raises: PgbenchError naming the whole path of a plug-in that is not there.
        """
        return find_env(self._spec("env"))

    @property
    def algo(self) -> AlgoSpec:
        """The algorithm that made it.

        Raises: PgbenchError naming the whole path of a plug-in that is not there.
        """
        return find_algo(self._spec("algo"), self.env.family)

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """The keywords that the environment was made with; files are where they are now."""
        return self._here("env.", self.record["environment"]["kwargs"])

    @property
    def config(self) -> dict[str, Any]:
        """The algorithm's resolved settings; files are where they are now."""
        return self._here("", self.record["algorithm"]["config"])

    def changes(self) -> list[str]:
        """What the run was made from and is not as it was then: sources, data, environment.

        Raises: PgbenchError naming the whole path of whatever is not there.
        """
        identity, out = self.record["identity"], []
        specs: list[AlgoSpec | EnvSpec | LoopSpec] = [self.algo, self.env]
        if len(identity["sources"]) > 2:  # of a loop that is a plug-in's
            specs.append(find_loop(self.algo.loop, self.algo.name))
        for spec, began in zip(specs, identity["sources"], strict=True):
            if origins.sources(spec) != began:
                file = spec.origin.rpartition(":")[0]
                out.append(f"{spec.name} ({file}, or a module that it imports)")
        now = dict(origins.named(self.config, self.env_kwargs))
        for key, began in identity.get("data", {}).items():
            if key not in now or origins.digest_of(now[key]) != began:
                out.append(f"{key} ({now.get(key, 'not there')})")
        began = self.record["environment"]["golden"]
        if not out and began and golden(self.env, self.env_kwargs) != began:
            out.append(f"{self.env.name} (its fingerprint: another version of what it runs on?)")
        return out

    def _spec(self, kind: str) -> str:
        word: str = self.record["execution"][kind]
        return str(self._find(word)) if word.endswith(".py") else word

    def _find(self, word: str) -> Path:
        return origins.find(word, self.record["execution"].get("folder"), self.folder)

    def _here(self, prefix: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        data, out = self.record["identity"].get("data", {}), dict(settings)
        for key, value in settings.items():
            if f"{prefix}{key}" in data:
                out[key] = str(self._find(value))
            elif f"{prefix}{key}.0" in data:
                out[key] = [str(self._find(word)) for word in value]
        return out

    @property
    def policy(self) -> Policy:
        """The final policy: raw observations (n, d) -> actions (n, a).

        Raises: PgbenchError if the run has not finished, or if anything that it was made from has
        changed since (unless `anyway`).
        """
        if not self._policy:
            self._policy.append(_load_policy(self))
        return self._policy[0]


def _load_policy(result: Result) -> Policy:
    from pgbench.catalogue.capabilities import make
    from pgbench.learning.algorithm import Setup, same_origin
    from pgbench.learning.ops.normalize import RunningMoments

    path = result.folder / "policy.pt"
    if result.record["status"] != "finished" or not path.exists():
        raise PgbenchError(
            f"{result.folder} has no final policy (status {result.record['status']}); "
            "give its `pgbench run` command again to finish it"
        )
    saved = load_tensors(path)
    changed = [] if result.anyway else result.changes()
    if changed:
        raise PgbenchError(
            f"{result.folder} was made from what has changed since: {'; '.join(changed)}; restore "
            "it, or see what the policy does now with --anyway (in Python load(..., anyway=True))"
        )
    algo = result.record["algorithm"]
    cls = resolve(result.algo)
    # Not closed here: the policy keeps it (a language model's is judged by its verifier).
    env = make(result.env, num_envs=1, **result.env_kwargs)
    spaces = env.single_observation_space, env.single_action_space
    setup = Setup(*spaces, budget=result.record["protocol"]["budget"], env=env)
    algorithm = cls(build(cls.Config, result.config, algo["name"]), setup)
    if not result.anyway:
        same_origin(algorithm, algo, result.folder)
    moments = None
    with whole(path):
        algorithm.load_state_dict(saved["algorithm"])
        if result.member:
            algorithm.become(result.member)
        if saved["moments"]:
            moments = RunningMoments(spaces[0].shape[0], torch.device("cpu"))
            moments.state = saved["moments"]
            moments.refresh()
    policy: Policy = algorithm.policy(moments)
    return policy


def load(
    folder: str | Path,
    anyway: bool = False,
    policy: str | None = None,
    weights: Sequence[float] | None = None,
) -> Result:
    """The run in `folder`; `anyway` if its policy is wanted though its code or data changed.

    Of a run that learned a set of policies, `policy` names one, or `weights` of the objectives
    choose the nearest.

    Raises: PgbenchError if it is none, or has no such policy.
    """
    record = read_run(Path(folder))
    return Result(Path(folder), record, anyway, _member(record, folder, policy, weights))


def _member(
    record: Mapping[str, Any], folder: str | Path, name: str | None, weights: Sequence[float] | None
) -> str:
    """The name of the asked-for policy of a set; empty where none was asked for."""
    held: Mapping[str, list[float]] = record["algorithm"].get("policies", {})
    if name is None and weights is None:
        return ""
    if name is not None and weights is not None:
        raise PgbenchError("give the name of a policy or weights for the nearest one, not both")
    if not held:
        raise PgbenchError(f"{folder} holds one policy, no set; leave out --policy and --weights")
    if name is not None:
        if name not in held:
            raise unknown("policy", name, held, f"{folder} has {', '.join(held)}")
        return name
    wanted = list(weights or ())
    sizes = {len(own) for own in held.values()}
    if sizes != {len(wanted)} or not all(map(math.isfinite, wanted)):
        raise PgbenchError(
            f"the policies of {folder} have {max(sizes)} weights each; give as many numbers, not "
            f"{','.join(map(str, wanted))}"
        )
    return min(held, key=lambda one: (math.dist(held[one], wanted), one))
