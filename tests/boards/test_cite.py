"""BibTeX: the board with its digests, the paper of every algorithm, nothing that does not parse."""

import re
import shutil
import subprocess
from importlib import resources

import pytest

from pgbench.boards.cite import cite, find_papers, paper_id, read_entries
from pgbench.catalogue.registry import ALGOS, load_file
from pgbench.errors import PgbenchError


def parse(text):
    """{citation key: {field: value}} by BibTeX's rules: braces balance, outside entries is comment.

    Strict where BibTeX is: an @ begins an entry wherever it stands outside one.
    """
    entries, position = {}, 0
    while (at := text.find("@", position)) >= 0:
        start = re.compile(r"@(\w+)\{([A-Za-z0-9:._-]+),").match(text, at)
        assert start, f"no entry begins at {text[at : at + 30]!r}"
        fields, position = {}, start.end()
        while not (end := re.compile(r"\s*,?\s*\}").match(text, position)):
            field = re.compile(r"\s*,?\s*(\w+)\s*=\s*\{").match(text, position)
            assert field, f"no field begins at {text[position : position + 30]!r}"
            depth, position = 1, field.end()
            while depth:
                depth += {"{": 1, "}": -1}.get(text[position], 0)
                position += 1
            fields[field[1].lower()] = text[field.end() : position - 1]
        position = end.end()
        assert start[2].lower() not in {key.lower() for key in entries}, f"{start[2]} comes twice"
        entries[start[2]] = {"type": start[1], **fields}
    return entries


def test_board_and_papers_of_the_tables(small_model):
    text = cite(small_model, find_papers(), commit="c0ffee" + "0" * 34)
    entries = parse(text)
    assert list(entries) == [
        "pgbench-toy_v1", "haarnoja2018soft", "schulman2017proximal", "tomar2022mirror",
    ]  # fmt: skip
    board = entries["pgbench-toy_v1"]
    assert board["type"] == "misc"
    assert board["author"] == "{The pgbench authors}"
    assert board["title"] == r"{pgbench leaderboard toy\_v1: Toys \& 100\% more}"
    assert (board["year"], board["version"]) == ("2026", r"toy\_v1")
    assert board["note"] == (
        "9 records, 8 finished and 1 failed, 12 expected: incomplete; "
        "content sha256:abababababababab, results sha256:0123456789abcdef; pgbench 0.2.0, rules 1; "
        "retrieved at commit c0ffee0000000000"
    )
    assert board["contentdigest"] == "sha256:" + "ab" * 32
    assert board["resultsdigest"] == "sha256:" + "0123456789abcdef" * 4
    assert board["commit"] == "c0ffee" + "0" * 34
    assert "url" not in board
    assert entries["tomar2022mirror"]["eprint"] == "2005.09814"
    assert "% no BibTeX" not in text


def test_unknown_commit_and_given_url(small_model):
    board = parse(cite(small_model, [], url="https://example.org/a_b%20c"))["pgbench-toy_v1"]
    assert "commit" not in board["note"]
    assert "commit" not in board
    assert board["url"] == "https://example.org/a_b%20c"


def test_every_built_in_paper_has_one_entry_with_the_facts_of_a_citation():
    text = (resources.files("pgbench.baselines") / "papers.bib").read_text(encoding="utf-8")
    entries = read_entries(text)
    papers = [paper for entry in entries for paper in entry.papers]
    assert sorted(papers) == sorted(set(papers))
    built_in = {
        paper_id(spec.paper)
        for spec in ALGOS.all()
        if spec.paper and str(spec.entry_point).startswith("pgbench.baselines.")
    }
    assert built_in == set(papers)
    for entry in parse(text[text.index("@article") :]).values():
        assert entry["author"] and entry["title"] and re.fullmatch(r"\d{4}", entry["year"])
        assert entry["journal" if entry["type"] == "article" else "booktitle"]


def test_algorithm_without_entry_is_named_in_a_comment(small_model):
    rows = small_model["tracks"][0]["rows"]
    rows[0] |= {"algorithm": "ppo@home", "paper": "arXiv:0000.00000"}
    rows[1] |= {"algorithm": "mine", "paper": ""}
    text = cite(small_model, find_papers())
    assert text.endswith(
        "\n% no BibTeX entry for mine (registered without a paper)\n"
        "% no BibTeX entry for ppo at home (arXiv:0000.00000)\n"
    )
    assert list(parse(text)) == ["pgbench-toy_v1", "haarnoja2018soft"]


def test_order_of_files_rows_and_entries_does_not_matter(small_model):
    entries = [entry.text for entry in read_entries("\n".join(find_papers()))]
    once = cite(small_model, entries)
    small_model["tracks"][0]["rows"].reverse()
    assert cite(small_model, entries[::-1]) == once == cite(small_model, ["\n".join(entries)])


