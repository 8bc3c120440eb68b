"""The group loop: what it counts, what it hands on, what it does when an engine dies."""

from dataclasses import replace

import pytest
import torch
from tiny_lm import write_tiny
from token_groups import batch

import pgbench
from pgbench.errors import Breach, Diverged, PgbenchError
from pgbench.lm.engines import EngineError
from pgbench.lm.evaluation import counts
from pgbench.lm.rollout import coined, retried
from pgbench.loops import group as group_loop
from pgbench.loops.group import describe, joined, some_prompts
from pgbench.runs.plan import Protocol, make_plan
from pgbench.runs.runner import Interrupted, Run, build
from pgbench.support.seeding import eval_seeds
from pgbench.worlds.tasks import Message

QUICK = {
    "model": "nano:warmup=150,batch=64,layers=1,width=32,noise=0",
    "prompts": 6,
    "group": 4,
}
PROTOCOL = Protocol(episodes=8, curve_points=1, curve_episodes=8)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def plan(algo="grpo", budget=3, **settings):
    return make_plan(
        algo, "math-nano", budget=budget, settings={**QUICK, **settings}, protocol=PROTOCOL,
        device="cpu", threads=1,
    )  # fmt: skip


def test_some_prompts_are_numbered_anew():
    whole = batch([[1, 0], [1, 1], [0, 1]])
    part = some_prompts(whole, torch.tensor([True, False, True]), 5)
    assert part.group.tolist() == [0, 0, 1, 1]
    assert part.reward.tolist() == [1, 0, 0, 1]
    assert part.prompts == (whole.prompts[0], whole.prompts[2])
    assert len(some_prompts(whole, torch.tensor([True, True, True]), 1)) == 2


def test_joined_batches_keep_their_rows():
    first, second = batch([[1, 0], [0, 0]]), batch([[1, 1, 0]], length=5)
    both = joined([first, second])
    assert both.group.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert both.tokens.shape == (7, 5)
    assert both.reward.tolist() == [1, 0, 0, 0, 1, 1, 0]
    assert both.mask[:4, 3:].sum() == 0 and len(both.prompts) == 3


def test_what_is_logged_of_a_batch():
    out = describe(batch([[1, 1], [0, 0], [1, 0], [0, 0]]))
    wanted = {"pass@1": 3 / 8, "pass@k": 0.5, "all_right": 0.25, "all_wrong": 0.5,
              "same_reward": 0.75}  # fmt: skip
    assert {name: float(out[name]) for name in wanted} == pytest.approx(wanted)


def test_a_dead_engine_is_built_anew_once():
    calls = []

    def ask():
        calls.append("ask")
        if len(calls) < 3:
            raise EngineError("gone")
        return "rollout"

    assert retried(ask, lambda: calls.append("restart")) == "rollout"
    assert calls == ["ask", "restart", "ask"]
    calls.clear()

    def never():
        raise EngineError("gone")

    with pytest.raises(EngineError):
        retried(never, lambda: calls.append("restart"))
    assert calls == ["restart"]


def test_an_engine_that_stays_dead_fails_the_run_which_then_resumes(tmp_path, monkeypatch):
    from pgbench.lm.engines.transformers import TransformersEngine

    whole = Run(plan(), tmp_path / "whole").go()
    write, count = TransformersEngine.generate, [0]

    def dies(self, *args):
        count[0] += 1
        if count[0] > 2:
            raise EngineError("out of memory")
        return write(self, *args)

    work = Run(plan(), tmp_path / "dead", save_every=0)
    with monkeypatch.context() as patch:
        patch.setattr(TransformersEngine, "generate", dies)
        with pytest.raises(EngineError):
            work.go()
    assert pgbench.load(work.folder).record["status"] == "failed"
    record = Run(plan(), tmp_path / "dead").go()
    assert record["status"] == "finished"
    assert record["result"]["checksum"] == whole["result"]["checksum"]


def test_every_round_is_a_step_and_its_responses_are_counted(tmp_path):
    _, env, loop = build(plan("dapo", budget=5, max_rounds=3))
    steps = [loop.steps for _ in loop.phases()]
    assert steps[-1] == loop.steps == 5 and len(steps) < 5
    assert loop.counts["samples"] == 5 * 6 * 4
    env.close()


def test_remax_counts_greedy_responses(tmp_path):
    _, env, loop = build(plan("remax", budget=2, group=1))
    list(loop.phases())
    assert loop.counts["samples"] == 2 * 6 * 2
    env.close()


def test_equal_seeds_meet_equal_prompts():
    texts = []
    for algo in ("grpo", "rloo", "bnpo"):
        _, env, loop = build(plan(algo))
        texts.append([task.id for task in loop.algorithm.choose(env, 50, loop.rng)])
        env.close()
    assert texts[0] == texts[1] == texts[2]


