"""A loop of one's own: refused early by name where it lacks something, else as good as built in."""

import json
import sys

import pytest

import pgbench
from pgbench.catalogue.registry import CATALOGUES
from pgbench.errors import PgbenchError
from pgbench.loops.base import Loop, check_loop, check_made
from pgbench.runs.plan import load_loop, make_plan, shortfall

PLUGIN = '''
"""A random search: proposes parameters, keeps them where the rewards of a trial sum to more.

Of nobody; it shows what a loop of a plug-in is.
"""
from dataclasses import dataclass

import numpy as np
import pgbench
import torch
from pgbench.learning.algorithm import Algorithm
from pgbench.loops.base import Episodes, Loop, Phase
from pgbench.settings.config import Settings, option
from pgbench.settings.ranges import Count
from pgbench.worlds import checks
import kept_apart


@dataclass(frozen=True)
class Config(Settings):
    """One number."""

    length: int = option(20, "steps of a trial", at_least=1)
    size: float = option(0.3, "of a change", above=0)


class Search(Algorithm):
    """Keeps the better of two weight matrices."""

    Config = Config

    def __init__(self, config, setup):
        super().__init__(config, setup)
        w = torch.zeros(*setup.box_dims)
        self.state = {"w": w, "best": w.clone(), "most": torch.tensor(-float("inf"))}

    def act(self, obs, explore=True):
        action = obs @ self.state["w" if explore else "best"]
        return action + 0.01 * self.noise(*action.shape) if explore else action

    def update(self, batch):
        better = batch > self.state["most"]
        self.state["best"].copy_(torch.where(better, self.state["w"], self.state["best"]))
        self.state["most"].copy_(torch.maximum(batch, self.state["most"]))
        change = self.config.size * self.noise(*self.state["w"].shape)
        self.state["w"].copy_(self.state["best"] + change)
        return {"most": self.state["most"].clone()}


class Trials(Loop):
    """One number a trial: the sum of its rewards."""

    needs = {"length": Count}

    def __init__(self, algorithm, env, budget, seed):
        self.algorithm, self.env, self.budget, self.steps = algorithm, env, budget, 0
        self.policy, self.episodes = algorithm.policy(), Episodes(1)
        self.obs = checks.reset(env, [seed])

    def phases(self):
        while self.steps < self.budget:
            total = 0.0
            for _ in range(self.algorithm.config.length):
                action = self.policy.act(self.policy.see(self.obs))
                step = checks.step(self.env, self.policy.to_env(action))
                self.obs = step.obs
                self.episodes.add(step.reward, step.done)
                total += float(step.reward[0])
            self.steps += 1
            yield Phase("update", checks.learn(self.algorithm, torch.tensor(total)))

    def state_dict(self):
        return {"env": self.env.state_dict(), "obs": self.obs, "steps": self.steps,
                "episodes": self.episodes.state_dict()}

    def load_state_dict(self, saved):
        self.env.load_state_dict(saved["env"])
        self.obs, self.steps = np.array(saved["obs"]), saved["steps"]
        self.episodes.load_state_dict(saved["episodes"])


pgbench.register_loop(
    "trials", Trials, summary="whole trials", unit="trials", batch=torch.Tensor, tiny={"length": 5},
    tiny_budget=4,
)
pgbench.register_algo(
    "search", Search, family="control", loop="trials", summary="random search", budget="10",
    requires={"ContinuousActions"},
)
'''


@pytest.fixture(autouse=True)
def catalogues(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "kept_apart", raising=False)  # an earlier test's
    for catalogue in CATALOGUES:
        catalogue.all()
        monkeypatch.setattr(catalogue, "specs", dict(catalogue.specs))


@pytest.fixture
def plugin(tmp_path):
    (tmp_path / "kept_apart.py").write_text("x = 1\n")
    (tmp_path / "search.py").write_text(PLUGIN)
    return "./search.py"


def test_a_loop_of_a_plug_in_runs_keeps_the_contract_and_is_explained(cli, plugin, tmp_path):
    code, out, err = cli("check", plugin, "--env", "pendulum")
    assert code == 0, out + err
    run = ["run", "--algo", plugin, "--env", "pendulum", "--json", "--episodes", "2"]
    code, out, err = cli(*run)
    assert code == 0, err
    record = json.loads(out)
    assert record["protocol"]["budget"] == 10 and record["protocol"]["unit"] == "trials"
    assert len(record["identity"]["sources"]) == 3
    (folder,) = (path.parent for path in (tmp_path / "runs").rglob("run.json"))
    assert cli("eval", folder, "--episodes", "1")[0] == 0
    assert cli("board", "mine", "--add", "runs", "--root", "boards")[0] == 0
    text = " ".join(cli("explain", "trials")[1].split())
    for words in ("a budget counts trials", "algorithms search (control)", "length a whole number"):
        assert words in text
    code, out, _ = cli("list", "loops", "--json")
    assert code == 0
    mine = next(row for row in json.loads(out) if row["loop"] == "trials")
    assert (mine["batch"], mine["algorithms"]) == ("Tensor", ["control/search"])


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"trials", Trials', '"group", Trials', "loop 'group' is registered twice: in "),
        ('"trials", Trials', '"a/b", Trials', "'a/b' cannot name a loop"),
        ("class Trials(Loop)", "class Trials", "loop trials (Trials) has no steps_of and no "),
    ],
)
def test_a_file_whose_loop_will_not_do_is_one_line(cli, plugin, tmp_path, old, new, line):
    assert old in PLUGIN
    (tmp_path / "search.py").write_text(PLUGIN.replace(old, new))
    code, _, err = cli("run", "--algo", plugin, "--env", "pendulum")
    assert (code, err.count("\n")) == (2, 1) and line in err
    assert not (tmp_path / "runs").exists()


