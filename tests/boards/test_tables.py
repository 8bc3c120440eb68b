"""CSV and LaTeX: worked cells, nothing that a re-run would change, text that other tools read."""

import copy
import csv
import io
import re
import shutil
import subprocess

import pytest

from pgbench.boards.tables import COLUMNS, escape, labels, to_csv, to_latex

VOLATILE = ("wall", "steps_per_s", "cpu", "memory", "2026-", "parameters")


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def pick(rows, **wanted):
    (row,) = [r for r in rows if all(r[key] == value for key, value in wanted.items())]
    return row


def tabulars(text):
    """Rows of cells of every tabular, with the number of columns it declares."""
    found = re.findall(r"\\begin\{tabular\}\{@\{\}(l?r*)@\{\}\}\n(.*?)\\end\{tabular\}", text, re.S)
    for columns, body in found:
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        yield len(columns), [re.split(r"(?<!\\)&", line.removesuffix(r"\\")) for line in lines]


def test_csv_of_the_small_board(small_model):
    text = to_csv(small_model)
    rows = read(text)
    assert tuple(rows[0]) == COLUMNS
    # 3 algorithms x 5 statistics over all, 3 + 2 algorithms x 6 in one environment.
    assert len(rows) == 3 * 5 + 5 * 6
    assert pick(rows, environment="all", algorithm="ppo", statistic="iqm") == {
        "board": "toy_v1", "track": "200_steps", "environment": "all", "algorithm": "ppo",
        "rank": "1", "rank_low": "1", "rank_high": "2", "complete": "true",
        "metric": "normalised score", "statistic": "iqm",
        "value": "0.5", "low": "0.25", "high": "0.75", "runs_finished": "4", "runs_started": "4",
        "runs_expected": "4", "results": "0123456789abcdef" * 4,
    }  # fmt: skip
    failed = pick(rows, environment="up-v0", algorithm="mdpo (paper form)", statistic="mean")
    assert [failed[k] for k in ("metric", "value", "low", "high")] == [
        "return", "300.0", "-20.0", "620.0",
    ]  # fmt: skip
    assert [failed[f"runs_{k}"] for k in ("finished", "started", "expected")] == ["1", "2", "2"]
    incomplete = pick(rows, environment="up-v0", algorithm="sac", statistic="mean")
    assert [incomplete[k] for k in ("rank", "complete", "value", "low")] == [
        "",
        "false",
        "900.0",
        "",
    ]
    assert pick(rows, environment="all", algorithm="sac", statistic="iqm")["value"] == ""
    assert pick(rows, environment="down-v0", algorithm="ppo", statistic="max")["value"] == "1.0"


def test_csv_floats_come_back_and_quoting_holds(small_model):
    track = small_model["tracks"][0]
    track["rows"][0]["iqm"] = [0.1 + 0.2, 1e-17, 1 / 3]
    for rows in (track["rows"], *track["tasks"].values()):
        for row in rows:
            if row["key"] == "ppo":
                row["name"] = 'ppo, lr="1e-3"\nx'
    text = to_csv(small_model)
    assert "\r" not in text
    row = pick(read(text), environment="all", algorithm='ppo, lr="1e-3"\nx', statistic="iqm")
    assert [float(row[k]) for k in ("value", "low", "high")] == [0.1 + 0.2, 1e-17, 1 / 3]


def test_nothing_that_a_rerun_changes(sample_model):
    model = sample_model()
    again = copy.deepcopy(model)
    again["newest"], again["digest"]["records"] = "2030-01-01T00:00:00Z", "0" * 64
    again["records"] = again["provenance"] = {}
    for track in again["tracks"]:
        for rows in (track["rows"], *track["tasks"].values()):
            for row in rows:
                row |= {"cost": None, "evidence": "reproduced"}
                for score in row.get("scores", ()):
                    score["record"] = "another"
    for render in (to_csv, to_latex):
        assert render(again) == render(model)
        assert model["digest"]["results"] in render(model)
        assert model["digest"]["records"][:8] not in render(model)
        assert not [word for word in VOLATILE if word in render(model)]


