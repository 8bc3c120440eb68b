r"""Prompts with examples, hints, and what a completion states as its answer."""

import time

import pytest

from pgbench.envs.text.worded import boxed, hints, prompt, stated


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("7", "7"), ("  7\n", "7"), ("So the answer is 7.", "7"), ("The answer is: 7", "7"),
        ("the answer is 1. No, the answer is 2.\nBye.", "2"), ("The Answer is -1.5.", "-1.5"),
        (r"It is \boxed{7}. The answer is 8", "7"), (r"\boxed{1} \boxed{\frac12}", r"\frac12"),
        (r"\boxed{\frac{1}{2}} }", r"\frac{1}{2}"), (r"\boxed{1} \boxed{2", "1"),
        (r"\boxed{1 \boxed{2}}", "2"), ("<answer>a b</answer>", "a b"), ("</answer>", "</answer>"),
        ("<answer>1<answer>2</answer>", "2"), (r"\boxed{1} <answer> 2 </answer> <answer>", "2"),
        ("The answer is:\n1 2\n3 4\n", "1 2\n3 4"),
        ("the answer is", ""), ("", ""), ("{" * 50_000, "{" * 50_000),
    ],
)  # fmt: skip
def test_stated(text, answer):
    assert stated(text) == answer


def test_hostile_texts_cost_little():
    start = time.process_time()
    for part in (r"\boxed{", r"\boxed{}", "<answer>", "</answer>", "answer is ", "{", "}"):
        stated(part * 20_000)
    assert time.process_time() - start < 2


def test_boxed_is_the_last_complete_one():
    assert boxed("none") is None and boxed(r"\boxed{") is None
    assert boxed(r"\boxed{a{b}c} and \boxed{ d }") == " d "


def test_hints_grow_and_leave_out_the_last_step():
    assert hints("a\nb\nc") == ("a", "a\nb")
    assert hints("one. Two! Three.") == ("one.", "one. Two!")
    assert hints("one") == () and hints("") == ()
    steps = [f"step {i}" for i in range(10)]
    found = hints("\n".join(steps))
    assert found == (steps[0], "\n".join(steps[:5]), "\n".join(steps[:9]))


def test_prompts():
    shots = [("1+1?", "2"), ("2+2?", " 4")]
    (one,) = prompt("3+3?", shots, chat=False)
    assert one.role == "user"
    assert one.content == (
        "Question: 1+1?\nAnswer: 2\n\nQuestion: 2+2?\nAnswer: 4\n\nQuestion: 3+3?\nAnswer:"
    )
    assert prompt("3+3?", [], False, "Add.")[0].content == "Add.\n\nQuestion: 3+3?\nAnswer:"
    talk = prompt("3+3?", shots, chat=True, instruction="Add.")
    assert [m.role for m in talk] == ["user", "assistant"] * 2 + ["user"]
    assert [m.content for m in talk][2:] == ["2+2?\n\nAdd.", "4", "3+3?\n\nAdd."]
