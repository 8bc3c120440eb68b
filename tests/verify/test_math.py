import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from pgbench.errors import PgbenchError
from pgbench.verify import math as math_module
from pgbench.verify.answers import boxed, extract, gsm8k_gold, statements
from pgbench.verify.forms import read
from pgbench.verify.math import MathVerifier, check_gold
from pgbench.verify.normal import clean
from pgbench.verify.numbers import equal, quantity

pytest.importorskip("math_verify")

GROUPS = tomllib.loads((Path(__file__).parent / "answers.toml").read_text())["group"]
PAIRS = [
    (gold, answer, kind, group["why"])
    for group in GROUPS
    for kind in ("yes", "no", "lenient")
    for gold, answer in group.get(kind, [])
]
# Load on the machine must not decide a test about verdicts.
PATIENT = 30.0


@pytest.fixture(scope="module")
def strict():
    with MathVerifier(deadline=PATIENT) as verifier:
        yield verifier


@pytest.fixture(scope="module")
def lenient():
    with MathVerifier(deadline=PATIENT, mode="lenient") as verifier:
        yield verifier


def box(answer):
    return rf"So it is $\boxed{{{answer}}}$."


def one(verifier, gold, answer):
    return verifier.judge([(gold, box(answer))])[0]


def wrong(verifier, pairs, expected):
    found = verifier.judge([(gold, box(answer)) for gold, answer, *_ in pairs])
    return [
        (gold, answer, judgement.how, why)
        for (gold, answer, _, why), judgement, want in zip(pairs, found, expected, strict=True)
        if judgement.correct != want
    ]


def test_the_corpus_is_large_and_each_pair_has_a_reason():
    assert len(PAIRS) >= 300
    assert len({(gold, answer) for gold, answer, *_ in PAIRS}) == len(PAIRS)
    assert all(group["why"] for group in GROUPS)


def test_strict_verdicts(strict):
    assert wrong(strict, PAIRS, [kind == "yes" for _, _, kind, _ in PAIRS]) == []


def test_lenient_verdicts(lenient):
    assert wrong(lenient, PAIRS, [kind != "no" for _, _, kind, _ in PAIRS]) == []


def test_reasons(strict, lenient):
    cases = [
        ("18", "18", "number"), ("x+1", "1+x", "symbolic"), (r"\text{east}", "east", "text"),
        ("5", "6", "different"), ("5", "4 or 5", "several answers"), ("5", "x+", "unreadable"),
        ("5", "7" * 1001, "too long"), (r"\sqrt{2}", "9^{9^{9^9}}", "too large"),
        (r"\overbrace", "x", "gold unreadable"),
    ]  # fmt: skip
    for gold, answer, how in cases:
        assert one(strict, gold, answer).how == how, (gold, answer)
    assert strict.judge([("5", "I do not know which one it is.")])[0].how == "no answer"
    assert one(lenient, "3R^2", "3r^2").how == "math-verify"


def test_every_gold_of_the_corpus_equals_itself(strict):
    golds = sorted({gold for gold, *_ in PAIRS if check_gold(gold) is None})
    assert len(golds) > 150
    found = strict.judge([(gold, box(gold)) for gold in golds])
    assert [g for g, j in zip(golds, found, strict=True) if not j.correct] == []


def test_delimiters_change_no_verdict(strict):
    dressings = (r"\({}\)", "**{}**", r"\displaystyle {}", "{}.", "  {}  ")
    pairs = [p for p in PAIRS if "$" not in p[1] and p[1].strip()]
    for at, dressing in enumerate(dressings):
        chosen = [
            (g, dressing.replace("{}", a), k, w) for g, a, k, w in pairs[at :: len(dressings)]
        ]
        assert wrong(strict, chosen, [kind == "yes" for _, _, kind, _ in chosen]) == [], dressing