def test_named_budgets_of_another_unit_say_nothing(plugin, cli):
    code, _, err = cli("run", "--algo", plugin, "--env", "pendulum", "--budget", "smoke")
    assert (code, err.count("\n")) == (2, 1)
    assert "budgets of pendulum are in environment steps, and loop trials counts trials" in err


def test_settings_that_a_loop_reads_are_held_to_its_ranges(plugin, tmp_path):
    (tmp_path / "search.py").write_text(PLUGIN.replace(', "steps of a trial", at_least=1', ', "x"'))
    with pytest.raises(PgbenchError, match="length must be at least 1, not 0"):
        make_plan(plugin, "pendulum", settings={"length": 0}, device="cpu")


def registered(cls, monkeypatch, **more):
    pgbench.register_loop(
        "own", cls, summary="", unit="steps", batch=dict, tiny={}, tiny_budget=3, **more
    )
    pgbench.register_algo(
        "user", "pgbench.baselines.control.reinforce:REINFORCE", family="control", loop="own",
        summary="",
    )  # fmt: skip


def test_an_unknown_loop_is_refused_with_the_nearest(cli):
    pgbench.register_algo("user", object, family="control", loop="onpolici", summary="")
    for words in ("run --algo user --env pendulum", "explain user", "check user --env pendulum"):
        code, _, err = cli(*words.split())
        assert (code, err.count("\n")) == (2, 1), words
        assert "user asks for a loop that is not there: unknown loop 'onpolici'" in err
        assert "did you mean onpolicy" in err


@pytest.mark.parametrize("base", [Loop, object])
@pytest.mark.parametrize("lack", ["phases", "state_dict", "load_state_dict"])
def test_a_loop_without_a_method_is_refused_by_name(base, lack, monkeypatch, cli, tmp_path):
    names = {"phases", "state_dict", "load_state_dict"} - {lack}
    members = {name: lambda self: None for name in names}
    if base is object:
        members |= {"needs": {}, "threads": 1, "compile_from": 0, "steps_of": lambda c, b: b}
    registered(type("Own", (base,), members), monkeypatch)
    code, _, err = cli("run", "--algo", "user", "--env", "pendulum", "--budget", "5")
    assert (code, err.count("\n")) == (2, 1)
    assert f"loop own (Own) has no {lack}; inherit pgbench.loops.base.Loop" in err
    assert list(tmp_path.iterdir()) == []


def test_a_loop_of_nothing_names_all_that_it_lacks():
    with pytest.raises(PgbenchError, match=r"no phases and no state_dict and no .* no steps_of"):
        check_loop(object, "own")


def test_a_loop_whose_constructor_leaves_something_out(monkeypatch, cli, tmp_path):
    class Own(Loop):
        def __init__(self, algorithm, env, budget, seed):
            self.steps, self.budget = 0, budget

        phases = state_dict = load_state_dict = lambda self: None

    registered(Own, monkeypatch)
    code, _, err = cli("run", "--algo", "user", "--env", "pendulum", "--budget", "5")
    assert (code, err.count("\n")) == (2, 1)
    assert "loop own sets no policy and no episodes; its constructor does" in err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PgbenchError, match="sets no episodes"):
        check_made(type("Half", (), {"steps": 0, "budget": 1, "policy": 0})(), "own")


def test_a_loop_that_stops_short_says_so_in_its_own_words(monkeypatch):
    class Own(Loop):
        phases = state_dict = load_state_dict = lambda self: None
        steps_of = staticmethod(lambda config, budget: budget // 2)

    registered(Own, monkeypatch)
    plan = make_plan("user", "pendulum", budget=100, device="cpu")
    assert shortfall(plan) == "the run will end after 50 of 100 steps, its loop says so"
    Own.advice = staticmethod(lambda config, budget: f"half of {budget}")
    assert shortfall(plan).endswith("100 steps, half of 100")


def test_every_built_in_loop_has_all_that_a_loop_must():
    for name in ("onpolicy", "offpolicy", "hindsight", "group"):
        assert issubclass(load_loop(name), Loop)


def test_what_a_loop_of_a_plug_in_imports_belongs_to_the_runs_identity(plugin, tmp_path):
    from pgbench.runs import origins

    plan = make_plan(plugin, "pendulum", device="cpu")
    algo, env, loop = plan.identity["sources"]
    assert env is None and algo == loop is not None
    (tmp_path / "kept_apart.py").write_text("x = 2\n")
    with pytest.raises(PgbenchError, match=r"kept_apart\.py has changed since"):
        origins.sources(plan.loop)