def test_what_the_environment_says_is_not_the_policys(tmp_path):
    _, env, loop = build(plan("grpo", turns=2))
    got = loop.round()
    assert bool((got.mask <= got.valid).all())
    said = (got.valid & (got.mask == 0)).sum(-1)
    # Whoever was wrong was told so, and answered again.
    assert bool(((said > 0) | got.correct).all()) and bool((said > 0).any())
    assert float(got.rollout_logp[got.mask == 0].abs().sum()) == 0
    loop.algorithm.update(got)
    env.close()


def test_prompts_of_which_the_model_can_read_none_are_refused():
    _, env, loop = build(plan("grpo", max_tokens=400))
    with pytest.raises(
        PgbenchError, match=r"exceeds the 256 that .* reads; lower --set max_tokens"
    ):
        loop.round()
    env.close()


def some_too_long(monkeypatch, share=3):
    """One task in `share` of both splits gets a prompt that no small model can read."""
    from pgbench.envs.text.math_nano import MathNano

    task = MathNano.task

    def longer(self, index, split="train"):
        found = task(self, index, split)
        messages = (Message("user", found.text + " and so on" * 60),)
        return replace(found, messages=messages) if index % share == 0 else found

    monkeypatch.setattr(MathNano, "task", longer)


def test_prompts_that_are_too_long_are_passed_over_and_counted(tmp_path, monkeypatch):
    """In training others are drawn, in evaluation they are wrong; a killed run goes on."""
    some_too_long(monkeypatch)
    whole = Run(plan(), tmp_path / "whole").go()
    assert whole["status"] == "finished" and whole["cost"]["samples"] == 3 * 6 * 4
    result = whole["result"]
    unread = [s for s, n in zip(result["final"], result["lengths"], strict=True) if n == 0]
    assert unread and set(unread) == {0.0}
    assert result["diagnostics"]["too_long_test"] == len(unread)
    assert result["diagnostics"]["too_long"] > 0
    stopped = Run(plan(), tmp_path / "stopped", save_every=0)
    after = stopped._after
    stopped._after = lambda phase: (setattr(stopped, "stop", True), after(phase))
    with pytest.raises(Interrupted):
        stopped.go()
    assert Run(plan(), tmp_path / "stopped").go()["result"] == whole["result"]


def test_a_step_goes_on_with_the_prompts_that_fit(monkeypatch):
    """Fewer than asked for, where hardly any fits; a prompt asked for by itself is refused."""
    some_too_long(monkeypatch)
    _, env, loop = build(plan())
    monkeypatch.setattr(group_loop, "TRIES", 1)
    got = loop.round()
    assert 0 < len(got.prompts) == 6 - loop.too_long < 6
    assert all(len(p) + got.limit <= loop.algorithm.model.context for p in got.prompts)
    with pytest.raises(PgbenchError, match=r"a prompt has .* it exceeds the 256"):
        loop.algorithm.act(["1+1=" * 80])
    env.close()


def test_weights_that_are_not_finite_are_a_divergence(tmp_path):
    """Seen where responses are drawn, not as wrong answers: in training and in evaluation."""
    _, env, loop = build(plan())
    loop.algorithm.state["theta"].fill_(float("nan"))
    with pytest.raises(Diverged, match="NaN"):
        loop.round()
    with pytest.raises(Diverged, match="NaN"):
        pgbench.evaluate(loop.policy, "math-nano", 4)
    env.close()


@pytest.mark.parametrize("name", ["reward", "samples", "step", "too_long"])
def test_a_metric_does_not_overwrite_the_loops_own(name, monkeypatch):
    algorithm, env, loop = build(plan())
    monkeypatch.setattr(algorithm, "update", lambda batch: {name: 1.0})
    with pytest.raises(Breach, match=f"a metric '{name}', which the log writes itself"):
        next(loop.phases())
    monkeypatch.setattr(algorithm, "update", lambda batch: {"mine": 1.0})
    assert float(next(loop.phases()).metrics["mine"]) == 1.0
    env.close()


@pytest.mark.slow
def test_grpo_learns(tmp_path):
    """The nano model's pass@1 rises by five points at least: three standard errors."""
    record = Run(make_plan("grpo", "math-nano", budget=150, device="cpu", threads=1), tmp_path).go()
    _, env, loop = build(make_plan("grpo", "math-nano", budget=1, device="cpu", threads=1))
    before = pgbench.evaluate(loop.policy, "math-nano", 512).mean
    env.close()
    assert record["result"]["score"] > before + 0.05


def test_a_policy_is_judged_where_it_is_asked_to_be(tmp_path):
    result = pgbench.run(
        "grpo", "math-nano", budget=1, settings=QUICK, protocol=PROTOCOL, device="cpu", threads=1,
        runs=tmp_path,
    )  # fmt: skip
    policy = pgbench.load(result.folder).policy
    seen, verify = [], policy.env.verify
    policy.env.verify = lambda *tasks: seen.append(tasks) or verify(*tasks)
    pgbench.evaluate(policy, "math-nano", episodes=4)
    assert len(seen) == 1
    limits, engine = [], policy.algorithm.engine
    generate = engine.generate
    engine.generate = lambda *a: limits.append(a[2].max_tokens) or generate(*a)
    pgbench.evaluate(policy, "math-nano-tags", episodes=4)
    assert limits == [pgbench.make("math-nano-tags").max_tokens]
    pgbench.evaluate(policy, "math-nano", episodes=4, env_kwargs={"turns": 2})
    assert len(seen) == 1  # by environments of their own


