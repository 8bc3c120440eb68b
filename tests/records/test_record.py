"""A record is ours, whole and unchanged, or it is refused with its place."""

import json

import pytest

from pgbench.errors import PgbenchError
from pgbench.records.record import READS, SCHEMA, parse, read_run, record_id, save_run


def refused(record, pattern):
    with pytest.raises(PgbenchError, match=f"^here.*{pattern}"):
        parse(json.dumps(record).encode(), "here")


@pytest.mark.parametrize("schema", READS)
def test_round_trip(make_record, schema):
    record = make_record(changes={"schema": schema})
    assert parse(json.dumps(record).encode(), "here") == record


def test_stamps_and_place_are_not_in_the_id(make_record):
    record = make_record()
    assert record_id({**record, "prev": "x", "stamps": [1]}) == record["id"]


@pytest.mark.parametrize(
    "path", ["result.score", "cost.wall_s", "protocol.seed", "environment.id", "created"]
)
def test_any_edit_is_seen(make_record, path):
    record = make_record()
    value = "12345" if path in ("environment.id", "created") else 12345
    edited = make_record(changes={path: value})
    refused({**edited, "id": record["id"]}, "was changed after it was written")


def test_schemas(make_record):
    refused({**make_record(), "schema": SCHEMA + 1}, "upgrade pgbench")
    refused({**make_record(), "schema": min(READS) - 1}, "run it again")
    refused({**make_record(), "schema": "x"}, "upgrade pgbench")
    refused([], "no run record")
    refused({}, "no schema")


def test_missing_fields_and_odd_status(make_record):
    for name in ("id", "status", "algorithm", "environment", "protocol", "result", "cost"):
        record = make_record()
        del record[name]
        refused(record, f"lacks the field '{name}'")
    refused(make_record(status="great"), "status has the unknown value 'great'")


def test_run_folders(tmp_path, make_record, write_run):
    write_run(make_record(), name="good")
    assert read_run(tmp_path / "runs/good") == make_record()
    (tmp_path / "runs/empty").mkdir()
    for name, pattern in (("none", "there is no run folder"), ("empty", "has no run.json")):
        with pytest.raises(PgbenchError, match=pattern):
            read_run(tmp_path / "runs" / name)
    file = tmp_path / "runs/good/run.json"
    file.write_text(file.read_text()[:-40])
    with pytest.raises(PgbenchError, match="not valid JSON"):
        read_run(tmp_path / "runs/good")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("result.curve", [{"step": 1, "mean": float("nan"), "n": 1}], r"result\.curve\[0\]\.mean"),
        ("cost.grad_steps", -1, "cost.grad_steps must be a whole number >= 0"),
        ("environment.kwargs", {"a": [[[[[[1]]]]]]}, "environment.kwargs.a.* nested more than"),
        ("algorithm.paper", None, "algorithm.paper must be a text, not null"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, make_record, path, value, said):
    record = make_record()
    save_run(tmp_path, record)
    kept = (tmp_path / "run.json").read_bytes()
    assert parse(kept, "here") == record
    *outer, last = path.split(".")
    inside = record
    for key in outer:
        inside = inside[key]
    inside[last] = value
    with pytest.raises(PgbenchError, match=f"^this run cannot be recorded .*{said}"):
        save_run(tmp_path, record)
    assert (tmp_path / "run.json").read_bytes() == kept