def test_equality_of_expressions_is_symmetric(strict):
    groups = ("expressions", "near misses", "matrices", "exact values", "lists are", "spelling")
    pairs = [(a, g, k, w) for g, a, k, w in PAIRS if w.startswith(groups) and k != "lenient"]
    # A chain, a list, `100,200` and what cannot be read mean something else as gold.
    pairs = [p for p in pairs if "," not in p[0] and check_gold(p[0]) is None]
    pairs = [p for p in pairs if read(p[0]).kind in ("number", "leaf", "matrix")]
    assert len(pairs) > 80
    assert wrong(strict, pairs, [kind == "yes" for _, _, kind, _ in pairs]) == []


def test_numbers_are_exact():
    draw = random.Random(0)
    for _ in range(500):
        a, b, tens = draw.randint(-999999, 999999), draw.randint(1, 9999), draw.randint(0, 4)
        written = f"{a / 10**tens:.{tens}f}"
        assert quantity(written).value * 10**tens == a
        left, right = quantity(f"{a}/{b}"), quantity(rf"\frac{{{3 * a}}}{{{3 * b}}}")
        assert equal(left, right) and equal(right, left)
        other = quantity(f"{a * 10**9 + 1}/{b * 10**9}")
        assert not equal(left, other) and not equal(other, left)
        assert not equal(left, quantity(rf"\frac{{{a + 1}}}{{{b}}}"), lenient=True)
    assert quantity("1,234.50").value * 2 == 2469
    assert quantity("1e1001") is None and quantity("1/0") is None and quantity("12,34") is None


@pytest.mark.parametrize(
    ("completion", "answers"),
    [
        ("The answer is 18.", ["18"]),
        ("The final answer is: $18$. I hope it is correct.", ["$18$"]),
        ("Final Answer: The final answer is $5$.", ["$5$"]),
        ("**Answer:** 3.5 dollars.", ["3.5 dollars"]),
        ("Answer:\n\n$5$", ["$5$"]),
        ("The answer is\n\\[\n5\n\\]", ["5"]),
        ("The answer is not 5", []),
        ("The answer is 3. The answer is 4.", ["3", "4"]),
        ("The answer is 5, because 2+3=5.", ["5,"]),
        ("The answer is what is left of it. The answer is 4.", ["4"]),
        ("9 * 2 = 18 every day\n#### 18", ["18"]),
        ("<answer> 7 </answer>", ["7"]),
        ("<think>or \\boxed{3}</think> \\boxed{4}", ["4"]),
        ("<think> \\boxed{3}", []),
        (r"\boxed{3} or rather \boxed{4}", ["3", "4"]),
        (r"$\boxed{3}$ and $\boxed{-3}$", ["3, -3"]),
        (r"\boxed{3}, that is \boxed{3}", ["3"]),
        (r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}"]),
        (r"\boxed{\{1,2\}} The answer is 5.", [r"\{1,2\}"]),
        (r"\boxed 5", ["5"]),
        (r"\boxed{\frac{1}{2}", []),
        (r"\boxed{}", []),
        ("x = 5", ["x = 5"]),
        ("She makes 9 * 2 = $18 every day.", []),
        ("", []),
    ],
)
def test_statements(completion, answers):
    assert statements(completion) == answers
    assert extract(completion) == (answers[-1] if answers else None)


def test_lenient_takes_the_last_number_and_an_open_box():
    assert extract("She makes 9 * 2 = $18 every day.", lenient=True) == "$18"
    assert extract(r"\boxed{\frac{1}{2}", lenient=True) == r"\frac{1}{2}"
    assert extract("nothing at all here", lenient=True) is None


def test_golds_of_gsm8k_and_boxes():
    assert gsm8k_gold("She has 2*9=<<2*9=18>>18\n#### 1,080") == "1,080"
    assert gsm8k_gold("no mark") == ""
    assert boxed(r"a \boxed{x^{2}} b \fbox{3}") == [(2, 15, "x^{2}"), (18, 26, "3")]