def test_a_run_goes_on_from_the_weights_that_it_began_with(tmp_path):
    model = write_tiny(tmp_path / "model")
    runs = [
        Run(plan(model=str(model)), tmp_path / "runs", save_every=0.0) for _ in range(2)
    ]  # fmt: skip
    after = runs[0]._after
    runs[0]._after = lambda phase: (setattr(runs[0], "stop", True), after(phase))
    with pytest.raises(Interrupted):
        runs[0].go()
    write_tiny(model, seed=1)
    with pytest.raises(PgbenchError, match=r"the model is not the one that .* began with"):
        runs[1].go()
    write_tiny(model)
    assert runs[1].go()["status"] == "finished"


def test_activations_that_are_not_kept_change_no_number(tmp_path):
    params = [
        pgbench.run(
            "grpo", "math-nano", budget=2, settings=QUICK | {"checkpointing": saving},
            protocol=PROTOCOL, device="cpu", threads=1, runs=tmp_path / str(saving),
        ).record["result"]["score"]
        for saving in (False, True)
    ]  # fmt: skip
    assert params[0] == params[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_two_steps_on_a_device(tmp_path):
    result = pgbench.run(
        "grpo", "math-nano", budget=2, settings=QUICK, protocol=PROTOCOL, device="cuda",
        runs=tmp_path,
    )  # fmt: skip
    assert result.record["status"] == "finished"


def test_random_rewards_are_a_fair_coin_whatever_is_right():
    """What an algorithm gets has nothing of the verifier; what is logged of accuracy has."""
    rewards, right = [], []
    for seed in range(40):
        given = coined(batch([[1, 0, 1, 1]] * 25), seed)
        assert bool((given.correct.float() == given.reward).all())
        assert bool((given.parts == given.reward[:, None]).all())
        rewards.append(given.reward)
        right.append(batch([[1, 0, 1, 1]] * 25).correct.float())
    coin, honest = torch.cat(rewards), torch.cat(right)
    assert set(coin.tolist()) == {0.0, 1.0}
    # 4,000 coins: a deviation of 0.04 is five standard ones.
    assert coin[honest == 1].mean() == pytest.approx(0.5, abs=0.05)
    assert coin[honest == 0].mean() == pytest.approx(0.5, abs=0.08)
    assert torch.equal(coined(batch([[1, 0]]), 3).reward, coined(batch([[0, 1]]), 3).reward)


def test_the_control_resumes_to_the_same_bits_and_is_judged_honestly(tmp_path):
    control = {"env.reward": "random"}
    whole = Run(plan(budget=4, **control), tmp_path / "whole").go()
    work = Run(plan(budget=4, **control), tmp_path / "part", save_every=0)
    work.progress.update = lambda steps, *rest: work._stop() if steps == 2 else None
    with pytest.raises(Interrupted):
        work.go()
    again = Run(plan(budget=4, **control), tmp_path / "part").go()
    honest = Run(plan(budget=4), tmp_path / "honest").go()
    assert again["result"]["checksum"] == whole["result"]["checksum"]
    assert honest["result"]["checksum"] != whole["result"]["checksum"]
    assert whole["environment"]["kwargs"] == whole["identity"]["env_kwargs"] == {"reward": "random"}
    assert honest["environment"]["kwargs"] == {}
    assert honest["environment"]["golden"] == whole["environment"]["golden"]
    # The score is the verifier's: so it is with the reward that was not trained on.
    loaded = pgbench.load(next((tmp_path / "whole").rglob("run.json")).parent)
    seeds = eval_seeds("math-nano-v0", 8)
    assert counts(loaded.policy, loaded.env, seeds, {}, 4)[0] == [
        round(4 * score) for score in whole["result"]["final"]
    ]


@pytest.mark.parametrize("algo", ["remax", "dapo", "bnpo"])
def test_the_control_logs_coins_as_reward_and_verdicts_as_accuracy(algo):
    more = {"max_rounds": 3} if algo == "dapo" else {}
    _, env, loop = build(plan(algo, budget=6, **{"env.reward": "random"}, **more))
    logged = [loop.collect()[1] for _ in range(2)]
    assert all(float(metrics["pass@1"]) < 0.4 for metrics in logged)  # of a weak model
    assert all(0.25 <= float(metrics["reward"]) <= 0.75 for metrics in logged)
    env.close()


def test_rewards_are_the_verifiers_or_random():
    with pytest.raises(PgbenchError, match="reward takes verdict or random, not 'coin'"):
        build(plan(**{"env.reward": "coin"}))
