"""Append-only records: what is damaged, edited, moved or doubled is refused by file and line."""

import json

import pytest

from pgbench.errors import PgbenchError
from pgbench.records.ledger import add, add_stamp, read_board, read_stamps, repair
from pgbench.records.record import record_id
from pgbench.settings.config import canonical


def refused(folder, pattern):
    with pytest.raises(PgbenchError, match=pattern) as caught:
        read_board(folder)
    assert "\n" not in str(caught.value)


@pytest.fixture
def board(tmp_path, make_record, write_run):
    """A board folder with four runs of ppo and one of sac."""
    for seed in range(4):
        write_run(make_record("ppo", seed))
    runs = write_run(make_record("sac", 0, status="failed"))
    folder = tmp_path / "records" / "b"
    assert add(folder, [runs]).new == 5
    return folder


def lines(board, name="ppo"):
    return (board / f"{name}.jsonl").read_text().splitlines(keepends=True)


def put(board, texts, name="ppo"):
    (board / f"{name}.jsonl").write_text("".join(texts))


def edit(line, **changes):
    return canonical({**json.loads(line), **changes}) + "\n"


def test_adding_appends_and_skips_what_is_known(board, tmp_path, make_record, write_run):
    before = (board / "ppo.jsonl").read_bytes()
    runs = write_run(make_record("ppo", 4))
    done = add(board, [runs, runs])
    assert (done.new, done.known, done.left_out) == (1, 5, [])
    assert (board / "ppo.jsonl").read_bytes().startswith(before)
    assert len(read_board(board)) == 6


def test_lines_are_canonical_and_chained(board):
    records = [json.loads(line) for line in lines(board)]
    assert [canonical(r) + "\n" for r in records] == lines(board)
    assert [r["prev"] for r in records] == [None, *(r["id"] for r in records[:-1])]


def test_unfinished_and_set_aside_runs_are_left_out_and_named(board, make_record, write_run):
    write_run(make_record("ppo", 7, status="running"))
    write_run(make_record("ppo", 8, status="interrupted"))
    runs = write_run(make_record("ppo", 9), name="9-abc.old1")
    done = add(board, [runs])
    assert done.new == 0
    assert {line.rpartition(": ")[2] for line in done.left_out} == {
        "running; finish it first", "interrupted; finish it first", "set aside by --fresh",
    }  # fmt: skip


def test_a_torn_last_line_is_repaired_and_its_run_added_again(board, tmp_path):
    whole = (board / "ppo.jsonl").read_bytes()
    put(board, [*lines(board)[:-1], lines(board)[-1][:50]])
    refused(board, r"ppo\.jsonl:4: the last line is torn.*repair it: pgbench board b")
    (said,) = repair(board)
    assert "ppo.jsonl: the torn last line was dropped (50 bytes)" in said
    assert repair(board) == []
    refused(board, r"ppo\.jsonl:3: the file had 4 lines when it was last written")
    # The head is behind the file by one line; adding the run again brings the two together.
    (board / "_heads.json").unlink()
    assert add(board, [tmp_path / "runs"]).new == 1
    assert (board / "ppo.jsonl").read_bytes() == whole
    assert len(read_board(board)) == 5


def test_a_last_line_without_its_end_is_whole(board):
    whole = (board / "ppo.jsonl").read_bytes()
    (board / "ppo.jsonl").write_bytes(whole[:-1])
    (said,) = repair(board)
    assert "got its end of line back" in said
    assert (board / "ppo.jsonl").read_bytes() == whole


