"""`pgbench power`: from pilot runs and records, and what is said where they are missing."""

import json

import pytest

from pgbench.records import ledger


@pytest.fixture
def pilot(suite_file, write_run, make_record):
    """A suite, and three seeds of one of its rows as runs: (folder of the boards, of the runs)."""
    root = suite_file().parents[1]
    wind = {"environment.kwargs": {"wind": 1}, "identity.env_kwargs": {"wind": 1}}
    for seed, score in enumerate((1.0, 2.0, 3.0)):
        runs = write_run(make_record("ppo", seed, (score, score)), f"toy-{seed}")
        more = make_record("ppo", seed, (score - 60, score - 60), "other-v0", changes=wind)
        write_run(more, f"other-{seed}")
    return root, runs


def test_from_pilot_runs(cli, pilot):
    root, runs = pilot
    code, out, err = cli("power", "toy-v1", "--runs", runs, "--root", root)
    assert code == 0 and "long: least differences found with 3 seeds" in out
    assert "no run here is of track short" in err
    code, out, _ = cli("power", "toy-v1", "--runs", runs, "--root", root, "--json")
    lines = {line["table"]: line for line in json.loads(out)}
    assert set(lines) == {"all", "toy-v0", "other-v0"} and code == 0
    toy, other = lines["toy-v0"], lines["other-v0"]
    assert toy["rows"] == 2 and toy["deviation"] == pytest.approx(other["deviation"])
    assert lines["all"]["deviation"] < toy["deviation"] / 10  # normalised, and of two tasks


def test_more_seeds_and_a_wanted_difference(cli, pilot):
    root, runs = pilot
    words = ("power", "toy-v1", "--runs", runs, "--root", root, "--json")
    few, many = (
        {line["table"]: line for line in json.loads(cli(*words, "--seeds", n)[1])} for n in (3, 12)
    )
    assert all(many[name]["pair"] < few[name]["pair"] / 2 for name in few)
    wanted = many["toy-v0"]["pair"] / 9.999  # the way from floor to reference is 10 long
    found = {x["table"]: x for x in json.loads(cli(*words, "--difference", wanted)[1])}
    assert found["toy-v0"]["seeds_pair"] == 12 and found["toy-v0"]["wanted"] == wanted * 10
    assert found["all"]["seeds_pair"] < 12
    text = cli("power", "toy-v1", "--runs", runs, "--root", root, "--difference", 0.1)[1]
    assert "seeds: two rows" in text


def test_from_records_but_not_the_withdrawn(cli, pilot):
    root, runs = pilot
    folder = root / "records/toy-v1"
    ledger.add(folder, [runs])
    code, out, _ = cli("power", "toy-v1", "--root", root, "--json")
    assert code == 0 and json.loads(out)[0]["deviation"] is not None
    assert json.loads(cli("power", "toy-v1", "--records", folder, "--root", root, "--json")[1])
    gone = {e.id for e in ledger.read_board(folder) if e.record["protocol"]["seed"] == 2}
    for record in gone:
        ledger.add_stamp(folder, {"kind": "withdrawn", "record": record, "by": "x", "reason": "y"})
    _, out, _ = cli("power", "toy-v1", "--root", root, "--json")
    assert {line["deviation"] for line in json.loads(out)} == {None}  # two seeds tell none


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "pgbench bench toy-v1 --seeds 3"),
        (("--runs", "nowhere"), "no folder or file nowhere"),
        (("--seeds", "1"), "seeds"),
    ],
)
def test_refusals(cli, suite_file, words, said):
    root = suite_file().parents[1]
    code, out, err = cli("power", "toy-v1", "--root", root, *words)
    assert code == 2 and said in err and not out


@pytest.mark.parametrize(("wanted", "said"), [("0", "more than 0"), ("1e-9", "100,000 seeds")])
def test_differences_out_of_reach(cli, pilot, wanted, said):
    root, runs = pilot
    words = ("power", "toy-v1", "--runs", runs, "--root", root, "--difference", wanted)
    code, _, err = cli(*words)
    assert code == 2 and said in err and "Traceback" not in err
