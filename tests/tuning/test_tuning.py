"""`pgbench tune`: the trials, what they score, and that no kill changes any of it."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tuning_runs import TINY, study_of, tiny_tuning, without_ids

from pgbench.errors import PgbenchError
from pgbench.runs.plan import Protocol, make_plan
from pgbench.settings.config import digest, read_toml, read_tuning
from pgbench.support.files import only_process
from pgbench.support.seeding import eval_seeds, train_seed
from pgbench.tuning import best_toml, counted, floor_of, make_tuning, summary
from pgbench.tuning.space import Choices, Range, table_of

optuna = pytest.importorskip("optuna")


# The trials


def test_the_trials_are_the_defaults_and_then_points_that_nobody_chooses():
    one, again = tiny_tuning(trials=9), tiny_tuning(trials=9)
    points = one.points(0)
    assert points == again.points(0) and one.digest == again.digest
    config = one.base.config
    assert points[0] == {key: getattr(config, key) for key in one.space}
    assert one.plan(points[0]).config == config
    for params in points[1:]:
        assert all(one.space[key].has(value) for key, value in params.items())
        assert list(params) == list(one.space)
    assert len({digest(params) for params in points}) == 9
    assert one.points(1)[1:] != points[1:], "another study draws other points"
    assert tiny_tuning(trials=10).points(0)[1:9] != points[1:]
    assert make_tuning("ppo", "hopper", budget=4096, trials=9).digest != one.digest
    assert tiny_tuning(trials=9, studies=3).digest == one.digest, "more studies go on in its folder"


def test_the_points_cover_the_space_evenly(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        "lr = { low = 1e-5, high = 1e-1, log = true }\ngamma = { low = 0.9, high = 0.999, "
        'log = "1-x" }\nepochs = { low = 1, high = 4 }\nvf_coef = { low = 0, high = 1 }\n'
        "hidden = { choices = [[8, 8], [16]] }\n"
    )
    tuning = make_tuning("ppo", "pendulum", space=path, trials=33)
    points = tuning.points(0)[1:]
    decades = [math.floor(math.log10(p["lr"])) for p in points]
    assert [decades.count(d) for d in (-5, -4, -3, -2)] == [8, 8, 8, 8]  # a Sobol net of 32
    assert sum(1 - p["gamma"] < 0.01 for p in points) == 16  # 0.9 to 0.99 is half of the scale
    assert sum(p["vf_coef"] < 0.5 for p in points) == 16
    assert [sum(p["epochs"] == n for p in points) for n in (1, 2, 3, 4)] == [8, 8, 8, 8]
    assert sum(p["hidden"] == [16] for p in points) == 16
    assert all(float(f"{p['lr']:.4g}") == p["lr"] for p in points), "values stay readable"
    turned = "\n".join(reversed(path.read_text().splitlines()))
    path.write_text(turned)
    again = make_tuning("ppo", "pendulum", space=path, trials=33)
    assert again.digest == tuning.digest and again.points(0) == tuning.points(0)


def test_tuning_seeds_are_no_seeds_of_boards():
    tuning = tiny_tuning(trials=2, seeds=3, studies=3)
    job = tuning.job(tuning.points(0)[1], 2, Path("runs"))
    plan = job.plan()
    assert plan.purpose == "tune" and plan.tuning == {"class": "fixed-2", "trials": 2}
    assert plan.identity != replace(plan, purpose="board").identity
    numbers = [tuning.run_seeds(k) for k in range(3)]
    assert numbers == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    env = plan.env.name
    streams = ("algorithm", "loop")
    tune = {train_seed(env, s, w, purpose="tune") for s in range(9) for w in streams}
    board = {train_seed(env, s, w) for s in range(1000) for w in streams}
    judged = set(eval_seeds(env, 100, purpose="tune"))
    assert not tune & board and not judged & set(eval_seeds(env, 1000)) and not judged & tune


# The scores


def seed(number, score):
    status = "failed" if score is None else "finished"
    return {
        "seed": number, "status": status, "score": score, "failure": None if score else "diverged",
        "error": None if score else "diverged: kl", "record": "r", "checksum": "c",
    }  # fmt: skip


def test_a_failed_run_counts_as_the_random_anchor_or_else_the_worst_of_its_study():
    tuning = tiny_tuning(trials=2, seeds=2)
    study = [[seed(0, 10.0), seed(1, 20.0)], [seed(0, None), seed(1, 30.0)]]
    assert floor_of(tuning, study).score == 4.71
    one = summary(tuning, [study])
    assert [t["score"] for t in one["studies"][0]["trials"]] == [15.0, (4.71 + 30) / 2]
    assert one["failed_runs"] == 1 and "random" in one["studies"][0]["failed_run"]["origin"]
    assert one["studies"][0]["trials"][0]["interval"] is None  # two seeds tell none
    bare = replace(tuning, base=replace(tuning.base, env=replace(tuning.base.env, anchors={})))
    assert floor_of(bare, study).score == 10.0
    assert summary(bare, [study])["studies"][0]["trials"][1]["score"] == 20.0
    metric = replace(bare.base.env.metrics[0], direction="min")
    costs = replace(bare, base=replace(bare.base, env=replace(bare.base.env, metrics=(metric,))))
    assert floor_of(costs, study).score == 30.0
    assert summary(costs, [study])["best"]["trial"] == 0, "15 costs less than 30"
    assert counted(study[1], None) is None
    with pytest.raises(PgbenchError, match="all 2 runs of ppo"):
        summary(tuning, [[[seed(0, None)], [seed(0, None)]]])


@pytest.mark.parametrize(
    ("bests", "chosen"), [((5.0, 9.0, 7.0), 2), ((5.0, 9.0), 0), ((5.0,), 0), ((5, 5, 5), 1)]
)
def test_of_several_studies_the_one_with_the_median_best_counts(bests, chosen):
    tuning = tiny_tuning(trials=2, seeds=1, studies=len(bests))
    ended = [[[seed(k, 1.0)], [seed(k, best)]] for k, best in enumerate(bests)]
    study = summary(tuning, ended)
    assert study["best"]["study"] == chosen and study["best"]["score"] == bests[chosen]
    assert study["best"]["defaults_score"] == 1.0
    assert study["tuning"] == {
        "class": "fixed-2", "trials": 2, "studies": len(bests), "study": tuning.digest,
        "space_hash": digest(table_of(tuning.space)), "metric": study["tuning"]["metric"],
    }  # fmt: skip


def test_of_equal_trials_the_defaults_win():
    tuning = tiny_tuning(trials=3, seeds=1)
    study = summary(tuning, [[[seed(0, 5.0)], [seed(0, 4.0)], [seed(0, 5.0)]]])
    assert study["best"]["trial"] == 0


def test_the_best_setting_is_a_config_of_run(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        "lr = { low = 1e-5, high = 1e-1, log = true }\nhidden = { choices = [[8, 8], [16]] }\n"
        "alpha = { low = 0.1, high = 1 }\n"
    )
    tuning = make_tuning(
        "sac", "pendulum", space=path, trials=2, seeds=1, settings={"env.g": "9.5", "batch": "64"}
    )
    for winner in (0, 1):  # the defaults (alpha is none), then a point
        scores = [[seed(0, 2.0 - winner)], [seed(0, 1.0 + winner)]]
        study = summary(tuning, [scores])
        assert study["best"]["trial"] == winner
        (tmp_path / "best.toml").write_text(best_toml(study))
        plan = make_plan("sac", "pendulum", settings=read_toml(str(tmp_path / "best.toml")))
        assert plan.config == tuning.plan(tuning.points(0)[winner]).config
        assert plan.env_kwargs == {"g": 9.5} and plan.purpose == "board"
        assert read_tuning(str(tmp_path / "best.toml")) == study["tuning"]
    text = (tmp_path / "best.toml").read_text()
    assert tuning.digest in text and tuning.space_hash in text and "tuning seeds 0" in text


# The journal


@pytest.fixture
def journal(tmp_path):
    from pgbench.tuning.journal import Journal

    space = {"lr": Range(1e-4, 1e-2, "log"), "gamma": Range(0.9, 0.99, "1-x"),
             "hidden": Choices(([8], [16]))}  # fmt: skip
    planned = [
        {"lr": 0.5, "gamma": 0.95, "hidden": [8]},  # defaults outside of the space
        {"lr": 0.001, "gamma": 0.987654321, "hidden": [16]},
    ]
    path = tmp_path / "study" / "optuna" / "journal.log"

    def again():
        return Journal(path, space, "max")

    first = again()
    for number, params in enumerate(planned):
        first.add("s", params, float(number), [seed(0, float(number) + 1)])
    return path, again, planned


def test_a_torn_journal_loses_its_torn_line_alone(journal):
    path, again, planned = journal
    whole = again().read("s", planned)
    assert [seeds[0]["score"] for seeds in whole] == [1.0, 2.0]
    study = optuna.load_study(study_name="s", storage=again().storage)
    assert study.best_trial.params == {"lr": 0.001, "1-gamma": 0.012345679, "hidden": "[16]"}
    assert study.trials[0].params == {"1-gamma": 0.05, "hidden": "[8]"}
    data = path.read_bytes()
    path.with_name("journal.log.lock").touch()  # of a process that was killed: not waited for
    path.write_bytes(data[:-30])
    torn = again()
    assert torn.read("s", planned) == whole[:1]
    torn.add("s", planned[1], 1.0, whole[1])
    assert again().read("s", planned) == whole


@pytest.mark.parametrize("damage", [b"garbage\n", b'{"op_code": 4}\n', b"[]\n", b"\xff\xfe\n"])
def test_a_damaged_journal_is_one_line_that_names_it(journal, damage):
    path, again, planned = journal
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage + b"".join(lines[1:]))
    with pytest.raises(PgbenchError, match=r"journal.log is damaged .* delete it") as error:
        again().read("s", planned)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b'"score":1.0', b'"score":"x"'),
        (b'"score":1.0,', b""),
        (b'"seeds":[', b'"seeds":[7,'),
        (b'"seeds"', b'"seed"'),
    ],
)
def test_a_trial_of_another_shape_is_one_line_too(journal, was, now):
    path, again, planned = journal
    data = path.read_bytes()
    assert was in data
    path.write_bytes(data.replace(was, now))
    with pytest.raises(PgbenchError, match=r"journal.log is damaged .* delete it") as error:
        again().read("s", planned)
    assert "\n" not in str(error.value)


def test_a_journal_of_other_points_is_refused(journal):
    _, again, planned = journal
    other = [planned[0], {**planned[1], "lr": 0.002}]
    with pytest.raises(PgbenchError, match="another trial 1 than this optuna and scipy draw"):
        again().read("s", other)


# Real studies


def test_a_study_from_the_command_line_to_a_run_with_its_best(cli, tmp_path):
    words = [*TINY, *"--trials 3 --tune-seeds 2 --only lr,epochs --runs".split(), tmp_path]
    code, out, err = cli(*words)
    assert code == 0, err
    assert "the defaults" in out and "2/2" in out and "best.toml" in out
    assert err.count("trial ") == 3, "a quiet line for each trial"
    study = study_of(tmp_path)
    tuning = tiny_tuning(trials=3, seeds=2, only=["lr", "epochs"], protocol=Protocol(episodes=2))
    assert study["study"] == tuning.digest and study["seeds"] == 2
    assert [t["params"] for t in study["studies"][0]["trials"]] == tuning.points(0)
    (folder,) = (path.parent for path in tmp_path.rglob("study.json"))
    assert folder == tuning.folder(tmp_path)
    records = {r["id"]: r for r in (json.loads(p.read_text()) for p in folder.rglob("run.json"))}
    for trial in study["studies"][0]["trials"]:
        for one in trial["seeds"]:
            record = records.pop(one["record"])
            assert record["result"]["score"] == one["score"]
            assert record["protocol"]["seed"] == one["seed"]
            assert record["identity"]["purpose"] == "tune"
            assert record["protocol"]["tuning"] == {"class": "fixed-3", "trials": 3}
            assert record["algorithm"]["config"]["lr"] == trial["params"]["lr"]
        assert trial["score"] == pytest.approx(sum(s["score"] for s in trial["seeds"]) / 2)
    assert not records, "no run that is not in the study"
    assert study["best"]["score"] == max(t["score"] for t in study["studies"][0]["trials"])

    data = (folder / "study.json").read_bytes()
    for path in folder.rglob("run.json"):
        path.unlink()  # the journal alone is enough
    code, again, err = cli(*words)
    assert (code, again, err) == (0, out, "")
    assert (folder / "study.json").read_bytes() == data

    with only_process(folder / "optuna"):
        code, _, err = cli(*words)
    assert code == 2 and "another process is working" in err

    best = folder / "best.toml"
    code, out, err = cli(
        *"run --algo ppo --env inverted-pendulum --budget 512 --episodes 2 --json -q".split(),
        *("--config", best, "--runs", tmp_path / "board"),
    )
    assert code == 0, err
    record = json.loads(out)
    assert record["algorithm"]["config"]["lr"] == study["best"]["params"]["lr"]
    assert record["identity"]["purpose"] == "board"
    assert record["protocol"]["tuning"] == study["tuning"]

    (folder / "study.json").write_text('{"study": "x"}')
    code, _, err = cli(*words)
    assert code == 2 and "of another study" in err


def test_diverged_runs_count_and_the_worst_is_their_score(cli, tmp_path):
    env = tmp_path / "bare.py"
    env.write_text(
        "from pgbench.catalogue.registry import Metric, register_env\n"
        "register_env('bare-pendulum', "
        "'pgbench.envs.control.inverted_pendulum:InvertedPendulum',\n"
        "    family='control', summary='no anchors', underlying='InvertedPendulum-v5',\n"
        "    metrics=[Metric('return')], budgets={}, capabilities={'ContinuousActions'})\n"
    )
    space = tmp_path / "space.toml"
    space.write_text("lr = { choices = [1e30] }")
    words = [str(env) if word == "inverted-pendulum" else word for word in TINY]
    words += ["--space", space, "--trials", 3, "--tune-seeds", 1, "--runs", tmp_path / "runs"]
    code, out, err = cli(*words)
    assert code == 0, err
    assert "2 runs failed; each counts as the worst finished run of the study" in out
    study = study_of(tmp_path)
    defaults, broken, same = study["studies"][0]["trials"]
    assert len(list((tmp_path / "runs").rglob("run.json"))) == 2, "equal settings are run once"
    assert same["seeds"] == broken["seeds"]
    assert broken["seeds"][0]["failure"] == "diverged" and broken["seeds"][0]["score"] is None
    assert broken["score"] == defaults["score"] and study["best"]["trial"] == 0


@pytest.fixture
def start():
    """Start the command as a process of its own; none outlives the test."""
    begun = []

    def go(runs, *more):
        words = [*TINY, *more, "--runs", runs]
        process = subprocess.Popen(
            [sys.executable, "-m", "pgbench", *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        begun.append(process)
        return process

    yield go
    for process in begun:
        process.kill()
        process.communicate()


def wait_for(runs, pattern, count=1, seconds=600):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if len(list(runs.rglob(pattern))) >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {count} {pattern} after {seconds} s")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads children from /proc")
def test_sigkills_change_nothing_in_the_study(start, tmp_path):
    words = "--budget 10k --trials 3 --tune-seeds 2 --only lr,clip --jobs 2".split()
    whole = start(tmp_path / "whole", *words)
    assert whole.wait() == 0
    killed = tmp_path / "killed"
    for runs in (1, 3, 5):  # once that many runs have begun
        process = start(killed, *words)
        wait_for(killed, "run.json", runs)
        jobs = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.communicate()
        if runs == 3:  # the machine goes down; otherwise the jobs go on alone
            for job in jobs:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(job), signal.SIGKILL)
    process = start(killed, *words)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert without_ids(study_of(killed)) == without_ids(study_of(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ctrl_c_lets_the_runs_save_and_the_same_command_goes_on(start, tmp_path):
    words = "--budget 40k --trials 2 --tune-seeds 1 --only lr --jobs 2".split()
    process = start(tmp_path, *words)
    wait_for(tmp_path, "events.jsonl", 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130 and out == ""
    assert "the same command continues it" in err and "Traceback" not in err
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert [record["status"] for record in records] == ["interrupted"] * 2
    assert len(list(tmp_path.rglob("state.pt"))) == 2 and not list(tmp_path.rglob("study.json"))
    again = start(tmp_path, *words)
    assert again.wait() == 0
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert [record["provenance"]["resumed"] for record in records] == [1, 1]
