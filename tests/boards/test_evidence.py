"""What a consistent forger meets: real runs, edited, their ids and second tellings made to fit."""

import copy
import random
import subprocess

import pytest

from pgbench.boards import lot
from pgbench.boards.evidence import commit_facts, hold
from pgbench.boards.store import empty_board, open_board
from pgbench.boards.submit import examine, read_submission
from pgbench.catalogue.fingerprint import golden
from pgbench.catalogue.registry import find_env
from pgbench.errors import ROOT, PgbenchError
from pgbench.records.evidence import agree
from pgbench.records.record import Entry, record_id
from pgbench.runs import provenance
from pgbench.runs.plan import Protocol, make_plan
from pgbench.runs.runner import Run
from pgbench.settings.config import digest
from pgbench.support.files import write_json

SUITE = """
name = "small-v1"
title = "Small"
about = "Two methods, one of them twice."
rules = 1
protocol = {{ episodes = 3, curve_points = 2, curve_episodes = 2 }}

[environments.pendulum]
version = "pendulum-v0"
golden = "{golden}"
floor = -1200
floor_origin = "a"
reference = -150
reference_origin = "b"

[[track]]
name = "short"
title = "Short"
budget = 2048
seeds = 3
environments = ["pendulum"]
entry = [
    {{ algo = "reinforce" }},
    {{ algo = "ppo", label = "ppo, slow", set = {{ lr = 1e-4 }} }},
]
"""
ROWS = (("reinforce", {}, "paper"), ("ppo", {"lr": 1e-4}, "declared"))


def head():
    """The commit of this checkout; None where there is no git."""
    words = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


CODE = {"commit": head() or "0" * 40, "dirty": False}


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """The records of two rows of three seeds, run here: of reinforce 0 to 2, of ppo 3 to 5."""
    runs = tmp_path_factory.mktemp("honest")
    records = []
    for algo, settings, kind in ROWS:
        for seed in range(3):
            plan = make_plan(
                algo, "pendulum", seed=seed, budget=2048, settings=settings, device="cpu",
                protocol=Protocol(3, 2, 2), compile=False, threads=1,
                tuning={"class": kind, "trials": 0},
            )  # fmt: skip
            record = Run(plan, runs).go()
            record["provenance"] |= CODE  # as if this checkout had no change
            records.append({**record, "id": record_id(record)})
    return records


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder of a board without records; what runs here counts as committed code."""
    monkeypatch.setattr(provenance, "git", lambda: dict(CODE))
    path = tmp_path / "leaderboards/suites/small-v1.toml"
    path.parent.mkdir(parents=True)
    path.write_text(SUITE.format(golden=golden(find_env("pendulum"))))
    return tmp_path / "leaderboards"


def signed(records, edit, folder):
    """Copies after `edit`, all that follows from other fields made to fit, as run folders."""
    records = copy.deepcopy(records)
    edit(records)
    for i, record in enumerate(records):
        if record["status"] == "finished" and "unmended" not in record:
            final, result = record["result"]["final"], record["result"]
            result["score"] = sum(final) / len(final)
            result["curve"][-1] |= {"mean": result["score"], "n": len(final)}
        record.pop("unmended", None)
        record["id"] = record_id(record)
        write_json(folder / f"{i}" / "run.json", record)
    return folder


def put(path, value, which=range(6)):
    """An edit that writes `value` at `path` of the records numbered `which`."""

    def edit(records):
        *outer, last = path.split(".")
        for i in which:
            inside = records[i]
            for key in outer:
                inside = inside[int(key) if key.isdigit() else key]
            inside[int(last) if last.isdigit() else last] = value

    return edit


def both(*edits):
    def edit(records):
        for one in edits:
            one(records)

    return edit


def cycle(records):
    """The results of each row's seeds, moved on by one seed."""
    for row in (records[:3], records[3:]):
        results = [record["result"] for record in row]
        for record, result in zip(row, results[1:] + results[:1], strict=True):
            record["result"] = result


def one_for_all(records, fresh=False):
    for row in (records[:3], records[3:]):
        for record in row[1:]:
            record["result"] = copy.deepcopy(row[0]["result"])
            if fresh:
                record["result"]["checksum"] = digest(record["identity"] | record["protocol"])


