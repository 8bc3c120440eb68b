import json
import sys

import pytest

from pgbench.__main__ import main


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["pgbench", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def tiny(cli, tmp_path):
    """A finished two-iteration run: (folder, record)."""
    code, out, err = cli(
        *("run --algo ppo --env inverted-pendulum --budget 512 --set horizon=256".split()),
        *("--set num_envs=2 --episodes 2 --no-compile --json --runs".split()),
        tmp_path / "runs",
    )
    assert code == 0, err
    record = json.loads(out)
    return next((tmp_path / "runs" / "ppo" / "inverted-pendulum").iterdir()), record
