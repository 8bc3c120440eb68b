"""Claims held against records: verdicts, what is incomplete, what is refused, the page."""

import json
import math
from pathlib import Path

import pytest
from scipy import stats

from pgbench.claims import find_claims
from pgbench.claims.page import sentence, to_markdown
from pgbench.claims.results import _verdict, hold
from pgbench.claims.weigh import (
    ALPHA,
)
from pgbench.errors import PgbenchError

ROOT = Path(__file__).parents[2] / "leaderboards"
LOW, HIGH = [4.0, 6.0, 8.0], [10.0, 12.0, 14.0]  # variance 4: standard error sqrt(8 / 3), 4 degrees


def moved(values, by):
    return [value + by for value in values]


CLAIMS = """
algorithm = "ppo"
paper = "arXiv:1707.06347"
title = "PPO"
registered = "before the runs"

[[claim]]
id = "ppo-1"
statement = "Fast is better."
source = "Table 9"
note = "Two toys."

[[claim.check]]
suite = "toy-v1"
track = "long"
kind = "better"
a = "ppo, fast"
b = "ppo"

[[claim.check]]
suite = "toy-v1"
track = "long"
kind = "not-worse"
a = "ppo, fast"
b = "ppo"
environments = ["toy"]
margin = { scale = 0.1 }
"""
INFORMS = """
[[claim.check]]
suite = "toy-v1"
track = "long"
kind = "on-par"
a = "ppo"
b = "ppo, fast"
at_least = 1
margin = { seed_std = 1 }
role = "informs"
note = "By | the way."
"""


@pytest.fixture
def claims_file(write_claims):
    """Write a suite and a claims file on it, by default `CLAIMS`."""
    return lambda text=CLAIMS: write_claims(text)


def scores(toy_fast, toy, other_fast, other):
    return {
        ("toy", "ppo, fast"): toy_fast, ("toy", "ppo"): toy,
        ("other", "ppo, fast"): other_fast, ("other", "ppo"): other,
    }  # fmt: skip


def verdict(root):
    (claim,) = hold(find_claims(root), root)["papers"][0]["claims"]
    return claim


def test_reproduced(claims_file, add_runs):
    root = claims_file()
    add_runs(root, scores(HIGH, LOW, [-40.0, -42.0, -44.0], [-62.0, -64.0, -66.0]))
    claim = verdict(root)
    assert claim["verdict"] == "reproduced"
    assert claim["runs"] == {"finished": 12, "started": 12, "expected": 12}
    first, second = claim["checks"]
    assert [first["state"], second["state"]] == ["supported", "supported"]
    toy, other = first["environments"]
    assert toy["difference"][0] == pytest.approx(6.0)
    assert other["difference"][0] == pytest.approx(22.0)
    assert toy["a"]["mean"][0] == pytest.approx(12.0)
    assert toy["probability"][0] == 1.0
    assert first["p_for"] == pytest.approx(0.010656, abs=1e-6)  # the worse of both environments
    # Normalised by floor 0, reference 10 and floor -100, reference 0: 0.6 and 0.22, averaged.
    assert first["overall"]["difference"][0] == pytest.approx(0.41)
    assert second["runs"]["expected"] == 6
    assert second["environments"][0]["margin"] == pytest.approx(1.0)


def test_not_reproduced_from_one_environment(claims_file, add_runs):
    root = claims_file()
    add_runs(root, scores(HIGH, LOW, [-70.0, -72.0, -74.0], [-50.0, -52.0, -54.0]))
    claim = verdict(root)
    assert claim["verdict"] == "not reproduced"
    first, second = claim["checks"]
    assert (first["state"], second["state"]) == ("contradicted", "supported")
    raw = stats.t.sf(20 / math.sqrt(8 / 3), 4)
    # Twice for two environments, twice by Holm for two checks that can refute the claim.
    assert first["p_against"] == pytest.approx(4 * raw, rel=1e-6)


def test_holm_over_the_checks_of_a_claim(claims_file, add_runs):
    """A difference that would refute a lone check does not do so as one of two."""
    values = scores(LOW, moved(LOW, 6.5), [-40.0, -42.0, -44.0], [-62.0, -64.0, -66.0])
    lone = CLAIMS[: CLAIMS.rindex("[[claim.check]]")]
    root = claims_file(lone)
    add_runs(root, values)
    raw = stats.t.sf(6.5 / math.sqrt(8 / 3), 4)
    assert verdict(root)["checks"][0]["p_against"] == pytest.approx(2 * raw)
    assert 2 * raw < ALPHA < 4 * raw
    assert verdict(root)["verdict"] == "not reproduced"
    claims_file()
    assert verdict(root)["verdict"] == "inconclusive"


