"""Mathematics from data sets: golds of several forms, splits, bad rows, real data."""

import random

import pytest

import pgbench
from pgbench.envs.text.dataset import BadRow
from pgbench.envs.text.math import read_answer
from pgbench.errors import PgbenchError
from pgbench.worlds.text_env import split_of

pytest.importorskip("math_verify")

SUMS = [
    {"question": f"What is {a} + {b}?", "answer": f"{a} + {b} = <<{a}+{b}={c}>>{c}\n#### {c}"}
    for a in range(10) for b in range(10) for c in [a + b]
]  # fmt: skip
HALF = r"first \boxed{1}, then \boxed{\frac{1}{2}}"


@pytest.fixture
def make(write_lines):
    """`make(rows, **keywords)` -> the environment on these rows."""

    def on(rows=SUMS, name="math", **keywords):
        return pgbench.make(name, source=write_lines("data.jsonl", rows), **keywords)

    return on


@pytest.mark.parametrize(
    ("text", "answer", "work"),
    [
        ("a <<1+1=2>>2\nb\n#### 1,234", "1234", "a 2\nb"), ("#### -5", "-5", ""),
        (r"so $\boxed{501}$ of them.The answer is: 501", "501", r"so $\boxed{501}$ of them."),
        (HALF, r"\frac{1}{2}", HALF),
        ("72", "72", ""), (r"\frac{3}{4}", r"\frac{3}{4}", ""), ("#### 1,23", "1,23", ""),
    ],
)  # fmt: skip
def test_read_answer(text, answer, work):
    assert read_answer(text) == (answer, work)


def test_a_long_text_that_marks_no_answer_is_none():
    with pytest.raises(BadRow, match="marks no result"):
        read_answer("words " * 50)


def test_rows_become_tasks(make):
    env = make()
    assert env.size("train") + env.size("test") == 100
    tasks = [env.task(i, split) for split in ("train", "test") for i in range(env.size(split))]
    assert len({task.text for task in tasks}) == 100
    for task in tasks:
        question = task.text.removeprefix("Question: ").removesuffix("\nAnswer:")
        assert task.id.split("/")[1] == split_of(question)
        assert env.find(task.id) == task
        assert "<<" not in task.demonstration and "####" not in task.demonstration
    assert all(v.correct for v in env.verify(tasks, [t.demonstration for t in tasks]))
    said = [f"So the answer is ${t.answer}.00$." for t in tasks]
    assert all(v.correct for v in env.verify(tasks, said))
    off = [f"The answer is {int(t.answer) + 1}." for t in tasks]
    verdicts = env.verify(tasks, off)
    assert not any(v.correct for v in verdicts) and {v.parts["format"] for v in verdicts} == {1}
    lost = env.verify(tasks[:1], ["I do not know at all."])[0]
    assert lost.parts == {"accuracy": 0, "format": 0} and "No answer" in lost.feedback
    env.close()


def test_episodes_run_and_continue(make):
    env = make(turns=2)
    env.reset(seed=4)
    obs, _, terminated, _, _ = env.step(["I do not know at all."])
    assert not terminated.any() and obs[0].endswith("No answer was found. Try again.\nAnswer:")
    saved, other = env.state_dict(), make(turns=2)
    other.load_state_dict(saved)
    answer = env.tasks[0].demonstration
    first, second = env.step([answer]), other.step([answer])
    assert first[0] == second[0] and first[1].tolist() == second[1].tolist() == [1]


