"""The page of all boards."""

import json
import re

from pgbench.boards import index, store


def test_worked_index(small_model):
    text = index.to_markdown([small_model])
    assert "## Toys & 100% more" in text
    assert "`toy_v1`: 9 of 12 runs, 1 failed, the newest of 2026-11-22; [page](toy_v1.html)" in text
    lines = [re.sub(r" +", " ", line) for line in text.splitlines() if line.startswith("| 200")]
    assert lines == ["| 200 steps | 3 rows, 2 environments, 2 seeds | ppo; mdpo (paper form) |"]


def test_many_rows_of_rank_one_are_counted(small_model):
    rows = small_model["tracks"][0]["rows"]
    track = {"rows": [dict(rows[0], name=f"a{i}") for i in range(4)] + [dict(rows[0], rank=5)]}
    assert index.first(track) == "4 of 5 rows"
    assert index.first({"rows": [rows[2]]}) == "no rank yet"


def test_the_index_is_what_lies_beside_it(sample_model, tmp_path):
    other = sample_model(algorithms=2, seeds=2)
    model = {**other, "board": "toy_v1"}
    changed = [path.name for path in store.publish(model, tmp_path)]
    assert {"toy_v1.bib", "index.html", "index.md"} <= set(changed)
    store.publish(other, tmp_path)
    (tmp_path / "notes.json").write_text("[1]")
    (tmp_path / "torn.json").write_text("{")
    assert [m["board"] for m in index.read_models(tmp_path)] == ["control-mini-v1", "toy_v1"]
    first = index.outputs(tmp_path)
    assert store.publish(model, tmp_path) == []  # the same again
    assert all(path.read_bytes() == data for path, data in first.items())
    html = (tmp_path / "index.html").read_text()
    for end in ("html", "csv", "tex", "bib", "md", "json"):
        assert f'href="toy_v1.{end}"' in html and (tmp_path / f"toy_v1.{end}").is_file()
    assert index.outputs(tmp_path / "empty") == {}


def test_names_stay_text_and_nothing_is_loaded(small_model):
    hostile = "<script>alert(1)</script>"
    model = json.loads(json.dumps(small_model).replace("100% more", hostile))
    page = index.to_html([model])
    assert hostile not in page and page.count("<script>") == 1
    assert not re.search(r"https?://|@import|url\(|\bsrc=", page)
    assert "&lt;script>" in index.to_markdown([model])
