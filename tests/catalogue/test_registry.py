"""Names, plug-ins and capabilities: every mistake ends in one line that says what to do."""

import subprocess
import sys

import pytest

from pgbench.catalogue import plugins
from pgbench.catalogue.registry import (
    ALGOS,
    CATALOGUES,
    ENVS,
    LOOPS,
    Metric,
    find_algo,
    find_env,
    find_loop,
    import_file,
    load,
    missing_capabilities,
    register_algo,
    register_env,
    register_loop,
    resolve,
    score_of,
    scores,
)
from pgbench.errors import PgbenchError

ALGO = 'pgbench.register_algo("{name}", object, family="control", loop="onpolicy", summary="s")\n'


@pytest.fixture(autouse=True)
def catalogues(monkeypatch):
    """Registrations of a test end with it."""
    for catalogue in CATALOGUES:
        catalogue.all()
        monkeypatch.setattr(catalogue, "specs", dict(catalogue.specs))


@pytest.fixture
def plugin(tmp_path):
    def write(text, name="plug.py"):
        (tmp_path / name).write_text("import pgbench\n" + text)
        return str(tmp_path / name)

    return write


def refused(pattern, function, *arguments):
    with pytest.raises(PgbenchError, match=pattern) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def algo(name, family="control", **more):
    return register_algo(name, "x:Y", family=family, loop="onpolicy", summary="", **more)


def env(name, **more):
    return register_env(
        name, "x:Y", family="control", summary="", underlying="", metrics=[Metric("return")],
        budgets={"small": 10}, **more,
    )  # fmt: skip


def loop(name, **more):
    return register_loop(
        name, "x:Y", summary="", unit="steps", batch="x:Y", tiny={}, tiny_budget=3, **more
    )


def test_every_builtin_resolves():
    for spec in [*ALGOS.all(), *ENVS.all(), *LOOPS.all()]:
        assert callable(resolve(spec)), spec.name
    for spec in LOOPS.all():
        assert callable(load(spec.batch)), spec.name


def test_duplicate_names_both_origins():
    first, _ = algo("twice"), env("twice")
    text = refused("algorithm 'twice.*registered twice", algo, "twice")
    assert first.origin in text
    assert text.count(__file__) == 2
    refused("environment 'twice' is registered twice", env, "twice")
    loop("twice")
    assert refused("loop 'twice' is registered twice", loop, "twice").count(__file__) == 2
    refused("loop 'onpolicy' is registered twice", loop, "onpolicy")
    refused("cannot name a loop", loop, "a/b")


def test_one_name_in_two_families():
    algo("both")
    other = algo("both", "morl")
    assert find_algo("both", "morl") is other
    refused("several families", find_algo, "both")
    refused("for family control, morl, not text", find_algo, "both", "text")


def test_unknown_names_get_the_nearest():
    algo("quaver")
    assert "did you mean quaver" in refused("unknown algorithm", find_algo, "quavr")
    assert "did you mean onpolicy" in refused("unknown loop", find_loop, "onpolic")
    assert "pgbench list loops" in refused("unknown loop", find_loop, "zzzzzz")
    assert "pgbench list envs" in refused("unknown environment", find_env, "zzzzzz")


def test_environment_with_and_without_its_version():
    spec = env("versioned", version=3)
    assert find_env("versioned") is spec is find_env("versioned-v3")
    refused("unknown environment", find_env, "versioned-v2")


def test_capabilities_that_are_missing():
    needs = algo("needs", requires={"A", "B", "C"})
    assert missing_capabilities(needs, env("has", capabilities={"B"})) == ["A", "C"]
    assert missing_capabilities(needs, env("all", capabilities={"A", "B", "C", "D"})) == []
    either = algo("either", requires={"A|B", "C"})
    for name, has in (("a", {"A", "C"}), ("b", {"B", "C"}), ("both", {"A", "B", "C"})):
        assert missing_capabilities(either, env(name, capabilities=has)) == []
    assert missing_capabilities(either, env("none", capabilities={"D"})) == ["A or B", "C"]


def test_missing_extra_names_the_command():
    refused(r"pip install .*\[big\]", resolve, algo("heavy", extra="big"))
    with pytest.raises(ImportError):
        resolve(algo("light"))


