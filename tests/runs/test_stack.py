"""`--seeds N --stack`: several seeds as one computation, each with its own folder and record."""

import json
import math

import pytest
import torch

from pgbench.boards.rerun import rerun
from pgbench.boards.rows import row_name
from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Algorithm
from pgbench.loops.onpolicy import OnPolicy
from pgbench.loops.stack import OnPolicyStack, stack_of
from pgbench.records.record import read_run, record_id
from pgbench.records.rules import verify
from pgbench.records.suite import Track
from pgbench.runs.evaluation import evaluate
from pgbench.runs.plan import Protocol, make_plan
from pgbench.runs.result import load
from pgbench.runs.runner import Interrupted, build
from pgbench.runs.stack import StackedRuns, build_stack

BRIEF = Protocol(episodes=2, curve_points=3, curve_episodes=1)
PPO = {"horizon": 64, "num_envs": 2, "minibatch": 32, "epochs": 2, "hidden": "8,8"}
SAC = {"start": 380, "batch": 8, "hidden": "8,8", "num_envs": 2}
BUDGETS = {"ppo": 200, "sac": 450}


def plans(count, algo="ppo", **more):
    settings = {"ppo": PPO, "sac": SAC}[algo] | more
    return [
        make_plan(algo, "pendulum", seed=seed, budget=BUDGETS[algo], settings=settings,
                  protocol=BRIEF, device="cpu", compile=False, threads=1, stack=count)
        for seed in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module", params=["ppo", "sac"])
def whole(request, tmp_path_factory):
    """A stack of three: (algorithm, its runs, their records)."""
    runs = StackedRuns(plans(3, request.param), tmp_path_factory.mktemp("whole"))
    return request.param, runs, runs.go()


def results(records):
    return [record["result"] for record in records]


def test_each_seed_has_its_record_which_says_that_it_was_stacked(whole):
    algo, runs, records = whole
    steps = {"ppo": 192, "sac": 450}[algo]
    for seed, (run, record) in enumerate(zip(runs.runs, records, strict=True)):
        verify(record, "here")
        assert record == read_run(run.folder)
        assert record["status"] == "finished" and record["protocol"]["seed"] == seed
        assert record["execution"]["stack"] == record["identity"]["stack"] == 3
        assert record["cost"]["env_steps"] == steps, "the budget is each seed's"
        assert len(record["result"]["final"]) == BRIEF.episodes
        assert [p["n"] for p in record["result"]["curve"]] == [1, 1, 2]
        assert row_name(record, Track("t", "t", 200, 0, (), ()), None).endswith("stack of 3)")
        # The score is what the policy on disk gives again.
        policy = load(run.folder).policy
        assert evaluate(policy, "pendulum", 2).returns == record["result"]["final"]
        lines = (run.folder / "events.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == sorted(
            json.loads(line)["step"] for line in lines
        )
    assert len({record["result"]["checksum"] for record in records}) == 3
    assert not runs.folder.exists(), "the checkpoint of a finished stack was left"
    assert runs.go() == records, "a finished stack is reported, not repeated"


def test_a_stack_repeats_to_the_same_bits(whole, tmp_path):
    algo, _, records = whole
    again = StackedRuns(plans(3, algo), tmp_path).go()
    assert results(again) == results(records)
    found = rerun(records[1], tmp_path, [])
    assert found.kind == "verified" and not found.differing


class Killed(StackedRuns):
    """A stack that ends without a word after a number of phases, or of final evaluations."""

    after, finished = math.inf, math.inf

    def _after(self, phases):
        super()._after(phases)
        self.after -= 1
        if self.after <= 0:
            raise KeyboardInterrupt

    def _train(self):
        for run in self.runs:
            run.finish = self._finishing(run.finish)
        return super()._train()

    def _finishing(self, finish):
        def counted():
            self.finished -= 1
            if self.finished < 0:
                raise KeyboardInterrupt
            return finish()

        return counted


def test_killed_anywhere_it_resumes_to_the_same_bits(whole, tmp_path):
    algo, _, records = whole
    for deaths in ({"after": 2}, {"after": 1}, {"finished": 2}):
        stack = Killed(plans(3, algo), tmp_path, save_every=0)
        vars(stack).update(deaths)
        with pytest.raises(KeyboardInterrupt):
            stack.go()
        assert stack.checkpoint.exists()
    states = [read_run(run.folder)["status"] for run in stack.runs]
    assert states == ["finished", "finished", "running"]
    last = StackedRuns(plans(3, algo), tmp_path)
    assert results(last.go()) == results(records)
    assert read_run(last.runs[2].folder)["provenance"]["resumed"] == 3


def test_asked_to_stop_it_saves_and_goes_on(whole, tmp_path):
    algo, _, records = whole
    stack = StackedRuns(plans(3, algo), tmp_path)
    stack._stop = lambda: None
    stack.stop = True
    with pytest.raises(Interrupted):
        stack.go()
    assert {read_run(run.folder)["status"] for run in stack.runs} == {"interrupted"}
    assert results(StackedRuns(plans(3, algo), tmp_path).go()) == results(records)


class Poisoned(StackedRuns):
    """A stack whose second seed loses its parameters after the first phase."""

    def _after(self, phases):
        super()._after(phases)
        for value in self.runs[1].algorithm.state.values():
            value.fill_(math.nan)


def test_a_seed_that_diverges_is_recorded_and_the_others_go_on(whole, tmp_path):
    algo, _, records = whole
    stack = Poisoned(plans(3, algo), tmp_path, save_every=0)
    found = stack.go()
    assert [record["status"] for record in found] == ["finished", "failed", "finished"]
    assert found[1]["result"]["failure"] == "diverged"
    verify(found[1], "here")
    for i in (0, 2):  # to the bit
        assert found[i]["result"] == records[i]["result"]
    assert StackedRuns(plans(3, algo), tmp_path).go() == found


def test_a_killed_stack_keeps_a_failed_seed_failed(tmp_path):
    class Both(Poisoned, Killed):
        pass

    stack = Both(plans(2), tmp_path, save_every=0)
    stack.after = 4
    with pytest.raises(KeyboardInterrupt):
        stack.go()
    failed = read_run(stack.runs[1].folder)
    assert failed["status"] == "failed"
    again = StackedRuns(plans(2), tmp_path).go()
    assert again[0]["status"] == "finished" and again[1] == failed


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_a_seed_gives_the_same_numbers_in_any_company_and_alone(algo):
    """A rollout and an update, or 20 steps of them: equal to 1e-4, streams to the bit."""
    algorithm, env, alone = build(plans(1, algo)[0])
    one, env_1 = build_stack(plans(1, algo))
    three, env_3 = build_stack(plans(3, algo))
    for loop in (alone, one, three):
        phases = loop.phases()
        for _ in range(2):
            next(phases)
    for loop in (one.loops[0], three.loops[0]):
        assert loop.steps == alone.steps
        for name, value in algorithm.state.items():
            assert torch.allclose(loop.algorithm.state[name], value, rtol=1e-4, atol=1e-4), name
        assert torch.equal(loop.algorithm.rng.get_state(), algorithm.rng.get_state())
        if algo == "sac":
            assert torch.equal(loop.rng.get_state(), alone.rng.get_state())
            filled = alone.replay.rows[: alone.replay.size]
            assert torch.allclose(loop.replay.rows[: len(filled)], filled, atol=1e-3)
        else:
            assert torch.allclose(loop.moments.mean, alone.moments.mean, atol=1e-4)
        assert loop.episodes.running == pytest.approx(alone.episodes.running, abs=1e-2)
    assert not torch.equal(three.loops[1].algorithm.rng.get_state(), algorithm.rng.get_state())
    for each in (env, env_1, env_3):
        each.close()


def test_records_cannot_pretend(whole):
    _, _, records = whole
    one = json.loads(json.dumps(records[2]))
    del one["execution"]["stack"]
    one["id"] = record_id(one)
    with pytest.raises(PgbenchError, match="contradicts itself about 'stack'"):
        verify(one, "here")
    one["execution"]["stack"] = one["identity"]["stack"] = 2
    one["id"] = record_id(one)
    with pytest.raises(PgbenchError, match="0 to 2 - 1, not 2"):
        verify(one, "here")


def test_an_algorithm_that_does_not_declare_it_is_not_stacked():
    class Mine(Algorithm):
        pass

    with pytest.raises(PgbenchError, match="mine does not say that its seeds can be stacked"):
        stack_of("mine", Mine, OnPolicy)
    Mine.stacks = True
    assert stack_of("mine", Mine, OnPolicy) is OnPolicyStack
    Mine.on_host = frozenset({"phase"})
    with pytest.raises(PgbenchError, match="leave --stack out"):
        stack_of("mine", Mine, OnPolicy)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--algo ppo --env pendulum --stack", "say how many with --seeds"),
        ("--algo hdpo --env one-store-lost-sales-p9-l2 --seeds 2 --stack", "has loop Hindsight"),
        ("--algo grpo --env math-nano --seeds 2 --stack", "has loop Group"),
    ],
)
def test_what_cannot_be_stacked_is_refused_in_one_line(cli, tmp_path, words, expected):
    code, out, err = cli("run", *words.split(), "--runs", tmp_path)
    assert code == 2 and out == "" and expected in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_command_runs_a_stack(cli, tmp_path):
    words = "run --algo ppo --env cartpole --seeds 2 --stack --budget 128 --episodes 2 --no-compile"
    sizes = "--set horizon=64 --set num_envs=2 --set hidden=8,8 --json --runs".split()
    code, out, err = cli(*words.split(), *sizes, tmp_path)
    assert code == 0, err
    assert [record["execution"]["stack"] for record in json.loads(out)] == [2, 2]
    code, page, _ = cli("show", next((tmp_path / "ppo" / "cartpole").glob("1-*")))
    assert code == 0 and "in a stack of 2 seeds" in page
