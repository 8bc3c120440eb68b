"""The page is a pure function of the model, whole without a script, and nothing can break out."""

import base64
import hashlib
import json
import math
import random
import re
from html.parser import HTMLParser

import pytest

from pgbench.boards.model import build_model
from pgbench.boards.page import render_page
from pgbench.boards.page.marks import SHAPES
from pgbench.boards.page.markup import element
from pgbench.boards.page.tables import paper
from pgbench.errors import PgbenchError

HOSTILE = "</script><img src=x onerror=alert(1)>&amp;\u2028'\"<!--"


class Page(HTMLParser):
    """Elements with their attributes, and the cells' text of each row of each table."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.rows, self.cell, self.inside = [], [], [], None, None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.inside = tag
        if tag == "tr" and "data-key" in attributes:
            self.rows.append((attributes, []))
        if tag in ("td", "th") and self.rows:
            self.rows[-1][1].append(["", attributes.get("data-v")])
            self.cell = self.rows[-1][1][-1]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = None
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.cell is not None:
            self.cell[0] += data


def turned(value):
    """The same value with its dicts in another order."""
    if isinstance(value, dict):
        keys = random.Random(len(value)).sample(list(value), len(value))
        return {key: turned(value[key]) for key in keys}
    return [turned(item) for item in value] if isinstance(value, list) else value


def test_same_bytes_for_any_order_of_keys(sample_model):
    model = sample_model()
    assert render_page(turned(model)) == render_page(model) == render_page(model)


def test_hostile_names_stay_text(sample_model):
    words = {
        "awr": "name", "kl_coef": "setting", "Small control": "title", "depot-v0": "environment",
        "diverged: kl": "error", "the author of the record": "person", "2.13.0+cpu": "version",
        "arXiv:1910.00177": "paper", "EUR a day": "unit", "off-policy-50k": "track",
        "mean of 1,000 episodes": "origin", "AMD EPYC": "machine", "continuous checks": "stamp",
    }  # fmt: skip
    text = json.dumps(sample_model())
    for old, new in words.items():
        assert old in text
        text = text.replace(old, json.dumps(HOSTILE + new)[1:-1])
    model = json.loads(text)
    page = render_page(model)
    plain = Page(render_page(sample_model()))
    hostile = Page(page)
    # The same elements, and no attribute more: a name is text wherever it stands.
    kinds = [[(tag, sorted(attributes)) for tag, attributes in p.tags] for p in (plain, hostile)]
    linked = [("a", ["class", "href"]), ("span", [])]  # a paper that is no identifier has no link
    assert [x for x in kinds[0] if x not in linked] == [x for x in kinds[1] if x not in linked]
    assert len(hostile.scripts) == 4
    assert json.loads(hostile.scripts[1])["model"]["tracks"][1]["name"] == HOSTILE + "track"
    assert "\u2028" not in page.split("<script type=")[1]
    configs = [value for value in json.loads(hostile.scripts[2])["pool"] if isinstance(value, dict)]
    assert any(HOSTILE + "setting" in config for config in configs)


def test_no_address_is_loaded(sample_model):
    page = render_page(sample_model())
    rest = re.sub(r'<a [^>]*href="https://arxiv\.org/abs/[\w.]+"', "", page)
    assert rest != page
    assert not re.search(r"https?://|@import|url\(|\bsrc=", rest)
    links = [a for tag, a in Page(page).tags if tag == "link"]
    assert links == [{"rel": "icon", "href": "data:,"}]


def test_policy_names_the_scripts_and_the_style(sample_model):
    page = render_page(sample_model())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    texts = re.findall(
        r"<(?:style|script|script type=\"module\")>(.*?)</(?:style|script)>", page, re.S
    )
    assert len(texts) == 3
    for text in texts:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert not any(key.startswith("on") or key == "style" for _, a in Page(page).tags for key in a)


def shown(triple, digits):
    value, low, high = triple
    return f"{value:,.{digits}f}" + (f"[{low:,.{digits}f}, {high:,.{digits}f}]" if low else "")


def evidence(row):
    runs = f"{row['checked']} of {row['runs']['started']} run again"
    return row["evidence"] + runs


def test_every_row_and_number_is_in_the_tables(sample_model):
    model = sample_model()
    rows = iter(Page(render_page(model)).rows)
    for track in model["tracks"]:
        for row in track["rows"]:
            attributes, cells = next(rows)
            text, exact = zip(*cells[:13], strict=True)
            assert attributes["data-key"] == row["key"]
            low, high = row["ranks"] or (None, None)
            ranks = f"{row['rank']}" + ("" if low == high else f"[{low}, {high}]")
            assert text[0] == ("–" if row["rank"] is None else ranks)
            assert row["name"] in text[1] and row["paper"] in text[1]
            assert ("incomplete" in text[1]) == (not row["complete"])
            assert text[2] == shown(row["iqm"], 3)
            assert [text[i] for i in (3, 4, 6)] == [
                shown(row[key], 3) for key in ("mean", "lead", "gap")
            ]
            assert text[5] == f"{row['median']:.3f}"
            fields = [*(row[key][0] for key in ("iqm", "mean", "lead")), row["median"]]
            assert [float(x) for x in exact[2:7]] == [*fields, row["gap"][0]]
            counts = row["runs"]
            assert text[7].startswith(f"{counts['finished']} of {counts['expected']}")
            failed = counts["started"] - counts["finished"]
            missing = counts["expected"] - counts["started"]
            assert (f"{failed} failed" in text[7]) == (failed > 0)
            assert (f"{missing} not run" in text[7]) == (missing > 0)
            assert (text[8], text[9]) == (evidence(row), row["tuning"])
            assert text[10] == f"{row['cost']['steps_per_s']:,.0f}"
            times = [row["cost"]["wall_s"], row["cost"]["cpu_s"]]
            assert text[11] == "".join(f"{t:.{int(t < 10)}f} s" for t in times)
            assert text[12] == "10,119452 MiB"
        for environment in track["environments"]:
            for row in track["tasks"][environment["id"]]:
                attributes, cells = next(rows)
                text = [cell for cell, _ in cells]
                digits = 1 if environment["id"] in ("swimmer-v0", "depot-v0") else 0
                assert attributes["data-name"] == row["name"]
                assert text[2] == shown(row["mean"], digits)
                assert text[4:6] == [f"{row[key]:,.{digits}f}" for key in ("iqm", "median")]
                assert text[6] == f"{row['min']:,.{digits}f} to {row['max']:,.{digits}f}"
    assert next(rows, None) is None


def test_every_run_is_a_link_to_its_record(sample_model):
    model = sample_model()
    tags = Page(render_page(model)).tags
    links = {a["href"] for tag, a in tags if tag == "a" and "#record" in a.get("href", "")}
    assert links == {f"#record={key[:12]}" for key in model["records"]}
    (failure,) = model["failures"]
    floor = "seed 4: 18, failed"
    assert [a["href"] for tag, a in tags if a.get("aria-label") == floor] == [
        f"#record={failure['record'][:12]}"
    ]


def test_what_is_not_ranked_is_said(sample_model):
    page = render_page(sample_model())
    text = re.sub(r"<[^>]*>", "", page.partition('<script type="application/json"')[0])
    assert "292 of 300 runs; incomplete rows are not ranked." in text
    assert "diverged: kl is not finite at step 221,184" in text
    assert "run with a simulator other than the board's" in text.replace("&#x27;", "'")
    assert "budget 20,000, not 500,000" in text
    whole = sample_model(algorithms=2)
    assert whole["counts"]["complete"] and "incomplete rows" not in render_page(whole)


def test_records_are_whole(sample_model):
    model = sample_model()
    stored = json.loads(Page(render_page(model)).scripts[2])
    assert len(stored["pool"]) == 5  # two configs, two lists of changes, one of packages
    for key, record in stored["records"].items():
        record |= {field: stored["pool"][record[field]] for field in stored["fields"]}
        assert record == model["records"][key]
    assert set(stored["records"]) == set(model["records"])


def test_missing_values(sample_model, small_model):
    model = sample_model(algorithms=3)
    row = model["tracks"][0]["rows"][0]
    row |= {"iqm": None, "mean": [None, None, None], "gap": None, "median": None, "cost": None}
    row |= {"lead": None}
    row |= {"rank": None, "complete": False}
    task = model["tracks"][0]["tasks"]["hopper-v0"][0]
    task |= {
        "mean": [None] * 3,
        "median": None,
        "iqm": None,
        "min": None,
        "max": None,
        "scores": [],
    }
    task |= {"curve": [], "cost": dict.fromkeys(task["cost"])}
    page = Page(render_page(model))
    cells = [text for text, _ in page.rows[0][1]]
    assert cells[0] == "–" and cells[2:7] == ["–"] * 5 and cells[10:] == ["–", "––", "––"]
    assert page.rows[0][1][2][1] is None  # nothing to sort by: last in both directions
    assert render_page(small_model).count("<table") == 3


def test_boards_without_runs_rows_or_anchors(sample_model):
    page = render_page(sample_model(algorithms=0))
    assert page.count("No runs yet.") == 7 + 1  # tables, provenance
    assert "<figure" not in page and "NaN" not in page.partition("<script type=")[0]
    assert render_page(sample_model(tracks=())).count("<table") == 0
    one = render_page(sample_model(algorithms=1, seeds=1))
    assert "Probability of improvement. <" not in one and "Learning curves. <" in one


def test_boards_built_from_records(make_record, suite_file):
    from pgbench.records.suite import read_suite

    records = [
        make_record(algo, seed, (base + seed, base + seed + 1.0), env)
        for algo, base in (("ppo", 1.0), ("sac", 6.0))
        for env in ("toy-v0", "other-v0")
        for seed in range(3)
    ]
    free = render_page(build_model("free", records))
    first = free[free.index("<table") : free.index("</table>")]
    assert "state no floor and no reference" in first and "IQM" not in first
    for column in ("toy-v0", "other-v0", ">2.500<", ">7.500<"):  # means of the environments
        assert column in first
    assert "ppo" in render_page(build_model("given", records, read_suite(suite_file())))


def test_rows_of_one_rank_are_bracketed(sample_model):
    model = sample_model()
    rows = Page(render_page(model)).rows[:6]
    assert [row["rank"] for row in model["tracks"][0]["rows"]] == [1, 1, 1, 3, 5, None]
    assert [attributes.get("class") for attributes, _ in rows] == [
        "tie first", "tie middle", "tie last", None, None, "incomplete",
    ]  # fmt: skip


def test_less_is_better_where_the_metric_says_so(sample_model):
    page = render_page(sample_model())
    table = page[page.index("cost (EUR a day), lower is better") :]
    assert re.search(r'data-first="(\w+)"><span class="label">mean<', table)[1] == "asc"
    assert re.search(r'data-first="(\w+)"><span class="label">mean<', page)[1] == "desc"


def test_matrix_only_where_all_pairs_are_known(sample_model):
    model = sample_model()
    assert render_page(model).count("Squares: chance") == 2
    for track in model["tracks"]:
        first = track["pairs"][0]["a"]
        track["pairs"] = [pair for pair in track["pairs"] if pair["a"] == first]
    assert render_page(model).count("Squares: chance") == 0


def test_series_differ(sample_model):
    data = json.loads(Page(render_page(sample_model(algorithms=40))).scripts[1])
    assert sorted(data["colours"].values()) == list(range(40))
    assert len(set(SHAPES)) == len(SHAPES)


def test_not_finite_is_refused(sample_model):
    model = sample_model(algorithms=2)
    model["tracks"][0]["pairs"][0]["p"] = math.nan
    with pytest.raises(PgbenchError, match=r"board control-mini-v1: .* not finite") as stop:
        render_page(model)
    assert "\n" not in str(stop.value)


def _luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(a, b):
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast(sample_model, theme):
    page = render_page(sample_model(algorithms=1))
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", page)
    colour = {name: pair[theme] for name, *pair in found}
    for ground in ("paper", "tint"):
        for ink in ("ink", "muted", "link", "bad", "good"):
            assert _contrast(colour[ink], colour[ground]) >= 4.5, (ink, ground)
    assert _contrast(colour["notice-ink"], colour["notice"]) >= 4.5
    for i in range(len(SHAPES)):
        assert _contrast(colour[f"s{i}"], colour["paper"]) >= 3, i


def test_times_to_the_target(sample_model):
    model = sample_model()
    page = Page(render_page(model))
    cells = {
        (attributes["data-name"], text)
        for attributes, row in page.rows
        for text, _ in row
        if text.endswith(" runs") and " of " in text
    }
    for row in model["tracks"][0]["tasks"]["hopper-v0"]:
        found = row["reach"]
        step = "–" if found["step"] is None else f"{found['step']:,}"
        assert (row["name"], f"{step}{found['runs']} of {row['runs']['started']} runs") in cells
    for rows in model["tracks"][0]["tasks"].values():
        for row in rows:
            row["reach"] = None
    assert render_page(model).count(">to target<") == render_page(sample_model()).count(
        ">to target<"
    ) - len(model["tracks"][0]["environments"])


def test_settings_fold(sample_model):
    model = sample_model(algorithms=2)
    row = model["tracks"][0]["rows"][0]
    row["changed"] = {"zeta": 1, "alpha": "b"}
    page = render_page(model)
    assert "<summary>2 settings changed</summary>alpha = b · zeta = 1</details>" in page


def test_contents_and_files_beside_the_page(sample_model):
    model = sample_model()
    page = render_page(model)
    ids = {a["id"] for _, a in Page(page).tags if "id" in a}
    links = [a["href"] for tag, a in Page(page).tags if tag == "a" and "href" in a]
    inside = page[page.index('class="contents"') : page.index("</header>")]
    for track in model["tracks"]:
        assert track["title"] in inside
        for env in track["environments"]:
            assert f'href="#{track["name"]}/{env["id"]}"' in inside
    fragments = [link[1:] for link in links if link.startswith("#") and "=" not in link]
    assert set(fragments) <= ids
    beside = [link for link in links if not link.startswith(("#", "https://"))]
    assert beside == [
        "index.html", *(f"control-mini-v1.{end}" for end in ("csv", "tex", "bib", "md", "json")),
    ]  # fmt: skip


def test_papers_become_links():
    assert 'href="https://arxiv.org/abs/2005.09814"' in paper("arXiv:2005.09814")
    assert 'href="https://doi.org/10.1000/x-1"' in paper("doi:10.1000/x-1")
    assert 'href="https://a.org/b"' in paper("https://a.org/b")
    assert paper("javascript:alert(1)") == "<span>javascript:alert(1)</span>"


def test_elements_escape_text_and_attributes():
    assert element("b", "<i>", element("i", "&"), title='"') == (
        '<b title="&quot;">&lt;i&gt;<i>&amp;</i></b>'
    )
    assert (
        element("circle", cx=1.0, cy=-0.001, hidden=True, r=None)
        == '<circle cx="1" cy="0" hidden/>'
    )
