"""The house's floors: who may import whom, held by walking the sources; no import circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = {"pgbench": "pgbench", "envs": "pgbench.envs", "baselines": "pgbench.baselines"}
# A folder and what it may import besides itself; each line adds to what its own lines may.
FLOORS = {
    "errors": (),
    "support": ("errors",),
    "settings": ("support",),
    "statistics": ("support",),
    "verify": ("support",),
    "worlds": ("settings",),
    "catalogue": ("worlds",),
    "learning": ("catalogue",),
    "lm": ("learning", "verify", "statistics"),
    "loops": ("lm",),
    "records": ("catalogue", "statistics"),
    "runs": ("loops", "records"),
    "bench": ("runs",),
    "tuning": ("bench",),
    "boards": ("bench",),
    "claims": ("boards",),
    "api": ("runs",),
    "gym": ("catalogue",),
    "cli": ("api", "claims", "tuning"),
}
LOOSE = ("__init__", "__main__")  # the doors, which open onto every floor


def modules():
    """Module name -> its file, of the three trees."""
    found = {}
    for folder, package in TREES.items():
        for file in (ROOT / folder).rglob("*.py"):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = file
    return found


MODULES = modules()


def imports(name):
    """What a module imports of the three trees, inside functions and for types, too."""
    file = MODULES[name]
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            head = ".".join([*base, *filter(None, [node.module])]) if node.level else node.module
            for alias in node.names:
                inner = f"{head}.{alias.name}"
                if inner in MODULES or head in MODULES:
                    yield inner if inner in MODULES else head


EDGES = {name: {other for other in imports(name) if other != name} for name in MODULES}


def room(name):
    """`pgbench.lm.engines.vllm` -> `lm`; of the other trees `envs` or `baselines`."""
    return name.split(".")[1] if "." in name else "__init__"


def below(floor):
    """All that a floor may import."""
    return {floor}.union(*(below(other) for other in FLOORS[floor]), set())


def test_every_room_is_on_a_floor():
    rooms = {room(name) for name in MODULES} - {"envs", "baselines", *LOOSE}
    assert rooms == set(FLOORS)


def test_no_import_circle():
    try:
        list(TopologicalSorter(EDGES).static_order())
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("floor", FLOORS)
def test_no_arrow_from_a_lower_floor_to_a_higher_one(floor):
    wrong = {
        f"{name} imports {other}"
        for name in MODULES
        if room(name) == floor
        for other in EDGES[name]
        if room(other) not in {*below(floor), "__init__"}
    }
    assert not wrong


@pytest.mark.parametrize("tree, other", [("envs", "baselines"), ("baselines", "envs")])
def test_the_trees_of_plugins_see_the_house_alone(tree, other):
    allowed = {tree, *below("loops")}
    wrong = {
        f"{name} imports {found}"
        for name in MODULES
        if room(name) == tree
        for found in EDGES[name]
        if room(found) not in {*allowed, "__init__"}
    }
    assert not wrong, other


def test_every_room_says_what_lives_there():
    for folder in (ROOT / "pgbench").rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(folder.read_text()))
        assert text, folder
        if folder.parent.name not in ("pgbench", "page"):
            assert "mport" in text and "Start" in text, folder