@pytest.mark.parametrize(
    ("completion", "correct"),
    [
        (r"\boxed{3} \boxed{4} \boxed{5}", False),
        (r"\boxed{5} hm, maybe \boxed{6}", False),
        (r"\boxed{6} no, it must be \boxed{5}", False),
        (r"\boxed{5} which is \boxed{5.0}", True),
        (r"\boxed{5} which is \boxed{\sqrt{25}}", True),
        ("The answer is 5 or 6.", False),
        ("The answer is 4, 5, 6.", False),
        ("The answer is 5. The answer is 6.", False),
        ("The answer is either 5 or maybe 6.", False),
        ("".join(rf"\boxed{{{n}}} then " for n in range(20)) + r"\boxed{5}", False),
    ],
)
def test_guessing_at_several_earns_nothing(strict, completion, correct):
    assert strict.judge([("5", completion)])[0].correct == correct


HOSTILE = [
    r"\sum_{k=1}^{10000000} \sqrt{k}", "9^{9^{9^9}}", "10000000!", "(10^{7})!", "((9!)!)!",
    "(" * 500 + "1" + ")" * 500, "7" * 900,
    r"\sum_{k=1}^{10000000} \frac{1}{k}", "1e999999999",
    r"\prod_{k=1}^{10000000} k", r"\binom{100000000}{50000000}", "10^{999999999}", "x" * 900,
    r"\frac{" * 18 + "1" + "}{2}" * 18, "x^{" * 15 + "2" + "}" * 15,
    r"\sin(" * 15 + "x" + ")" * 15,
    r"\pm x" * 200, "=" * 500, "1" + "=1" * 300, "{" * 900, "\\", "$" * 999,
    r"\text{" * 200, "a," * 300, r"\left(1+\frac{1}{10^9}\right)^{10^9}",
    "[" * 18 + "1,2" + "]" * 18, "\ud800", "\0",
]  # fmt: skip


def hostile(verifier, gold, answers):
    assert one(verifier, r"\sqrt{8}", r"2\sqrt{2}").correct  # workers are up
    for answer in answers:
        began = time.monotonic()
        assert not one(verifier, gold, answer).correct
        took = time.monotonic() - began
        # After a kill the next process may still be starting; that is no overrun of the job.
        assert took < verifier.deadline + 1.0 + 2.0 * (verifier.killed > 0), answer[:60]
    assert verifier.killed == verifier.counts["timeout"]


def test_hostile_answers_end_in_time_and_harm_no_other():
    with MathVerifier(workers=2, deadline=0.4) as verifier:
        hostile(verifier, r"\sqrt{2}", HOSTILE[:6])
        assert verifier.killed > 0
        bad = [(r"\sqrt{2}", box(r"\sum_{k=1}^{20000000} \sqrt{k}"))]
        good = [(r"\sqrt{8}", box(rf"{n}\sqrt{{2}} - {n - 2}\sqrt{{2}}")) for n in range(3, 13)]
        found = verifier.judge([*good[:5], *bad, *good[5:]])
        assert [j.how for j in found] == ["symbolic"] * 5 + ["timeout"] + ["symbolic"] * 5


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["strict", "lenient"])
@pytest.mark.parametrize("gold", ["5", r"\sqrt{2}", "x^2+1", "(1,2]", "1,2"])
def test_all_hostile_answers(gold, mode):
    with MathVerifier(workers=2, deadline=0.5, mode=mode) as verifier:
        hostile(verifier, gold, HOSTILE)


@pytest.mark.slow
def test_no_overrun_is_left_running():
    deadline = 0.3
    sums = [("x", box(rf"\sum_{{k=1}}^{{{n}0000000}} \sqrt{{k}}")) for n in range(1, 5)]
    with MathVerifier(workers=2, deadline=deadline) as verifier:
        assert one(verifier, "x+1", "1+x").correct
        began = time.monotonic()
        found = verifier.judge(sums)
        starts = 2 * 2.0  # each worker may have to start once more before its second job
        assert time.monotonic() - began < 2 * (deadline + 1.0) + starts
        assert [judgement.how for judgement in found] == ["timeout"] * 4
        assert verifier.killed == 4