def test_official_splits_and_a_source_of_tests(write_lines, tmp_path):
    train, test = write_lines("train.jsonl", SUMS[:60]), write_lines("test.jsonl", SUMS[60:])
    for keywords in (
        {"source": str(tmp_path)},
        {"source": train, "test_source": test},
        {"source": str(tmp_path), "test_source": test},
    ):
        env = pgbench.make("math", **keywords)
        assert (env.size("train"), env.size("test")) == (60, 40)
        assert env.task(0).text == "Question: What is 0 + 0?\nAnswer:"
        assert env.task(0, "test").text == "Question: What is 6 + 0?\nAnswer:"
    only = pgbench.make("math", test_source=test)
    assert (only.size("train"), only.size("test")) == (0, 40) and len(only.probe()) == 17
    with pytest.raises(PgbenchError, match=r"no train problems; give some with .*env\.source"):
        only.reset(seed=0)
    with pytest.raises(PgbenchError, match="2 worked examples of 0 train problems"):
        pgbench.make("math", test_source=test, shots=2)


def test_repeated_problems_count_once_and_are_told(write_lines):
    twice = [*SUMS[:60], {**SUMS[3], "question": "What  is 0 + 3? "}]
    train, test = write_lines("a.jsonl", twice), write_lines("b.jsonl", SUMS[55:])
    with pytest.warns(UserWarning, match="math: 6 train problems removed") as told:
        env = pgbench.make("math", source=train, test_source=test)
    assert len(told) == 1
    assert (env.size("train"), env.size("test")) == (55, 45)
    texts = [{env.task(i, s).text for i in range(env.size(s))} for s in ("train", "test")]
    assert not texts[0] & texts[1]


BAD = [
    ({"question": "q?"}, "it has no answer: its fields are question"),
    ({"answer": "3"}, "it has no problem"),
    ({"question": "q?", "answer": None}, "its answer is empty"),
    ({"question": " ", "answer": "3"}, "its question is empty"),
    ({"question": "q?", "answer": ["3"]}, "its answer is no text"),
    ({"question": "q?", "answer": "#### "}, "cannot be read"),
    ({"question": "q?", "answer": r"\frac{1}{"}, "cannot be read"),
    ({"question": "q?", "answer": "words " * 50}, "marks no result"),
]


@pytest.mark.parametrize(("row", "words"), BAD)
def test_a_bad_row_is_named(row, words, make):
    with pytest.raises(PgbenchError, match=rf"data\.jsonl line 4: .*{words}.*skip_bad") as error:
        make([*SUMS[:3], row, *SUMS[3:]])
    assert "1 of 101 rows" in str(error.value) and "\n" not in str(error.value)


def test_bad_rows_can_be_left_out(make):
    rows = [*(row for row, _ in BAD), *SUMS]
    with pytest.warns(UserWarning, match=f"math: {len(BAD)} of {len(rows)} rows left out"):
        env = make(rows, skip_bad=True)
    assert env.size("train") + env.size("test") == 100
    with pytest.raises(PgbenchError, match=r"line 1.*line 2.*line 3.*\.\.\."):
        make(rows)
    with pytest.raises(PgbenchError, match="none of 8 rows"), pytest.warns(UserWarning):
        make(rows[: len(BAD)], skip_bad=True)


def test_fields(make):
    rows = [{"Q": row["question"], "A": row["answer"]} for row in SUMS]
    with pytest.raises(PgbenchError, match=r"env\.problem_field"):
        make(rows)
    env = make(rows, problem_field="Q", answer_field="A")
    assert env.size("train") > 50
    with pytest.raises(PgbenchError, match="it has no field 'B' but Q, A"):
        make(rows, problem_field="Q", answer_field="B")
    both = [{"Problem": "q?", "solution": r"Half. \boxed{\frac{1}{2}}", "Answer": 0.5, "level": 3}]
    task = next(make(both, **kw).find(f"math/{split_of('q?')}/0") for kw in [{}])
    assert (task.answer, task.level, task.hints) == ("0.5", "3", ("Half.",))
    assert task.demonstration == r" Half. \boxed{\frac{1}{2}}"