def test_latex_cells_of_the_small_board(small_model):
    text = to_latex(small_model)
    ((columns, lines),) = tabulars(text)
    cells = [[cell.strip() for cell in line] for line in lines]
    assert columns == 5
    assert cells == [
        ["", "up-v0", "down-v0", "IQM", ""],
        ["algorithm", r"{\scriptsize return $\uparrow$}", r"{\scriptsize cost $\downarrow$}",
         r"{\scriptsize normalised $\uparrow$}", "rank"],
        ["ppo", r"$\mathbf{1{,}500}$", r"$\mathbf{0.750}$", r"$\mathbf{0.500}$", "1 {[}1, 2]"],
        ["", r"{\scriptsize $[1{,}000,\ 2{,}000]$}", r"{\scriptsize $[0.500,\ 1.000]$}",
         r"{\scriptsize $[0.250,\ 0.750]$}", ""],
        ["mdpo (paper form)", "$300$", r"$\mathbf{0.250}$", r"$\mathbf{0.400}$", "1 {[}1, 2]"],
        ["", r"{\scriptsize $[-20,\ 620]$}", r"{\scriptsize $[0.125,\ 0.375]$}",
         r"{\scriptsize $[0.300,\ 0.500]$}", ""],
        [r"sac$^{\dagger}$", "$900$", "--", "--", "--"],
    ]  # fmt: skip
    assert r"\caption{Toys \& 100\% more. 200 steps: mean score of the final policy over 2 " in text
    assert r"results \texttt{0123456789ab}.}" in text
    assert "incomplete, hence not ranked" in text
    assert (
        r"With 2 seeds a difference of 0.25 between two rows is found with a power of 80\%." in text
    )
    assert r"\label{tab:toy-v1-200-steps}" in text
    assert f"sha256:{'0123456789abcdef' * 4}" in text.splitlines()[0]


def test_best_of_an_incomplete_row_is_not_bold(small_model):
    row = small_model["tracks"][0]["tasks"]["up-v0"][2]
    row |= {"rank": 1, "ranks": [1, 3]}
    assert r"sac$^{\dagger}$ & $900$" in to_latex(small_model)
    row["complete"] = True
    assert r"sac$^{\dagger}$ & $\mathbf{900}$" in to_latex(small_model)


def test_complete_board_has_no_dagger(small_model):
    del small_model["tracks"][0]["rows"][2]
    for table in small_model["tracks"][0]["tasks"].values():
        table[:] = [row for row in table if row["key"] != "sac"]
    assert "dagger" not in to_latex(small_model)


def test_environments_go_below_each_other(small_model):
    track = small_model["tracks"][0]
    env, table = track["environments"][0], track["tasks"]["up-v0"]
    track["environments"] = [env | {"id": f"env{i}-v0"} for i in range(7)]
    track["tasks"] = {f"env{i}-v0": table for i in range(7)}
    panels = list(tabulars(to_latex(small_model)))
    assert [columns for columns, _ in panels] == [4, 4, 4]  # 3, 3, 1 with IQM and rank
    assert [lines[-1][0].strip() for _, lines in panels] == [r"sac$^{\dagger}$"] * 3


def test_negative_zero_is_zero(small_model):
    small_model["tracks"][0]["tasks"]["up-v0"][1]["mean"] = [-0.2, -20.0, 620.0]
    assert "mdpo (paper form) & $0$ &" in to_latex(small_model)


def test_environment_without_a_record(small_model):
    track = small_model["tracks"][0]
    track["environments"].append(track["environments"][0] | {"id": "empty-v0", "metric": None})
    track["tasks"]["empty-v0"] = []
    assert "empty-v0" in to_latex(small_model)
    assert not [row for row in read(to_csv(small_model)) if row["environment"] == "empty-v0"]


def test_names_equal_up_to_case_are_numbered():
    rows = [{"key": "b", "name": "PPO"}, {"key": "a", "name": "ppo"}, {"key": "c", "name": "sac"}]
    track = {"rows": rows, "tasks": {"e": [{"key": "d", "name": "ppo"}]}}
    assert labels(track) == {"b": "PPO (2)", "a": "ppo", "c": "sac", "d": "ppo (3)"}


def test_escape():
    assert escape("a_b & c% $x$ #1 {y}\n~^ \\ <|> [0]") == (
        r"a\_b \& c\% \$x\$ \#1 \textbraceleft{}y\textbraceright{} \textasciitilde{}"
        r"\textasciicircum{} \textbackslash{} \textless{}\textbar{}\textgreater{} {[}0]"
    )


BOARDS = [{}, {"algorithms": 0}, {"seeds": 1}, {"algorithms": 20, "seeds": 3}]


@pytest.mark.parametrize("size", BOARDS)
def test_latex_is_balanced(sample_model, size):
    model = sample_model(**size)
    text = to_latex(model)
    plain = re.sub(r"\\[{}$&%]", "", text)
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert all(line.count("$") % 2 == 0 for line in plain.splitlines())
    assert re.findall(r"\\begin\{(\w+)\}", text).count("table") == len(model["tracks"])
    open_ones = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if what == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert not open_ones
    for columns, lines in tabulars(text):
        assert {len(line) for line in lines} == {columns}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_within_the_margins(sample_model, small_model, tmp_path):
    small_model["tracks"][0]["rows"][0]["name"] = "[a] * {\\b}_c ~ # % & $"
    body = to_latex(sample_model()) + to_latex(small_model)
    (tmp_path / "d.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        f"{body}\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "d"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout, done.stdout[-2000:]
    assert (tmp_path / "d.pdf").stat().st_size > 10_000