def rows_swapped(records):
    for one, other in zip(records[:3], records[3:], strict=True):
        one["result"], other["result"] = other["result"], one["result"]


def invented(records):
    rng = random.Random(7)
    for record in records[3:]:
        result = record["result"]
        result["final"] = [x * rng.uniform(0.4, 0.5) for x in result["final"]]
        result["checksum"] = digest(result["final"])


def failed(whole=False, curve=True, failure="diverged", error="diverged: kl is nan", which=(0,)):
    def edit(records):
        for i in which:
            records[i]["status"] = "failed"
            result = records[i]["result"]
            result |= {"failure": failure, "error": error, "score": None}
            if not whole:
                result |= {"final": None, "lengths": None}
                result.pop("diagnostics", None)
            if not curve:
                result["curve"] = result["curve"][:1]

    return edit


def plugin(records):
    for record in records[:3]:
        record["identity"]["sources"][0] = "ab" * 32


REFUSED = {
    "one checksum in two runs": (lambda r: r[1]["result"].update(
        checksum=r[0]["result"]["checksum"]), "the very parameters of"),
    "one result for all seeds": (one_for_all, "the very parameters of"),
    "a nonsense checksum": (put("result.checksum", "deadbeef", [2]), "is no SHA-256"),
    "a bad run declared failed": (failed(whole=True), "a failed run has none"),
    "a bad run declared failed, without its scores": (failed(), "it has finished"),
    "a failure of another kind": (failed(curve=False, failure="killed"), "does not fit its error"),
    "a failure beside a result": (put("result.failure", "diverged", [1]), "run has finished"),
    "metric direction": (put("environment.metric.direction", "min"), "environment.metric"),
    "metric name": (put("environment.metric.name", "success"), "environment.metric"),
    "metric unit": (put("environment.metric.unit", "%"), "environment.metric"),
    "budget's unit": (put("protocol.unit", "episodes"), "protocol.unit"),
    "underlying": (put("environment.underlying", "Pendulum-v0"), "environment.underlying"),
    "fingerprint": (put("environment.golden", "0" * 64), "its fingerprint differs"),
    "a version that is none": (put("provenance.packages.torch", "latest"), "is no version"),
    "a package of one run": (put("provenance.packages.numpy", "1.0.0", [4]), "provenance.lock"),
    "an old Python": (put("provenance.python", "3.8.1"), "does not run on Python"),
    "a commit that is none": (put("provenance.commit", "main"), "is no commit"),
    "created in the future": (put("created", "2999-01-01T00:00:00Z"), "in the future"),
    "created before pgbench": (put("created", "2019-01-01T00:00:00Z"), "before there was"),
    "created at no time": (put("created", "yesterday"), "is no time"),
    "tuned settings called paper": (both(
        put("protocol.tuning", {"class": "paper", "trials": 0}, [3, 4, 5]),
        put("algorithm.defaults_changed", [], [3, 4, 5])), "'paper' means the catalogue's"),
    "changed settings hidden": (put("algorithm.defaults_changed", [], [3, 4, 5]),
                                "algorithm.defaults_changed: []"),
    "trials hidden": (put("protocol.tuning", {"class": "paper", "trials": 20}, [0, 1, 2]),
                      "class paper with 20 trials"),
    "a setting that there is not": (both(
        put("algorithm.config.magic", 1, [0, 1, 2]), put("identity.config.magic", 1, [0, 1, 2]),
        lambda r: [x["algorithm"].update(config_hash=digest(x["algorithm"]["config"]))
                   for x in r]), "magic"),
    "a hash of other settings": (put("algorithm.config_hash", "0" * 64, [0]), "'config_hash'"),
    "number of parameters": (put("algorithm.parameters", 7, [5]), "algorithm.parameters"),
    "fewer final episodes": (lambda r: r[0]["result"]["final"].pop(), "2 final episodes"),
    "a score out of bounds": (put("result.final.0", 5.0, [0]), "is no return per episode"),
    "episodes too long": (put("result.lengths.1", 500, [0]), "ends after 200"),
    "episodes without a length": (put("result.lengths", [200], [0]), "result.lengths"),
    "a curve of other episodes": (put("result.curve.0.n", 50, [0]), "result.curve[0].n"),
    "fewer steps than the budget": (both(
        put("cost.env_steps", 1024, [0]), put("result.curve.0.step", 1024, [0]),
        put("result.curve.1.step", 1024, [0])), "1,024 of 2,048 steps"),
    "a training seed of one's own": (put("protocol.train_seed", 2, [0]), "was chosen"),
    "evaluation seeds of one's own": (put("protocol.eval_seeds", "0" * 64, [0]), "eval_seeds"),
    "parts longer than the whole": (put("cost.evaluate_s", 1e5, [0]), "cost.evaluate_s"),
}  # fmt: skip


