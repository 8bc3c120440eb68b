"""`list`, `explain`, `compat`, `doctor`: pages that fit the terminal, lines that help."""

import json
import re

import pytest

from pgbench.catalogue.registry import ALGOS, CATALOGUES, ENVS, LOOPS
from pgbench.cli.doctor import KNOWN_TO_WORK, Finding
from pgbench.support.text import fitted, table


@pytest.fixture(autouse=True)
def catalogues(monkeypatch, tmp_path):
    """Plug-ins of a test end with it, as do its files and the optima that it computes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGBENCH_CACHE", str(tmp_path / "cache"))
    for catalogue in CATALOGUES:
        catalogue.all()
        monkeypatch.setattr(catalogue, "specs", dict(catalogue.specs))


@pytest.fixture(params=[80, 120])
def columns(request, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def test_table_worked():
    assert table(("name", "n"), [("a", "10"), ("bcd", "9")]) == (
        "name   n\n----  --\na     10\nbcd    9"
    )
    wrapped = table(("k", "text"), [("a", "word " * 10)], fit=30)
    assert wrapped.splitlines()[2:] == [
        "a  word word word word word",
        "   word word word word word",
    ]


def test_every_column_of_a_table_gives_way():
    head, row = ("name", "difference", "share"), ("a-long-name", "-1.5 [-2.5, 0.1] %", "0.1 [0, 1]")
    wide = table(head, [row], fit=60, every=True)
    assert wide == table(head, [row])
    assert table(head, [row], fit=40, every=True).splitlines()[2:] == [
        "a-long-name             -1.5  0.1 [0, 1]",
        "               [-2.5, 0.1] %",
    ]
    # An interval is broken only where it cannot stay in one piece.
    assert max(map(len, table(head, [row], fit=30, every=True).splitlines())) <= 30


def test_fitted_breaks_only_what_is_too_long():
    text = "short\n  Eq. 1  a long equation that goes on\n- an item that goes on"
    assert fitted(text, 100) == text
    assert fitted(text, 20).splitlines() == [
        "short", "  Eq. 1  a long", "  equation that goes", "  on",
        "- an item that goes", "  on",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["algos", "envs", "loops"])
def test_lists_fit_and_name_everything(cli, columns, kind):
    code, out, _ = cli("list", kind, "--all")
    assert code == 0
    assert max(map(len, out.splitlines())) <= columns
    first = {line.split(" ")[0] for line in out.splitlines()[2:]} - {""}
    specs = {"algos": ALGOS, "envs": ENVS, "loops": LOOPS}[kind].all()
    assert first == {getattr(spec, "id" if kind == "envs" else "name") for spec in specs}
    assert len(json.loads(cli("list", kind, "--json")[1])) == len(specs)


def test_instances_are_folded_into_their_base(cli, columns):
    code, out, _ = cli("list", "envs")
    assert code == 0
    assert max(map(len, out.splitlines())) <= columns
    first = {line.split(" ")[0] for line in out.splitlines()[2:]} - {""}
    assert first == {spec.id for spec in ENVS.all() if not spec.instance_of}
    text = "".join(out.split())  # however it is wrapped
    assert "lost(Zipkin2008);16instances:one-store-lost-sales-p4-l1...-p39-l4" in text
    assert "21instances:serial-system-p4-l1...-n7" in text
    found = {row["environment"]: row for row in json.loads(cli("list", "envs", "--json")[1])}
    assert found["hopper"]["instance_of"] is None
    instance = found["one-store-lost-sales-p9-l2"]
    assert instance["instance_of"] == "one-store-lost-sales"
    assert instance["kwargs"] == {"penalty": 9.0, "lead_time": 2}


BASE = """
import pgbench
class World:
    def __init__(self, num_envs, size=3): ...
def add(id, capabilities=('ContinuousActions',), **more):
    pgbench.register_env(id, World, family='control', summary='tiny', underlying='-',
        metrics=[pgbench.Metric('return')], budgets={'small': 10},
        capabilities=capabilities, **more)
