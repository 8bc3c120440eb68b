"""Figures of a model: the same bytes, every row in them, one line where something is missing."""

import re
import sys

import pytest

from pgbench.boards.model import build_model
from pgbench.boards.plot import KINDS, figure
from pgbench.errors import PgbenchError


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.decode())


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_named_and_the_bytes_are_the_same(sample_model, kind):
    model = sample_model()
    svg = figure(model, kind, "svg")
    assert svg == figure(model, kind, "svg")
    named = {row["name"] for row in model["tracks"][0]["rows"]}
    if kind == "profile":  # of whole rows alone
        named = {row["name"] for row in model["tracks"][0]["rows"] if row["complete"]}
    assert named <= set(texts(svg))
    assert not re.search(rb"<dc:date>", svg)


def test_formats(sample_model):
    model = sample_model(algorithms=2, seeds=3)
    assert figure(model, "curves", "png")[:8] == b"\x89PNG\r\n\x1a\n"
    assert figure(model, "curves", "pdf")[:5] == b"%PDF-"
    assert figure(model, "curves", "pdf") == figure(model, "curves", "pdf")


def test_one_environment_of_one_track(sample_model):
    model = sample_model()
    words = texts(figure(model, "bars", "svg", "off-policy-50k", ["depot"]))
    assert "depot-v0" in words and "hopper-v0" not in words


def test_a_profile_without_anchors_is_of_scores(make_record):
    records = [
        make_record(algo, seed, (base + seed,) * 2, direction="min")
        for algo, base in (("ppo", 1.0), ("sac", 6.0))
        for seed in range(3)
    ]
    words = texts(figure(build_model("free", records), "profile", "svg"))
    assert {"ppo", "sac", "share of runs that are better", "return, lower is better"} <= set(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pie", "svg"), "unknown kind of figure 'pie'"),
        (("bars", "txt"), "svg, pdf, png, not 'txt'"),
        (("bars", ""), "svg, pdf, png, not ''"),
        (("bars", "svg", "nope"), "unknown track 'nope'"),
        (("bars", "svg", None, ["nope"]), "unknown environment 'nope'"),
    ],
)
def test_refusals(small_model, words, message):
    with pytest.raises(PgbenchError, match=message):
        figure(small_model, *words)


def test_no_curve_is_said(small_model):
    with pytest.raises(PgbenchError, match="no run has a curve"):
        figure(small_model, "curves", "svg")


def test_matplotlib_missing_is_one_line(small_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PgbenchError, match=r"matplotlib is not installed; run: pip install .*plot"):
        figure(small_model, "bars", "svg")
