"""Floor panels: what is measured, and that constants which score are found without help."""

import pytest

from pgbench.catalogue.capabilities import make
from pgbench.catalogue.registry import find_env
from pgbench.errors import PgbenchError
from pgbench.records.floors import FILE, read_panels, rows, sentence, store_panel
from pgbench.runs.floors import constant, measure


def test_a_panel_of_arithmetic():
    panel = measure(find_env("math-nano"), 64)
    floors = {name: floor["score"] for name, floor in panel["floors"].items()}
    assert list(floors) == ["empty", "echo", "reference", "random", "constant"]
    assert (floors["reference"], floors["empty"], floors["echo"]) == (1.0, 0.0, 0.0)
    assert floors["random"] <= floors["constant"] < 0.3
    assert panel == measure(find_env("math-nano"), 64)
    for floor in panel["floors"].values():
        assert floor["low"] <= floor["score"] <= floor["high"] and floor["low"] < floor["high"]


def test_the_best_constant_is_found_by_itself():
    """Parity is 1 in about a half of the tasks, and nothing says so but the tasks."""
    panel = measure(find_env("math-nano"), 200, {"levels": "parity"})
    assert panel["floors"]["constant"]["said"] in ("0", "1")
    assert 0.4 < panel["floors"]["constant"]["score"] < 0.65


@pytest.mark.parametrize(("name", "said", "least"), [("syllogism", "Yes", 0.6), ("maze", "5", 0.2)])
def test_puzzles_pay_a_constant_and_white_space_does_not_matter(name, said, least):
    pytest.importorskip("reasoning_gym")
    env = make(name)
    shown = [env.task(i) for i in range(64)]
    found = constant(env, shown)
    assert found == f" {said}"  # as a demonstration follows `Answer:`
    tasks = [env.task(i, "test") for i in range(100)]
    right = [
        sum(v.correct for v in env.verify(tasks, [text] * 100))
        for text in (found, said, f"\n {said}\t", f"The answer is {said}.")
    ]
    assert right[0] >= 100 * least and len(set(right)) == 1
    env.close()


def test_the_zero_action_of_vectors():
    panel = measure(find_env("pendulum"), 3)
    floor = panel["floors"]["zero"]
    assert list(panel["floors"]) == ["zero"] and panel["episodes"] == 3
    assert floor["low"] < floor["score"] < floor["high"] <= 0
    assert measure(find_env("cartpole"), 3)["floors"]["zero"]["score"] < 15  # always to the left


def test_panels_on_disk(tmp_path):
    floor = {"score": 0.0, "low": None, "high": None}
    panel = {
        "golden": "0" * 64, "metric": "pass@1", "episodes": 8,
        "floors": {"constant": {**floor, "said": ' "a|b"'}, "empty": floor},
    }  # fmt: skip
    assert read_panels(tmp_path) == {}
    store_panel(tmp_path, "b-v0", panel)
    store_panel(tmp_path, "a-v0", panel)
    assert list(read_panels(tmp_path)) == ["a-v0", "b-v0"]
    assert read_panels(tmp_path)["b-v0"] == panel
    assert rows(panel)[0] == ("empty answer", "0", "")
    assert 'best constant answer " \\"a|b\\"" 0' in sentence(panel)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "must be"),
        ('{"a-v0": {"golden": "x"}}', "a-v0"),
        ('{"a-v0": {"golden": "' + "0" * 64 + '", "metric": "m", "episodes": 1, "floors": 1}}',
         "floors"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_line(tmp_path, text, expected):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(PgbenchError, match=FILE) as error:
        read_panels(tmp_path)
    assert expected in str(error.value) and "\n" not in str(error.value)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(PgbenchError):
        store_panel(tmp_path, "b-v0", {})
    assert (tmp_path / FILE).read_bytes() == before


def test_the_command_keeps_checks_and_shows(cli, tmp_path):
    words = ("--tasks", "16", "--root", tmp_path)
    code, out, err = cli("floors", "math-nano", *words)
    assert code == 0, err
    assert "reference solution" in out
    assert cli("floors", "math-nano", "--check", "--root", tmp_path)[0] == 0
    assert "best constant answer" in cli("explain", "math-nano", "--root", tmp_path)[1]
    panel = read_panels(tmp_path)["math-nano-v0"]
    panel["floors"]["empty"]["score"] = 0.5
    store_panel(tmp_path, "math-nano-v0", panel)
    code, out, _ = cli("floors", "math-nano", "--check", "--root", tmp_path)
    assert code == 1 and "DIFFERS" in out
    assert read_panels(tmp_path)["math-nano-v0"] == panel
    kept = (tmp_path / FILE).read_bytes()
    assert cli("floors", "math-nano", "--set", "env.levels=add1", *words)[0] == 0
    assert (tmp_path / FILE).read_bytes() == kept  # other settings are another environment
    code, _, err = cli("floors", "gsm8k", "--check", "--set", "env.source=x", *words)
    assert code == 2 and err.count("\n") == 1


def test_the_committed_panels_are_of_environments_that_there_are():
    from pathlib import Path

    import pgbench

    root = Path(pgbench.__file__).parents[1] / "leaderboards"
    panels = read_panels(root)
    assert len(panels) >= 30
    for name, panel in panels.items():
        spec = find_env(name.rpartition("-v")[0])
        assert spec.name == name and panel["metric"] == spec.metrics[0].name
        if spec.family == "text":
            assert panel["floors"]["reference"]["score"] == 1
        else:
            assert list(panel["floors"]) == ["zero"]
    assert panels["syllogism-v0"]["floors"]["constant"]["score"] > 0.6
    assert panels["maze-v0"]["floors"]["constant"]["score"] > 0.2