def test_a_check_that_only_supports_cannot_refute(claims_file, add_runs):
    values = scores(LOW, HIGH, [-70.0, -72.0, -74.0], [-50.0, -52.0, -54.0])
    root = claims_file(CLAIMS.replace('kind = "better"', 'kind = "better"\nrole = "supports"', 1))
    add_runs(root, values)
    claim = verdict(root)
    assert [c["state"] for c in claim["checks"]] == ["contradicted", "contradicted"]
    assert claim["verdict"] == "not reproduced"  # by the second
    text = CLAIMS[: CLAIMS.rindex("[[claim.check]]")]
    claims_file(text.replace('kind = "better"', 'kind = "better"\nrole = "supports"'))
    claim = verdict(root)
    assert claim["checks"][0]["state"] == "contradicted"
    assert claim["verdict"] == "inconclusive"


def test_a_check_that_informs_changes_no_verdict(claims_file, add_runs):
    root = claims_file(CLAIMS + INFORMS)
    add_runs(root, scores(moved(LOW, 90), LOW, [-1.0, -3.0, -5.0], [-62.0, -64.0, -66.0]))
    claim = verdict(root)
    assert claim["checks"][2]["state"] == "contradicted"
    assert claim["verdict"] == "reproduced"


def test_a_remark_stands_beside_the_verdict_and_changes_nothing(claims_file, add_runs):
    values = scores(HIGH, LOW, [-40.0, -42.0, -44.0], [-62.0, -64.0, -66.0])
    root = claims_file()
    add_runs(root, values)
    plain = verdict(root)
    claims_file(
        CLAIMS.replace('note = "Two toys."', 'note = "Two toys."\nremark = "Trivial | so."')
    )
    claim = verdict(root)
    assert claim == plain | {"remark": "Trivial | so."}
    page = to_markdown(hold(find_claims(root), root))
    assert "**reproduced**, see its remark |" in page
    assert r"Remark, written when the results had been read: Trivial \| so." in page


def test_incomplete_shows_numbers_and_no_verdict(claims_file, add_runs):
    root = claims_file()
    assert verdict(root)["verdict"] == "no runs yet"
    add_runs(root, scores(HIGH, LOW[:2], [], [-62.0]))
    claim = verdict(root)
    assert claim["verdict"] == "incomplete (6 of 12 runs)"
    first, second = claim["checks"]
    assert first["state"] == "incomplete (6 of 12 runs)"
    assert second["state"] == "incomplete (5 of 6 runs)"
    assert first["p_for"] is first["p_against"] is first["overall"] is None
    toy, other = first["environments"]
    assert toy["difference"][0] == pytest.approx(7.0) and toy["difference"][1] < 7.0
    assert other["difference"] is None


def test_failed_runs_score_the_floor(claims_file, add_runs):
    root = claims_file()
    add_runs(root, scores([12.0, 13.0, None], LOW, [-40.0, -42.0, -44.0], [None, None, None]))
    toy, other = verdict(root)["checks"][0]["environments"]
    assert toy["difference"][0] == pytest.approx(25 / 3 - 6)
    assert (toy["a"]["finished"], toy["a"]["started"]) == (2, 3)
    assert other["difference"][0] == pytest.approx(-42 + 100)
    assert other["p_for"] < ALPHA


def test_two_rows_of_failures_are_no_tie(claims_file, add_runs):
    text = CLAIMS.replace('kind = "better"', 'kind = "on-par"\nmargin = { scale = 0.5 }')
    root = claims_file(text)
    none = [None, None, None]
    add_runs(root, scores(none, none, [-40.0, -42.0, -44.0], [-40.0, -42.0, -44.0]))
    toy, other = verdict(root)["checks"][0]["environments"]
    assert (toy["p_for"], toy["p_against"]) == (1.0, 1.0)
    assert other["p_for"] < ALPHA
    assert verdict(root)["verdict"] == "inconclusive"


