"""What algorithms and environments hand over: right runs, or one line that says what is wrong."""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from odd_algo import Linear
from odd_env import Drift

import pgbench
from pgbench.catalogue.registry import ALGOS, ENVS
from pgbench.errors import Breach, Diverged, PgbenchError
from pgbench.runs import contract, evaluation, runner
from pgbench.runs.plan import Protocol, make_plan
from pgbench.runs.runner import Run, build
from pgbench.worlds import checks

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def registered(monkeypatch):
    """`registered(loop, env options, algorithm attributes)` -> names of both, for this test."""
    for catalogue in (ENVS, ALGOS):
        catalogue.all()  # the built-in ones are registered once a process
        monkeypatch.setattr(catalogue, "specs", dict(catalogue.specs))

    def register(loop="onpolicy", make=Drift, capabilities=("ContinuousActions",), **attributes):
        pgbench.register_env(
            "drift", make, family="control", summary="x", underlying="x", budgets={"smoke": 128},
            metrics=[pgbench.Metric("return")], capabilities=capabilities,
        )  # fmt: skip
        parts = {k: staticmethod(v) if callable(v) else v for k, v in attributes.items()}
        kind = type("Odd", (Linear,), parts)
        pgbench.register_algo(
            "odd", kind, family="control", loop=loop, summary="x", requires={"ContinuousActions"}
        )
        return "odd", "drift"

    return register


def go(names, folder, budget=128):
    plan = make_plan(
        *names, budget=budget, device="cpu", compile=False, threads=1,
        protocol=Protocol(episodes=2, curve_points=2, curve_episodes=1),
    )  # fmt: skip
    return Run(plan, folder)


BAD_ACTIONS = {
    "column": lambda a, e: a[:, :1],
    "flat": lambda a, e: a[:, 0],
    "array": lambda a, e: a.numpy(),
    "list": lambda a, e: a.tolist(),
    "int": lambda a, e: a.long(),
    "one row": lambda a, e: a[:1],
}


@pytest.mark.parametrize("loop", ["onpolicy", "offpolicy"])
@pytest.mark.parametrize("how", BAD_ACTIONS)
def test_actions_of_a_wrong_kind_are_refused_by_name(loop, how, registered, tmp_path):
    run = go(registered(loop, partial(Drift, size=3), returned=BAD_ACTIONS[how]), tmp_path)
    with pytest.raises(Breach, match=r"Odd\.act gives .*, not a float tensor of shape \(2, 3\)"):
        run.go()
    record = json.loads((run.folder / "run.json").read_text())
    assert (record["status"], record["result"]["failure"]) == ("failed", "crashed")


@pytest.mark.parametrize("loop", ["onpolicy", "offpolicy"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("when", [False, True], ids=["mode", "exploring"])
def test_actions_that_are_not_finite_are_a_divergence(loop, value, when, registered, tmp_path):
    """Infinite ones, too, which the bounds of the box would hide."""
    broken = lambda a, explore: a + (value if explore == when else 0.0)  # noqa: E731
    record = go(registered(loop, returned=broken), tmp_path).go()
    assert (record["status"], record["result"]["failure"]) == ("failed", "diverged")
    assert "actions of Odd are not finite" in record["result"]["error"]


@pytest.mark.parametrize("loop", ["onpolicy", "offpolicy"])
@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_other_floats_are_taken_as_float32(loop, kind, registered, tmp_path):
    names = registered(loop, returned=lambda a, e: a.round(decimals=1).to(kind).to(kind))
    record = go(names, tmp_path).go()
    assert record["status"] == "finished"


@pytest.mark.parametrize(
    "given",
    [2.0, 2, np.float32(2), np.int64(2), np.array([2]), torch.tensor([2.0]), torch.tensor(2),
     torch.tensor(2.0, requires_grad=True)],
)  # fmt: skip
def test_a_metric_is_any_one_real_number(given):
    out = checks.scalar("x", "m", given, torch.device("cpu"))
    assert out.shape == () and not out.requires_grad and float(out) == 2


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        (None, r"Odd\.update gives None, not a dict"),
        ([1.0], r"gives a list, not a dict"),
        ({"step": 1.0}, "a metric 'step', which the log writes itself"),
        ({"kind": 1.0}, "a metric 'kind'"),
        ({"train_return": 1.0}, "a metric 'train_return'"),
        ({3: 1.0}, "a name is a text"),
        ({"m": torch.ones(3)}, r"metric 'm' a tensor of shape \(3,\)"),
        ({"m": "high"}, "metric 'm' a str"),
        ({"m": None}, "metric 'm' None"),
        ({"m": 1j}, "metric 'm' a complex"),
    ],
)
@pytest.mark.parametrize("loop", ["onpolicy", "offpolicy"])
def test_metrics_of_a_wrong_kind_are_refused_by_name(loop, metrics, line, registered, tmp_path):
    run = go(registered(loop, metrics=lambda w: metrics), tmp_path)
    with pytest.raises(Breach, match=line):
        run.go()
    assert '"step": 1.0' not in (run.folder / "events.jsonl").read_text()