def test_megabytes_cost_little(strict):
    million = 1_000_000
    texts = [
        "x" * million, "(" * million, r"\boxed{" * 140_000, r"\boxed{" + "1+" * 500_000 + "1}",
        "the answer is " * 70_000, "answer: is: " * 80_000, "$" * million, "#### " * 200_000,
        "<answer>" * 125_000, "1," * 500_000, " " * million, "\n" * million, "<think>" * 140_000,
        r"\boxed{1} x \boxed{2} y " * 40_000,
    ]  # fmt: skip
    began = time.monotonic()
    found = strict.judge([("5", text) for text in texts])
    assert not any(judgement.correct for judgement in found)
    assert strict.judge([("1" * million, box("5"))])[0].how == "gold unreadable"
    assert time.monotonic() - began < 5


def test_no_answer_of_a_thousand_characters_is_slow_to_read():
    draw = random.Random(0)
    atoms = [*"0123456789()[]{}\\,.;=<>+-*/^_|%$ abxyzXYZ'\"", r"\frac", r"\sqrt", r"\text{",
             r"\left(", r"\pm", r"\cup", r"\in", r"\le", r"\boxed{", " and ", " or ", "1,234",
             "10^", r"^\circ", "**", "$$", r"\(", "the ", "sqrt(", "pi", "√", "²"]  # fmt: skip
    texts = [((a + b) * 1000)[:1000] for a in atoms[::3] for b in atoms[::2]]
    texts += ["".join(draw.choices(draw.sample(atoms, 6), k=999))[:1000] for _ in range(300)]
    for text in texts:
        began = time.process_time()
        with_error = None
        try:
            read(text)
        except math_module.Unreadable as error:
            with_error = error
        assert time.process_time() - began < 0.5, (text[:60], with_error)


def test_a_killed_worker_is_replaced_and_really_gone():
    with MathVerifier(workers=1, deadline=0.3) as verifier:
        assert verifier._pool.workers == []  # none before one is needed
        assert one(verifier, "5", "5").how == "number" and verifier._pool.workers == []
        assert one(verifier, "x+1", "1+x").correct
        first = verifier._pool.workers[0].process.pid
        judgement = one(verifier, "x+1", r"\sum_{k=1}^{20000000} \sqrt{k}")
        assert (judgement.correct, judgement.how) == (False, "timeout")
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        assert one(verifier, "x+2", "2+x").correct
        second = verifier._pool.workers[0].process.pid
        assert second != first and verifier.killed == 1
        # Killed from outside between two jobs: the next one does not notice.
        os.kill(second, signal.SIGKILL)
        assert one(verifier, "x+3", "3+x").correct
        last = verifier._pool.workers[0].process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)
    with pytest.raises(PgbenchError, match="closed"):
        one(verifier, "x+4", "4+x")


def test_workers_die_with_their_parent():
    code = (
        "import sys, threading\n"
        "from pgbench.verify.math import MathVerifier\n"
        "v = MathVerifier(workers=1, deadline=600)\n"
        "print(v.judge([('x+1', r'\\boxed{1+x}')])[0].correct, v._pool.workers[0].process.pid,"
        " flush=True)\n"
        "v.judge([('x', r'\\boxed{\\sum_{k=1}^{90000000} \\sqrt{k}}')])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    correct, pid = parent.stdout.readline().split()
    assert correct == "True"
    time.sleep(0.3)  # it is at work on the sum by now
    parent.kill()
    parent.wait()
    until = time.monotonic() + 5
    while time.monotonic() < until and Path(f"/proc/{pid}/stat").exists():
        if Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}/stat").exists()