def test_every_cut_of_a_file_is_repaired_or_refused(board, tmp_path):
    """Fault injection: wherever a copy stopped, the board is mended or refused, never wrong."""
    whole = (board / "ppo.jsonl").read_bytes()
    ends = [i for i, byte in enumerate(whole) if byte == 10]
    for cut in [0, 1, *ends, *(e + 1 for e in ends), *(e - 1 for e in ends), len(whole) // 2]:
        (board / "ppo.jsonl").write_bytes(whole[:cut])
        repair(board)
        if (board / "ppo.jsonl").read_bytes() != whole:
            refused(board, r"the file had 4 lines when it was last written")


def test_edited_digit(board):
    whole = lines(board)
    whole[1] = whole[1].replace('"score":2.0', '"score":9.0')
    put(board, whole)
    refused(board, r"ppo\.jsonl:2: was changed after it was written")


def test_removed_and_moved_lines(board):
    whole = lines(board)
    put(board, [whole[0], *whole[2:]])
    refused(board, r"ppo\.jsonl:2: the chain is broken")
    put(board, [whole[1], whole[0], *whole[2:]])
    refused(board, r"ppo\.jsonl:1: the chain is broken")


def test_a_cut_tail(board):
    put(board, lines(board)[:-1])
    refused(board, r"ppo\.jsonl:3: the file had 4 lines when it was last written")
    (board / "ppo.jsonl").unlink()
    refused(board, r"ppo\.jsonl:0: the file had 4 lines")


def test_a_crash_between_file_and_head_leaves_a_good_board(board, make_record, write_run):
    heads = (board / "_heads.json").read_bytes()
    add(board, [write_run(make_record("ppo", 4))])
    (board / "_heads.json").write_bytes(heads)
    assert len(read_board(board)) == 6


def test_stamps_are_chained_and_withdrawn_records_make_room(board, make_record, write_run):
    first = read_board(board)[0].id
    for kind in ("verified", "withdrawn"):
        add_stamp(board, {"kind": kind, "record": first, "by": "A. Name", "reason": "bad disk"})
    stamps = read_stamps(board)
    assert [s["kind"] for s in stamps] == ["verified", "withdrawn"]
    assert [s["prev"] for s in stamps] == [None, stamps[0]["id"]]
    again = write_run(make_record("ppo", 0, (90.0, 99.0)), name="again")
    assert add(board, [again / "again"]).new == 1  # the withdrawn run's seed is free
    with pytest.raises(PgbenchError, match="has no record 123"):
        add_stamp(board, {"kind": "verified", "record": "123", "by": "x"})
    path = board / "_stamps.jsonl"
    path.write_text(path.read_text().replace("A. Name", "B. Name", 1))
    with pytest.raises(PgbenchError, match=r"_stamps\.jsonl:1: was changed"):
        read_stamps(board)


def test_no_json(board):
    put(board, ["{oops}\n"])
    refused(board, r"ppo\.jsonl:1: not valid JSON")
    put(board, [lines(board)[0], "\n"])
    refused(board, r"ppo\.jsonl:1: not valid JSON")
    put(board, ['{"schema":NaN}\n'])
    refused(board, r"ppo\.jsonl:1: schema is no finite number")


def test_record_in_another_algorithms_file(board):
    put(board, lines(board, "sac"), "ppo")
    refused(board, r"ppo\.jsonl:1: a record of sac in the file of ppo")


def test_second_run_of_a_seed_is_refused_whole(board, make_record, write_run):
    write_run(make_record("ppo", 5))
    runs = write_run(make_record("ppo", 0, (90.0, 99.0)), name="again")
    before = (board / "ppo.jsonl").read_bytes()
    with pytest.raises(PgbenchError, match=r"again.*seed 0 of ppo on toy-v0.*ppo\.jsonl:\d"):
        add(board, [runs])
    assert (board / "ppo.jsonl").read_bytes() == before


def forged(record, **changes):
    """A record whose id was made to fit after an edit."""
    out = json.loads(json.dumps(record))
    for path, value in changes.items():
        part, key = path.split("__")
        out[part][key] = value
    return {**out, "id": record_id(out)}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"result__score": 9.0}, "score is not the mean"),
        ({"result__final": [2.0]}, "1 final episodes"),
        ({"algorithm__config_hash": "0"}, "contradicts itself about 'config_hash'"),
        ({"algorithm__config": {"lr": 1}}, "contradicts itself about 'config"),
        ({"protocol__budget": 5}, "contradicts itself about 'budget'"),
        ({"protocol__episodes": 3}, "contradicts itself about 'episodes'"),
        ({"environment__id": "easy-v0"}, "contradicts itself about 'environment'"),
        ({"algorithm__name": "../../x"}, "cannot name a file"),
        ({"result__final": None}, "result.final is missing, though the run has finished"),
        ({"protocol__train_seed": 12}, "protocol.train_seed 12 was chosen: seed 0 on toy-v0"),
        ({"protocol__eval_seeds": "x"}, "protocol.eval_seeds are not those"),
        ({"protocol__seed": -1}, "protocol.seed must be a whole number >= 0"),
        ({"result__curve": [{"step": 1000, "mean": 9.0, "n": 2}]}, "best checkpoint is no result"),
        ({"result__curve": [{"step": 500, "mean": 2.0, "n": 2}]}, "best checkpoint is no result"),
    ],
)
def test_forged_records_are_refused(tmp_path, make_record, write_run, changes, complaint):
    runs = write_run(forged(make_record(), **changes), name="run")
    with pytest.raises(PgbenchError, match=complaint):
        add(tmp_path / "board", [runs])
    assert not list((tmp_path / "board").glob("*.jsonl"))


def test_failed_run_with_a_score(tmp_path, make_record, write_run):
    runs = write_run(forged(make_record(status="failed"), result__score=99.0), name="run")
    with pytest.raises(PgbenchError, match="failed run cannot have a score"):
        add(tmp_path / "board", [runs])


def test_missing_board_and_missing_runs(tmp_path):
    with pytest.raises(PgbenchError, match="there is no board nothing"):
        read_board(tmp_path / "nothing")
    with pytest.raises(PgbenchError, match="there is no run in"):
        add(tmp_path / "board", [tmp_path])
