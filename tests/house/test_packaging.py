"""The wheel holds every module, under pgbench alone; the mapped trees have no other name."""

import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = {"pgbench": "pgbench", "envs": "pgbench.envs", "baselines": "pgbench.baselines"}


def settings():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def sources():
    """(package, file) of every module of the three trees."""
    for folder, package in TREES.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            inner = file.parent.relative_to(ROOT / folder).parts
            yield ".".join([package, *inner]), file


def test_every_folder_is_a_listed_package():
    found = {package for package, _ in sources()}
    assert found == set(settings()["packages"])
    for package, file in sources():
        assert (file.parent / "__init__.py").is_file(), f"{package} has no __init__.py"


def test_mapping_names_the_three_trees():
    assert settings()["package-dir"] == {package: folder for folder, package in TREES.items()}


def test_the_trees_refuse_another_name():
    for tree in ("envs", "baselines"):
        done = subprocess.run(
            [sys.executable, "-c", f"import {tree}"], cwd=ROOT, capture_output=True, text=True
        )
        last = done.stderr.splitlines()[-1]
        assert last == (
            f"ImportError: this tree is installed as pgbench.{tree}; it was imported as {tree}"
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy: no stale build folder gets in, none is left behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in TREES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source],
        check=True,
        capture_output=True,
    )
    (file,) = out.glob("*.whl")
    return file


def test_wheel_holds_every_module_and_nothing_else(wheel):
    expected = {f"{package.replace('.', '/')}/{file.name}" for package, file in sources()}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if name.endswith(".py")} == expected
    rest = {name for name in names if not name.endswith(".py") and ".dist-info/" not in name}
    page = ROOT / "pgbench/boards/page"
    files = (file for file in page.rglob("*") if file.suffix in (".html", ".css", ".js"))
    data = {f"pgbench/boards/page/{file.relative_to(page)}" for file in files}
    assert rest == {*data, "pgbench/py.typed", "pgbench/baselines/papers.bib"}


PROBE = """
import importlib.util, sys
sys.path[:0] = sys.argv[1:]  # -S: no .pth files, so no editable install
import pgbench
from pgbench.catalogue.registry import ALGOS, ENVS, resolve
for catalogue in (ALGOS, ENVS):
    assert catalogue.all()
    for spec in catalogue.all():
        resolve(spec)
for name, module in list(sys.modules.items()):
    if name.partition(".")[0] == "pgbench":
        assert module.__file__.startswith(sys.argv[1]), (name, module.__file__)
for name in ("envs", "baselines", "tests", "leaderboards"):
    assert importlib.util.find_spec(name) is None, name
print("installed", len(ALGOS.all()), len(ENVS.all()))
"""


def test_wheel_works_elsewhere(wheel, tmp_path):
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "install"]
    options = ["--no-deps", "--no-index", "--no-compile", "--target", target]
    subprocess.run([*pip, *options, wheel], check=True)
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROBE, target, *libraries],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("installed"), done.stderr


def test_no_submodule_shadows_a_public_name():
    """Importing pgbench.x would put the module in the place of the function pgbench.x."""
    import pkgutil

    import pgbench

    modules = {module.name for module in pkgutil.iter_modules(pgbench.__path__)}
    assert not modules & set(pgbench.__all__)