def test_many_environments_are_counted_not_listed():
    def said(count, at_least):
        tasks = [{"id": f"e{i}-v0"} for i in range(1, count + 1)]
        check = {"a": "x", "b": "y", "kind": "better", "at_least": at_least, "environments": tasks}
        return sentence(check, "'")

    few = "e1-v0, e2-v0, e3-v0, e4-v0, e5-v0 and e6-v0"
    assert said(6, 6) == f"'x' scores higher than 'y' on {few}"
    assert said(6, 2) == f"'x' scores higher than 'y' on at least 2 of {few}"
    assert said(7, 7) == "'x' scores higher than 'y' on all 7 environments, e1-v0 to e7-v0"
    assert said(16, 9).endswith("on at least 9 of 16 environments, e1-v0 to e16-v0")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('suite = "toy-v1"', 'suite = "toy-v2"', "claim[0].check[0].suite cannot be read: unknown"
         " suite 'toy-v2'; did you mean toy-v1?"),
        ('track = "long"', 'track = "lon"', "unknown claim[0].check[0].track 'lon'; did you mean"),
        ('track = "long"', 'track = "short"', "'short' has one seed"),
        ('a = "ppo, fast"', 'a = "ppo, fats"', "unknown claim[0].check[0].a 'ppo, fats'; did you"
         " mean ppo, fast"),
        ('b = "ppo"', 'b = "ppo, fast"', "claim[0].check[0].b is the row that a is"),
        ('kind = "better"', 'kind = "beter"', "kind 'beter'; did you mean better?"),
        ('kind = "better"', 'kind = "not-worse"', "claim[0].check[0].margin is missing"),
        ('kind = "better"', 'kind = "better"\nmargin = { scale = 1 }', "no meaning for kind"),
        ('kind = "better"', 'kind = "better"\nat_least = 3', "at_least takes 1 to 2, not 3"),
        ('kind = "better"', 'kind = "better"\nrole = "decide"', "did you mean decides?"),
        ('kind = "better"', 'kind = "better"\nmargn = 1', "unknown field 'claim[0].check[0].ma"),
        ("scale = 0.1", "scale = 0", "claim[0].check[1].margin.scale must be more than 0"),
        ("scale = 0.1", "scale = inf", "margin.scale must be more than 0, not inf"),
        ("scale = 0.1", "scale = 0.1, seed_std = 1", "claim[0].check[1].margin takes one of"),
        ("scale = 0.1", "scal = 0.1", "unknown field 'claim[0].check[1].margin.scal'"),
        ('environments = ["toy"]', 'environments = ["tory"]', "environments 'tory'; did you mean"),
        ('environments = ["toy"]', "environments = []", "must name each environment once"),
        ('id = "ppo-1"', 'id = "one"', "claim[0].id must begin with 'ppo-', not be 'one'"),
        ('statement = "Fast is better."', "statement = 3", "claim[0].statement must be a text"),
        ('source = "Table 9"', "", "claim[0].source is missing"),
        ('algorithm = "ppo"', 'algorithm = "pop"', "algorithm is 'pop', but the file is called"),
        ('algorithm = "ppo"', "algorithm = ", "not valid TOML"),
    ],
)  # fmt: skip
def test_a_broken_file_is_told_by_file_and_field(claims_file, old, new, message):
    root = claims_file(CLAIMS.replace(old, new, 1))
    with pytest.raises(PgbenchError) as error:
        find_claims(root)
    assert message in str(error.value)
    assert str(root / "claims/ppo.toml") in str(error.value)
    assert "\n" not in str(error.value)


def test_all_that_is_wrong_is_told_at_once(claims_file):
    text = CLAIMS
    for old, new in (
        ('a = "ppo, fast"', 'a = "ppo, fats"'), ("scale = 0.1", "scale = 0"),
        ('source = "Table 9"', ""), ('kind = "better"', 'kind = "better"\nat_least = 3'),
    ):  # fmt: skip
        text = text.replace(old, new, 1)
    with pytest.raises(PgbenchError, match="4 faults: ") as error:
        find_claims(claims_file(text))
    for words in (
        "'ppo, fats'",
        "check[1].margin.scale must",
        "source is missing",
        "at_least takes",
    ):
        assert words in str(error.value)
    with pytest.raises(PgbenchError, match="suite is missing") as error:
        find_claims(claims_file(CLAIMS.replace("suite = ", "siute = ", 1)))
    assert "track" not in str(error.value)


def test_only_informing_checks_and_doubled_ids_are_refused(claims_file):
    first = CLAIMS[: CLAIMS.index("[[claim.check]]")]
    with pytest.raises(PgbenchError, match="no check that decides"):
        find_claims(claims_file(first + INFORMS))
    again = CLAIMS[CLAIMS.index("[[claim]]") :]
    with pytest.raises(PgbenchError, match="two claims of id 'ppo-1'"):
        find_claims(claims_file(CLAIMS + again))


