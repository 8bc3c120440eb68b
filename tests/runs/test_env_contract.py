"""`pgbench check --env`: every built-in environment passes, and each oddity fails by name."""

import json
import pickle

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from odd_env import Drift

import pgbench
from pgbench.catalogue.registry import CATALOGUES, ENVS
from pgbench.errors import PgbenchError
from pgbench.runs.env_contract import CHECKS, World, check_environment

DEFAULT = ("pendulum", "one-store-lost-sales-p9-l1", "math-nano")


@pytest.fixture(autouse=True)
def catalogues(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for catalogue in CATALOGUES:
        catalogue.all()
        monkeypatch.setattr(catalogue, "specs", dict(catalogue.specs))


def settings_of(spec, folder):
    """What an environment needs: the name of a data set, or a file of rows of its kind."""
    if not spec.needs:
        return {}
    if spec.needs == "dataset=NAME":
        return {"dataset": "chain_sum"}
    if "code" in (spec.id, spec.instance_of):
        rows = [
            {"text": f"Add {i}.", "test_list": [f"assert f(1) == {1 + i}"], "task_id": number,
             "code": f"def f(x):\n    return x + {i}"}
            for i, number in enumerate([*range(11, 21), *range(601, 631)])
        ]  # fmt: skip
    else:
        rows = [{"problem": f"What is {i}+1?", "answer": str(i + 1)} for i in range(60)]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"source": str(file)}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(spec.id, marks=[] if spec.id in DEFAULT else [pytest.mark.slow])
        for spec in ENVS.all()
    ],
)
def test_every_environment_keeps_the_contract(name, tmp_path):
    lines = []
    passed = check_environment(name, settings_of(ENVS.specs[name], tmp_path), lines.append)
    assert passed, "\n".join(lines)
    assert len(lines) == len(CHECKS) + 1
    assert lines[-1] == f"{name}: keeps the contract"
    assert "this process alone" not in "".join(lines)


@pytest.mark.parametrize("name", ["gym:CartPole-v1", "gym:FrozenLake-v1"])
def test_environments_of_gymnasium_keep_it_too(name, tmp_path):
    for check in CHECKS:
        if check.__name__ != "resumed":  # it starts a process; docs/plugins.md goes through all
            check(World(name, tmp_path))


def test_vectors_of_rewards_are_not_scored(tmp_path):
    pytest.importorskip("mo_gymnasium")
    assert "an episode has no score" in NAMED["judged"](World("mo:deep-sea-treasure-v0", tmp_path))


def without(*names):
    """`Drift` that has no such methods."""
    return type("Bare", (VectorEnv,), {k: v for k, v in vars(Drift).items() if k not in names})


def changed(**methods):
    return type("Odd", (Drift,), methods)


def start(where):
    """A `reset` that puts the points where `where(env, seeds)` says."""

    def reset(self, *, seed=None, options=None):
        Drift.reset(self)
        self.x += np.reshape(where(self, seed), (-1, 1))
        return self.x.astype(np.float32), {}

    return reset


def step_with(change, actions=lambda a: a):
    def step(self, given):
        return change(*Drift.step(self, actions(np.asarray(given))))

    return step


def no_final_obs(obs, reward, ended, cut, info):
    return obs, reward, ended, cut, {}


def first_as_final(obs, reward, ended, cut, info):
    return obs, reward, ended, cut, {**info, "final_obs": obs.copy()} if info else info


class Narrow(Drift):
    def __init__(self, num_envs=1):
        super().__init__(num_envs)
        self.single_observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = spaces.Box(-1, 1, (num_envs, 2), np.float32)


class Wide(Drift):
    def __init__(self, num_envs=1):
        super().__init__(num_envs)
        self.action_space = self.single_action_space


class NextStep(Drift):
    def __init__(self, num_envs=1):
        super().__init__(num_envs, mode=AutoresetMode.NEXT_STEP)


