"""The contract suite: what every algorithm must keep, run on any of them, plug-ins too.

Each check is a function that raises AssertionError with what is wrong; `pgbench check` and the
project's own tests run the same list.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete

from pgbench.catalogue.registry import (
    ENVS,
    find_algo,
    find_env,
    find_loop,
    missing_capabilities,
    resolve,
)
from pgbench.errors import Breach, Diverged, PgbenchError
from pgbench.learning.policy import Policy
from pgbench.loops.base import Phase
from pgbench.records.record import read_run
from pgbench.runs.evaluation import evaluate
from pgbench.runs.plan import Plan, Protocol, make_plan
from pgbench.runs.result import Result
from pgbench.runs.runner import Run, build


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the runner catches it."""


class Doomed(Run):
    """A run that dies right after its `last`-th phase."""

    last = 0

    def _after(self, phase: Phase) -> None:
        super()._after(phase)
        self.last -= 1
        if self.last == 0:
            raise Killed


class Poisoned(Run):
    """A run whose parameters turn to NaN after its first phase."""

    def _after(self, phase: Phase) -> None:
        super()._after(phase)
        for value in self.algorithm.state.values():
            if value.is_floating_point():
                value.fill_(float("nan"))


@dataclasses.dataclass(frozen=True)
class Bench:
    """What the checks work with: the algorithm and environment under check, and a folder."""

    algo: str
    env: str
    folder: Path
    settings: Mapping[str, Any] = dataclasses.field(
        default_factory=dict
    )  # over the loop's tiny ones

    def plan(self, seed: int = 0) -> Plan:
        """A run of a few phases."""
        spec = find_algo(self.algo, find_env(self.env).family)
        loop = find_loop(spec.loop, spec.name)
        fields = {f.name for f in dataclasses.fields(resolve(spec).Config)}
        settings = {key: value for key, value in loop.tiny.items() if key in fields}
        settings |= self.settings
        return make_plan(
            self.algo, self.env, seed=seed, budget=loop.tiny_budget, settings=settings,
            compile=False, threads=1, device="cpu",
            protocol=Protocol(episodes=2, curve_points=2, curve_episodes=1),
        )  # fmt: skip

    def run(self, name: str, seed: int = 0) -> dict[str, Any]:
        """The record of an undisturbed run, which must finish."""
        return finished(Run(self.plan(seed), self.folder / name).go())


def finished(record: dict[str, Any]) -> dict[str, Any]:
    """`record` if its run came to its end."""
    assert record["status"] == "finished", f"the run failed: {record['result']['error']}"
    return record


def same(a: Any, b: Any) -> bool:
    """Whether two batches of actions, tensors or texts, are the same."""
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else list(a) == list(b)


def documented(bench: Bench) -> None:
    """The config is frozen and each of its fields has a line of doc; the module has a docstring."""
    cls = resolve(find_algo(bench.algo, find_env(bench.env).family))
    config = cls.Config
    params = getattr(config, "__dataclass_params__", None)
    assert params is not None and params.frozen, "Config must be a frozen dataclass"
    bare = [f.name for f in dataclasses.fields(config) if not f.metadata.get("doc")]
    assert not bare, f"config fields without a line of doc: {', '.join(bare)}; use option(...)"
    doc = sys.modules[cls.__module__].__doc__ or ""
    assert len(doc) > 100, "the module's docstring must name the paper, equations and departures"


def acts(bench: Bench) -> None:
    """Actions are finite, of the right shape; the mode is deterministic, exploration is not."""
    algorithm, env, loop = build(bench.plan())
    try:
        obs = loop.policy.see(env.reset(seed=1)[0])
        mode = algorithm.act(obs, explore=False)
        if isinstance(loop.policy, Policy):
            if isinstance(loop.policy.space, Discrete):  # two choices may well be the same twice
                obs = obs.repeat(64, 1)
            for explore in (False, True):
                loop.policy.to_env(loop.policy.act(obs, explore))  # refuses what is no action
        else:
            texts: Any = mode
            assert len(texts) == len(obs), f"act gives {len(texts)} texts for {len(obs)} prompts"
            assert all(isinstance(text, str) for text in texts), "act must give texts"
            obs = obs * 16  # one short completion may well be the same twice
        again = algorithm.act(obs, explore=False)
        assert same(algorithm.act(obs, explore=False), again), "explore=False must be the mode"
        noisy = not same(algorithm.act(obs), algorithm.act(obs))
        assert noisy == algorithm.explores, (
            "exploration has no noise"
            if algorithm.explores
            else "explores = False, yet act is noisy"
        )
        assert algorithm.state, "self.state holds no tensor: nothing would be saved"
        for name, value in algorithm.state.items():
            assert value.device == algorithm.device, f"state '{name}' is not on {algorithm.device}"
    finally:
        env.close()


