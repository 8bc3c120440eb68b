"""pass@k by numbers, and which tasks are held out."""

import itertools
import random

import pytest

from pgbench.errors import PgbenchError
from pgbench.interface import make
from pgbench.lm.evaluation import evaluate, held_out, pass_at_k
from pgbench.registry import find_env
from pgbench.seeding import eval_seeds


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

    scores, lengths = evaluate(half, spec, list(range(1, 41, 2)), {})
    assert scores == [float(i % 2) for i in range(20)]
    assert len(lengths) == 20


def test_data_without_a_test_problem_are_refused():
    class Empty:
        def size(self, split):
            return 0

    with pytest.raises(PgbenchError, match="the data have no test problem"):
        held_out(Empty(), [0])