def test_metrics_that_are_not_finite_are_a_divergence(registered, tmp_path):
    record = go(registered(metrics=lambda w: {"fine": 1, "bad": INF}), tmp_path).go()
    assert record["result"]["failure"] == "diverged" and "bad not" in record["result"]["error"]


def changed(**parts):
    """A `change` of `Drift`: parts of what a step gives, each a function of what it was."""
    names = ("obs", "reward", "terminated", "truncated", "info")

    def change(*given):
        count = given[-1]
        return tuple(
            parts[name](x, count) if name in parts else x
            for name, x in zip(names, given, strict=False)
        )

    return partial(Drift, change=change)


@pytest.mark.parametrize("loop", ["onpolicy", "offpolicy"])
@pytest.mark.parametrize("kind", ["list", "float32", "int", "object", "bool"])
def test_rewards_and_ends_of_any_number_type_are_read(loop, kind, registered, tmp_path):
    read = {
        "list": lambda r, _: r.tolist(), "float32": lambda r, _: r.astype(np.float32),
        "int": lambda r, _: r.astype(int), "object": lambda r, _: r.astype(object),
        "bool": lambda r, _: r > -1,
    }[kind]  # fmt: skip
    ends = (lambda x, _: x.tolist()) if kind == "list" else (lambda x, _: x.astype(int))
    names = registered(loop, changed(reward=read, terminated=ends, truncated=ends))
    record = go(names, tmp_path).go()
    assert record["status"] == "finished" and record["result"]["lengths"] == [10, 10]


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({"reward": lambda r, _: r[:, None]}, r"rewards of shape \(2, 1\)"),
        ({"reward": lambda r, _: float(r[0])}, r"rewards of shape \(\)"),
        ({"reward": lambda r, _: ["a", "b"]}, r"rewards of shape \(2,\) and type <U1"),
        ({"truncated": lambda x, _: bool(x[0])}, r"truncated of shape \(\)"),
        ({"obs": lambda x, _: x[:, :1]}, r"observations of shape \(2, 1\)"),
        ({"info": lambda x, _: {}}, r"no info\['final_obs'\]"),
        ({"info": lambda x, _: {k: v[:, :1] if k == "final_obs" else v for k, v in x.items()}},
         r"info\['final_obs'\] of shape \(1,\)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("loop", ["onpolicy", "offpolicy"])
def test_steps_of_a_wrong_kind_are_refused_by_name(loop, parts, line, registered):
    names = registered(loop, changed(**parts))
    plan = make_plan(*names, budget=128, device="cpu", compile=False, threads=1)
    with pytest.raises(Breach, match=line):
        list(build(plan)[2].phases())


@pytest.mark.parametrize("loop", ["onpolicy", "offpolicy"])
@pytest.mark.parametrize("value", [NAN, INF, 1e30])
@pytest.mark.parametrize("part", ["obs", "reward", "info"])
def test_numbers_of_an_environment_that_nobody_can_learn_from(
    loop, value, part, registered, tmp_path
):
    """Found in step 30: after the fingerprint, in training; they are not the policy's fault."""

    def spoil(x, count):
        if count < 30 or not len(x):
            return x
        return {**x, "final_obs": x["final_obs"] + value} if part == "info" else x + value

    record = go(registered(loop, changed(**{part: spoil})), tmp_path).go()
    assert record["result"]["failure"] == "diverged"
    what = "rewards" if part == "reward" else "observations"
    assert f"{what} of drift-v0 are" in record["result"]["error"]


@pytest.mark.parametrize("box", [(-INF, INF), (-0.5, 3.0), (0.0, INF)])
def test_any_bounds_serve_an_algorithm_that_clips(box, registered, tmp_path):
    assert go(registered(make=partial(Drift, box=box)), tmp_path).go()["status"] == "finished"


def test_scaled_actions_need_bounds(registered, tmp_path):
    names = registered("offpolicy", partial(Drift, box=(0.0, INF)), action_range="scale")
    with pytest.raises(PgbenchError, match=r"Odd scales its actions .* no bounds here"):
        go(names, tmp_path).go()
    assert not list(tmp_path.iterdir())


def gym_default(num_envs=1):
    return gymnasium.make_vec("Pendulum-v1", num_envs=num_envs, vectorization_mode="sync")


def with_space(name, space):
    def make(num_envs=1):
        env = Drift(num_envs)
        setattr(env, f"single_{name}_space", space)
        return env

    return make


PIXELS = spaces.Box(0, 255, (4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("make", "lines"),
    [
        (gym_default, ("SyncVectorEnv, which cannot be saved in the middle of a run", "Lanes")),
        (partial(Drift, mode=AutoresetMode.NEXT_STEP), ("autoreset mode is NextStep",)),
        (partial(Drift, mode=AutoresetMode.DISABLED), ("autoreset mode is Disabled",)),
        (lambda num_envs=1: gymnasium.make("Pendulum-v1"), ("no vector environment",)),
        (lambda num_envs=1: Drift(3), ("3 environments where num_envs=2",)),
        (with_space("observation", spaces.Dict({"x": PIXELS})), ("observation space is Dict",)),
        (with_space("observation", PIXELS), (r"observation space has the shape \(4, 4, 3\)",)),
        (with_space("action", spaces.Discrete(3)), (r"Discrete, not a Box \(.* DiscreteActions",)),
        (with_space("action", spaces.Box(-1, 1, (2, 2))), (r"action space has the shape",)),
        (with_space("action", spaces.Box(-1, 1, (2,), int)), ("actions are of type int64",)),
    ],
)  # fmt: skip
def test_an_environment_that_cannot_be_trained_on_is_refused_first(
    make, lines, registered, tmp_path
):
    names = registered(make=make)
    for line in lines:
        with pytest.raises(PgbenchError, match=line):
            go(names, tmp_path).go()
    assert not list(tmp_path.iterdir())


def test_discrete_actions_are_promised_by_their_own_name(registered, tmp_path):
    names = registered(capabilities=("DiscreteActions", "ContinuousActions"))
    words = r"its action space is Box, not Discrete \(that would be ContinuousActions\)"
    with pytest.raises(PgbenchError, match=words):
        go(names, tmp_path).go()


def test_a_promised_capability_must_be_there(registered, tmp_path):
    names = registered(capabilities=("ContinuousActions", "Graph"))
    with pytest.raises(PgbenchError, match=r"it has no network \(Graph\)"):
        go(names, tmp_path).go()


def test_an_endless_episode_is_cut_off_and_the_record_says_so(registered, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "MOST_STEPS", 300)
    record = go(registered(make=partial(Drift, length=10**9)), tmp_path).go()
    assert record["status"] == "finished"
    assert record["result"]["lengths"] == [300, 300] and record["result"]["cut"] == 2
    whole = go(registered_again(), tmp_path / "whole").go()
    assert whole["result"]["lengths"] == [10, 10] and "cut" not in whole["result"]


def registered_again():
    spec = ENVS.specs["drift"]
    del ENVS.specs["drift"]
    pgbench.register_env(
        "drift", Drift, family="control", summary="x", underlying="x", budgets=spec.budgets,
        metrics=spec.metrics, capabilities=spec.capabilities,
    )  # fmt: skip
    return "odd", "drift"


def test_the_limit_of_an_episode_is_the_environments_own():
    assert evaluation.step_limit(pgbench.make("pendulum")) == 200
    assert evaluation.step_limit(gym_default()) == 200
    assert evaluation.step_limit(Drift()) == evaluation.MOST_STEPS


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (lambda obs: np.full((len(obs), 3), NAN), Diverged),
        (lambda obs: np.zeros((len(obs), 1)), Breach),
        (lambda obs: ["left"] * len(obs), Breach),
    ],
)
def test_a_function_is_evaluated_by_the_same_rules(policy, error):
    with pytest.raises(error, match="actions"):
        pgbench.evaluate(policy, "hopper", episodes=2)


