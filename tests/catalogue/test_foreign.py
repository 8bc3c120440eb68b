"""Environments of Gymnasium's registry by name: runs, records, pages, refusals."""

import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from pgbench.catalogue.capabilities import make
from pgbench.catalogue.fingerprint import golden
from pgbench.catalogue.registry import ALGOS, ENVS, find_algo, find_env, missing_capabilities
from pgbench.errors import PgbenchError
from pgbench.runs.contract import Doomed, Killed
from pgbench.runs.evaluation import evaluate
from pgbench.runs.plan import Protocol, make_plan
from pgbench.runs.runner import Run

SHORT = "--budget 512 --set horizon=256 --set num_envs=2 --no-compile --episodes 3".split()

OWN = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Walk(gymnasium.Env):
    observation_space = spaces.Discrete(5)
    action_space = spaces.Discrete(2)

    def __init__(self, slip: float = 0.1):
        self.slip = slip

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 2
        return self.place, {}

    def step(self, action):
        right = action == 1 if self.np_random.random() > self.slip else action == 0
        self.place += 1 if right else -1
        return self.place, float(self.place == 4), self.place in (0, 4), False, {}


class Both(Walk):
    observation_space = spaces.Dict({"place": spaces.Discrete(5)})


gymnasium.register("own/Walk-v3", Walk, max_episode_steps=20)
gymnasium.register("Unversioned", Walk, max_episode_steps=20)
gymnasium.register("Both-v0", Both)
"""
SYNC = """
import gymnasium

import pgbench


def batch(num_envs):
    return gymnasium.make_vec("Pendulum-v1", num_envs, vectorization_mode="sync")


pgbench.register_env(
    "synced", batch, family="control", summary="-", underlying="Pendulum-v1",
    metrics=[pgbench.Metric("return per episode")], budgets={"smoke": 1000, "small": 1000},
    capabilities={"ContinuousActions"},
)
"""


@pytest.fixture
def own(monkeypatch, tmp_path):
    """A module of somebody's that registers environments with Gymnasium."""
    import sys

    (tmp_path / "own_walks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)
    yield tmp_path
    sys.modules.pop("own_walks", None)


def test_an_id_becomes_an_environment_of_the_catalogue():
    spec = find_env("gym:Pendulum-v1")
    assert (spec.id, spec.name, spec.folder) == ("gym:Pendulum", "gym:Pendulum-v1", "gym+Pendulum")
    assert spec.underlying == f"Pendulum-v1 of gymnasium {gymnasium.__version__}"
    assert spec.capabilities == {"ContinuousActions"} and spec.max_episode_steps == 200
    assert find_env("gym:Pendulum") == spec, "without a version: the latest"
    assert find_env("gym:CartPole").name == "gym:CartPole-v1"
    assert find_env("gym:CartPole-v0").max_episode_steps == 200
    assert find_env("gym:FrozenLake-v1").capabilities == {"DiscreteActions"}
    assert spec.id not in {s.id for s in ENVS.all()}, "the list names what is built in"


def test_the_fingerprint_is_the_built_in_environments():
    """Same observations, rewards and ends for the same seeds and actions."""
    for id, builtin in (("Pendulum-v1", "pendulum"), ("InvertedPendulum-v5", "inverted-pendulum")):
        assert golden(find_env(f"gym:{id}")) == golden(find_env(builtin))
        assert golden(find_env(f"gym:{id}")) == golden(find_env(f"gym:{id}"))


def test_keywords_are_the_constructors_and_the_time_limit():
    env = make("gym:Pendulum-v1", g=5.0, max_episode_steps=7)
    env.reset(seed=0)
    ends = [bool(env.step(np.zeros((1, 1)))[3][0]) for _ in range(14)]
    assert ends == [False] * 6 + [True] + [False] * 6 + [True]
    heavy = make("gym:Pendulum-v1")
    assert golden(find_env("gym:Pendulum-v1"), {"g": 5.0}) != golden(find_env("gym:Pendulum-v1"))
    assert heavy.spec.max_episode_steps == 200
    with pytest.raises(PgbenchError, match="unknown setting of gym:Pendulum 'gg'; did you mean g"):
        make("gym:Pendulum-v1", gg=1)
    with pytest.raises(PgbenchError, match=r"takes a whole number, not 'x'|fails|frame_skip"):
        make("gym:InvertedPendulum-v5", frame_skip="x")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ("gym:CartPol-v1", "unknown environment 'gym:CartPol-v1'; did you mean gym:CartPole-v1"),
        ("gym:CartPole-v7", "did you mean gym:CartPole-v1"),
        ("gym:zzzzzzzzzzzz", "Gymnasium has no such id; gym:PACKAGE:ID imports the package"),
        ("gym:", "unknown environment 'gym:'"),
        ("gym:no_such_package:X-v0", "there is no package no_such_package; install it"),
        ("gym:Blackjack-v1", "gym:Blackjack-v1 observes a Tuple space"),
        ("gym:Hopper-v2", "cannot be made: The mujoco v2"),
        ("mo:mo-hoper-v5", "did you mean mo:mo-hopper-v5"),
        ("mo:mo-hopper-v5", "'ppo' is for family control, inventory, text, not morl"),
        ("gym:Pendulum-v1 --set env.gg=1", "unknown setting of gym:Pendulum 'gg'; did you mean g?"),
        ("gym:Pendulum-v1 --set env.g=heavy", "gym:Pendulum-v1 fails when it is stepped"),
        ("gym:Hopper-v5 --set env.xml_file=nowhere.xml", "cannot be made with xml_file='nowhere"),
    ],
)
def test_bad_names_are_one_line_and_exit_code_2(cli, tmp_path, env, expected, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*f"run --algo ppo --quiet --env {env}".split())
    assert code == 2 and out == ""
    assert expected in err
    assert err.count("\n") == 1 and "Traceback" not in err
    assert not list(tmp_path.rglob("*.*"))