def test_plugin_file(plugin):
    path = plugin(ALGO.format(name="mine"))
    spec = find_algo(path)
    assert (spec.name, spec.entry_point, spec.origin) == ("mine", object, f"{path}:2")
    assert find_algo(path) is spec  # a second look does not register it again


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("x = 1\n", "registers 0 algorithms; it must call pgbench.register_algo"),
        (ALGO.format(name="a") + ALGO.format(name="b"), "registers 2 algorithms"),
        ("x = 1\nx = 1 / 0\n", r"does not import: ZeroDivisionError.*\(line 3\)"),
        ("x = (\n", r"does not import: SyntaxError.*\(line 2\)"),
        ("import nonexistent_package\n", "does not import: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", "does not import: SystemExit"),
    ],
)
def test_broken_plugin_files(plugin, text, pattern):
    refused(pattern, find_algo, plugin(text))


WORLD = (
    'pgbench.register_env("{name}", object, family="control", summary="", underlying="",\n'
    '    metrics=[pgbench.Metric("return")], budgets={{"small": 1}})\n'
)
LOOP = (
    'pgbench.register_loop("{name}", object, summary="", unit="sweeps", batch=dict,\n'
    "    tiny={{}}, tiny_budget=3)\n"
)


def test_one_file_may_bring_one_of_each(plugin):
    file = plugin(ALGO.format(name="a") + WORLD.format(name="e") + LOOP.format(name="l"))
    assert (find_algo(file).name, find_env(file).id, find_loop("l").unit) == ("a", "e", "sweeps")
    assert find_algo(file) is ALGOS.specs["a", "control"]


def test_of_one_kind_a_file_brings_one(plugin):
    file = plugin(WORLD.format(name="e") + WORLD.format(name="f") + ALGO.format(name="a"))
    refused(r"registers 2 environments \(e, f\); .*register_env.* exactly once", find_env, file)
    assert find_algo(file).name == "a"


def test_a_file_that_does_not_import_leaves_nothing_behind(plugin):
    before = [dict(catalogue.specs) for catalogue in CATALOGUES]
    file = plugin(ALGO.format(name="a") + LOOP.format(name="l") + "1 / 0\n")
    for _ in range(2):
        refused(r"does not import: ZeroDivisionError.*\(line 5\)", find_algo, file)
    refused("does not import", import_file, file)
    assert [catalogue.specs for catalogue in CATALOGUES] == before


def test_plugin_of_a_taken_name(plugin):
    algo("taken")
    text = refused("registered twice", find_algo, plugin(ALGO.format(name="taken")))
    assert "plug.py:2" in text


def test_missing_plugin_file():
    refused("there is no plug-in file", find_algo, "nowhere/mine.py")


def test_installed_plugins(plugin, tmp_path, monkeypatch):
    """The entry-point group of another package, good and broken."""
    info = tmp_path / "other-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pgbench.plugins]\nother = other_plug\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "_loaded", set())
    plugin("1 / 0\n", "other_plug.py")
    refused("plug-in 'other'.*ZeroDivisionError.*uninstall", ALGOS.all)
    plugin(
        ALGO.format(name="foreign") + "# longer, so that no stale bytecode is used\n",
        "other_plug.py",
    )
    monkeypatch.setattr(plugins, "_loaded", set())
    assert find_algo("foreign").name == "foreign"
    ALGOS.all()  # not loaded a second time


@pytest.mark.parametrize("kind", ["algos", "loops"])
def test_listing_imports_nothing_heavy(kind):
    code = (
        f"import sys; sys.argv[1:] = ['list', '{kind}']\n"
        "from pgbench.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'numpy', 'scipy', 'gymnasium', 'mujoco'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout + done.stderr


def test_bounds_of_a_metric_hold_unless_a_value_passes_one():
    share = Metric("share", lower=0.0, upper=1.0)
    assert share.bounds([0.0, 0.4, 1.0]) == (0.0, 1.0) == share.bounds([])
    assert share.bounds([0.4, 1.1]) == (0.0, None) and share.bounds([-0.1, 0.4]) == (None, 1.0)
    assert Metric("return").bounds([1e9]) == (None, None)
    assert share.told == {"name": "share", "direction": "max", "unit": ""}  # what records carry


def test_a_record_finds_its_metric_or_none():
    known = scores()
    told = {"name": "pass@1", "direction": "max", "unit": "share of held-out tasks"}
    found = score_of({"id": "math-nano-v0", "metric": told}, known)
    assert (found.lower, found.upper) == (0.0, 1.0)
    assert score_of({"id": "math-nano-v0", "metric": {**told, "name": "loss"}}, known) is None
    assert score_of({"id": "stranger-v0", "metric": told}, known) is None
