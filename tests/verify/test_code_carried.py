"""What goes between the tests and the submission is what it would be in one process."""

import pytest

from pgbench.verify.code import Problem

ONE_PROCESS = [  # (tests of arguments and results, right code, wrong code)
    ("xs = [3, 1, 2]\nassert f(xs) == [1, 2, 3]\nassert xs == [3, 1, 2]",
     "def f(xs): return sorted(xs)", "def f(xs): xs.sort(); return xs"),
    ("xs = [3, 1, 2]\nf(xs)\nassert xs == [1, 2, 3]",
     "def f(xs): xs.sort()", "def f(xs): sorted(xs)"),
    ("a = [[1], [2]]\nb = f(a)\nb[0].append(9)\nassert a == [[1], [2]] and b == [[1, 9], [2]]",
     "import copy\nf = copy.deepcopy", "def f(xs): return list(xs)"),
    ("a = {'k': {1}}\nassert f(a) is a and a == {'k': {1, 2}}",
     "def f(d): d['k'].add(2); return d", "def f(d): return {'k': {1, 2}}"),
    ("assert f(1) == [1] and f(2) == [2]",
     "def f(x, to=None): return [x]", "def f(x, to=[]): to.append(x); return to"),
    ("a = f(1)\nf(2)\nassert a == [1, 2]",
     "def f(x, to=[]): to.append(x); return to", "def f(x, to=[]): to.append(x); return list(to)"),
    ("rows = f(2)\nrows[0].append(1)\nassert rows == [[1], []]",
     "def f(n): return [[] for _ in range(n)]", "def f(n): return [[]] * n"),
    ("xs = [1]\nb = Bag(xs)\nxs.append(2)\nassert b.size() == 1",
     "class Bag:\n def __init__(s, xs): s.xs = list(xs)\n def size(s): return len(s.xs)",
     "class Bag:\n def __init__(s, xs): s.xs = xs\n def size(s): return len(s.xs)"),
    ("t = ([1], 2)\nu = f(t)\nassert u[0] is not t[0] and t == ([1], 2)",
     "def f(t): return ([*t[0]], t[1])", "def f(t): return t"),
    ("from collections import deque\nq = deque([1, 2])\nassert f(q) == 1 and q == deque([2])",
     "def f(q): return q.popleft()", "def f(q): return q[0]"),
    ("xs = [1]\ntry:\n    f(xs)\nexcept ValueError:\n    pass\nassert xs == [1]",
     "def f(xs): raise ValueError", "def f(xs): xs.append(2); raise ValueError"),
    ("a = f()\nassert a[0] is a", "def f():\n a = []\n a.append(a)\n return a",
     "def f(): return [[]]"),
    ("assert f() is f() and f() == f()", "class P: pass\np = P()\ndef f(): return p",
     "class P: pass\ndef f(): return P()"),
    ("assert next(f(3)) == 0 and list(f(3)) == [0, 1, 2]", "def f(n): yield from range(n)",
     "def f(n): yield from range(1, n)"),
    ("assert isinstance(f(), Leaf) and not isinstance(f(), Tree)",
     "class Tree: pass\nclass Leaf: pass\ndef f(): return Leaf()",
     "class Tree: pass\nclass Leaf: pass\ndef f(): return Tree()"),
]  # fmt: skip


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.parametrize("tests, right, wrong", ONE_PROCESS)
def test_arguments_and_results_are_what_they_are_in_one_process(verifier, tests, right, wrong):
    good, bad = verifier.judge([(Problem(tests), right), (Problem(tests), wrong)])
    assert good.passed, good
    assert bad.how in ("wrong answer", "error"), bad


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.parametrize(
    "value",
    ["Fraction(1, 3)", "Decimal('0.10')", "date(2024, 2, 29)", "datetime(2024, 1, 2, 3, 4, 5, 6)",
     "datetime(2024, 1, 2, tzinfo=timezone.utc)", "timedelta(days=-1, seconds=5)", "time(3, 4)",
     "range(1, 9, 2)", "deque([1, [2]], 3)", "Counter('aab')", "OrderedDict([(2, 1), (1, 2)])",
     "defaultdict(list, {1: [2]})", "bytearray(b'ab')", "frozenset({1})", "{1: {2}}", "1j"],
)  # fmt: skip
def test_values_of_the_standard_library_come_through(verifier, value):
    imports = (
        "from fractions import Fraction\nfrom decimal import Decimal\nfrom collections import *\n"
        "from datetime import date, datetime, time, timedelta, timezone\n"
    )
    tests = f"{imports}x = {value}\nassert f() == x and type(f()) is type(x) and g(x) == x"
    source = f"{imports}def f(): return {value}\ndef g(x): assert repr(x) == repr(f()); return x"
    assert verifier.judge([(Problem(tests), source)])[0].how == "passed"


@pytest.mark.usefixtures("sandboxed")
def test_what_cannot_be_carried_is_no_wrong_answer(verifier):
    point = "class P:\n    def __init__(s, x): s.x = x\n    def __eq__(s, o): return s.x == o.x\n"
    for tests, source in [
        ("assert P(1) == P(1)", point),
        ("assert f() + 1 == 3", "class V:\n    def __add__(s, o): return 3\ndef f(): return V()"),
        ("assert isinstance(f(), Stack)", "class Stack(list): pass\ndef f(): return Stack()"),
        ("assert f(1) == 3", point + "def f(x): return P(3)"),
        ("assert f(lambda: 1)", "def f(g): return 1"),
    ]:
        assert verifier.judge([(Problem(tests), source)])[0].how == "unsupported", tests
    pair = "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)"
    assert verifier.judge([(Problem("assert f().x == 1 and f() == (1, 2)"), pair)])[0].passed
