"""A record is held against its types: whatever was done to its file, one line."""

import json
from pathlib import Path

import pytest

from pgbench.errors import PgbenchError
from pgbench.records.record import parse, record_id
from pgbench.records.schema import Heads
from pgbench.settings.config import canonical
from pgbench.support.files import write_bytes
from pgbench.support.strict import typed

RECORDS = Path(__file__).resolve().parents[2] / "leaderboards/records/math-nano-mini-v1"
LINE = (RECORDS / "grpo.jsonl").read_bytes().split(b"\n")[0]
RECORD = json.loads(LINE)
# Blocks whose keys are anybody's: what is missing there, only the id tells, and a null may stand.
OPEN = ("algorithm.config", "identity.config", "identity.env_kwargs", "environment.kwargs",
        "algorithm.model")  # fmt: skip
OPTIONAL = (
    "cost.samples", "cost.timeouts", "cost.generated_tokens", "cost.trained_tokens", "prev",
    "result.diagnostics", "provenance.packages", "algorithm.model",
)  # fmt: skip
NULL = (
    "result.failure", "result.error", "provenance.gpu", "provenance.commit", "prev",
    "provenance.dirty", "provenance.cores", "identity.sources", "protocol.tuning.trials",
)  # fmt: skip


def leaves(value, path=()):
    """The path of every leaf, and of every dict or list on the way to one."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value[:1]):
            yield from leaves(item, (*path, key))


def written(path):
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def damaged(path, text):
    """The line with the JSON `text` in the place of a value; without it for None."""
    record = json.loads(LINE)
    *outer, last = path
    inside = record
    for part in outer:
        inside = inside[part]
    if text is None:
        del inside[last]
        return canonical(record).encode()
    inside[last] = "@@@"
    return canonical(record).replace('"@@@"', text).encode()


def complaint(data):
    with pytest.raises(PgbenchError) as caught:
        parse(data, "file:7")
    text = str(caught.value)
    assert text.startswith("file:7: ") and "\n" not in text
    return text


PATHS = list(leaves(RECORD))
NOWHERE = {
    "1e400": "1e400",
    "-1e400": "-1e400",
    "NaN": "NaN",
    "huge": "9" * 400,
    "huger": "9" * 5000,
    "surrogate": r'"\ud83d"',
    "nested": "[" * 40 + "]" * 40,
    "deep": "[" * 9000 + "]" * 9000,
    "twice": '{"a":1,"a":1}',
}


@pytest.mark.parametrize("path", PATHS, ids=written)
def test_what_no_field_may_be_is_refused_by_file_line_and_field(path):
    for name, text in NOWHERE.items():
        said = complaint(damaged(path, text))
        field = ".".join(str(part) for part in path if isinstance(part, str))
        assert field in said or written(path) in said, (name, said)


@pytest.mark.parametrize("path", PATHS, ids=written)
def test_another_type_is_refused_by_file_line_and_field(path):
    name, value = written(path), RECORD
    for part in path:
        value = value[part]
    if name == "schema":
        return  # another number is another schema: test_record.py
    others = {"null", '"text"', "[null]", '{"x":null}', "true", "-1.5"}
    others -= {canonical(value)}
    others -= {'"text"'} if isinstance(value, str) else set()
    others -= {"true"} if isinstance(value, bool) else set()
    others -= {"-1.5"} if isinstance(value, float) and name.startswith("result") else set()
    others -= {"null"} if name.startswith(NULL) else set()
    others -= {'"text"'} if name.startswith(NULL) else set()
    for text in sorted(others):
        said = complaint(damaged(path, text))
        if name.startswith(OPEN) and "id does not match" in said:
            continue  # plain, and not known here
        assert name in said, (text, said)


@pytest.mark.parametrize("path", [p for p in PATHS if isinstance(p[-1], str)], ids=written)
def test_a_field_that_is_missing_is_named(path):
    name, said = written(path), None
    if name == "prev":
        return  # of a run's own record
    said = complaint(damaged(path, None))
    if name.startswith((*OPEN, *OPTIONAL)) and "id does not match" in said:
        return
    assert name in said or (name.startswith("algorithm.config.") and path[-1] in said)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (LINE[:-9], "not valid JSON"),
        (LINE[: len(LINE) // 2], "not valid JSON"),
        (b"\xef\xbb\xbf" + LINE, "byte order mark"),
        (LINE + b"\r", "line ends of Windows"),
        (LINE.replace(b"grpo", b"gr\xff"), "not UTF-8 text"),
        (LINE.replace(b'"status"', b'"id":"x","status"'), "id stands there twice"),
        (LINE.replace(b'"seed":0', b'"seed":0,"seed":0'), "protocol.seed stands there twice"),
        (b"[]", "no run record"),
        (b"null", "no run record"),
        (b"7", "no run record"),
        (b"{}", "no run record"),
        (LINE.replace(b'"schema":2', b'"schema":99'), "record schema is 99"),
        (LINE.replace(b'"schema":2', b'"schema":"2"'), "record schema is 2, this"),
        (LINE.replace(b'"seed":0', b'"seed":-1'), "protocol.seed must be a whole number >= 0"),
        (LINE.replace(b'"episodes":', b'"episodes":99999999'), "episodes must be a whole number"),
        (LINE.replace(b'"final":[', b'"final":["x",'), "result.final[0] must be a number"),
    ],
)
def test_what_happens_to_files(data, said):
    assert said in complaint(data)


def test_a_forger_who_makes_the_id_fit_is_named_the_field_too():
    for path, value in (("cost", {"env_steps": -1}), ("result", []), ("status", "great")):
        record = {**RECORD, path: value}
        assert path in complaint(canonical({**record, "id": record_id(record)}).encode())


def test_a_record_is_what_the_file_says():
    assert parse(LINE, "here") == RECORD
    assert canonical(parse(LINE, "here")).encode() == LINE
    odd = {**RECORD, "algorithm": {**RECORD["algorithm"], "paper": 'of "quotes" \\ and \U0001f600'}}
    odd["id"] = record_id(odd)
    assert parse(json.dumps(odd, indent=1, ensure_ascii=False).encode(), "here") == odd
    assert parse(canonical(odd).encode(), "here") == odd


def test_heads_name_the_file_whose_entry_is_wrong():
    good = {"ppo.jsonl": [3, "0" * 64], "sac.jsonl": [1, "1" * 64]}
    assert typed(canonical(good).encode(), Heads, "h") == good
    for value in ([0, "0" * 64], [3], [3, "x"], {}, None, [3.5, "0" * 64]):
        with pytest.raises(PgbenchError, match=r"^h: sac\.jsonl"):
            typed(canonical({**good, "sac.jsonl": value}).encode(), Heads, "h")


DAMAGES = {
    "null": (("result", "curve", 0, "mean"), "null", "result.curve[0].mean"),
    "1e400": (("cost", "wall_s"), "1e400", "cost.wall_s"),
    "surrogate": (("algorithm", "name"), r'"\udc00"', "algorithm.name"),
    "list": (("provenance",), "[]", "provenance"),
    "missing": (("execution", "threads"), None, "execution.threads"),
    "nested": (("environment", "kwargs"), "[" * 5000 + "]" * 5000, "environment.kwargs"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_commands_say_it_in_one_line(cli, tmp_path, name):
    path, text, field = DAMAGES[name]
    data = damaged(path, text)
    folder, root = tmp_path / "run", tmp_path / "leaderboards"
    write_bytes(folder / "run.json", data)
    write_bytes(root / "records/mine/grpo.jsonl", data + b"\n")
    write_bytes(root / "suites/mine-v1.toml", Path("leaderboards/suites/control-mini-v1.toml")
                .read_bytes().replace(b"control-mini-v1", b"mine-v1"))  # fmt: skip
    write_bytes(tmp_path / "sent.jsonl", data + b"\n")
    for words, place in (
        (["show", folder], "run.json: "),
        (["eval", folder], "run.json: "),
        (["board", "mine", "--root", root], "grpo.jsonl:1: "),
        (["verify", "mine", "--root", root], "grpo.jsonl:1: "),
        (["submit", tmp_path / "sent.jsonl", "--board", "mine-v1", "--root", root], "jsonl:1: "),
        (["submit", folder, "--board", "mine-v1", "--root", root], "run.json: "),
    ):
        code, out, err = cli(*words)
        assert (code, out) == (2, ""), (words, out, err)
        assert err.count("\n") == 1 and "unexpected" not in err
        assert f"{place}{field}" in err or f"{place}lacks the field '{field}'" in err, err


def test_damaged_heads_and_stamps_are_one_line(cli, tmp_path, make_record, write_run):
    from pgbench.records.ledger import add, add_stamp

    folder = tmp_path / "leaderboards/records/mine"
    record = make_record("ppo", 0)
    assert add(folder, [write_run(record)]).new == 1
    add_stamp(folder, {"kind": "verified", "record": record["id"], "by": "A. Name"})
    for name, was, now, said in (
        ("_heads.json", b"1,", b"0,", "_heads.json: _stamps.jsonl[0] must be a whole number >= 1"),
        ("_heads.json", b"{", b"[", "_heads.json: not valid JSON"),
        ("_heads.json", b'"ppo.jsonl": [\n  1', b'"ppo.jsonl": [\n  1e400', "ppo.jsonl[0] is no"),
        ("_stamps.jsonl", b'"by":"A. Name"', b'"by":7', "_stamps.jsonl:1: by must be a text, not"),
        ("_stamps.jsonl", b'"by":"A. Name"', b'"by":"\\ud800"', "_stamps.jsonl:1: by holds half"),
        ("_stamps.jsonl", b'"by"', b'"of"', "_stamps.jsonl:1: lacks the field 'by'"),
        ("_stamps.jsonl", b"verified", b"believed", "_stamps.jsonl:1: kind has the unknown value"),
        ("_stamps.jsonl", b"{", b"[", "_stamps.jsonl:1: not valid JSON"),
        ("_stamps.jsonl", b"A. Name", b"B. Name", "_stamps.jsonl:1: was changed after it was"),
        ("_stamps.jsonl", b"\n", b"\n7\n", "_stamps.jsonl:2: it must be a table, not a whole"),
        ("_stamps.jsonl", b"\n", b"\n\n", "_stamps.jsonl:2: it is empty"),
    ):
        path = folder / name
        kept = path.read_bytes()
        assert was in kept
        path.write_bytes(kept.replace(was, now, 1))
        for command in ("board", "verify"):
            code, out, err = cli(command, "mine", "--root", tmp_path / "leaderboards")
            assert (code, out) == (2, ""), (now, out, err)
            assert said in err and err.count("\n") == 1, err
        path.write_bytes(kept)
    assert cli("board", "mine", "--root", tmp_path / "leaderboards")[0] == 0