ODD = {
    "no state_dict": (without("state_dict"), "promised resumed", "no state_dict (Resumable)"),
    "next step": (NextStep, "promised", "autoreset mode is NextStep, not SameStep"),
    "batched space": (Wide, "promised", "action_space is not 4 times single_action_space"),
    "observation": (Narrow, "observed ended", "the observation of lane"),
    "no final_obs": (
        changed(step=step_with(no_final_obs)), "ended", "without info['final_obs']",
    ),
    "first as final": (changed(step=step_with(first_as_final)), "ended", "keep a copy before"),
    "unseeded": (
        changed(reset=start(lambda self, seed: np.random.normal(size=self.num_envs))),
        "seeded apart", "reset again with the same seeds, observations of step 0 differ",
    ),
    "company": (
        changed(reset=start(lambda self, seed: self.num_envs)), "apart",
        "depend on how many episodes run side by side",
    ),
    "forgets": (
        changed(load_state_dict=lambda self, saved: self.x.__setitem__(slice(None), saved["x"])),
        "resumed", "continued from a saved state, ",
    ),
    "saved by reference": (
        changed(state_dict=lambda self: {"x": self.x, "t": self.t, "count": self.count}),
        "resumed", "continued from a saved state, ",
    ),
    "state of objects": (
        changed(state_dict=lambda self: {"x": self.x, "rng": np.random.default_rng(0)}),
        "resumed", "",
    ),
    "takes NaN": (
        changed(step=step_with(lambda *given: given, np.nan_to_num)), "refused",
        "NaN for an action is taken without a word",
    ),
}  # fmt: skip


def add(make, name="odd", capabilities=("ContinuousActions",), **more):
    pgbench.register_env(
        name, make, family="control", summary="x", underlying="x", budgets={"smoke": 128},
        metrics=[pgbench.Metric("return")], capabilities=capabilities, **more,
    )  # fmt: skip


NAMED = {check.__name__: check for check in CHECKS}


@pytest.mark.parametrize("how", ODD)
def test_what_is_odd_fails_by_name_and_nothing_else_does(how, tmp_path):
    make, failing, words = ODD[how]
    add(make)
    failed = {}
    for name in set(NAMED) - {"resumed"} | set(failing.split()):  # it starts a process
        try:
            NAMED[name](World("odd", tmp_path))
        except (AssertionError, PgbenchError, AttributeError, pickle.UnpicklingError) as error:
            failed[name] = str(error)
    assert set(failed) == set(failing.split()), failed
    assert words in "".join(failed.values())


def test_the_verdict_comes_whatever_fails():
    add(changed(step=step_with(lambda *given: 1 / 0)))
    lines = []
    assert not check_environment("odd", {}, lines.append)
    assert sum(line.startswith("FAIL") for line in lines) == 7
    assert "ZeroDivisionError: division by zero" in lines[1]
    assert lines[-1] == "odd: breaks the contract"


def test_what_is_not_wrong_is_said(tmp_path):
    add(Drift)
    lines = []
    assert check_environment("odd", {}, lines.append), "\n".join(lines)
    text = "\n".join(lines)
    assert "every seed gives the same episodes" in text
    assert "in this process alone" in text and "it has no anchors" in text
    add(Drift, "endless", anchors={"random": pgbench.Anchor(-3.0, "measured")})
    world = World("endless", tmp_path, {"length": 10**9})
    assert NAMED["ended"](world) == "no episode ended in 2,005 steps, so none was seen to"
    assert "anchors: random -3" in NAMED["judged"](World("endless", tmp_path))


def test_rounding_is_no_dependence_on_others(tmp_path):
    def rounded(self, seed):
        return 1e-7 * self.num_envs

    add(changed(reset=start(rounded)))
    assert NAMED["apart"](World("odd", tmp_path)) == "equal but for rounding"


FILE = """
import pgbench
from odd_env import Drift
pgbench.register_env("drift", Drift, family="control", summary="x", underlying="x",
    metrics=[pgbench.Metric("return")], budgets={"smoke": 128}, capabilities=["ContinuousActions"])
"""


def test_a_file_by_itself_and_with_settings(cli, tmp_path):
    (tmp_path / "world.py").write_text(FILE)
    code, out, err = cli("check", "./world.py", "--set", "length=4")
    assert code == 0, out + err
    assert out.endswith("./world.py: keeps the contract\n")
    assert "this process alone" not in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("", "name what to check: an algorithm, or --env an environment"),
        ("group", "group is a loop; check an algorithm that uses it"),
        ("hoper", "did you mean hopper"),
        ("--env hoper", "did you mean hopper"),
        ("pendulum --set gravity=3", "unknown setting of pendulum 'gravity'"),
        ("pendulum --set g=fast", "g takes a number, not 'fast'"),
        ("--env math", "source"),
        ("--env ./nowhere.py", "there is no plug-in file"),
    ],
)
def test_nothing_to_check_is_one_line(cli, words, line):
    code, out, err = cli("check", *words.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert line in err


def test_a_constructor_that_fails_is_one_line(cli):
    add(lambda num_envs: 1 / 0)
    code, _, err = cli("check", "odd")
    assert (code, err) == (2, "pgbench: odd cannot be made: ZeroDivisionError: division by zero\n")
