"""The space of a study: the default rule, files, and one line for what is wrong."""

import sys

import pytest
from tuning_runs import TINY

from pgbench.errors import install
from pgbench.tuning import make_tuning
from pgbench.tuning.space import Choices, read_space, table_of

optuna = pytest.importorskip("optuna")


@pytest.mark.parametrize(
    ("algo", "key", "expected"),
    [
        ("ppo", "lr", {"low": 3e-5, "high": 3e-3, "log": True}),
        ("reinforce", "vf_lr", {"low": 3e-5, "high": 3e-3, "log": True}),
        ("ppo", "gamma", {"low": 0.96, "high": 0.9975, "log": "1-x"}),
        ("ppo", "lam", {"low": 0.8, "high": 0.9875, "log": "1-x"}),
        ("ppo", "clip", {"low": 0.05, "high": 0.8, "log": True}),
        ("ppo", "minibatch", {"low": 16, "high": 256, "log": True, "int": True}),
        ("mdpo", "vf_epochs", {"low": 1, "high": 20, "log": True, "int": True}),
        # 3.2 is refused
        ("riskpo", "level_high", {"low": pytest.approx(0.2), "high": 1.0, "log": True}),
        ("mdpo", "divergence", {"choices": ["kl", "tsallis"]}),
        ("ppo", "horizon", {"choices": [512, 1024, 2048, 4096, 8192]}),
        ("sac", "tau", {"low": 0.00125, "high": 0.02, "log": True}),
    ],
)
def test_the_default_space_follows_the_rule(algo, key, expected):
    space = make_tuning(algo, "math-nano" if algo == "riskpo" else "hopper").space
    assert table_of(space)[key] == expected


def test_structure_and_what_has_no_scale_stay_out_of_the_default_space():
    ppo, mdpo = make_tuning("ppo", "hopper").space, make_tuning("mdpo", "hopper").space
    assert not {"hidden", "num_envs", "normalize_obs", "ent_coef"} & set(ppo)  # ent_coef is 0
    assert "form" not in mdpo
    sac = set(make_tuning("sac", "pendulum").space)
    assert sac == {"lr", "gamma", "batch", "tau", "start"}  # not buffer, not alpha (none)
    assert "lr" not in make_tuning("ppo", "hopper", settings={"lr": "1e-3"}).space
    small = make_tuning("ppo", "hopper", budget=3000).space["horizon"]
    assert small == Choices((512, 1024, 2048)), "an iteration may not exceed the budget"


def test_a_printed_space_is_a_space_file(cli, tmp_path):
    for algo in ("ppo", "mdpo", "trpo", "sac"):
        code, out, _ = cli("tune", "--algo", algo, "--env", "hopper", "--show-space")
        assert code == 0
        (tmp_path / "space.toml").write_text(out)
        tuning = make_tuning(algo, "hopper")
        assert read_space(tmp_path / "space.toml", tuning.base.config, algo, ()) == tuning.space
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("lr = {", "not valid TOML"),
        ("lrr = { low = 1, high = 2 }", "did you mean lr"),
        ("env.g = { low = 1, high = 2 }", "part of the task"),
        ("lr = 3", "takes {low=, high=} or {choices=[...]}"),
        ("lr = { low = 1, hihg = 2 }", "unknown field 'hihg'; did you mean high"),
        ("lr = { low = 1e-3 }", "lr: high is missing"),
        ("lr = { low = 'a', high = 1 }", "low must be a number, not 'a'"),
        ("lr = { low = 1e-3, high = 1e-3 }", "low must be below high"),
        ("lr = { low = 1e-2, high = 1e-3 }", "low must be below high"),
        ("lr = { low = 0, high = 1, log = true }", "above 0 on a log scale"),
        ("lr = { low = 1, high = 2, log = 1 }", 'log takes true, false or "1-x"'),
        ('gamma = { low = 0.9, high = 1, log = "1-x" }', "below 1"),
        ("lr = { choices = [] }", "a list of at least one value"),
        ("lr = { choices = [0.1, 0.1] }", "the same value twice"),
        ("lr = { choices = ['fast'] }", "'lr' takes a number, not 'fast'"),
        ("epochs = { low = 1.5, high = 3 }", "whole numbers"),
        ("epochs = { low = 1, high = 3, int = false }", "int=false cannot be"),
        ("normalize_obs = { low = 0, high = 1 }", "is no number; give {choices=[...]}"),
        ("q = { low = 0.5, high = 2 }", "q must be in [1, 2], not 0.5"),
        ("horizon = { low = 256, high = 512 }", "fixed by --set"),
    ],
)
def test_a_bad_space_is_one_line_that_names_file_and_key(cli, tmp_path, text, expected):
    path = tmp_path / "space.toml"
    path.write_text(text)
    algo = "mdpo" if text.startswith("q ") else "ppo"
    code, out, err = cli(
        *("tune --env pendulum --set horizon=512 --algo".split()), algo,
        "--space", path, "--runs", tmp_path / "runs",
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert expected in err and "space.toml" in err and err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--trials 0", "--trials is at least 1"),
        ("--tune-seeds 0", "--tune-seeds is at least 1"),
        ("--studies 0", "--studies is at least 1"),
        ("--only lrr", "did you mean lr"),
        ("--only lr --set lr=1", "fixed by --set and named by --only"),
        ("--only ,", "--only takes keys"),
        ("--space nowhere.toml", "no space file nowhere.toml"),
        ("--set lrr=1", "did you mean lr"),
        ("--budget 100 --trials 1 --only lr", "a budget of 100"),
        ("--trials 2 --only lr --set num_envs=7", "horizon 2048"),
    ],
)
def test_bad_input_is_one_line(cli, tmp_path, words, expected):
    code, out, err = cli(
        *("tune --algo ppo --env inverted-pendulum --runs".split()), tmp_path, *words.split()
    )
    assert (code, out) == (2, "")
    assert expected in err and err.count("\n") == 1 and "Traceback" not in err
    assert not list(tmp_path.iterdir()), "bad input must leave nothing behind"


def test_a_missing_optuna_is_one_line_that_names_the_extra(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = cli(*TINY, "--runs", tmp_path)
    assert code == 2 and install("tune") in err
    code, out, _ = cli(*TINY, "--show-space")
    assert code == 0 and "lr = {" in out, "to look at a space takes no optuna"
