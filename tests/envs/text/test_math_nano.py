"""Graded arithmetic: prompts, answers, verdicts, splits."""

import re
from dataclasses import replace

import pytest

import pgbench
from pgbench.catalogue.fingerprint import golden_of
from pgbench.envs.text.math_nano import LEVELS
from pgbench.errors import PgbenchError
from pgbench.worlds.tasks import Task
from pgbench.worlds.text_env import split_of


def judge(env, answer, said):
    return env.verify([Task("", (), answer)], [said])[0]


def value(prompt):
    """The answer, computed from the prompt by another way than the generator's."""
    if prompt.startswith("par "):
        return int(prompt[4:-1]) and sum(c in "13579" for c in prompt) % 2
    assert re.fullmatch(r"[\d+*%-]+=", prompt)
    return eval(prompt[:-1])


@pytest.mark.parametrize("level", LEVELS)
def test_answers_hints_and_demonstrations_are_right(level, sample):
    env = pgbench.make("math-nano", levels=level)
    tasks = sample(env, 300) + sample(env, 30, "test")
    for task in tasks:
        assert (task.level, int(task.answer)) == (level, value(task.text))
        assert len(task.demonstration) < env.max_tokens  # a byte is a token, and there is an end
        for hint in task.hints:
            assert hint != task.answer
            if level != "parity":
                assert eval(hint) % (10 if level == "mod10" else 10**9) == int(task.answer) % 10**9
    assert all(v.correct for v in env.verify(tasks, [t.demonstration for t in tasks]))
    off = [str(int(t.answer) + 1) for t in tasks]
    assert not any(v.correct for v in env.verify(tasks, off))


@pytest.mark.parametrize(
    ("said", "reward", "how"),
    [
        ("95", 1, "right"), (" 95\n", 1, "right"), ("59", 0, "wrong"), ("-95", 0, "wrong"),
        ("095", 0, "malformed"), ("+95", 0, "malformed"), ("95.0", 0, "malformed"),
        ("9 5", 0, "malformed"), ("", 0, "malformed"), ("95=95", 0, "malformed"),
        ("٩٥", 0, "malformed"), ("37+58=95", 0, "malformed"), ("9" * 10**5, 0, "wrong"),
    ],
)  # fmt: skip
def test_verdicts_of_plain_completions(said, reward, how):
    verdict = judge(pgbench.make("math-nano"), "95", said)
    assert (verdict.reward, verdict.correct, verdict.how) == (reward, bool(reward), how)
    assert verdict.parts == {"accuracy": reward, "format": float(how != "malformed")}


@pytest.mark.parametrize("said", ["-0", "00", "+0"])
def test_zero_has_one_form(said):
    env = pgbench.make("math-nano")
    assert not judge(env, "0", said).correct
    assert judge(env, "0", "0").correct and judge(env, "-21", "-21").correct


@pytest.mark.parametrize(
    ("said", "accuracy", "form"),
    [
        ("<r></r><a>95</a>", 1, 1), ("<r>80+15</r><a>95</a>", 1, 1), ("<r>x</r><a>59</a>", 0, 1),
        ("<a>95</a>", 1, 0), ("<r>80</r> <a>95</a>", 1, 0), ("<a>1</a><a>95</a>", 1, 0),
        ("<a>95</a><a>1</a>", 0, 0), ("95", 0, 0), ("<r></r><a>095</a>", 0, 0),
        ("<r><a>95</a></r><a>1</a>", 0, 0), ("<r></r><r></r><a>95</a>", 1, 0), ("<a>" * 9999, 0, 0),
    ],
)  # fmt: skip
def test_verdicts_of_tagged_completions(said, accuracy, form):
    verdict = judge(pgbench.make("math-nano", format="tags", format_weight=0.25), "95", said)
    assert verdict.parts == {"accuracy": accuracy, "format": form}
    assert verdict.reward == 0.75 * accuracy + 0.25 * form
    assert verdict.correct == bool(accuracy)


@pytest.mark.parametrize("scratch", [False, True])
def test_tagged_demonstrations(scratch, sample):
    env = pgbench.make("math-nano", format="tags", scratch=scratch)
    tasks = sample(env, 2000)
    assert max(len(task.demonstration) for task in tasks) < env.max_tokens
    verdicts = env.verify(tasks, [task.demonstration for task in tasks])
    assert all(v.correct and v.parts["format"] for v in verdicts)
    noted = sum("<r></r>" not in task.demonstration for task in tasks)
    assert noted == (len(tasks) if scratch else 0)