def found(root, runs):
    """The lines that `submit` would print, and whether one of them refuses."""
    try:
        findings = examine(read_submission(runs), empty_board("small-v1", root))
    except PgbenchError as error:
        return [str(error)], True
    lines = [f"{f.status} {f.what}: {f.detail}" for f in findings]
    return lines, any(f.status == "refused" for f in findings)


def test_honest_records_pass_every_check(honest, root, tmp_path):
    lines, refused = found(root, signed(honest, lambda r: None, tmp_path / "runs"))
    assert not refused
    if commit_facts(CODE["commit"]):
        assert not [line for line in lines if not line.startswith("ok")]


@pytest.mark.parametrize("name", REFUSED)
def test_a_forgery_is_refused(name, honest, root, tmp_path):
    edit, said = REFUSED[name]
    lines, refused = found(root, signed(honest, edit, tmp_path / "runs"))
    assert refused and said in " ".join(lines), lines


@pytest.mark.skipif(not commit_facts(CODE["commit"]), reason="no history of git here")
def test_time_and_version_are_held_against_the_commit(honest, root, tmp_path):
    for i, (path, value, said) in enumerate((
        ("created", "2026-02-01T00:00:00Z", "but its commit is of"),
        ("provenance.packages.pgbench", "9.9.9", "its commit is of version"),
    )):  # fmt: skip
        lines, refused = found(root, signed(honest, put(path, value), tmp_path / f"{i}"))
        assert refused and said in " ".join(lines), lines


def test_a_folder_of_another_run_is_refused(honest, root, tmp_path):
    own = digest(honest[0]["identity"])[:8]
    write_json(tmp_path / f"runs/0-{own}/run.json", honest[0])
    assert len(read_submission(tmp_path / "runs")) == 1
    write_json(tmp_path / f"runs/2-{own}/run.json", honest[1])
    with pytest.raises(PgbenchError, match=rf"the folder 2-{own} is not this run's, which is 1-"):
        read_submission(tmp_path / "runs")


def submit(cli, root, runs, *more):
    return cli("submit", runs, "--board", "small-v1", "--root", root, *more)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (cycle, "checksum, final, curve differ"),
        (rows_swapped, "checksum, final, curve differ"),
        (lambda r: one_for_all(r, fresh=True), "of another seed"),
        (invented, "checksum, final, curve differ"),
        (failed(curve=False), "failure, result.lengths differ"),
        (put("algorithm.parameters", 7, [3, 4, 5]), "algorithm.parameters differ"),
    ],
    ids=["seeds swapped", "rows swapped", "one result, other checksums", "invented",
         "a failure made up", "parameters of a whole row"],
)  # fmt: skip
def test_only_running_again_refuses_these(edit, said, honest, root, tmp_path, cli):
    runs = signed(honest, edit, tmp_path / "runs")
    assert not found(root, runs)[1]  # nothing contradicts itself
    code, out, err = submit(cli, root, runs)
    assert code == 2 and "refused run again" in out and said in out, out + err
    assert not (root / "records").exists()


def test_an_honest_submission_is_stamped_where_it_was_run_again(honest, root, tmp_path, cli):
    runs = signed(honest, lambda r: None, tmp_path / "runs")
    code, out, _ = submit(cli, root, runs, "--dry-run")
    assert code == 0 and "not done: to run again 2 of 6 records" in out
    code, out, err = submit(cli, root, runs, "--stamp", "A. Name")
    assert code == 0 and "Run again: 2 of 6 records were run again and borne out" in out, out + err
    board = open_board("small-v1", root)
    rows = lot.rows_of(board.entries, board)
    checked = lot.checked(board.stamps)
    assert [sum(e.id in checked for e in row) for row in rows.values()] == [1, 1]
    code, out, _ = cli("verify", "small-v1", "--root", root)
    assert code == 0 and "run again: 1 of 3 of ppo, slow (short)" in out
    assert "run again: 2 of 6 records in all" in out
    assert all(row["checked"] == 1 for row in board.model()["tracks"][0]["rows"])


