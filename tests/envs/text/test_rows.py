"""Reading data sets: files of five kinds, folders, the hub; and what is wrong with them."""

import csv
import gzip
import json

import pytest

import pgbench
from pgbench.envs.text.rows import read
from pgbench.errors import PgbenchError

ROWS = [{"question": "1+1?\n", "answer": "2"}, {"question": "“a”, b", "answer": "€3"}]


def lines(rows):
    return "\n".join(json.dumps(row) for row in rows) + "\n"


def write(path, rows=ROWS):
    if path.suffix == ".jsonl":
        path.write_text(lines(rows))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines(rows).encode()))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet"])
def test_every_kind_of_file_gives_the_same_rows(suffix, tmp_path):
    data = read(str(write(tmp_path / f"data{suffix}")))
    assert [row.fields for row in data.splits[""]] == ROWS
    assert data.splits[""][1].place.startswith(f"data{suffix} ")
    assert len(data.digest) == 64


def test_places_count_as_an_editor_does(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"a": 1}\n\n{"a": 2}\n', encoding="utf-8")
    assert [row.place for row in read(str(path)).splits[""]] == ["a.jsonl line 1", "a.jsonl line 3"]


def test_folders(tmp_path):
    write(tmp_path / "train.jsonl")
    assert set(read(str(tmp_path)).splits) == {""}
    write(tmp_path / "test.csv", ROWS[:1])
    data = read(str(tmp_path))
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 2, "test": 1}
    write(tmp_path / "test.json")
    with pytest.raises(PgbenchError, match="name the file"):
        read(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", '{"a": 1}\n{"a"\n', "a.jsonl line 2 is no JSON"),
        ("a.jsonl", "[1]\n", r"a.jsonl line 1 is no object of fields but \[1\]"),
        ("a.jsonl", "\n", "has no rows"),
        ("a.json", '{"a": 1}', "must hold a list"),
        ("a.json", "[" * 10**5, "is no JSON"),
        ("a.csv", "a,b\n1,2\n3\n", "line 3 has not as many cells"),
        ("a.csv", 'a,b\n"1,2\n', "a.csv line"),
        ("a.txt", "x", "'.txt' is none of .jsonl"),
        ("a.jsonl.gz", "x", "cannot be read"),
        ("a.parquet", "x", "is no Parquet"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(name, text, words, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(PgbenchError, match=words) as error:
        read(str(path))
    assert "\n" not in str(error.value) and name in str(error.value)


def test_a_damaged_archive_is_one_clear_line(tmp_path):
    data = bytearray(gzip.compress(b'{"a": 1}\n' * 1000))
    data[20] ^= 255
    (tmp_path / "a.jsonl.gz").write_bytes(data)
    with pytest.raises(PgbenchError, match=r"a\.jsonl\.gz cannot be read"):
        read(str(tmp_path / "a.jsonl.gz"))


def test_other_sources(tmp_path, monkeypatch):
    latin = tmp_path / "a.csv"
    latin.write_bytes("a\né\n".encode("latin-1"))
    with pytest.raises(PgbenchError, match=r"a\.csv is no UTF-8 text"):
        read(str(latin))
    with pytest.raises(PgbenchError, match=r"data file nowhere\.jsonl does not exist"):
        read("nowhere.jsonl")
    with pytest.raises(PgbenchError, match="has neither train nor test"):
        (tmp_path / "empty").mkdir()
        read(str(tmp_path / "empty"))
    pytest.importorskip("datasets")
    monkeypatch.setattr("pgbench.envs.text.rows._reachable", lambda: False)
    with pytest.raises(PgbenchError, match=r"cannot be fetched from the hub.*env\.source=FILE"):
        read("pgbench-tests/there-is-no-such-data-set")


def rows_of(text, name, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read(str(tmp_path / name)).splits[""]


def test_a_number_that_is_none_is_a_missing_value(tmp_path):
    for value in ("NaN", "Infinity", "-Infinity", "null"):
        row = '{"problem": "x?", "answer": ' + value + "}"
        for name, text in (("a.jsonl", row + "\n"), ("a.json", f"[{row}]")):
            assert rows_of(text, name, tmp_path)[0].fields == {"problem": "x?", "answer": None}
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"problem": ["x?", "y?"], "answer": [1.0, None]}).to_parquet(
        tmp_path / "a.parquet"
    )
    assert read(str(tmp_path / "a.parquet")).splits[""][1].fields["answer"] is None


def test_half_a_character_names_its_row(tmp_path):
    text = '{"a": "1", "b": ["\\ud83d"]}\n{"a": "\\ud83d\\ude00"}\n{"\\ude00": 1}\n'
    assert [row.broken for row in rows_of(text, "a.jsonl", tmp_path)] == ["b", None, "?"]


def test_bad_rows_of_a_data_set_are_named_and_can_be_left_out(tmp_path):
    good = "".join(f'{{"problem": "{a}?", "answer": "{a}"}}\n' for a in range(40))
    bad = '{"problem": "x?", "answer": NaN}\n{"problem": "y\\ud83d?", "answer": "1"}\n'
    (tmp_path / "d.jsonl").write_text(good + bad)
    with pytest.raises(PgbenchError, match=r"line 41: .*empty.* line 42: its problem has half a"):
        pgbench.make("math", source=str(tmp_path / "d.jsonl"))
    with pytest.warns(UserWarning, match="2 of 42 rows left out"):
        env = pgbench.make("math", source=str(tmp_path / "d.jsonl"), skip_bad=True)
    assert env.size("train") + env.size("test") == 40
    env.close()


def test_columns_of_one_name_are_told_apart(tmp_path):
    with pytest.warns(UserWarning, match="column 'a' stands there 2 times"):
        row = rows_of("a,b,a\n1,2,3\n", "a.csv", tmp_path)[0]
    assert row.fields == {"a": "1", "b": "2", "a.2": "3"}
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = arrow.Table.from_arrays([arrow.array(["1"]), arrow.array(["2"])], names=["a", "a"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(PgbenchError, match=r"is no Parquet: Multiple matches for .*\(a\)"):
        read(str(tmp_path / "a.parquet"))
    with pytest.raises(PgbenchError, match="line 1 is no JSON: the key 'a' stands twice"):
        rows_of('{"a": 1, "a": 2}\n', "a.jsonl", tmp_path)


def test_a_cell_may_be_long(tmp_path):
    before = csv.field_size_limit()
    assert len(rows_of(f"a\n{'q' * 200_000}\n", "a.csv", tmp_path)[0].fields["a"]) == 200_000
    assert csv.field_size_limit() == before


def test_toml_may_begin_with_a_byte_order_mark(tmp_path):
    from pgbench.settings.config import read_toml

    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbflr = 1e-3\n")
    assert read_toml(str(tmp_path / "a.toml")) == {"lr": 1e-3}
