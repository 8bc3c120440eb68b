"""reasoning-gym's problems: what is right, what is refused, what cannot do harm."""

import subprocess
import sys

import pytest

import pgbench
from pgbench.catalogue.registry import ENVS
from pgbench.errors import PgbenchError, install
from pgbench.worlds.text_env import split_of

pytest.importorskip("reasoning_gym")

IDS = [s.id for s in ENVS.all() if s.instance_of == "reasoning"]
GUESSED = {"maze", "syllogism", "polynomial-equations"}  # few answers: others' are often right
SLOW = {"countdown", "polynomial-equations"}  # sympy makes their items


@pytest.mark.parametrize("name", IDS)
def test_demonstrations_are_right_and_others_are_not(name, sample):
    env = pgbench.make(name)
    few = name in SLOW
    tasks = sample(env, 10 if few else 200) + sample(env, 1 if few else 20, "test")
    assert all(v.correct for v in env.verify(tasks, [t.demonstration for t in tasks]))
    for form in ("So the answer is:\n{}", "\\boxed{{{}}}", "x\n<answer>{}</answer>"):
        said = [form.format(t.answer) for t in tasks]
        assert all(v.correct and v.reward == 1 for v in env.verify(tasks, said))
    for said in ("", "no answer", "-17.5", "9" * 10**5, "(" * 10**4, "é\x00"):
        assert not any(v.correct for v in env.verify(tasks, [said] * len(tasks)))
    if name not in GUESSED:
        others = [t.demonstration for t in tasks[1:] + tasks[:1]]
        assert sum(v.correct for v in env.verify(tasks, others)) <= 0.1 * len(tasks)
    for split in ("train", "test"):
        ours = [t for t in tasks if f"/{split}/" in t.id]
        assert {split_of(t.extra["entry"]["question"].strip()) for t in ours} == {split}


def test_nothing_reaches_standard_output(sample, capsys):
    """reasoning-gym prints the moves of tower-of-hanoi that it rejects."""
    env = pgbench.make("tower-of-hanoi")
    tasks = sample(env, 50)
    env.verify(tasks, ["Move disk 1 from Peg 9 to Peg 3"] * 50)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "said",
    ["__import__('os').mkdir('harm')", "9**9**9**9", "9* *9* *9", "9999999999", "(" * 199, "1//0",
     "1/0", "x", "1,2", "³"],
)  # fmt: skip
def test_countdown_evaluates_sums_only(said, monkeypatch, tmp_path, sample):
    monkeypatch.chdir(tmp_path)
    env = pgbench.make("countdown")
    verdict = env.verify(sample(env, 1), [said])[0]
    assert not verdict.correct and verdict.reward == 0
    assert not list(tmp_path.iterdir())


def test_shaped_rewards():
    """The share of mini-sudoku's cells that are right, by reasoning-gym's rule."""
    plain, shaped = pgbench.make("mini-sudoku"), pgbench.make("mini-sudoku", shaped=True)
    task = plain.task(0)
    first = task.answer[0]
    near = ("2" if first == "1" else "1") + task.answer[1:]
    assert [v.reward for v in plain.verify([task] * 2, [task.answer, near])] == [1, 0]
    right, wrong = shaped.verify([task] * 2, [task.answer, near])
    assert (right.reward, right.correct) == (1, True)
    assert not wrong.correct and wrong.reward == pytest.approx(0.9 * 15 / 16)


def test_settings_change_the_problems():
    easy = pgbench.make("reasoning", dataset="chain-sum", difficulty=0)
    assert all(len(easy.task(i).text) < 90 for i in range(50))
    three = pgbench.make("reasoning", dataset="chain_sum", config={"min_terms": 3, "max_terms": 3})
    texts = [three.task(i).text for i in range(50)]
    assert {sum(c in "+-" for c in text) for text in texts} == {2}
    assert easy.version != three.version


def test_worked_examples_come_from_the_train_split(sample):
    env = pgbench.make("chain-sum", shots=3)
    text = env.task(0).text
    assert text.count("Question:") == 4 and text.endswith("\nAnswer:")
    shown = [part.split("\nAnswer:")[0] for part in text.split("Question: ")[1:4]]
    assert {split_of(question) for question in shown} == {"train"}
    assert pgbench.make("chain-sum", shots=3).task(0) == env.task(0)
    assert pgbench.make("chain-sum", shots=3, shots_seed=1).task(0) != env.task(0)
    assert env.task(0).text.endswith(pgbench.make("chain-sum").task(0).text)
    few = pgbench.make("reasoning", dataset="leg_counting", items=12, shots=4)
    problems = [t.text.rsplit("Question: ", 1)[1] for t in sample(few, 50)]
    assert not any(problem in shown for shown in [few.task(0).text[:-400]] for problem in problems)
    talk = pgbench.make("chain-sum", shots=1, chat=True).task(0)
    assert [m.role for m in talk.messages] == ["user", "assistant", "user"]
    assert talk.demonstration == talk.answer


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({}, "which data set"),
        ({"dataset": "chain_sun"}, "did you mean chain_sum"),
        ({"dataset": "n_queens"}, "evaluating the completion as code"),
        ({"dataset": "puzzle24"}, "evaluating the completion as code"),
        ({"dataset": "polynomial_multiplication"}, "evaluating the completion as code"),
        ({"dataset": "graph_color"}, "does not score its own answer"),
        ({"dataset": "propositional_logic"}, "does not score its own answer"),
        ({"dataset": "word_ladder"}, "env.items"),
        ({"dataset": "composite"}, "Must specify"),
        ({"dataset": "chain_sum", "config": {"max_term": 3}}, "did you mean max_terms"),
        ({"dataset": "chain_sum", "config": {"seed": 3}}, "unknown setting of chain_sum 'seed'"),
        ({"dataset": "chain_sum", "config": {"max_terms": -3}}, "max_terms"),
        ({"dataset": "chain_sum", "config": 3}, "config takes a table"),
        ({"dataset": "chain_sum", "difficulty": 99}, "no difficulty 99"),
        ({"dataset": "chain_sum", "items": 0}, "items"),
        ({"dataset": "chain_sum", "items": 2, "shots": 3}, "with 2 items makes no new problem"),
    ],
)
def test_what_cannot_be_made_is_one_clear_line(keywords, words):
    with pytest.raises(PgbenchError, match=words) as error:
        pgbench.make("reasoning", **keywords)
    assert "\n" not in str(error.value)


def test_a_missing_package_names_the_extra():
    code = (
        "import sys; sys.modules['reasoning_gym'] = None\n"
        "import pgbench\n"
        "try: pgbench.make('chain-sum')\n"
        "except pgbench.PgbenchError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"reasoning_gym is not installed; run: {install('text')}\n"