def test_what_was_not_run_again_says_so(honest, root, tmp_path, cli):
    runs = signed(honest, lambda r: None, tmp_path / "runs")
    code, out, _ = submit(cli, root, runs, "--no-rerun")
    assert code == 0 and "held    run again: none of 6 (--no-rerun)" in out
    assert "Run again: none of 6" in out  # in the text of the pull request
    tracks = open_board("small-v1", root).model()["tracks"]
    assert {row["evidence"] for row in tracks[0]["rows"]} == {"claimed"}


def test_a_limit_leaves_rows_out_and_names_them(honest, root, tmp_path, cli):
    runs = signed(honest, lambda r: None, tmp_path / "runs")
    code, out, _ = submit(cli, root, runs, "--limit-minutes", "0")
    assert code == 0 and "held    run again: 0 of 6" in out
    assert "reinforce (short): its runs are over the limit" in out


def test_a_plugin_under_the_name_of_a_builtin_is_shown(honest, root, tmp_path, cli):
    runs = signed(honest, plugin, tmp_path / "runs")
    code, out, _ = submit(cli, root, runs)
    assert code == 0 and "reinforce is a plug-in under a built-in's name" in out
    rows = open_board("small-v1", root).model()["tracks"][0]["rows"]
    assert "reinforce (plug-in abababab)" in {row["name"] for row in rows}


def entries_of(records):
    return [Entry(record, f"here:{i}") for i, record in enumerate(records)]


def test_the_content_draws_the_lot(make_record):
    rows = {
        name: entries_of([make_record(name, s, (s, s + 1.0)) for s in range(20)])
        for name in ("a", "b", "c")
    }
    first = lot.draw(rows, 1e9)
    assert len(first.drawn) == 6 and not first.left  # one in ten of 60; of each row one
    assert {e.record["algorithm"]["name"] for e in first.drawn} == {"a", "b", "c"}
    assert lot.draw(dict(reversed(rows.items())), 1e9) == first
    other = {**rows, "c": entries_of([make_record("c", s, (s, s + 2.0)) for s in range(20)])}
    assert [e.id for e in lot.draw(other, 1e9).drawn] != [e.id for e in first.drawn]
    odd = rows["b"][7].id
    assert odd in {e.id for e in lot.draw(rows, 1e9, first=[odd]).drawn}
    done = {e.id for e in first.drawn}
    assert not lot.draw(rows, 1e9, checked=done).drawn
    cheap = lot.draw(rows, 4.0)  # seconds: what a run took is 2 + seed
    assert len(cheap.drawn) == 1 and len(cheap.left) == 2


def test_runs_that_learned_nothing_may_end_alike(make_record):
    flat = [{"step": s, "mean": 2.0, "n": 5} for s in (100, 200)] + [
        {"step": 1000, "mean": 2.0, "n": 2}
    ]
    same = {"result.checksum": "a" * 64}
    agree(entries_of([make_record(seed=s, curve=flat, changes=same) for s in range(3)]))
    with pytest.raises(PgbenchError, match="the very parameters of here:0"):
        agree(entries_of([make_record(seed=s, changes=same) for s in range(3)]))


def test_one_seed_may_end_alike_in_two_rows_and_is_shown(make_record):
    same = {"result.checksum": "a" * 64}
    pair = entries_of([make_record(algo, changes=same) for algo in ("bapo", "cispo")])
    agree(pair)
    shown = next(f for f in hold(pair) if f.what == "results of their own")
    assert shown.status == "held" and "of the same seed by another row" in shown.detail


def test_strangers_are_named(make_record):
    (names,) = (f for f in hold(entries_of([make_record("mine")])) if f.what == "names")
    assert names.status == "held" and "mine is not in the catalogue" in names.detail
