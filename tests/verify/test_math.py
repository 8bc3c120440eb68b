"""What counts as equal: verdicts on the corpus, and how completions are read."""

import random
import subprocess
import sys

import pytest
from answers import COMPLETIONS, GROUPS, PAIRS, box, one

from pgbench.errors import PgbenchError
from pgbench.verify import math as math_module
from pgbench.verify.answers import boxed, extract, gsm8k_gold, statements
from pgbench.verify.forms import read
from pgbench.verify.math import MathVerifier, check_gold
from pgbench.verify.normal import clean
from pgbench.verify.numbers import equal, quantity

pytest.importorskip("math_verify")


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


@pytest.mark.parametrize("mode", ["strict", "lenient"])
def test_whole_completions(mode, request):
    found = request.getfixturevalue(mode).judge([(gold, text) for gold, text, *_ in COMPLETIONS])
    accepted = ("yes",) if mode == "strict" else ("yes", "lenient")
    assert len(COMPLETIONS) > 25
    assert [
        (gold, text, judgement)
        for (gold, text, kind, _), judgement in zip(COMPLETIONS, found, strict=True)
        if judgement.correct != (kind in accepted)
    ] == []


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
    assert one(lenient, "3R^2", "3r^2").how == "symbolic"


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
    with pytest.raises(PgbenchError, match=r"pip install .*\[text\]"):
        MathVerifier()


def test_what_is_imported_where():
    code = (
        "import sys, pgbench.verify.math\n"
        "assert not {'sympy', 'math_verify', 'torch'} & set(sys.modules)\n"
        "import pgbench.verify.worker, pgbench.verify.symbolic\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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
        (r"\frac n{\sqrt\pi}", r"\frac{n}{\sqrt{\pi}}"),
        (r"x^\frac12", r"x^{\frac{1}{2}}"),
        (r"\frac\sqrt32", r"\frac{\sqrt{3}}{2}"),
        (r"\sqrt[3]2", r"\sqrt[3]{2}"),
        (r"\frac{1", r"\frac{1"),
        (r"\frac1", r"\frac1"),
        (r"0.\dot1 4285\dot7", r"0.\overline{142857}"),
        ("cafe\u0301", "caf\u00e9"),
    ]:
        assert clean(text) == expected