def test_an_unknown_id_of_a_package_names_what_the_package_has(own):
    with pytest.raises(PgbenchError, match="did you mean gym:own_walks:own/Walk-v3"):
        find_env("gym:own_walks:own/Walk-v4")


def test_a_run_on_an_environment_of_ones_own(cli, own):
    """Named by its module, found again by its record, evaluated, shown."""
    name = "gym:own_walks:own/Walk-v3"
    code, out, err = cli(*"run --algo ppo --env".split(), name, *SHORT, "-s", "env.slip=0.0")
    assert code == 0, err
    [run] = (own / "runs/ppo/gym+own_walks+own+Walk").iterdir()
    code, out, _ = cli("show", run, "--json")
    import json

    record = json.loads(out)
    assert record["environment"]["id"] == name
    assert record["environment"]["kwargs"] == {"slip": 0.0}
    assert record["environment"]["registered"] == {
        "id": "own/Walk-v3", "entry_point": "own_walks:Walk", "package": "own_walks",
        "version": "without version", "max_episode_steps": 20,
    }  # fmt: skip
    assert record["identity"]["sources"][1], "the module's source is part of the run's identity"
    code, out, err = cli("eval", run, "--episodes", "4")
    assert code == 0 and "return" in out
    assert find_env(record["environment"]["id"]).name == name
    (own / "own_walks.py").write_text(OWN.replace("0.1", "0.2"))
    assert name in cli("explain", name)[1]


def test_an_id_without_a_version_is_found_by_its_record(own):
    spec = find_env("gym:own_walks:Unversioned")
    assert spec.name == "gym:own_walks:Unversioned-v0"
    assert find_env(spec.name).underlying == spec.underlying
    with pytest.raises(PgbenchError, match="Both-v0 observes a Dict of place, no vector"):
        find_env("gym:own_walks:Both-v0")