def test_contest_answers_are_whole_numbers(make):
    rows = [
        {"problem": f"p{i}", "answer": answer} for i, answer in enumerate(["025", 7, 999, 33.0])
    ]
    env = make(rows, name="aime")
    items = [env.task(i, s) for s in ("train", "test") for i in range(env.size(s))]
    assert sorted(int(task.answer) for task in items) == [7, 25, 33, 999]
    for wrong in ("1000", "-1", "1/2", 2.5):
        with pytest.raises(PgbenchError, match=r"aime: .*line 1: .* no whole number from 0 to 999"):
            make([{"problem": "p", "answer": wrong}], name="aime")


def test_worked_examples_leave_the_train_split(make):
    env = make(shots=4)
    assert env.size("train") + env.size("test") == 96
    text = env.task(0).text
    shown = [part.split("\n")[0] for part in text.split("Question: ")[1:5]]
    tasks = [env.task(i, s) for s in ("train", "test") for i in range(env.size(s))]
    assert not {t.text.rsplit("Question: ", 1)[1].split("\n")[0] for t in tasks} & set(shown)
    assert make(shots=4).task(0).text == text != make(shots=4, shots_seed=1).task(0).text
    assert env.stop == ("\nQuestion:",) and make(chat=True).stop == ()


def test_sources_that_do_not_work():
    for keywords, words in (
        ({}, r"math needs data: give --set env\.source=FILE"),
        ({"source": "nowhere.jsonl"}, "data file nowhere.jsonl does not exist"),
        ({"source": "x.jsonl", "mode": "odd"}, "strict or lenient"),
    ):
        with pytest.raises(PgbenchError, match=words):
            pgbench.make("math", **keywords)


def test_a_command_names_every_row_that_makes_no_problem(write_lines, cli):
    rows = [{"problem": f"{a}+1?", "answer": str(a + 1)} for a in range(6)]
    rows[1]["answer"], rows[4] = None, {"problem": "2+2?"}
    path = write_lines("rows.jsonl", rows)
    code, out, err = cli("data", path)
    assert (code, err) == (1, "") and out.endswith("2 of 6 rows cannot be used\n")
    assert "rows.jsonl line 2" in out and "rows.jsonl line 5" in out
    assert cli("data", path, "--env", "hopper")[0] == 2


@pytest.mark.parametrize(
    ("name", "folder", "sizes"), [("gsm8k", "gsm8k", (7473, 1319)), ("math-500", "math500", None)]
)
def test_real_data(name, folder, sizes, public):
    """Every demonstration is right, another problem's hardly ever."""
    env = pgbench.make(name, source=str(public(folder)))
    size = env.size("train"), env.size("test")
    assert sizes in (size, None) and sum(size) in (8792, 500)
    for split in ("train", "test"):
        chosen = env.sample(min(400, env.size(split)), random.Random(0), split)
        verdicts = env.verify(chosen, [task.demonstration for task in chosen])
        assert [t.id for t, v in zip(chosen, verdicts, strict=True) if not v.correct] == []
        others = [task.demonstration for task in chosen[1:] + chosen[:1]]
        assert sum(v.correct for v in env.verify(chosen, others)) < 0.05 * len(chosen)
    env.close()


def test_gsm_symbolic_is_judged_as_gsm8k_is(sample):
    pytest.importorskip("reasoning_gym")
    env = pgbench.make("gsm-symbolic")
    tasks = sample(env, 300) + sample(env, 30, "test")
    assert all(v.correct for v in env.verify(tasks, [task.demonstration for task in tasks]))
    for form in ("{}", "The answer is ${}.", "<answer> {} </answer>", "so\n#### {}"):
        said = [form.format(task.answer) for task in tasks]
        assert all(v.correct for v in env.verify(tasks, said)), form
    off = [task.demonstration.replace("{" + task.answer + "}", "{7777}") for task in tasks]
    assert not any(v.correct for v in env.verify(tasks, off))
    assert sum(bool(task.hints) for task in tasks) > 0.9 * len(tasks)
    assert "math-verify" in env.version and "gsm_symbolic" in env.version
    env.close()
