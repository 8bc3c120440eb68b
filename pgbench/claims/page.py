"""Claims and their verdicts as a Markdown page and as text for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pgbench.boards.markdown import escape, table, two_digits
from pgbench.claims import KINDS, MARGINS, ROLES
from pgbench.claims.results import NO_RUNS
from pgbench.claims.weigh import OPEN
from pgbench.support.text import table as aligned

Result = Mapping[str, Any]
SHORT = 12  # hexadecimal digits of a digest in print
OVERVIEW = ("claim", "statement", "verdict")
HEAD = ("environment", "a", "b", "difference", "power", "standardised", "P(a beats b)")
LISTED = 6  # more environments are counted, not listed
INTRO = """\
Headline claims of papers, each held against the runs of this project's suites. What is compared, \
where, and which difference would matter is fixed in `claims/<algorithm>.toml` before the runs are \
read. A suite is far smaller than a paper's experiments: a verdict is about the claim at the scale \
named beside it. This page is made by `pgbench claims` from those files and the records alone."""
VERDICTS = """\
- **reproduced**: every check that the claim needs is supported. **not reproduced**: a check that \
can refute it is contradicted. **inconclusive**: neither; the intervals are too wide to tell. \
While runs are missing there is no other verdict than "not reproduced": what one check with all \
its runs refutes, no later run takes back.
- A check is **supported** where the 95% interval of the difference lies wholly inside the region \
that its kind names, in every environment (or in as many as it asks for: partial conjunction, \
p at most 0.025), and **contradicted** where it lies wholly outside in one (or in so many that \
too few are left), after Holm's correction over the checks that can refute the claim. Either is \
wrong in at most 2.5% of all cases, as far as means over so few seeds are near normal.
- **Power** says what a check could have found, from the spread of its runs alone. "80% from 0.012 \
on": a true difference of 0.012 is found with a chance of 80%, a larger one with more; "93% if \
equal": the chance that the check is supported if a and b are equal. Where the power is low, \
"inconclusive" says little; where it is high, that the difference is likely smaller.
- "p for" is the chance of numbers that speak for the check this much or more if it is false, "p \
against" of numbers that speak against it if it is true, corrected."""
REMARK = "Remark, written when the results had been read"
EFFECTS = """\
- Difference: mean of a minus mean of b over seeds, in the environment's own unit, positive where \
a is better; Welch's 95% interval. Standardised: Hedges' g, the same in standard deviations \
between seeds (the root mean square of both), with its noncentral t interval, which decides where \
the margin is in that unit. P(a beats b): of a run of a against a run of b.
- The row "all" is of scores normalised to 0 = floor and 1 = reference, averaged over the \
environments: the figures of the board, which decide nothing. A failed run scores the floor; an \
environment in which every run failed decides nothing."""


def to_markdown(results: Result) -> str:
    """The page of all claims: the same bytes for the same results."""
    kinds = [f"- `{name}`: {text}." for name, text in KINDS.items()]
    margins = [f"- margin `{name}`: a fraction {text}." for name, text in MARGINS.items()]
    roles = [f"- role `{name}`: {text}." for name, text in ROLES.items()]
    overview = [
        (
            claim["id"],
            claim["statement"],
            f"**{claim['verdict']}**{_doubt(claim)}{', see its remark' if claim['remark'] else ''}",
        )
        for paper in results["papers"]
        for claim in paper["claims"]
    ]
    parts = ["# Claims", INTRO, table(OVERVIEW, overview, OVERVIEW)]
    for paper in results["papers"]:
        parts += [
            f"## {escape(paper['title'])} ({paper['algorithm']}, {paper['paper']})",
            f"Registered: {escape(paper['registered'])}",
        ]
        for claim in paper["claims"]:
            parts += _claim(claim)
    parts += ["## How to read a check", "\n".join([*kinds, *margins, *roles])]
    parts += ["## How a verdict is reached", f"{VERDICTS}\n{EFFECTS}"]
    return "\n\n".join(parts) + "\n"


def _doubt(claim: Result) -> str:
    """The power of the checks that leave a claim open, for the place beside its verdict."""
    if claim["verdict"] != OPEN:
        return ""
    found = [
        f"check {number}: {power_of(check)}"
        for number, check in enumerate(claim["checks"], 1)
        if check["state"] == OPEN and check["role"] != "informs"
    ]
    return f" (power of {'; '.join(found)})" if found else ""


def power_of(check: Result) -> str:
    """The power of a check in words."""
    found = check["power"]
    if found is None:
        return "none is told, as the runs have no spread"
    if found["equal"] is not None:
        return f"{_percent(found['equal'])} if equal"
    low, high = found["least"]
    to = "" if low == high else f" to {two_digits(high)}"
    return f"80% from {two_digits(low)}{to} on"


def _percent(share: float) -> str:
    return "over 99%" if share > 0.99 else "under 1%" if share < 0.01 else f"{share:.0%}"


def _claim(claim: Result) -> list[str]:
    parts = [
        f"### {claim['id']}: {claim['verdict']}",
        f"> {escape(claim['statement'])}",
        f"Source: {escape(claim['source'])}",
        f"Protocol: {escape(claim['note'])}",
    ]
    if claim["remark"]:
        parts.append(f"{REMARK}: {escape(claim['remark'])}")
    for number, check in enumerate(claim["checks"], 1):
        lines = [
            f"**Check {number}: {check['state']}.** {escape(sentence(check, '`'))}.",
            *([escape(check["note"])] if check["note"] else []),
            f"{escape('; '.join([protocol(check), *remedy(check, '`')]))}.",
        ]
        parts.append(" ".join(lines))
        if check["results"]:
            parts.append(table(_head(check), _rows(check), HEAD[:1]))
    return parts


def to_text(results: Result, columns: int) -> str:
    """The claims for a terminal of so many columns."""
    blocks = []
    for paper in results["papers"]:
        for claim in paper["claims"]:
            blocks.append(f"{claim['id']}: {claim['verdict']}{_doubt(claim)}")
            blocks.append(_indented(claim["statement"], columns, "  "))
            if claim["remark"]:
                blocks.append("\n" + _indented(f"{REMARK}: {claim['remark']}", columns, "  "))
            for number, check in enumerate(claim["checks"], 1):
                line = f"{number}. {check['state']}: {sentence(check, chr(39))}"
                blocks.append("\n" + _indented(line, columns, "  ", "     "))
                note = f" {check['note']}" if check["note"] else ""
                blocks.append(_indented(f"{protocol(check)}.{note}", columns, "     "))
                blocks += [f"     {line}" for line in remedy(check, "")]
                if check["results"]:
                    whole = [(HEAD[0], *HEAD[3:]), *((r[0], *r[3:]) for r in _rows(check))]
                    said = [c for c in zip(*whole, strict=True) if set(c[1:]) - {"-", ""}]
                    head, *rows = zip(*said, strict=True)
                    text = aligned(head, rows, columns - 5, every=True)
                    blocks.append(textwrap.indent(text, "     "))
            blocks.append("")
    return "\n".join(blocks)


def _indented(text: str, columns: int, first: str, rest: str | None = None) -> str:
    later = first if rest is None else rest
    return textwrap.fill(
        text, columns, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )


def sentence(check: Result, quote: str) -> str:
    """What a check says, in words."""
    a, b = (f"{quote}{check[side]}{quote}" for side in "ab")
    where = _where([task["id"] for task in check["environments"]], check["at_least"])
    if check.get("diagnostic"):
        return f"{a} has a lower {check['diagnostic']} than {b} {where}"
    if check["kind"] == "better":
        return f"{a} scores higher than {b} {where}"
    ((unit, amount),) = check["margin"].items()
    margin = (
        f"{amount:g} of the way from floor to reference"
        if unit == "scale"
        else f"{amount:g} standard deviation{'s' * (amount != 1)} between seeds"
    )
    if check["kind"] == "within":
        return f"{a} is worse than the reference by at most {margin} {where}"
    if check["kind"] == "not-worse":
        return f"{a} is not worse than {b} by more than {margin} {where}"
    return f"{a} and {b} differ by at most {margin} {where}"


def _where(names: Sequence[str], at_least: int) -> str:
    some = "" if at_least == len(names) else f"at least {at_least} of "
    if len(names) <= LISTED:
        return f"on {some}{_listed(names)}"
    return f"on {some or 'all '}{len(names)} environments, {names[0]} to {names[-1]}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def protocol(check: Result) -> str:
    """Where a check was made: suite, runs, digest of the results, p-values."""
    runs = check["runs"]
    parts = [
        f"{check['suite']}, {check['track']}: {check['budget']:,} steps, seeds 0 to "
        f"{check['seeds'] - 1}, {runs['started']} of {runs['expected']} runs"
    ]
    if runs["started"] > runs["finished"]:
        parts[0] += f", {runs['started'] - runs['finished']} failed"
    if check["role"] != "decides":
        parts.append(ROLES[check["role"]])
    if check["results"]:
        parts.append(f"results {check['results'][:SHORT]}")
    if check["p_for"] is not None:
        parts.append(f"p for {_p(check['p_for'])}, p against {_p(check['p_against'])}")
        parts.append(f"power {power_of(check)}")
    return "; ".join(parts)


def remedy(check: Result, quote: str) -> list[str]:
    """The command that makes the missing runs of a check, if there are any."""
    if check["runs"]["started"] >= check["runs"]["expected"]:
        return []
    verb = "run it" if check["state"] == NO_RUNS else "go on"
    return [f"{verb}: {quote}{check['command']}{quote}"]


def _head(check: Result) -> tuple[str, ...]:
    return tuple("reference" if h == "b" and check["b"] is None else h for h in HEAD)


def _rows(check: Result) -> list[list[str]]:
    """A row an environment, and one of all; cells as `HEAD` names them."""
    rows = []
    for task in check["environments"]:
        reference = task["b"].get("reference")
        means = [
            task["a"]["mean"],
            task["b"]["mean"] if reference is None else [reference, None, None],
        ]
        shown = [x for x in (*means, task["difference"]) if x]
        largest = max((abs(v) for x in shown for v in x if v is not None), default=0.0)
        digits = 0 if largest >= 1000 else 1 if largest >= 10 else 3
        unit = f" {task['unit']}" if task["unit"] else ""
        margin = "" if task["margin"] is None else f" (margin {task['margin']:,.{digits}f}{unit})"
        rows.append(
            [
                task["id"],
                *(_triple(value, digits, unit) for value in means),
                _triple(task["difference"], digits, unit) + margin,
                _powers(task["power"]),
                _triple(task["standardised"], 2),
                _triple(task["probability"], 2),
            ]
        )
    if check["overall"]:
        whole = check["overall"]
        rows.append(
            [
                "all",
                "",
                "",
                _triple(whole["difference"], 3),
                "",
                "",
                _triple(whole["probability"], 2),
            ]
        )
    return rows


def _powers(power: Mapping[str, float | None] | None) -> str:
    if power is None:
        return "-"
    equal, least = power["equal"], power["least"]
    said = [] if equal is None else [f"{_percent(equal)} if equal"]
    said += [] if least is None else [f"80% from {two_digits(least)} on"]
    return ", ".join(said)


def _triple(values: Sequence[float | None] | None, digits: int, unit: str = "") -> str:
    if values is None or values[0] is None:
        return "-"
    centre, low, high = ("-" if v is None else f"{v:z,.{digits}f}" for v in values)
    return centre + unit if low == "-" else f"{centre} [{low}, {high}]{unit}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