class Slow(Drift):
    """Never ends, and says in a file that it is being evaluated."""

    def step(self, actions):
        if self.num_envs != 2:
            open("evaluating", "w").close()
        return super().step(actions)


PLUGIN = """
import sys; sys.path.insert(0, {helpers!r}); sys.path.insert(0, {here!r})
import pgbench
from test_checks import {env} as Env
pgbench.register_env("slow", Env, family="control", summary="x", underlying="x",
    metrics=[pgbench.Metric("return")], budgets={{"smoke": 128}},
    capabilities=["ContinuousActions"])
"""


def test_sigterm_ends_an_evaluation(tmp_path):
    here = Path(__file__).parent
    text = PLUGIN.format(helpers=str(here.parent / "helpers"), here=str(here), env="Slow")
    (tmp_path / "slow.py").write_text(text)
    command = [
        *(sys.executable, "-m", "pgbench", "run", "--algo", "reinforce", "--env", "slow.py"),
        *("--budget 128 --episodes 1 --no-compile -q --set horizon=64".split()),
        *("--set num_envs=2 --set hidden=4 --set env.length=1000000000".split()),
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (tmp_path / "evaluating").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "the same command continues it" in err
    (path,) = tmp_path.rglob("run.json")
    record = json.loads(path.read_text())
    assert record["status"] == "interrupted"
    assert (path.parent / "checkpoint" / "state.pt").exists()


@pytest.mark.parametrize("number", [1, 2], ids=["curve", "final"])
def test_an_interrupted_evaluation_is_made_first_on_resume(
    number, registered, tmp_path, monkeypatch
):
    names = registered()
    whole = go(names, tmp_path / "whole", budget=256).go()
    run = go(names, tmp_path / "stopped", budget=256)
    calls = []

    def asked(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            run._stop()  # as the handler of a signal does
            raise AssertionError("an evaluation goes on though it was asked to stop")
        return evaluation.evaluate(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "evaluate", asked)
        with pytest.raises(runner.Interrupted):
            run.go()
    assert (run.folder / "checkpoint" / "state.pt").exists()
    again = go(names, tmp_path / "stopped", budget=256)
    assert again.go()["result"] == whole["result"]
    events = [path.read_text() for path in tmp_path.rglob("events.jsonl")]
    assert len(events) == 2 and events[0] == events[1]


@pytest.mark.parametrize(
    ("attributes", "fails"),
    [
        ({"metrics": lambda w: {"loss": NAN}}, {"deterministic", "resumes", "loads"}),
        ({"metrics": lambda w: 1 / 0}, {"deterministic", "resumes", "loads"}),
        ({"metrics": lambda w: sys.exit("no")}, {"deterministic", "resumes", "loads"}),
        ({"metrics": lambda w: None}, {"deterministic", "resumes", "loads"}),
        ({"returned": lambda a, e: a + (NAN if e else 0)}, {"acts", "deterministic"}),
        ({"returned": lambda a, e: a[:, :1]}, {"acts", "deterministic"}),
    ],
)
def test_the_contract_suite_goes_on_to_its_verdict(attributes, fails, registered):
    names, lines = registered(**attributes), []
    assert not contract.check_algorithm(*names, lines.append)
    assert lines[-1] == "odd on drift: breaks the contract"
    assert len(lines) == len(contract.CHECKS) + 1
    failed = {
        c.__name__
        for c, line in zip(contract.CHECKS, lines, strict=False)
        if line.startswith("FAIL")
    }
    assert fails <= failed
