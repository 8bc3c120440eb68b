"""docs/plugins.md is the source: its files, commands and imports are taken from it and tried."""

import importlib
import re
from pathlib import Path

import pytest

from pgbench.catalogue.registry import CATALOGUES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"# (\S+\.(?:py|toml))\n")
IMPORTS = re.findall(r"^\| `(pgbench[\w.]*)` \| (.*) \|$", TEXT, re.MULTILINE)
LONGEST = 40  # lines of an example, but for empty ones and the name of its file


def blocks(language):
    return [body for kind, body in BLOCK.findall(TEXT) if kind == language]


def files():
    """The whole text of each file that the document shows, by its path."""
    found = {}
    for body in (*blocks("python"), *blocks("toml")):
        if head := NAMED.match(body):
            found[head[1]] = found.get(head[1], "") + body
    return found


COMMANDS = [
    line.removeprefix("$ pgbench ") for body in blocks("console") for line in body.splitlines()
]
SECTIONS = {  # what belongs to one folder, in order
    "new": [c for c in COMMANDS if "mine" in c],
    "cartpole": [c for c in COMMANDS if "cartpole" in c.lower()],
    "algorithm": [c for c in COMMANDS if "linear.py" in c and "push.py" not in c],
    "environment": [c for c in COMMANDS if "push.py" in c and "search.py" not in c],
    "loop": [c for c in COMMANDS if "search.py" in c],
    "suite": [c for c in COMMANDS if "pendula" in c],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for catalogue in CATALOGUES:
        catalogue.all()
        monkeypatch.setattr(catalogue, "specs", dict(catalogue.specs))
    for name, text in files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_document_shows_one_whole_file_of_each_kind():
    text = "".join(files().values())
    for call in ("algo", "env", "loop"):
        assert f"pgbench.register_{call}(" in text
    assert "[[track]]" in text
    assert all(body.startswith("$ pgbench ") for body in blocks("console"))
    assert sorted(c for part in SECTIONS.values() for c in part) == sorted(COMMANDS)


@pytest.mark.parametrize("body", [*blocks("python"), *blocks("toml")], ids=lambda b: b[:20])
def test_an_example_has_fewer_than_40_lines(body):
    lines = [line for line in NAMED.sub("", body).splitlines() if line.strip()]
    assert len(lines) < LONGEST, len(lines)
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("section", SECTIONS)
def test_what_the_document_says_works(section, folder, cli):
    for command in SECTIONS[section]:
        code, out, err = cli(*command.split())
        assert code == 0, f"{command}\n{out}{err}"


@pytest.mark.parametrize("body", [b for b in blocks("python") if not NAMED.match(b)])
def test_the_rest_of_its_python_runs(body):
    names = {"__name__": "document"}
    exec(compile(body, "docs/plugins.md", "exec", dont_inherit=True), names)
    names["Config"]()


def test_what_one_may_import_is_there():
    assert len(IMPORTS) > 15
    for module, names in IMPORTS:
        found = importlib.import_module(module)
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(found, name), f"{module}.{name}"


def test_whatever_the_templates_import_is_promised():
    """Nothing that `pgbench new` writes needs what may move."""
    promised = {module: set(re.findall(r"`(\w+)`", names)) for module, names in IMPORTS}
    root = Path(__file__).resolve().parents[2]
    sources = [f.read_text() for f in (root / "pgbench/cli/templates").glob("*_*.py")]
    for text in (*sources, *files().values()):
        for module, names in re.findall(r"^from (pgbench\.[\w.]+) import (.*)$", text, re.M):
            for name in names.split(", "):
                known = promised.get(module, set())
                assert name in known or f"{module}.{name}" in promised, f"{module}.{name}"
