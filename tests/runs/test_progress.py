"""Progress as it is seen: on a terminal of 80 columns, in a log, in a notebook, quietly."""

import dataclasses
import re
import sys
import time
import types

import pytest
import torch

from pgbench.runs.plan import make_plan
from pgbench.runs.progress import Progress

CSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def plan():
    """A run of a million steps that compiles."""
    return make_plan("ppo", "inverted-pendulum", budget="1M", compile=True)


LONG = """
import dataclasses, time
from pgbench.runs.plan import make_plan
from pgbench.runs.progress import Progress
plan = make_plan("ppo", "inverted-pendulum", budget="1M", compile=True)
plan = dataclasses.replace(plan, env=dataclasses.replace(plan.env, id="long-" * 12))
progress = Progress()
progress.start(plan, 0, 1_000_000, False)
for i in range(1, 9):
    time.sleep(0.3)
    progress.update(100_000 * i + 23, 12_345.6, {"loss": 1.0} if i > 2 else {})
    progress.evaluated(-12_345.6)
progress.stop()
"""


def test_eighty_columns_hold_bar_figures_and_time_left_whatever_the_names_are(terminal):
    out, code = terminal([sys.executable, "-c", LONG])
    assert code == 0, out
    lines = [CSI.sub("", line) for line in re.split(r"[\r\n]+", out)]
    assert max(map(len, lines)) <= 80
    bars = [line for line in lines if " steps" in line and "return" in line]
    assert any("compiling" in line for line in bars)
    whole = [line for line in bars if re.search(r"/s .*return 12,345.6 \d+:\d\d:\d\d", line)]
    assert whole, bars
    assert all(line[0] in "━╸╺ " for line in whole), "there is a bar, too"


def test_ctrl_c_on_a_terminal_saves_and_leaves_it_as_it_was(terminal, tmp_path):
    out, code = terminal(
        [sys.executable, "-m", "pgbench", "run", "--algo", "ppo", "--env", "inverted-pendulum",
         "--budget", "1M", "--set", "horizon=512", "--no-compile", "--runs", str(tmp_path)],
        press=(r"512/", b"\x03"),
    )  # fmt: skip
    assert code == 130, out
    assert "stopping after this phase" in out and "saved in" in out
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1, "the cursor is back"
    assert "Traceback" not in out


def test_a_pipe_gets_plain_lines_with_percent_score_and_time_left(plan, capsys):
    progress = Progress()
    progress.start(plan, 0, 1_000_000, False)
    assert progress.line() == "0%  0/1,000,000 steps, return -, compiling"
    progress.ticker.every = 0.01
    progress.update(100_000, None, {})
    assert progress.line() == "10%  100,000/1,000,000 steps, return -, compiling"
    progress.update(200_000, -0.25, {"loss": torch.tensor(1.0)})
    progress.began -= 60
    progress.update(400_000, 12_345.6, {"loss": torch.tensor(1.0)})
    line = progress.line()
    assert re.fullmatch(r"40%  400,000/1,000,000 steps, return 12,345.6, about 3 min left", line)
    progress.stop()
    err = capsys.readouterr().err
    assert err.startswith("ppo on inverted-pendulum, seed 0\nthe first update compiles")
    assert "\x1b" not in err and "\r" not in err


def test_a_notebook_gets_one_line_that_is_rewritten(plan, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    progress = Progress()
    progress.start(dataclasses.replace(plan, compile=False), 0, 1_000_000, False)
    progress.update(400_000, 1.0, {})
    end, err = time.monotonic() + 60, ""
    while "\r40%" not in err and time.monotonic() < end:
        err += capsys.readouterr().err
        time.sleep(0.05)
    progress.stop()
    assert "\r40%  400,000/1,000,000 steps" in err and "ipywidgets" not in err


@pytest.mark.parametrize("quiet", [False, True])
def test_responses_that_are_all_cut_off_are_a_warning_once_quiet_or_not(plan, capsys, quiet):
    progress = Progress(quiet)
    progress.start(plan, 0, 1_000_000, False)
    progress.update(1, 0.5, {"cut_off": torch.tensor(0.75)})
    assert "cut off" not in capsys.readouterr().err
    for step in (2, 3):
        progress.update(step, 0.5, {"cut_off": torch.tensor(1.0)})
    progress.stop()
    err = capsys.readouterr().err
    assert err.count("warning: the limit cut off every response") == 1
    assert err.count("\n") == 1 and "max_tokens" in err