@pytest.mark.parametrize("scratch", [False, True])
def test_filler_varies_lengths_and_nothing_else(scratch, sample):
    bare = pgbench.make("math-nano", format="tags", scratch=scratch)
    env = pgbench.make("math-nano", format="tags", scratch=scratch, filler=4)
    assert (bare.max_tokens, env.max_tokens) == (32, 36)
    plain, tasks = sample(bare, 5000), sample(env, 5000)
    dots = []
    for task, base in zip(tasks, plain, strict=True):
        notes = task.demonstration.removeprefix("<r>")
        dots.append(len(notes) - len(notes.lstrip(".")))
        assert replace(task, demonstration=base.demonstration) == base
        assert "<r>" + notes.lstrip(".") == base.demonstration
        assert len(task.demonstration) < env.max_tokens
    # Five lengths, 1000 of each to within four standard deviations, at every level alike.
    assert set(dots) == set(range(5))
    assert all(abs(dots.count(n) - 1000) < 4 * (5000 * 0.2 * 0.8) ** 0.5 for n in range(5))
    for level in LEVELS:
        own = [n for n, task in zip(dots, tasks, strict=True) if task.level == level]
        assert abs(sum(own) / len(own) - 2) < 4 * (2 / len(own)) ** 0.5
    verdicts = env.verify(tasks, [task.demonstration for task in tasks])
    assert all(v.correct and v.parts["format"] for v in verdicts)
    off = [f"<r>...</r><a>{int(task.answer) + 1}</a>" for task in tasks]
    assert not any(v.correct for v in env.verify(tasks, off))


def test_filler_is_a_function_of_index_and_split():
    env = pgbench.make("math-nano", format="tags", filler=64)
    again = pgbench.make("math-nano", format="tags", filler=64, num_envs=2, seed=3)
    tasks = [env.task(i, split) for i in range(100) for split in ("train", "test")]
    assert tasks == [again.find(task.id) for task in tasks]
    most = max(task.demonstration.count(".") for task in tasks)
    assert 55 < most <= 64


def test_without_filler_nothing_changes():
    """Demonstrations as they were before there was a filler."""
    tasks = [pgbench.make("math-nano", format="tags", scratch=True).task(i) for i in range(4)]
    assert [task.text + task.demonstration for task in tasks] == [
        "45+87=<r>120+12</r><a>132</a>", "54*1=<r>50+4</r><a>54</a>",
        "10*7=<r>70+0</r><a>70</a>", "152+524=<r>600+70+6</r><a>676</a>",
    ]  # fmt: skip


def test_forms_have_fingerprints_of_their_own():
    """The cache of warm-started models goes by them."""
    forms = ({}, {"format": "tags"}, {"format": "tags", "scratch": True},
             {"format": "tags", "filler": 8}, {"format": "tags", "filler": 9})  # fmt: skip
    prints = [golden_of(pgbench.make("math-nano", **form)) for form in forms]
    assert len(set(prints)) == len(forms)
    assert golden_of(pgbench.make("math-nano", scratch=True)) == prints[0]
    assert pgbench.make("math-nano").version == "math-nano 0"


def test_splits_are_disjoint_and_levels_balanced(sample):
    env = pgbench.make("math-nano")
    train, test = sample(env, 10_000), sample(env, 2_000, "test")
    assert {split_of(task.text) for task in train} == {"train"}
    assert {split_of(task.text) for task in test} == {"test"}
    assert not {task.text for task in train} & {task.text for task in test}
    for tasks in (train, test):
        count = [sum(task.level == level for task in tasks) for level in LEVELS]
        assert min(count) > 0.7 * len(tasks) / len(LEVELS)
    assert len({task.text for task in train}) > 5_000


def test_a_task_is_a_function_of_index_and_split():
    env, other = pgbench.make("math-nano"), pgbench.make("math-nano", num_envs=3, seed=5)
    tasks = [env.task(i, split) for i in range(50) for split in ("train", "test")]
    assert tasks == [other.find(task.id) for task in tasks]
    assert tasks[0].id == "math-nano/train/0"


def test_keywords_that_are_wrong():
    for keywords, words in (
        ({"levels": "ad2"}, "unknown level of math-nano 'ad2'; did you mean add2"),
        ({"levels": ""}, "unknown level"),
        ({"levels": "add1,add1"}, "twice"),
        ({"format": "xml"}, "format takes plain or tags"),
        ({"format_weight": 2}, "format_weight must be in \\[0, 1\\], not 2"),
        ({"filler": 3}, "filler needs notes to stand in; set format=tags"),
        ({"filler": -1, "format": "tags"}, r"filler must be in \[0, 64\], not -1"),
        ({"filler": 65, "format": "tags"}, r"filler must be in \[0, 64\], not 65"),
        ({"filler": 2.5, "format": "tags"}, "filler takes a whole number, not 2.5"),
        ({"turns": 0}, "turns"),
        ({"split": "dev"}, "split"),
    ):
        with pytest.raises(PgbenchError, match=words):
            pgbench.make("math-nano", **keywords)
