"""`pgbench new`: what it writes runs as it is, is clean and keeps the contract."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pgbench.catalogue.registry import CATALOGUES
from pgbench.cli.scaffold import FAMILIES, TEMPLATES

NANO = "model=nano:warmup=150,batch=64,layers=1,width=32,noise=0"
FAST = "--no-compile --episodes 2 --json".split()
STORE = "--env one-store-lost-sales-p9-l1"
# Words of `new`, and those of a run of what it writes, in {}, for seconds.
KINDS = {
    "algo --family control": "--algo {} --env inverted-pendulum --budget 512",
    "algo --family inventory": "--algo {} " + STORE + " --budget 20k --set traces=16 --set batch=8",
    "algo --family text": "--algo {} --env math-nano --budget 2 --set prompts=2 --set " + NANO,
    "env --family control": "--algo reinforce --env {} --budget 256 --set horizon=256",
    "env --family text": "--algo grpo --env {} --budget 2 --set prompts=2 --set " + NANO,
    "loop": "--algo {} --env inverted-pendulum --budget 3 --set length=5",
}
SLOW = ("algo --family inventory", "algo --family text")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One warm start for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def catalogues(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for catalogue in CATALOGUES:
        catalogue.all()
        monkeypatch.setattr(catalogue, "specs", dict(catalogue.specs))


def new(cli, words, name):
    """Write the file; its name."""
    kind, *more = words.split()
    code, out, err = cli("new", kind, name, *more)
    assert code == 0, err
    file = f"./{name.replace('-', '_')}.py"
    assert file in out
    return file


def test_every_template_is_tried():
    kinds = {f"{kind} --family {f}" for kind, families in FAMILIES.items() for f in families}
    assert kinds | {"loop"} == set(KINDS)
    assert len(list(TEMPLATES.glob("*_*.py"))) == len(kinds) + 1  # and __init__


@pytest.mark.parametrize("words", KINDS)
def test_what_is_new_runs_as_it_is_and_is_clean(cli, words):
    file = new(cli, words, "my-own-thing")
    code, out, err = cli("run", *KINDS[words].format(file).split(), *FAST)
    assert code == 0, err
    record = json.loads(out)
    kind = words.split()[0]
    made = {"algo": record["algorithm"]["name"], "env": record["environment"]["id"]}
    assert made.get(kind, "my-own-thing").removesuffix("-v0") == "my-own-thing"
    assert "my-own-thing" in cli("explain", file)[1]
    assert "own_algo" not in Path(file).read_text() and "OwnWorld" not in Path(file).read_text()
    for tidy in (["check", "--ignore", "I001"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *tidy, "--line-length", "100", file],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "words",
    [pytest.param(w, marks=[pytest.mark.slow] if w in SLOW else []) for w in KINDS],
)
def test_what_is_new_keeps_the_contract(cli, words):
    file = new(cli, words, "thing")
    code, out, err = cli("check", file, *([] if "env" in words else env_of(words)))
    assert code == 0, out + err


def env_of(words):
    """The environment that an algorithm is tried on."""
    option = KINDS[words].split()
    return option[(at := option.index("--env")) : at + 2]


@pytest.mark.parametrize("name", ["algorithm", "config", "rollout", "any"])
def test_a_class_never_takes_the_name_of_what_its_file_imports(cli, name):
    tree = ast.parse(Path(new(cli, "algo", name)).read_text())
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert classes == ["Config", f"{name.capitalize()}Algo"]


def test_names_that_will_not_do_and_files_that_are_there(cli, tmp_path):
    (tmp_path / "mine.py").write_text("precious")
    for kind in FAMILIES:
        for name in ("3x", "a b", "a/b", "class", "Mine", "é", "", "mine", "a" * 65, "random"):
            code, _, err = cli("new", kind, name)
            assert (code, err.count("\n")) == (2, 1), name
    assert (tmp_path / "mine.py").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("algo ppo", "'ppo' is the name of an algorithm already (`pgbench explain ppo`)"),
        ("algo ppo --family text", "take another, for example my-ppo"),
        ("env hopper", "'hopper' is the name of an environment already"),
        ("loop group", "'group' is the name of a loop already"),
        ("algo x --family txt", "unknown family of algorithms 'txt'; did you mean text?"),
        ("env x --family inventory", "unknown family of environments 'inventory'; take control or"),
        ("suite x --family morl", "unknown family of suites 'morl'"),
        ("suite x --env hopper --family text", "hopper is of family control, not text"),
        ("suite x --env hopper --env math-nano", "math-nano is of family text, not control"),
    ],
)
def test_what_is_taken_or_unknown_is_refused_before_anything_is_written(cli, tmp_path, words, line):
    code, _, err = cli("new", *words.split())
    assert (code, err.count("\n")) == (2, 1)
    assert line in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", ["control", "inventory", "text"])
def test_a_suite_of_each_family_is_whole(cli, family):
    code, out, err = cli("new", "suite", "mine", "--family", family)
    assert code == 0, err
    table = tomllib.loads(Path("leaderboards/suites/mine-v1.toml").read_text())
    assert len(table["track"][0]["entry"]) == 2 and len(table["environments"]) == 1
    code, out, err = cli("bench", "mine-v1", "--dry-run")
    assert code == 0, err
    assert "6" in out


def test_an_unknown_field_of_a_suite_is_refused_by_name(cli, tmp_path):
    assert cli("new", "suite", "mine")[0] == 0
    file = tmp_path / "leaderboards/suites/mine-v1.toml"
    text = file.read_text()
    for line, word in (
        ("seeds = 3", "sedes"), ("rules = 1", "ruls"), ("floor = ", "flor"),
        ("protocol = { episodes", "protocol = { episods"),
    ):  # fmt: skip
        wrong = line.replace(line.split(" ")[0], word) if "{" not in line else word
        file.write_text(text.replace(line, wrong))
        code, _, err = cli("bench", "mine-v1", "--dry-run")
        assert (code, err.count("\n")) == (2, 1), line
        assert "mine-v1.toml: " in err and "unknown field" in err and "did you mean" in err