def test_what_is_refuted_stays_refuted_while_runs_are_missing():
    def check(role, against, for_):
        state = "contradicted" if against is not None and against < 0.025 else "open"
        return {"role": role, "p_for": for_, "p_against": against, "state": state}

    runs = {"started": 6, "finished": 6, "expected": 12}
    missing = check("decides", None, None)
    assert _verdict([check("decides", 0.001, 1.0), missing], runs) == "not reproduced"
    assert _verdict([check("supports", 0.001, 1.0), missing], runs) == "incomplete (6 of 12 runs)"
    assert _verdict([check("decides", 0.5, 0.5), missing], runs) == "incomplete (6 of 12 runs)"


def test_the_page_is_a_function_of_files_and_records(claims_file, add_runs, tmp_path):
    root = claims_file(CLAIMS + INFORMS)
    values = scores(HIGH, LOW, [-40.0, -42.0, None], [-62.0, -64.0, -66.0])
    add_runs(root, values)
    page = to_markdown(hold(find_claims(root), root))
    assert page == to_markdown(hold(find_claims(root), root))
    assert "### ppo-1: inconclusive" in page
    assert "**inconclusive** (power of check " in page  # an open verdict with its power
    assert "12 of 12 runs, 1 failed; results " in page
    assert "By \\| the way." in page
    row = (
        "| toy-v0 | 12.0 [7.0, 17.0] | 6.0 [1.0, 11.0] | 6.0 [1.5, 10.5] | 80% from 6.1 on | 2.40 ["
    )
    assert row in " ".join(page.split())
    # Another order of arrival, the same bytes.
    for file in (root / "records/toy-v1").iterdir():
        file.unlink()
    add_runs(root, dict(reversed(values.items())))
    assert to_markdown(hold(find_claims(root), root)) == page


def test_records_that_break_a_rule_are_refused(claims_file, add_runs):
    root = claims_file()
    add_runs(root, scores(HIGH, LOW, [], []))
    suite = root / "suites/toy-v1.toml"
    suite.write_text(suite.read_text().replace('golden = "g"', 'golden = "h"'))
    with pytest.raises(PgbenchError, match=r"environment\.golden"):
        hold(find_claims(root), root)


def test_command_line(claims_file, add_runs, cli):
    root = claims_file()
    code, out, err = cli("claims", "--root", root, "--check")
    assert code == 1 and "claims.md does not exist; rebuild it: pgbench claims" in err
    code, out, err = cli("claims", "ppo", "--root", root)
    assert code == 0
    assert "ppo-1: no runs yet" in out and "  run it: pgbench bench toy-v1 --track long\n" in out
    assert "no runs yet" in (root / "claims.md").read_text()
    add_runs(root, scores(HIGH, LOW, [-40.0, -42.0, -44.0], [-62.0, -64.0, -66.0]))
    code, out, err = cli("claims", "--root", root, "--check")
    assert code == 1 and "differs from its claims and records" in err
    assert "no runs yet" in (root / "claims.md").read_text()  # --check writes nothing
    code, out, err = cli("claims", "--root", root, "--json")
    assert code == 0
    (claim,) = json.loads(out)["papers"][0]["claims"]
    assert claim["verdict"] == "reproduced"
    assert len(claim["checks"][0]["results"]) == 64
    code, out, err = cli("claims", "--root", root, "--check")
    assert code == 0
    assert "[1.5, 10.5]" in out and "[0.38, 5.50]" in out
    code, out, err = cli("claims", "pop", "--root", root)
    assert code == 2 and "unknown algorithm 'pop'; did you mean ppo?" in err
    assert err.count("\n") == 1
    code, out, err = cli("claims", "--root", root / "nowhere")
    assert code == 2 and "no claims are registered" in err


def test_the_committed_claims_read():
    files = find_claims(ROOT)
    assert [claim.id for file in files for claim in file.claims if file.algorithm == "mdpo"] == [
        "mdpo-1", "mdpo-2", "mdpo-3",
    ]  # fmt: skip
    for check in (c for file in files for claim in file.claims for c in claim.checks):
        labels = {entry.label for entry in check.track.entries}
        assert {check.a, check.b} - {None} <= labels
        assert set(check.environments) <= set(check.track.environments)
