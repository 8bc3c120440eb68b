"""How fast the math verifier judges, and how far its modes and math-verify alone disagree.

    python tests/performance/math_verifier.py --data FOLDER [--pairs 10000] [--workers 2]
        [--completions FILE.jsonl] [--peer] [--show 0]

FOLDER holds `gsm8k/test.jsonl` and `math500/test.jsonl` (question, answer). Two mixes:

speed       70% GSM8K, 30% MATH-500, drawn with replacement; each completion is the reference
            solution with another final answer, half of them right in another spelling, half wrong.
            In batches of 64 on an empty cache; a pair is timed by itself for p50 and p99.
agreement   every gold of both sets once with every spelling and every error that applies to it.

The errors and spellings are those of `SAME`, `ROUNDED` and `OTHER`. `--completions` adds real ones
(JSON lines with gold and completion). `--peer` judges with math-verify alone as well.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from pgbench.verify.answers import boxed, gsm8k_gold
from pgbench.verify.math import MathVerifier
from pgbench.verify.numbers import quantity

Change = Callable[[str, random.Random], str | None]


def value(gold: str) -> Fraction | None:
    found = quantity(gold)
    return found.value if found and not found.unit else None


def whole(gold: str, write: Callable[[int], str]) -> str | None:
    number = value(gold)
    return write(int(number)) if number is not None and number.denominator == 1 else None


def decimal(gold: str, digits: int) -> str | None:
    number = value(gold)
    if number is None or number.denominator == 1:
        return None
    written = f"{float(number):.{digits}f}"
    return None if Fraction(written) == number else written


def terminating(gold: str, _: random.Random) -> str | None:
    number = value(gold)
    if number is None or number.denominator == 1:
        return None
    written = f"{float(number):.6f}".rstrip("0")
    return written if Fraction(written) == number else None


def reordered(gold: str, _: random.Random) -> str | None:
    parts = re.split(r", ?", gold)
    if len(parts) < 2 or re.search(r"[()\[\]{}\\]", gold) or value(gold) is not None:
        return None
    return " and ".join(reversed(parts))


def inequality(gold: str, _: random.Random) -> str | None:
    found = re.fullmatch(r"(?:x \\in )?([(\[])([^(),]+),\s*([^(),]+)\]", gold)
    if not found or "infty" in gold:
        return None
    return rf"{found[2]} {'<' if found[1] == '(' else chr(92) + 'le'} x \le {found[3]}"


SAME: dict[str, Change] = {
    "as it is": lambda g, r: g,
    "full stop": lambda g, r: g + ".",
    "dollars around": lambda g, r: f"${g}$" if "$" not in g else None,
    "thousands": lambda g, r: whole(g, lambda n: f"{n:,}"),
    "decimal point": lambda g, r: whole(g, lambda n: f"{n}.0"),
    "unit": lambda g, r: whole(g, lambda n: f"{n} " + r.choice(("dollars", "apples", "miles"))),
    "currency": lambda g, r: whole(g, lambda n: rf"\${n}"),
    "fraction": lambda g, r: whole(g, lambda n: rf"\frac{{{3 * n}}}{{3}}"),
    "sum": lambda g, r: whole(g, lambda n: f"{n - 7} + 7 = {n}"),
    "named": lambda g, r: f"x = {g}" if "=" not in g and "," not in g and "in" not in g else None,
    "dfrac": lambda g, r: g.replace(r"\frac", r"\dfrac") if r"\frac" in g else None,
    "slash": lambda g, r: (
        re.sub(r"\\d?frac\{(\w+)\}\{(\w+)\}", r"\1/\2", g)
        if re.match(r"-?\\frac\{\w+\}", g) else None
    ),
    "left right": lambda g, r: (
        g.replace("(", r"\left(").replace(")", r"\right)") if "(" in g and "left" not in g else None
    ),
    "no spaces": lambda g, r: (
        re.sub(r"(?<![a-z]) ", "", g) if " " in g and "text" not in g and "box" not in g else None
    ),
    "degrees": lambda g, r: (
        g.replace(r"^\circ", " degrees") if g.endswith(r"^\circ") and value(g[:-6]) else None
    ),
    "terminating decimal": terminating,
    "times one": lambda g, r: (
        rf"\frac{{2({g})}}{{2}}"
        if re.search(r"[\\+-]", g) and not re.search(r"[,=%]|ext|box|beg|circ|in |\\\$|\\pm|cup", g)
        else None
    ),
    "list reordered": reordered,
    "inequality": inequality,
}  # fmt: skip
ROUNDED: dict[str, Change] = {f"{n} decimals": lambda g, r, n=n: decimal(g, n) for n in (3, 6)}


def misread(gold: str, r: random.Random) -> str | None:
    """One digit or sign of the formula changed."""
    places = [m.start() for m in re.finditer(r"[0-9+]", gold)]
    if not places or value(gold) is not None:
        return None
    at = r.choice(places)
    other = "-" if gold[at] == "+" else str((int(gold[at]) + r.randint(1, 9)) % 10)
    return gold[:at] + other + gold[at + 1 :]


OTHER: dict[str, Change] = {
    "one more": lambda g, r: whole(g, lambda n: str(n + 1)),
    "ten times": lambda g, r: whole(g, lambda n: str(10 * n)) if g != "0" else None,
    "sign": lambda g, r: f"-{g}" if value(g) else None,
    "near miss": lambda g, r: whole(g, lambda n: f"{n}.0000001"),
    "false chain": lambda g, r: whole(g, lambda n: f"{n + 1} = {n}"),
    "two guesses": lambda g, r: whole(g, lambda n: f"{n} or {n + 1}"),
    "ten guesses": lambda g, r: whole(g, lambda n: ", ".join(map(str, range(n - 5, n + 5)))),
    "thousand": lambda g, r: whole(g, lambda n: f"{n} thousand") if g != "0" else None,
    "misread": misread,
    "inverse": lambda g, r: (
        f"{v.denominator}/{v.numerator}" if (v := value(g)) and abs(v) != 1 else None
    ),
    "other formula": lambda g, r: r"\frac{\sqrt{17}}{3}+1",
    "other variable": lambda g, r: (
        g.replace("x", "y") if "x" in g and not re.search("in|ext|=", g) else None
    ),
}  # fmt: skip


def load(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """(gold, solution) of both sets."""
    rows = {name: (folder / name / "test.jsonl").read_text().splitlines()
            for name in ("gsm8k", "math500")}  # fmt: skip
    grade = [json.loads(row)["answer"] for row in rows["gsm8k"]]
    math = [json.loads(row)["answer"].rsplit("The answer is: ", 1) for row in rows["math500"]]
    return {
        "gsm8k": [(gsm8k_gold(answer), answer.split("####")[0]) for answer in grade],
        "math500": [(gold.strip(), unboxed(text)) for text, gold in math],
    }


def unboxed(text: str) -> str:
    """A solution whose boxes are opened, so that it can end in another answer."""
    for start, end, inside in reversed(boxed(text)):
        text = text[:start] + inside + text[end:]
    return text


def finished(solution: str, answer: str, r: random.Random) -> str:
    """The solution with an answer in one of three usual forms."""
    if "\n" in answer or r.random() < 0.7:
        return rf"{solution}So the final answer is $\boxed{{{answer}}}$."
    return solution + (f"\n#### {answer}" if r.random() < 0.5 else f"\nThe answer is {answer}.")


def apply(changes: dict[str, Change], gold: str, r: random.Random) -> list[tuple[str, str]]:
    out = [(name, change(gold, r)) for name, change in changes.items()]
    return [(name, text) for name, text in out if text is not None]


def speed(data: dict[str, list[tuple[str, str]]], count: int, workers: int) -> None:
    r = random.Random(0)
    pairs = []
    for _ in range(count):
        gold, solution = r.choice(data["gsm8k" if r.random() < 0.7 else "math500"])
        changes = apply(SAME if r.random() < 0.5 else OTHER, gold, r)
        pairs.append((gold, finished(solution, r.choice(changes)[1], r)))
    with MathVerifier(workers) as verifier:
        began = time.perf_counter()
        verifier.judge([(r"\sqrt{8}", r"\boxed{2\sqrt{2}}")] * 2 + [("x", r"\boxed{2x-x}")])
        print(f"first pair that needs algebra: {time.perf_counter() - began:.2f} s")
        verifier.counts.clear()
        began = time.perf_counter()
        for at in range(0, count, 64):
            verifier.judge(pairs[at : at + 64])
        seconds = time.perf_counter() - began
        print(f"speed: {count} pairs in batches of 64, {workers} workers: {count / seconds:,.0f}/s")
        print(f"       {dict(verifier.counts)}, killed {verifier.killed}")
    with MathVerifier(workers) as verifier:
        verifier.judge([(r"\sqrt{8}", r"\boxed{2\sqrt{2}}")])
        times = defaultdict(list)
        for pair in pairs[: min(count, 4000)]:
            before = verifier.counts["algebra"]
            began = time.perf_counter()
            verifier.judge([pair])
            kind = "algebra" if verifier.counts["algebra"] > before else "simple"
            times[kind].append(1e3 * (time.perf_counter() - began))
    every = [each for kind in times.values() for each in kind]
    for kind, each in (*times.items(), ("all", every)):
        cuts = statistics.quantiles(each, n=100)
        print(f"       one at a time, {kind}: {len(each)} pairs, p50 {cuts[49]:.2f} ms, "
              f"p99 {cuts[98]:.2f} ms, max {max(each):.0f} ms")  # fmt: skip


def peer(pairs: list[tuple[str, str]]) -> tuple[list[bool], float]:
    """math-verify alone, its defaults but for the timeouts; seconds."""
    import logging

    from math_verify import parse, verify

    logging.disable(logging.ERROR)
    began = time.perf_counter()
    out = []
    for gold, completion in pairs:
        g = parse(f"${gold}$", parsing_timeout=None)
        out.append(verify(g, parse(completion, parsing_timeout=None), timeout_seconds=None))
    logging.disable(logging.NOTSET)
    return out, time.perf_counter() - began


def agreement(data: dict[str, list[tuple[str, str]]], args: argparse.Namespace) -> None:
    r = random.Random(1)
    cases = []
    for source, rows in data.items():
        for gold, solution in rows:
            for kind, changes in (("same", SAME), ("rounded", ROUNDED), ("other", OTHER)):
                for name, text in apply(changes, gold, r):
                    cases.append((source, kind, name, gold, text, finished(solution, text, r)))
    if args.completions:
        for line in args.completions.read_text().splitlines():
            row = json.loads(line)
            text = row["completion"]
            cases.append(("completions", "real", "real", row["gold"], text[-60:], text))
    pairs = [(case[3], case[5]) for case in cases]
    verdicts: dict[str, list[bool]] = {}
    for mode in ("strict", "lenient"):
        with MathVerifier(args.workers, mode=mode) as verifier:
            judged = verifier.judge(pairs)
            verdicts[mode] = [judgement.correct for judgement in judged]
    if args.peer:
        verdicts["math-verify"], seconds = peer(pairs)
        print(f"math-verify alone, one process: {len(pairs) / seconds:,.0f} pairs/s")
    print("| source | kind | pairs | " + " | ".join(f"{m} correct" for m in verdicts)
          + " | strict and lenient disagree |")  # fmt: skip
    print("| --- | --- |" + " ---: |" * (len(verdicts) + 2))
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, case in enumerate(cases):
        groups[case[:2]].append(i)
    for (source, kind), rows in [*groups.items(), (("all", ""), list(range(len(cases))))]:
        shares = [
            f"{sum(verdict[i] for i in rows) / len(rows):.2%}" for verdict in verdicts.values()
        ]
        apart = sum(verdicts["strict"][i] != verdicts["lenient"][i] for i in rows) / len(rows)
        print(f"| {source} | {kind} | {len(rows):,} | {' | '.join(shares)} | {apart:.2%} |")
    for mode, verdict in verdicts.items():
        wrong = [c for c, v in zip(cases, verdict, strict=True)
                 if (c[1] == "same" and not v) or (c[1] == "other" and v)]  # fmt: skip
        print(f"{mode}: by change: {dict(Counter(f'{c[1]}/{c[2]}' for c in wrong))}")
        for case in wrong[: args.show]:
            print("   ", case[:5])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--completions", type=Path)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--show", type=int, default=0)
    args = parser.parse_args()
    data = load(args.data)
    speed(data, args.pairs, args.workers)
    agreement(data, args)


if __name__ == "__main__":
    main()