def test_gymnasiums_own_batch_from_a_plugin_is_one_line(cli, tmp_path):
    (tmp_path / "synced.py").write_text(SYNC)
    code, _, err = cli(
        *"run --algo ppo --env".split(), tmp_path / "synced.py", *SHORT, "--runs", tmp_path / "r"
    )
    assert code == 2 and err.count("\n") == 1
    assert "Gymnasium's SyncVectorEnv" in err and "worlds.lanes.Lanes(make_one, num_envs)" in err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("env", ["gym:InvertedPendulum-v5", "gym:own_walks:own/Walk-v3"])
def test_a_killed_run_goes_on_to_the_same_bits(own, env):
    settings = {"horizon": 128, "num_envs": 2, "epochs": 1, "hidden": "8,8"}
    plan = make_plan(
        "ppo", env, budget=512, settings=settings, threads=1, compile=False,
        protocol=Protocol(episodes=2, curve_points=2, curve_episodes=1),
    )  # fmt: skip
    whole = Run(plan, own / "whole").go()
    doomed = Doomed(plan, own / "killed", save_every=0)
    doomed.last = 5
    with pytest.raises(Killed):
        doomed.go()
    record = Run(plan, own / "killed").go()
    assert record["provenance"]["resumed"] == 1
    for field in ("checksum", "final", "curve"):
        assert record["result"][field] == whole["result"][field]


def test_pages_and_fits(cli):
    code, out, _ = cli("explain", "gym:CartPole-v1")
    assert code == 0
    for words in ("Discrete(2)", "at most 500 steps", f"gymnasium {gymnasium.__version__}",
                  "sutton_barto_reward", "Run on it:\n  pgbench run --algo"):  # fmt: skip
        assert words in out
    code, out, _ = cli("compat", "gym:CartPole-v1")
    fits = {line.split()[0] for line in out.splitlines() if line.endswith("fits")}
    assert {"ppo", "trpo", "reinforce", "mdpo"} <= fits and "sac" not in fits
    assert "gym:ID" in cli("list", "envs")[2]


def test_vector_rewards_are_for_algorithms_that_ask_for_them():
    spec = find_env("mo:deep-sea-treasure-v0")
    assert spec.family == "morl" and spec.capabilities == {"DiscreteActions", "VectorReward"}
    env = make(spec, num_envs=3)
    env.reset(seed=0)
    total = np.zeros((3, 2))
    for _ in range(5):
        _, rewards, *_ = env.step(np.array([3, 1, 2]))
        assert rewards.shape == (3, 2)
        total += rewards
    assert (total[:, 1] < 0).all(), "each step costs time"
    assert env.reward_size == 2
    for algo in ALGOS.all():
        assert "rewards that are numbers" in missing_capabilities(algo, spec)
    with pytest.raises(PgbenchError, match="rewards by vectors"):
        evaluate(lambda obs: np.zeros(len(obs), int), spec, 2)
    assert find_env("mo:mo-hopper-v5").capabilities == {"ContinuousActions", "VectorReward"}
    assert find_algo("ppo", "control")


def test_the_examples_of_the_document_run(own, cli):
    """docs/environments.md: one registered with Gymnasium, one that is wrapped, a model."""
    document = Path(__file__).parents[2] / "docs" / "environments.md"
    walk, wrapped, exact = re.findall(r"```python\n(.*?)```", document.read_text(), re.S)
    (own / "my_walks.py").write_text(walk)
    (own / "blackjack.py").write_text(wrapped)
    for name in ("gym:my_walks:Walk-v0", "blackjack.py"):
        spec = find_env(name)
        found = evaluate(lambda obs: np.ones(len(obs), int), spec, 4)
        assert len(found.returns) == 4 and not found.cut
    exec(exact, space := {})
    assert float(space["model"].regret(space["best"])) == pytest.approx(0.0, abs=1e-12)
