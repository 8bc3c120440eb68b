"""A result belongs to all that it was made from: sources, data, models; by content."""

import json
import os
import subprocess
import sys

import pytest

from pgbench.catalogue.registry import AlgoSpec
from pgbench.errors import ROOT, PgbenchError
from pgbench.runs import origins, provenance
from pgbench.runs.report import newest

MAIN = "import mine_core\nfrom mine_pack import part\n\n\ndef late():\n    import mine_late\n"
MODULES = {
    "mine_core.py": "import mine_deep, json, numpy\n",
    "mine_deep.py": "x = 1\n",
    "mine_late.py": "x = 1\n",
    "mine_pack/__init__.py": "",
    "mine_pack/part.py": "from . import sibling\nfrom .inner.leaf import x\n",
    "mine_pack/sibling.py": "x = 1\n",
    "mine_pack/inner/__init__.py": "",
    "mine_pack/inner/leaf.py": "x = 1\n",
}


@pytest.fixture(autouse=True)
def process(monkeypatch):
    """As in a new process: nothing has been imported yet."""
    monkeypatch.setattr(origins, "_imported", {})


def spec(file):
    return AlgoSpec("mine", "control", len, "onpolicy", "", origin=f"{file}:3")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in {"plug.py": MAIN, **MODULES}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "other.py").write_text("x = 1\n")
    return tmp_path


@pytest.mark.parametrize("name", ["plug.py", *MODULES])
def test_every_local_module_that_a_plugin_imports_counts(project, monkeypatch, name):
    before = origins.sources(spec(project / "plug.py"))
    (project / "other.py").write_text("x = 2\n")
    assert origins.sources(spec(project / "plug.py")) == before, "it is not imported"
    (project / name).write_text((project / name).read_text() + "\ny = 2\n")
    with pytest.raises(PgbenchError, match="changed since this process imported it"):
        origins.sources(spec(project / "plug.py"))
    monkeypatch.setattr(origins, "_imported", {})
    assert origins.sources(spec(project / "plug.py")) != before


def test_what_is_installed_counts_for_its_own_plugins_alone(tmp_path, monkeypatch):
    place = tmp_path / "site-packages"
    place.mkdir()
    monkeypatch.syspath_prepend(place)
    (place / "foreign.py").write_text("x = 1\n")
    (place / "pack").mkdir()
    (place / "pack" / "__init__.py").write_text("from . import core\nimport foreign\n")
    (place / "pack" / "core.py").write_text("x = 1\n")
    point = AlgoSpec(
        "mine", "control", "pack.core:Mine", "onpolicy", "", origin=f"{place}/pack/__init__.py:1"
    )
    before = origins.sources(point)
    (place / "foreign.py").write_text("x = 2\n")
    assert origins.sources(point) == before
    (place / "pack" / "core.py").write_text("x = 2\n")
    monkeypatch.setattr(origins, "_imported", {})
    assert origins.sources(point) != before


def test_what_is_built_in_counts_by_name():
    from pgbench.catalogue.registry import ALGOS, ENVS

    assert {origins.sources(spec) for spec in [*ALGOS.all(), *ENVS.all()]} == {None}


def test_the_commit_is_that_of_this_checkout():
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    assert len(provenance.git()["commit"]) == 40


def test_files_and_directories_that_settings_name_count_by_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text("{}")
    (tmp_path / "weights" / "model.safetensors").write_text("1")
    config = {"model": "weights", "lr": 1e-3, "mode": "strict", "teachers": ["./weights", "none"]}
    kwargs = {"source": "rows.jsonl", "share": True, "test_source": "nowhere.jsonl"}
    before = origins.data(config, kwargs)
    assert sorted(before) == ["env.source", "model", "teachers.0"]
    (tmp_path / "weights" / "log.bak").write_text("not the model's")
    assert origins.data(config, kwargs) == before
    (tmp_path / "rows.jsonl").write_text("{}\n{}\n")
    (tmp_path / "weights" / "chat_template.jinja").write_text("{{ x }}")
    after = origins.data(config, kwargs)
    assert all(after[key] != before[key] for key in before)


def test_a_file_is_found_where_it_was_or_beside_the_run(tmp_path):
    run = tmp_path / "moved" / "runs" / "0-abc"
    run.mkdir(parents=True)
    (tmp_path / "was").mkdir()
    with pytest.raises(PgbenchError, match=f"{tmp_path}/was/mine.py, which is not there"):
        origins.find("mine.py", str(tmp_path / "was"), run)
    (tmp_path / "moved" / "mine.py").write_text("")
    found = origins.find("mine.py", str(tmp_path / "was"), run)
    assert found == tmp_path / "moved" / "mine.py"
    (tmp_path / "was" / "mine.py").write_text("")
    assert origins.find("mine.py", str(tmp_path / "was"), run) == tmp_path / "was" / "mine.py"


def pgbench(folder, *words):
    """The command line in a process of its own: (exit code, standard output, standard error)."""
    done = subprocess.run(
        [sys.executable, "-m", "pgbench", *map(str, words)], cwd=folder, text=True,
        capture_output=True, env={**os.environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_eval_says_what_changed_and_refuses(tmp_path):
    words = "run --algo ./mine.py --env pendulum --budget 256 --episodes 2 -q --no-compile".split()
    words += ["--set", "hidden=4"]
    assert pgbench(tmp_path, "new", "algo", "mine")[0] == 0
    assert pgbench(tmp_path, *words)[0] == 0
    folder = newest(tmp_path / "runs", "mine", "pendulum")
    (tmp_path / "elsewhere").mkdir()
    code, out, err = pgbench(tmp_path / "elsewhere", "eval", folder, "--episodes", "2", "--json")
    assert code == 0, err
    file = tmp_path / "mine.py"
    file.write_text(file.read_text() + "\n# another line\n")
    code, _, err = pgbench(tmp_path, "eval", "--algo", "mine", "--episodes", "2")
    assert code == 2 and str(file) in err and "--anyway" in err
    code, again, err = pgbench(tmp_path, "eval", folder, "--episodes", "2", "--anyway", "--json")
    assert code == 0 and json.loads(again) == json.loads(out)
    assert pgbench(tmp_path, *words)[0] == 0
    assert len(list((tmp_path / "runs").rglob("run.json"))) == 2, "edited: another run"
