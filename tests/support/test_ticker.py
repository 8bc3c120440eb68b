"""Lines where no bar can be drawn."""

import re
import sys
import time

import pytest

from pgbench.support.ticker import Ticker, counted, hush


def wait_for(capsys, pattern, seconds=60):
    """Standard error until `pattern` is in it."""
    end, err = time.monotonic() + seconds, ""
    while not re.search(pattern, err):
        assert time.monotonic() < end, err
        err += capsys.readouterr().err
        time.sleep(0.01)
    return err


def test_lines_come_from_time_to_time_though_nothing_happens(capsys):
    ticker = Ticker(lambda: "still here", every=0.02, notebook=False)
    ticker.start()
    err = wait_for(capsys, r"(?s)still here.*still here")
    ticker.stop()
    err += capsys.readouterr().err
    assert set(err.splitlines()) == {"still here"} and "\r" not in err
    time.sleep(0.06)
    assert capsys.readouterr().err == "", "nothing is said after the end"


def test_a_notebook_rewrites_one_line_and_keeps_the_notes(capsys):
    ticker = Ticker(lambda: "50%", every=0.02, notebook=True)
    ticker.start()
    err = wait_for(capsys, r"\r50%")
    ticker.say("a note")
    err += wait_for(capsys, r"\ra note\n(.|\n)*\r50%")
    ticker.stop()
    err += capsys.readouterr().err
    assert err.count("\n") == 2 and err.endswith("\n"), "the note, and the end"


def test_a_shorter_line_covers_a_longer_one(capsys):
    ticker = Ticker(lambda: "", notebook=True)
    ticker.say("as long as this", for_good=False)
    ticker.say("short")
    assert capsys.readouterr().err == "\ras long as this\rshort          \n"


def test_what_is_counted_is_announced_unless_it_is_hushed(capsys):
    assert list(counted("making it", 3)) == [0, 1, 2]
    assert capsys.readouterr().err == "making it: 3 steps\n"
    with hush(True):
        assert list(counted("making it", 3)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_terminal_gets_a_bar_that_goes_away(terminal):
    out, code = terminal(
        [sys.executable, "-c", "from pgbench.support.ticker import counted\n"
         "import time\nfor _ in counted('making it', 3): time.sleep(0.2)"]
    )  # fmt: skip
    assert code == 0 and "making it" in out and "\x1b[2K" in out
