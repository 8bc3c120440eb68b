"""Suite files: what they ask for, and one clear line for what is wrong in one."""

from pathlib import Path

import pytest

from pgbench.errors import PgbenchError
from pgbench.records.suite import find_suite, read_suite, selection

ROOT = Path(__file__).resolve().parents[2] / "leaderboards"
COMMITTED = sorted((ROOT / "suites").glob("*.toml"))


def test_cells_come_seed_by_seed_with_their_settings(suite_file):
    suite = read_suite(suite_file())
    cells = list(suite.cells())
    assert len(cells) == 2 * 2 * 3 + 1
    first = [(c.entry.label, c.env.id, c.seed) for c in cells[:4]]
    assert first == [
        ("ppo", "toy", 0), ("ppo, fast", "toy", 0), ("ppo", "other", 0), ("ppo, fast", "other", 0),
    ]  # fmt: skip
    assert cells[1].settings == {"lr": 0.2}
    assert cells[3].settings == {"lr": 0.3, "env.wind": 1}
    assert cells[2].settings == {"env.wind": 1}
    assert cells[-1].track.budget == 500


def test_normalised_scores(suite_file):
    suite = read_suite(suite_file())
    toy, other = suite.environments["toy"], suite.environments["other"]
    assert [toy.normalised(x) for x in (0.0, 10.0, 20.0)] == [0.0, 1.0, 2.0]
    assert other.normalised(-50.0) == 0.5  # floor -100, reference 0


def test_selection(suite_file):
    suite = read_suite(suite_file())
    cells = list(suite.cells())

    def count(**words):
        return sum(map(selection(suite, **words), cells))

    assert count() == 13
    assert count(tracks=["short"]) == 1
    assert count(algos=["ppo, fast"]) == 6 and count(algos=["ppo"]) == 13
    assert count(envs=["other"], seeds=2) == 4
    for words in ({"tracks": ["shrt"]}, {"algos": ["pp"]}, {"envs": ["hoper"]}):
        with pytest.raises(PgbenchError, match="unknown"):
            selection(suite, **words)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('name = "toy-v1"', 'name = "Toy"', "name must be lower-case words and a version"),
        ('name = "toy-v1"', 'name = "other-v1"', "name is 'other-v1', but the file is called"),
        ('name = "toy-v1"', "", "name is missing"),
        ("rules = 1", "rules = 2", "rules is 2; this pgbench keeps rules 1"),
        ("rules = 1", "rules = true", "rules must be a whole number, not True"),
        ("rules = 1", "rulez = 1", "unknown field 'rulez'; did you mean rules"),
        ("episodes = 2", "episodes = 0", "protocol.episodes must be at least 1, not 0"),
        ("episodes = 2", 'episodes = "two"', "protocol.episodes must be a whole number"),
        ("seeds = 3", "seeds = 0", r"track\[0\].seeds must be at least 1"),
        ('"toy", "other"', '"toy", "othre"', r"track\[0\].environments.*did you mean other"),
        ('"toy", "other"', '"toy", "toy"', r"track\[0\].environments must name each .* once"),
        ('budget = "1k"', 'budget = "1kk"', r"track\[0\].budget cannot be read"),
        ('label = "ppo, fast"', 'label = "ppo"', r"track\[0\].entry has two entries called 'ppo'"),
        ('algo = "ppo", label', "label", r"track\[0\].entry\[1\].algo is missing"),
        ("set_in = { other", "set_in = { mars", r"unknown field .*set_in.mars"),
        ("reference = 10", "reference = 0", "environments.toy.reference equals the floor"),
        ("floor = 0", 'floor = "low"', "environments.toy.floor must be a number"),
        ("limit = 60", "limit = 0", "limit must be more than 0"),
        ("rules = 1", 'rules = 1\ntuning = ["lucky"]', "tuning takes paper, declared, fixed-20"),
        ("rules = 1", "rules = = 1", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(suite_file, old, new, complaint):
    path = suite_file()
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(PgbenchError, match=complaint) as caught:
        read_suite(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_all_that_is_wrong_is_told_at_once(suite_file):
    path = suite_file()
    text = path.read_text()
    for old, new in (
        ("title =", "titel ="), ("seeds = 3", "seeds = 0"), ('budget = "1k"', 'budget = "1kk"'),
        ("floor = 0", 'floor = "low"'), ('algo = "ppo", label', "label"),
        ("limit = 60", "limit = -1"),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    with pytest.raises(PgbenchError) as caught:
        read_suite(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: 7 faults: (1) ") and "\n" not in said
    for words in (
        "unknown field 'titel'; did you mean title?", "title is missing",
        "limit must be more than 0",
        "environments.toy.floor must be a number", "track[0].budget cannot be read",
        "track[0].seeds must be at least 1, not 0", "track[0].entry[1].algo is missing",
    ):  # fmt: skip
        assert words in said


def test_an_empty_suite_names_what_it_lacks_and_nothing_twice(tmp_path):
    path = tmp_path / "x-v1.toml"
    path.write_text('name = "x-v1"\n[[track]]\nname = 3\n')
    with pytest.raises(PgbenchError) as caught:
        read_suite(path)
    said = str(caught.value)
    for field in ("title", "rules", "protocol", "environments", "track[0].seeds"):
        assert said.count(f" {field} is missing") == 1
    assert "protocol." not in said and "track[0].name must be a text, not 3" in said


def test_an_unknown_suite_names_the_nearest(suite_file):
    root = suite_file().parents[1]
    with pytest.raises(PgbenchError, match="unknown suite 'toi-v1'; did you mean toy-v1"):
        find_suite("toi-v1", root)
    with pytest.raises(PgbenchError, match="there is no suite file"):
        find_suite(str(root / "none.toml"), root)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_suites_resolve_here(path):
    """Every environment has the fingerprint of the suite, every cell a plan."""
    from pgbench.bench.schedule import Bench

    suite = read_suite(path)
    work = Bench(suite, None, Path("none"), Path("none"))
    assert len(work.plan()) == sum(
        t.seeds * len(t.environments) * len(t.entries) for t in suite.tracks
    )
    assert len({task.run for task in work.tasks}) == len(work.tasks)
