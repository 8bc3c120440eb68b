"""`pgbench plot`, `table`, `board --all`, `explain SUITE`, costs of a dry run."""

import csv
import io
from pathlib import Path

import pytest

import pgbench

ROOT = Path(pgbench.__file__).parents[1] / "leaderboards"


def test_plot_and_table_of_runs(cli, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("plot", "runs")
    assert (code, out, err) == (0, "curves.svg\n", "")
    assert b"inverted-pendulum-v0" in (tmp_path / "curves.svg").read_bytes()
    code, out, err = cli("plot", "runs", "--kind", "bars", "--out", "new/a.pdf")
    assert code == 0 and (tmp_path / "new/a.pdf").read_bytes().startswith(b"%PDF"), err
    code, out, err = cli("table", "runs")
    assert code == 0 and "### inverted-pendulum-v0" in out and "| ppo (" in out, err
    code, out, err = cli("table", "runs", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    (mean,) = [r for r in rows if r["statistic"] == "mean" and r["environment"] != "all"]
    assert float(mean["value"]) == tiny[1]["result"]["score"]
    code, out, err = cli("table", "runs", "--format", "latex", "--out", "t.tex")
    assert (code, out) == (0, "t.tex\n") and "\\toprule" in (tmp_path / "t.tex").read_text(), err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("plot nothing", "neither a folder of runs nor a board"),
        ("table nothing", "neither a folder of runs nor a board"),
        ("plot control-mini-v1 --out a.gif", "svg, pdf, png, not 'gif'"),
        ("table control-mini-v1 --format html", "unknown format 'html'"),
        ("table control-mini-v1 --track x", "unknown track 'x'"),
        ("board", "give the name of one board, or --all"),
        ("board control-mini-v1 --all", "give the name of one board, or --all"),
        ("board --all --add runs", "name it instead of --all"),
    ],
)
def test_refusals_leave_nothing_behind(cli, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*words.split(), "--root", ROOT)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_one_track_of_a_board(cli):
    code, out, _ = cli("table", "control-mini-v1", "--track", "off-policy-50k", "--root", ROOT)
    assert code == 0 and out.startswith("## Off-policy, 50,000 environment steps\n")
    assert "On-policy" not in out


def test_every_board_of_a_folder(cli, tiny, tmp_path):
    root = tmp_path / "boards"
    for name in ("one", "two"):
        assert cli("board", name, "--add", tmp_path / "runs", "--root", root)[0] == 0
    assert cli("board", "--all", "--check", "--root", root)[0] == 0
    (root / "index.md").write_text("edited")
    (root / "two.bib").unlink()
    code, _, err = cli("board", "--all", "--check", "--root", root)
    assert code == 1 and "index.md" in err and "two.bib" in err
    assert cli("board", "--all", "--root", root)[:2] == (0, "")
    assert cli("board", "--all", "--check", "--root", root)[0] == 0
    code, _, err = cli("board", "--all", "--root", tmp_path / "none")
    assert code == 2 and "there are no records in" in err


def test_a_suite_is_explained(cli):
    code, out, err = cli("explain", "control-mini-v1", "--root", ROOT)
    assert code == 0, err
    for word in (
        "Small control", "9430302dee21", "MuJoCo 3.17", "Track off-policy-50k", "150 runs, about",
        "kappa=0.3 on halfcheetah", "10 seeds on hopper",
    ):  # fmt: skip
        assert word in " ".join(out.split()), word
    assert max(map(len, out.splitlines())) <= 120


def test_a_suite_without_records_costs_nobody_knows_what(cli, suite_file):
    code, out, err = cli("explain", suite_file())
    assert code == 0 and "cost unknown: no run of it is recorded" in out, err


def test_a_dry_comparison_says_track_and_cost(cli, tmp_path):
    words = "--board control-mini-v1 --dry-run --root".split()
    # sac and mdpo-off share the second track, though ppo is in the first.
    code, out, err = cli("compare", "sac", "mdpo-off, KL", *words, ROOT, "--runs", tmp_path)
    assert code == 0 and out.startswith("track off-policy-50k: "), err
    code, out, err = cli(
        "compare", "ppo", "ppo", "-s", "clip=0.1", *words, ROOT, "--runs", tmp_path
    )
    assert code == 0, err
    assert out.splitlines()[0].startswith("track on-policy-500k: ")
    assert "30 of 60 runs are missing: about" in out.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