def deterministic(bench: Bench) -> None:
    """One seed gives one result; another seed gives another."""
    first, again, other = bench.run("one"), bench.run("again"), bench.run("one", seed=1)
    for field in ("checksum", "final", "curve"):
        assert first["result"][field] == again["result"][field], f"same seed, other {field}"
    assert first["result"]["checksum"] != other["result"]["checksum"], "the seed changes nothing"


def resumes(bench: Bench) -> None:
    """Killed after any phase and resumed, it ends with the same bits as undisturbed."""
    whole = bench.run("whole")
    for last in (1, 2, 3):
        runs = bench.folder / f"killed{last}"
        doomed = Doomed(bench.plan(), runs, save_every=0)
        doomed.last = last
        try:
            doomed.go()
        except Killed:
            pass
        else:
            raise AssertionError(f"the run has fewer than {last} phases")
        record = finished(Run(bench.plan(), runs).go())
        assert record["provenance"]["resumed"] == 1, "the killed run did not resume"
        for field in ("checksum", "final", "curve"):
            assert record["result"][field] == whole["result"][field], (
                f"killed after phase {last} and resumed, {field} differs from an undisturbed run: "
                "something that learning changes is not in self.state"
            )
        kept = bench.plan().folder(bench.folder / "whole") / "events.jsonl"
        assert (doomed.folder / "events.jsonl").read_text() == kept.read_text(), (
            "the event log differs after a resume"
        )


def loads(bench: Bench) -> None:
    """A saved policy, loaded again, scores exactly what the record says."""
    bench.run("saved")
    folder = bench.plan().folder(bench.folder / "saved")
    record = read_run(folder)
    result = Result(folder, record)
    final = evaluate(result.policy, result.env, len(record["result"]["final"]))
    assert final.returns == record["result"]["final"], "the loaded policy scores something else"


def guards(bench: Bench) -> None:
    """Parameters that are not finite end the run as failed, and its record says so."""
    record = Poisoned(bench.plan(), bench.folder / "poisoned").go()
    assert record["status"] == "failed", "NaN parameters went unnoticed"
    assert "diverged" in record["result"]["error"]
    assert np.isfinite(record["cost"]["wall_s"])


CHECKS: tuple[Callable[[Bench], None], ...] = (
    documented, acts, deterministic, resumes, loads, guards,
)  # fmt: skip


def default_env(algo: str, family: str | None = None) -> str:
    """The compatible environment with the smallest smoke budget and the least to install.

    Raises: PgbenchError if there is none, or if the algorithm has several families.
    """
    spec = find_algo(algo, family)
    fits = [
        env
        for env in ENVS.all()
        if env.family == spec.family and not env.needs and not missing_capabilities(spec, env)
    ]
    if not fits:
        raise PgbenchError(f"no environment fits {algo}; name one with --env")
    order = list(ENVS.specs)  # as registered
    return min(
        fits, key=lambda env: (min(env.budgets.values()), bool(env.extra), order.index(env.id))
    ).id


def check_algorithm(
    name: str,
    env: str | None,
    report: Callable[[str], None],
    settings: Mapping[str, Any] | None = None,
) -> bool:
    """Run every check on algorithm `name`, reporting a line for each; True if all passed.

    Whatever a check raises is its failure, and the next one follows.

    Raises: PgbenchError if there is nothing to check: an unknown name, a package that is missing,
    an environment that does not fit.
    """
    where = env or default_env(name)
    plan = Bench(name, where, Path(), settings or {}).plan()
    try:
        build(plan)[1].close()
    except PgbenchError as error:
        if not isinstance(error, Breach | Diverged):
            raise
    except (Exception, SystemExit):
        pass  # the checks meet it again, and say so
    return go_through(
        CHECKS,
        lambda folder: Bench(name, where, folder, settings or {}),
        f"{name} on {where}",
        report,
    )


def go_through(
    checks: Sequence[Callable[[Any], str | None]],
    under: Callable[[Path], Any],
    name: str,
    report: Callable[[str], None],
) -> bool:
    """Run `checks` on what `under(an empty folder)` gives; a line for each, and the verdict."""
    passed = True
    for check in checks:
        what = (check.__doc__ or "").split("\n")[0].rstrip(".")
        with tempfile.TemporaryDirectory() as folder:
            try:
                remark = check(under(Path(folder)))
            except (AssertionError, PgbenchError) as error:
                passed = False
                report(f"FAIL  {what}\n      {error or 'assertion in the code under check'}")
            except (Exception, SystemExit) as error:
                passed = False
                report(f"FAIL  {what}\n      {type(error).__name__}: {error}")
            else:
                report(f"ok    {what}" + (f"\n      {remark}" if remark else ""))
    report(f"{name}: {'keeps' if passed else 'breaks'} the contract")
    return passed
