"""The Python interface: `run` and `load`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pgbench.config import build
from pgbench.files import load_tensors
from pgbench.plan import Plan, Protocol, make_plan
from pgbench.policy import Policy
from pgbench.record import read_run
from pgbench.registry import EnvSpec, find_algo, find_env, resolve


@dataclass(frozen=True)
class Result:
    """A run on disk: its record, and its policy where it has finished."""

    folder: Path
    record: Mapping[str, Any]
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
        """The environment that it ran on."""
        return find_env(self.record["execution"]["env"])

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """The keywords that the environment was made with."""
        return dict(self.record["environment"]["kwargs"])

    @property
    def policy(self) -> Policy:
        """The final policy: raw observations (n, d) -> actions (n, a).

        Raises: PgbenchError if the run has not finished.
        """
        if not self._policy:
            self._policy.append(_load_policy(self))
        return self._policy[0]


def _load_policy(result: Result) -> Policy:
    from pgbench.algorithm import Setup, same_origin
    from pgbench.errors import PgbenchError
    from pgbench.interface import make
    from pgbench.ops.normalize import RunningMoments

    path = result.folder / "policy.pt"
    if result.record["status"] != "finished" or not path.exists():
        raise PgbenchError(
            f"{result.folder} has no final policy (status {result.record['status']}); "
            "give its `pgbench run` command again to finish it"
        )
    saved = load_tensors(path)
    algo = result.record["algorithm"]
    cls = resolve(find_algo(result.record["execution"]["algo"], result.env.family))
    env = make(result.env, num_envs=1, **result.env_kwargs)
    spaces = env.single_observation_space, env.single_action_space
    env.close()
    setup = Setup(*spaces, budget=result.record["protocol"]["budget"], env=env)
    algorithm = cls(build(cls.Config, algo["config"], algo["name"]), setup)
    same_origin(algorithm, algo, result.folder)
    algorithm.load_state_dict(saved["algorithm"])
    moments = None
    if saved["moments"]:
        moments = RunningMoments(spaces[0].shape[0], torch.device("cpu"))
        moments.state = saved["moments"]
        moments.refresh()
    policy: Policy = algorithm.policy(moments)
    return policy


def load(folder: str | Path) -> Result:
    """The run in `folder`.

    Raises: PgbenchError if it is none.
    """
    return Result(Path(folder), read_run(Path(folder)))


def run(
    algo: str,
    env: str,
    *,
    seed: int = 0,
    budget: str | int | None = None,
    settings: Mapping[str, Any] | None = None,
    protocol: Protocol | None = None,
    device: str = "auto",
    compile: bool | None = None,
    threads: int | None = None,
    runs: str | Path = "runs",
    fresh: bool = False,
    quiet: bool | None = None,
) -> Result:
    """Train `algo` on `env`, evaluate, record; continues or returns a run that exists already.

    Arguments are those of `pgbench run`; `settings` are config keys (and `env.<keyword>`); `quiet`
    shows no progress (default: only a notebook does, as lines of text).

    Raises: PgbenchError for bad input.
    """
    from pgbench.progress import Progress
    from pgbench.runner import Run

    plan: Plan = make_plan(
        algo, env, seed=seed, budget=budget, settings=settings, protocol=protocol, device=device,
        compile=compile, threads=threads,
    )  # fmt: skip
    silent = "ipykernel" not in sys.modules if quiet is None else quiet
    work = Run(plan, Path(runs), Progress(silent))
    record = work.go(fresh)
    return Result(work.folder, record)