def test_a_worker_outlives_the_thread_that_needed_it_first():
    with MathVerifier(workers=1, deadline=PATIENT) as verifier:
        found = []
        for n in range(2):
            thread = threading.Thread(
                target=lambda n=n: found.append(one(verifier, f"x+{n}", f"{n}+x"))
            )
            thread.start()
            thread.join()
            pid = verifier._pool.workers[0].process.pid
            time.sleep(0.1)
            os.kill(pid, 0)
            assert verifier._pool.workers[0].process.pid == pid
        assert [judgement.correct for judgement in found] == [True, True]


def test_threads_and_order_change_no_verdict(strict):
    pairs = [(gold, box(answer)) for gold, answer, *_ in PAIRS][::6]
    expected = strict.judge(pairs)
    with MathVerifier(workers=1, deadline=PATIENT) as verifier:
        found = {}

        def work(seed):
            order = list(range(len(pairs)))
            random.Random(seed).shuffle(order)
            judged = verifier.judge([pairs[i] for i in order])
            found[seed] = [judged[order.index(i)] for i in range(len(pairs))]

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        before = signal.getsignal(signal.SIGALRM)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert signal.getsignal(signal.SIGALRM) == before
    assert all(found[seed] == expected for seed in range(4))


def test_the_cache_saves_work_and_is_bounded(monkeypatch):
    monkeypatch.setattr(math_module, "CACHE", 8)
    with MathVerifier(workers=1, deadline=PATIENT) as verifier:
        pairs = [("x+1", box("1+x"))] * 5
        assert all(judgement.correct for judgement in verifier.judge(pairs))
        assert verifier.counts["algebra"] == 1  # the same pair in one batch is judged once
        verifier.judge(pairs)
        assert verifier.counts["algebra"] == 1 and verifier.counts["cached"] == 1
        verifier.judge([("5", box(str(n))) for n in range(50)])
        assert len(verifier._cache) == 8
        verifier.judge(pairs)
        assert verifier.counts["algebra"] == 2


def test_golds_that_cannot_be_judged_are_found():
    for gold in ("18", r"\frac{1}{2}", "x^2+1", r"\text{Evelyn}", "(3,4]", r"1 \pm \sqrt{19}",
                 r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "52_8", "y = 2x + 3",
                 r"90^\circ"):  # fmt: skip
        assert check_gold(gold) is None, gold
    sentence = "Anya needs to climb one floor while Vanya needs to climb the height of five"
    bad = {"": "empty", "7" * 1001: "too long", "(" * 30: "too deep", sentence: "sentence",
           r"\frac{": "", "1, 2, \\ldots, n": "notation", "9^{9^{9^9}}": "too large",
           r"\frac{1}{0}": "", "x+": "", "f'(x)": "primes"}  # fmt: skip
    for gold, reason in bad.items():
        assert reason in (check_gold(gold) or "fine"), gold
        assert check_gold(gold) is not None, gold


@pytest.mark.slow
def test_a_gold_that_takes_too_long_is_found():
    assert "takes longer" in check_gold(r"\sum_{k=1}^{90000000} \sqrt{k}")


def test_the_version_names_the_rules_and_the_packages():
    with MathVerifier() as strict, MathVerifier(mode="lenient") as lenient:
        assert strict.version != lenient.version
        for part in (f"math-{math_module.SCHEME}", "math-verify-", "latex2sympy2", "sympy-1"):
            assert part in strict.version


def test_bad_settings_and_missing_packages(monkeypatch):
    for settings in ({"mode": "fuzzy"}, {"workers": 0}, {"deadline": 0.0}):
        with pytest.raises(PgbenchError):
            MathVerifier(**settings)
    monkeypatch.setattr(math_module, "PACKAGES", ("no-such-package",))
    with pytest.raises(PgbenchError, match=r"pip install 'pgbench\[text\]'"):
        MathVerifier()