def test_awkward_characters_leave_braces_balanced(small_model):
    small_model["title"] = "{ \\ } ~ ^ # $ _ % & [ < >"
    small_model["board"] = "a b{c"
    board = parse(cite(small_model, []))["pgbench-a-b-c"]
    assert board["title"] == (
        r"{pgbench leaderboard a b\textbraceleft{}c: \textbraceleft{} \textbackslash{} "
        r"\textbraceright{} \textasciitilde{} \textasciicircum{} \# \$ \_ \% \& {[} "
        r"\textless{} \textgreater{}}"
    )


def test_same_key_for_two_papers_is_told_apart(small_model):
    texts = [
        "@misc{one, title={A}, eprint={1707.06347}}", "@misc{ONE, title={B}, eprint={2005.09814}}"
    ]  # fmt: skip
    entries = parse(cite(small_model, texts))
    assert {entries["ONE"]["title"], entries["one-2"]["title"]} == {"A", "B"}


def test_empty_board(small_model):
    small_model |= {"newest": None, "tracks": []}
    assert "year" not in parse(cite(small_model, []))["pgbench-toy_v1"]


@pytest.mark.parametrize(
    "written",
    [
        "arXiv:2005.09814", "2005.09814v5", "arxiv: 2005.09814", "https://arxiv.org/abs/2005.09814",
        "10.48550/arXiv.2005.09814", "https://doi.org/10.48550/ARXIV.2005.09814",
    ],
)  # fmt: skip
def test_forms_of_an_arxiv_id(written):
    assert paper_id(written) == "2005.09814"


@pytest.mark.parametrize(
    "written",
    ["doi:10.1007/BF00992696", "https://doi.org/10.1007/bf00992696", "10.1007/BF00992696"],
)
def test_forms_of_a_doi(written):
    assert paper_id(written) == "10.1007/bf00992696"


def test_comments_strings_and_nested_braces():
    text = """
    % a comment, with {an open brace
    @comment{old, title={x}}
    @string{jmlr = "Journal"}
    @Article{key:1, title={{D}eep {RL}}, DOI = "https://doi.org/10.1/a\\_b", year = 2020}
    """
    (entry,) = read_entries(text)
    assert entry.key == "key:1"
    assert entry.papers == {"10.1/a_b"}
    assert entry.text.endswith("year = 2020}")


def test_braces_that_do_not_close_are_refused():
    with pytest.raises(PgbenchError, match=r"^my\.bib: the braces of entry 'b' do not close"):
        read_entries("@misc{a, title={A}}\n@misc{b, title={B}\n", "my.bib")


PLUGIN = """\
from pgbench import register_algo

register_algo(
    "bibbed", "x:Y", family="control", loop="onpolicy", summary="", paper="doi:10.1/X"
)
"""


@pytest.fixture
def plugin(tmp_path):
    """The folder of a plug-in file that registers an algorithm."""
    ALGOS.all()
    before = dict(ALGOS.specs)
    file = tmp_path / "plugin.py"
    file.write_text(PLUGIN)
    load_file(str(file), ALGOS)
    yield tmp_path
    ALGOS.specs = before


def test_plugin_contributes_its_papers(plugin, small_model):
    assert len(find_papers()) == 1
    (plugin / "papers.bib").write_text("@misc{own, title={Mine}, doi={10.1/x}}")
    small_model["tracks"][0]["rows"][0] |= {"algorithm": "bibbed", "paper": "doi:10.1/X"}
    assert parse(cite(small_model, find_papers()))["own"]["title"] == "Mine"


def test_broken_file_of_a_plugin_is_named(plugin):
    (plugin / "papers.bib").write_text("@misc{own, title={Mine")
    with pytest.raises(PgbenchError, match=r"papers\.bib: the braces of entry 'own' do not close"):
        find_papers()
    (plugin / "papers.bib").write_bytes(b"@misc{own, title={\xff}}")
    with pytest.raises(PgbenchError, match=r"papers\.bib is not UTF-8"):
        find_papers()


def test_large_board_parses(sample_model):
    entries = parse(cite(sample_model(), find_papers(), commit="ab" * 20))
    assert {"schulman2015trust", "schulman2017proximal", "tomar2022mirror"} < set(entries)


@pytest.mark.skipif(shutil.which("bibtex") is None, reason="bibtex is not installed")
def test_bibtex_itself_reads_it(small_model, tmp_path):
    small_model["title"] = "A & B_{x} 50% #1 [~^<>|\\ $"
    (tmp_path / "b.bib").write_text(
        cite(small_model, find_papers(), "ab" * 20, "https://x.org/a_b")
    )
    (tmp_path / "d.aux").write_text("\\citation{*}\n\\bibstyle{plain}\n\\bibdata{b}\n")
    done = subprocess.run(["bibtex", "d"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Warning" not in done.stdout, done.stdout
