"""What the command line says where people stumbled: one line, and the next step."""

import subprocess
import sys
from pathlib import Path

import pytest

import pgbench
from pgbench.records.suite import read_suite
from pgbench.runs.result import Result


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("runn", "no such command 'runn'"),
        ("check", "name what to check: an algorithm, or --env an environment"),
        ("run --algo ppo --evn hopper", "no such option '--evn'"),
        ("bench control-mini-v1 --jobs 0", "0 is not in the range"),
        ("new algo ppo", "is the name of an algorithm already"),
        ("explain nano", "nano is a language model"),
        ("compat control-mini-v1", "control-mini-v1 is a suite"),
    ],
)
def test_usage_errors_are_one_line_and_exit_code_2(cli, words, expected):
    code, out, err = cli(*words.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert expected in err and err.startswith("pgbench: ")
    assert err.count("id you mean") <= 1


def test_a_suite_is_known_away_from_its_checkout(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = Path(pgbench.__file__).parents[1] / "leaderboards"
    code, out, _ = cli("explain", "control-mini-v1")
    assert code == 0 and out.startswith("control-mini-v1: Small control")
    code, _, err = cli("compat", "control-mini-v1")
    assert code == 2 and f"`pgbench board control-mini-v1 --root {root}`" in err
    code, _, err = cli("explain", "kontrol-mini-v1")
    assert code == 2 and f"none of it in leaderboards nor in {root}" in err
    assert "did you mean" not in err


def test_a_warning_is_one_line_without_path():
    said = "import warnings; warnings.warn('first\\n second', stacklevel=1)"
    program = (
        "from pgbench.support.reporting import report_errors\n"
        f"def go(words):\n    {said}\nreport_errors(go)\n"
    )
    for more, expected in (([], "pgbench: warning: first second\n"), (["--debug"], "UserWarning")):
        done = subprocess.run(
            [sys.executable, "-c", program, *more], capture_output=True, text=True, check=True
        )
        assert done.stderr == expected if not more else expected in done.stderr


def test_version(cli):
    assert cli("--version")[:2] == (0, "pgbench 0.1.0\n")


def test_the_run_that_explain_shows_names_what_the_environment_needs(cli):
    assert "--env math --set source=FILE\n" in cli("explain", "math")[1]


def test_a_table_of_runs_fits_80_columns_and_keeps_paths_and_settings(cli, tiny, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folder, record = tiny
    out = cli("show", folder.parent)[1]
    assert f"\n  {folder}  horizon=256  num_envs=2\n" in out
    assert max(len(line) for line in out.splitlines() if str(folder) not in line) <= 80
    assert len(repr(Result(folder, record))) < 200 + len(str(folder))
    code, _, err = cli("show", folder, "--completions", 2)
    assert code == 2 and "is for language models" in err


def test_a_new_suite_is_one_that_bench_takes(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("new", "suite", "mine", "--env", "pendulum")[0] == 0
    suite = read_suite(tmp_path / "leaderboards/suites/mine-v1.toml")
    assert len(suite.environments["pendulum"].golden) == 64
    code, out, err = cli("bench", "mine-v1", "--dry-run")
    assert code == 0 and "6 of 6 runs are missing" in out, err
    assert cli("new", "suite", "mine")[0] == 2  # it is there
