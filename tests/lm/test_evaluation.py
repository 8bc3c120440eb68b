"""pass@k by numbers, and which tasks are held out."""

import itertools
import json
import random
from types import SimpleNamespace

import pytest
from tiny_lm import write_tiny

from pgbench.catalogue.capabilities import make
from pgbench.catalogue.registry import find_env
from pgbench.errors import PgbenchError
from pgbench.lm import evaluation
from pgbench.lm.evaluation import evaluate, held_out, pass_at_k
from pgbench.runs.plan import make_plan
from pgbench.runs.runner import build
from pgbench.support.seeding import eval_seeds
from pgbench.worlds.text_env import split_of


@pytest.mark.parametrize(
    ("right", "samples", "k", "value"),
    [
        (0, 4, 1, 0.0),
        (4, 4, 4, 1.0),
        (1, 4, 1, 0.25),
        (1, 4, 2, 0.5),
        (2, 5, 3, 0.9),
        (3, 4, 2, 1.0),
    ],
)
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(right, samples, k, value):
    assert pass_at_k(right, samples, k) == pytest.approx(value)
    flags = [i < right for i in range(samples)]
    subsets = list(itertools.combinations(flags, k))
    assert sum(map(any, subsets)) / len(subsets) == pytest.approx(value)


def test_pass_at_k_is_unbiased():
    rng, p, k = random.Random(0), 0.3, 4
    values = [pass_at_k(sum(rng.random() < p for _ in range(8)), 8, k) for _ in range(20_000)]
    assert sum(values) / len(values) == pytest.approx(1 - (1 - p) ** k, abs=0.01)


@pytest.mark.parametrize("k", [0, 5])
def test_k_beyond_the_samples(k):
    with pytest.raises(ValueError, match="k must be from 1 to 4"):
        pass_at_k(1, 4, k)


def test_held_out_tasks_follow_from_the_seeds():
    env, seeds = make("math-nano"), eval_seeds("math-nano-v0", 20)
    tasks = held_out(env, seeds)
    assert [task.id for task in tasks] == [task.id for task in held_out(env, seeds)]
    assert all(task.id.split("/")[-2] == "test" for task in tasks)
    assert held_out(env, eval_seeds("math-nano-v0", 20, seed=1)) != tasks


def test_any_function_of_prompts_can_be_judged():
    spec = find_env("math-nano")
    right = {task.text: task.demonstration for task in held_out(make(spec), list(range(1, 41, 2)))}

    def half(prompts):
        return [right[p] if i % 2 else "?" for i, p in enumerate(prompts)]

    scores, lengths, details = evaluate(half, spec, list(range(1, 41, 2)), {})
    assert scores == [float(i % 2) for i in range(20)]
    assert len(lengths) == 20
    assert details == {"pass-at-k": [[1, 0.5], [2, 0.5], [4, 0.5]]}  # the same half, every time


class Demonstrator:
    """A text policy that shows each task's demonstration, and where it was asked to."""

    def __init__(self, env):
        self.env, self.asked = env, []

    def answer(self, tasks, count, seed, temperature=None, env=None):
        self.asked.append(env)
        tasks = [task for task in tasks for _ in range(count)]
        rows = [SimpleNamespace(mask=[1.0] * len(task.demonstration)) for task in tasks]
        verdicts = (env or self.env).verify(tasks, [task.demonstration for task in tasks])
        return SimpleNamespace(verdicts=verdicts, rows=rows, unread=0)


@pytest.mark.parametrize(
    ("name", "keywords", "own"),
    [
        ("math-nano", {"levels": "add1"}, True),
        ("math-nano", {}, False),
        ("math-nano", {"levels": "add2"}, False),
        ("math-nano-tags", {"levels": "add1"}, False),
        ("code-nano", {}, False),
    ],
)
def test_an_environment_of_the_same_name_and_keywords_judges(name, keywords, own, monkeypatch):
    policy = Demonstrator(make("math-nano", levels="add1"))
    closed = []

    def watched(*args, **kwargs):
        env = make(*args, **kwargs)
        env.close = lambda: closed.append(env)
        return env

    monkeypatch.setattr(evaluation, "make", watched)
    spec = find_env(name)
    scores, _, _ = evaluate(policy, spec, [5, 7, 9], keywords)
    (env,) = policy.asked
    assert env.made_of == (spec.name, keywords)
    assert (env is policy.env) == own
    assert closed == ([] if own else [env])
    assert scores == [1.0, 1.0, 1.0]  # the tasks were those of that environment


def test_data_without_a_test_problem_are_refused_before_training(tmp_path):
    pytest.importorskip("math_verify")
    questions = [f"What is {i} + 1?" for i in range(20)]
    rows = [
        {"question": text, "answer": str(i + 1)}
        for i, text in enumerate(questions)
        if split_of(text) == "train"
    ]
    source = tmp_path / "small.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"env.source": str(source), "model": str(write_tiny(tmp_path / "model"))}
    plan = make_plan("grpo", "math", budget=1, settings=settings, device="cpu", threads=1)
    with pytest.raises(PgbenchError, match=r"^the data have no test problem [^\n]*; give more"):
        build(plan)


def test_one_task_has_no_interval_and_the_json_says_null():
    policy = Demonstrator(make("math-nano", levels="add1"))
    text, data = evaluation.report(policy, find_env("math-nano"), 1, 0, 2)
    json.loads(json.dumps(data, allow_nan=False))
    assert data["pass@1"] == {"mean": 1.0, "low": None, "high": None}
    assert "[nan" not in text
    _, data = evaluation.report(policy, find_env("math-nano"), 3, 0, 2)
    assert data["pass@2"]["low"] is None  # all are right: no spread is told, which is not none