def test_what_is_imported_where():
    code = (
        "import sys, pgbench.verify.math\n"
        "assert not {'sympy', 'math_verify', 'torch'} & set(sys.modules)\n"
        "import pgbench.verify.worker, pgbench.verify.symbolic\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_worker_may_not_take_more_than_its_memory():
    code = (
        "import os\n"
        "from pgbench.verify import worker\n"
        "worker._limits(os.getppid())\n"
        "try:\n"
        "    bytearray(2 * worker.MEMORY)\n"
        "except MemoryError:\n"
        "    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "refused"


def test_a_verifier_is_not_used_after_a_fork():
    with MathVerifier(workers=1, deadline=PATIENT) as verifier:
        assert one(verifier, "x+1", "1+x").correct
        pid = os.fork()
        if pid == 0:
            try:
                one(verifier, "x+2", "2+x")
            except PgbenchError as error:
                os._exit(7 if "fork" in str(error) else 1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_one_spelling():
    for text, expected in [
        (r"$\left(\dfrac{1}{2}, \tfrac34\right)$.", r"(\frac{1}{2}, \frac{3}{4})"),
        ("sqrt(2)/2", r"\sqrt{2}/2"),
        ("x²−1", "x^{2}-1"),
        (r"\boxed{\text{ east }}", "east"),
        ("the ellipse", "ellipse"),
        (r"11,\! 111", "11,111"),
        ("{5}", "5"),
        ("18$", "18"),
    ]:
        assert clean(text) == expected


def rows(*place):
    folder = os.environ.get("PGBENCH_DATA")
    path = Path(folder or "", *place)
    if not folder or not path.is_file():
        pytest.skip(f"needs {'/'.join(place)} in the folder PGBENCH_DATA")
    return [json.loads(line)["answer"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("mode", ["strict", "lenient"])
def test_gsm8k_references_are_right_and_no_other(mode):
    answers = rows("gsm8k", "test.jsonl")
    golds = [gsm8k_gold(answer) for answer in answers]
    assert [gold for gold in golds if check_gold(gold)] == []
    with MathVerifier(mode=mode) as verifier:
        found = verifier.judge(list(zip(golds, answers, strict=True)))
        assert all(judgement.correct for judgement in found)
        shifted = verifier.judge(list(zip(golds, answers[1:] + answers[:1], strict=True)))
        same = [quantity(a).value == quantity(b).value
                for a, b in zip(golds, golds[1:] + golds[:1], strict=True)]  # fmt: skip
        assert [judgement.correct for judgement in shifted] == same
        assert verifier.counts["algebra"] == 0


@pytest.mark.parametrize("mode", ["strict", "lenient"])
def test_math500_references_are_right(mode):
    answers = rows("math500", "test.jsonl")
    golds = [answer.rsplit("The answer is: ", 1)[-1].strip() for answer in answers]
    assert [(gold, check_gold(gold)) for gold in golds if check_gold(gold)] == []
    with MathVerifier(mode=mode, deadline=PATIENT) as verifier:
        for texts in (answers, golds, [box(gold) for gold in golds]):
            found = verifier.judge(list(zip(golds, texts, strict=True)))
            assert [g for g, j in zip(golds, found, strict=True) if not j.correct] == []


@pytest.mark.slow
def test_no_math500_gold_equals_another_text_by_accident():
    answers = rows("math500", "test.jsonl")
    golds = sorted({answer.rsplit("The answer is: ", 1)[-1].strip() for answer in answers})
    golds = [gold for gold in golds if quantity(clean(gold)) is None]
    pairs = [(g, a) for g in golds for a in golds if clean(g) != clean(a)]
    with MathVerifier(deadline=PATIENT) as verifier:
        found = verifier.judge([(g, box(a)) for g, a in pairs])
    equal = sorted({p for p, j in zip(pairs, found, strict=True) if j.correct})
    assert equal == [
        ("-2,1", "1,-2"),
        ("1,-2", "-2,1"),
        (r"2 \sqrt{5}", r"2\sqrt{5}"),
        (r"2\sqrt{5}", r"2 \sqrt{5}"),
    ]