add('world')
"""


def test_one_instance_an_odd_name_and_a_lost_base(cli, tmp_path):
    code = BASE + "add('globe', (), instance_of='world')\nadd('orphan', instance_of='nowhere')\n"
    exec(compile(code, str(tmp_path / "worlds.py"), "exec"), {})
    out = cli("list", "envs")[1]
    assert "tiny (-); 1 instance: globe" in out
    assert re.search("^orphan +control", out, re.M)  # without a base it is a row of its own
    assert not re.search("^globe", out, re.M)
    fit = cli("compat", "sac")[1]  # what fits otherwise than its base does is shown
    assert re.search("^world +control +fits$", fit, re.M)
    assert re.search("^globe +control +lacks ContinuousActions$", fit, re.M)


def test_suites(cli, suite_file):
    assert cli("list", "suites")[1] == "there are no suites in leaderboards/suites yet\n"
    path = suite_file()
    assert "toy-v1    13  Toys: long, short" in cli("list", "suites")[1]
    (found,) = json.loads(cli("list", "suites", "--json")[1])
    assert (found["suite"], found["runs"]) == ("toy-v1", 13)
    path.write_text("name = 1")
    code, _, err = cli("list", "suites")
    assert (code, err.count("\n")) == (2, 1) and "(1) name must be a text" in err
    code, _, err = cli("list", "env")
    assert (code, err) == (2, "pgbench: unknown kind 'env'; did you mean envs?\n")


@pytest.mark.parametrize("name", sorted({spec.name for spec in ALGOS.all()}))
def test_every_algorithm_explains_itself(cli, columns, name):
    code, out, err = cli("explain", name)
    assert code == 0, err
    for word in ("Equations", "Departures", "Settings", "lr"):
        assert word in out
    # A path may be longer than the page, nothing else.
    # Docstrings are printed as they are, equations unbroken: within 100 columns.
    longest = max(len(x) for x in out.splitlines() if not x.startswith("source"))
    assert longest <= max(columns, 100)


@pytest.mark.parametrize("name", [spec.name for spec in LOOPS.all()])
def test_every_loop_explains_itself(cli, columns, name):
    code, out, err = cli("explain", name)
    assert code == 0, err
    text = " ".join(out.split())
    assert f"a budget counts {LOOPS.specs[name].unit}" in text and "Settings that it reads" in text
    for algo in ALGOS.all():
        assert (f"{algo.name} ({algo.family})" in text) == (algo.loop == name)
    assert max(len(x) for x in out.splitlines() if not x.startswith("source")) <= columns
    code, _, err = cli("compat", name)
    assert (code, err.count("\n")) == (2, 1) and f"pgbench explain {name}" in err


@pytest.mark.parametrize("name", [spec.id for spec in ENVS.all() if not spec.instance_of])
def test_every_environment_explains_itself(cli, columns, name):
    code, out, err = cli("explain", name)
    assert code == 0, err
    spec = ENVS.specs[name]
    for word in ("bservation", "ction", "eward", "budgets", *spec.anchors, f"--env {name}"):
        assert word in out
    # Docstrings are printed as they are, equations unbroken: within 100 columns.
    longest = max(len(x) for x in out.splitlines() if not x.startswith("source"))
    assert longest <= max(columns, 100)


def test_explain_an_instance(cli):
    code, out, err = cli("explain", "one-store-lost-sales-p9-l2")
    assert code == 0, err
    text = " ".join(out.split())
    assert "An instance of one-store-lost-sales, with penalty=9, lead_time=2; the" in text
    assert "The least cost of any policy is 6.09364 (by relative value iteration)." in text
    assert "16 instances" not in text and "instance " not in text.replace("An instance ", "")
    text = " ".join(cli("explain", "transshipment-3")[1].split())
    assert "A lower bound on the cost of any policy is " in text
    assert "(by Federgruen-Zipkin pooling)" in text
    assert "cost of any policy" not in cli("explain", "one-warehouse-3")[1]  # none is known


def test_explain_a_base_lists_its_instances(cli):
    code, out, err = cli("explain", "serial-system")
    assert code == 0, err
    listed = re.findall(r"^(serial-system-\S+) +(\S.*)$", out, re.M)
    assert len(listed) == 21
    assert ("serial-system-p19-l3", "penalty=19, lead_time=3") in listed
    assert listed[-1] == ("serial-system-n7", "locations=7")
    assert "--env serial-system --set env.penalty=4 --set env.lead_time=1\n" in out
    wanted = "of any policy, with the default settings, is 10.7339 (by Clark-Scarf"
    assert wanted in " ".join(out.split())


@pytest.mark.parametrize(("name", "loops"), [("ppo", 2), ("reinforce", 3)])
def test_explain_shows_every_family(cli, name, loops):
    code, out, err = cli("explain", name)
    assert code == 0, err
    assert out.startswith(f"{name} is there for 3 families: control, inventory and text.\n")
    assert re.findall(r"^family +(\w+)$", out, re.M) == ["control", "inventory", "text"]
    assert len(set(re.findall(r"^loop +(\w+)$", out, re.M))) == loops
    runs = re.findall(rf"^  pgbench run --algo {name} --env (\S+)$", out, re.M)
    assert [ENVS.specs[env].family for env in runs] == ["control", "inventory", "text"]


def test_compat_folds_instances(cli, columns):
    code, out, _ = cli("compat", "hdpo")
    assert code == 0
    assert max(map(len, out.splitlines())) <= columns
    assert re.search(
        r"^one-store-lost-sales +inventory +fits \(so do its 16 instances\)$", out, re.M
    )
    assert re.search(r"^many-warehouses +inventory +fits$", out, re.M)
    assert "one-store-lost-sales-p" not in out
    assert "hdpo" in cli("compat", "one-store-lost-sales-p9-l2")[1]


def test_compat_says_what_is_missing(cli, tmp_path):
    (tmp_path / "odd.py").write_text(
        "import pgbench\n"
        "pgbench.register_algo('odd', object, family='control', loop='onpolicy', summary='',\n"
        "    requires={'Telepathy', 'ContinuousActions'})\n"
    )
    code, out, _ = cli("compat", "odd.py")
    assert code == 0
    assert out.count("Telepathy") == 1 + sum(not spec.instance_of for spec in ENVS.all())
    assert re.search("^odd +control +lacks Telepathy$", cli("compat", "hopper")[1], re.M)
    ppo = cli("compat", "ppo")[1]
    assert "ppo (family control) needs ContinuousActions or DiscreteActions" in ppo
    assert "needs ContinuousActions\n" in ppo  # of the inventory family
    for name in ("hopper", "cartpole"):
        assert re.search(f"^{name} +control +fits$", ppo, re.M)
    assert re.search("^cartpole +control +lacks ContinuousActions$", cli("compat", "sac")[1], re.M)
    assert re.search(
        "^requires +ContinuousActions or DiscreteActions$", cli("explain", "ppo")[1], re.M
    )


def test_unknown_names(cli):
    for command in ("explain", "compat"):
        code, _, err = cli(command, "hoper")
        assert (code, err.count("\n")) == (2, 1)
        assert "did you mean hopper" in err
    assert cli("explain", "nowhere.py")[0] == 2


def test_explain_an_environment_file(cli, tmp_path):
    (tmp_path / "world.py").write_text(
        "import pgbench\n"
        "class World:\n"
        "    '''A world of its own.'''\n"
        "    def __init__(self, num_envs, size=3): ...\n"
        "pgbench.register_env('world', World, family='control', summary='tiny', underlying='-',\n"
        "    metrics=[pgbench.Metric('return')], budgets={'small': 10},\n"
        "    capabilities=['ContinuousActions'])\n"
    )
    code, out, err = cli("explain", "world.py")
    assert code == 0, err
    assert "A world of its own." in out
    assert re.search(r"size +3", out)
    assert "--env world.py" in out


def test_doctor(cli):
    code, out, _ = cli("doctor", "--json")
    findings = {f["what"]: f for f in json.loads(out)}
    assert code == 0
    assert {f["status"] for f in findings.values()} <= {"ok", "warn"}
    assert set(KNOWN_TO_WORK) | {"Python", "devices", "rendering", "video"} <= set(findings)
    assert all(f["advice"] for f in findings.values() if f["status"] != "ok")


def test_doctor_fails_on_what_is_essential(cli, monkeypatch, tmp_path):
    monkeypatch.setattr("pgbench.cli.doctor._rendering", lambda: Finding("ok", "rendering", ""))
    monkeypatch.setitem(KNOWN_TO_WORK, "numpy", ("99", None))
    monkeypatch.setitem(KNOWN_TO_WORK, "no-such-package", ("1", None))
    (tmp_path / "file").write_text("")
    code, out, _ = cli("doctor", "--runs", "file/runs")
    assert code == 1
    for text in ("outside numpy>=99", "pip install 'no-such-package>=1'", "choose another folder"):
        assert text in out
    assert "3 essential things are missing" in out


def test_doctor_knows_the_bounds_of_the_package():
    """The bounds are those that pip enforces."""
    import importlib.metadata

    declared = [
        "".join(text.split(";")[0].split()).replace("[mujoco]", "")
        for text in importlib.metadata.requires("pgbench") or []
        if "extra ==" not in text
    ]
    ours = {
        ",".join(sorted([f">={low}", *([f"<{high}"] if high else [])])) + f" {name}"
        for name, (low, high) in KNOWN_TO_WORK.items()
    }
    theirs = set()
    for text in declared:
        cut = min(text.index(c) for c in "<>=" if c in text)
        theirs.add(f"{','.join(sorted(text[cut:].split(',')))} {text[:cut]}")
    assert ours == theirs
