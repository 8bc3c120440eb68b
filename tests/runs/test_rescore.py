"""Final responses are kept, bounded, and judged again by today's verifier."""

import json

import pytest

import pgbench
from pgbench.envs.text.math_nano import MathNano
from pgbench.errors import PgbenchError
from pgbench.lm.rollout import Row
from pgbench.runs.plan import Protocol, make_plan
from pgbench.runs.rescore import rescore
from pgbench.runs.responses import FILE, read_responses, to_lines
from pgbench.runs.runner import Run
from pgbench.worlds.tasks import Task, Verdict, plain_prompt

MODEL = "nano:warmup=150,batch=64,layers=1,width=32,noise=0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run of grpo on math-nano, judged on eight tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        plan = make_plan(
            "grpo", "math-nano", budget=1, settings={"model": MODEL, "prompts": 4, "group": 4},
            protocol=Protocol(episodes=8, curve_points=2, curve_episodes=4), device="cpu",
            threads=1,
        )  # fmt: skip
        run = Run(plan, tmp_path_factory.mktemp("runs"))
        run.go()
    return run.folder


@pytest.fixture
def kept(folder):
    """The bytes of the run's responses, put back after the test."""
    data = (folder / FILE).read_bytes()
    yield data
    (folder / FILE).write_bytes(data)


def rows(tasks, samples, said="9"):
    found = []
    for i in range(tasks):
        task = Task(f"t/test/{i}", plain_prompt(f"{i}="))
        for _ in range(samples):
            verdict = Verdict(0.0, False, how="wrong")
            found.append(Row(task, i, task.messages, [], [], [], verdict=verdict, said=said))
    return found


def test_the_final_responses_are_kept_and_score_the_same(folder, cli):
    record = pgbench.load(folder).record
    found = read_responses(folder)
    assert len(found) == 8 * 4
    assert sum(r.correct for r in found) / 32 == pytest.approx(record["result"]["score"])
    again = rescore(pgbench.load(folder))
    assert again.now == again.then == record["result"]["final"]
    assert again.same_environment and not again.changed
    code, out, _ = cli("rescore", folder)
    assert code == 0 and "8 tasks, 32 responses; the environment's fingerprint is what" in out


def test_another_verifier_changes_the_score_and_the_exit_code(folder, cli, monkeypatch):
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    judge = MathNano._judge

    def lenient(self, answer, completion):
        return judge(self, answer, answer)  # whatever is said is right

    monkeypatch.setattr(MathNano, "_judge", lenient)
    found = rescore(pgbench.load(folder))
    wrong = sum(not response.correct for response in read_responses(folder))
    assert found.now == [1.0] * 8 and len(found.changed) == wrong > 0
    assert not found.same_environment
    code, out, _ = cli("rescore", folder, "--show", "2")
    assert code == 1 and f"{wrong} verdicts changed: {wrong} to right, 0 to wrong" in out
    assert out.count("\n== math-nano/test/") == 2 and "right (right), was wrong" in out
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_bounded_by_size_and_by_whole_tasks():
    whole = to_lines(rows(10, 4))
    size = len(whole) // 10
    part = to_lines(rows(10, 4), most=3 * size + size // 2)
    assert part == whole[: len(part)] and part.count(b"\n") == 12
    assert to_lines(rows(1, 4), most=10) == b""
    odd = json.loads(to_lines(rows(1, 1, said='"\r\n\u2028\ud800')))
    assert odd["said"] == '"\r\n\u2028?'


def test_a_part_of_the_responses_is_judged_and_said(folder, kept, cli):
    (folder / FILE).write_bytes(b"".join(kept.splitlines(keepends=True)[:12]))
    code, out, _ = cli("rescore", folder)
    assert code == 0 and "3 tasks (stored, of 8), 12 responses" in out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: data.replace(b"true", b"false"), "not what the record was made from"),
        (lambda data: b"", "not what the record was made from"),
        (lambda data: data[:-30], f"{FILE}:32: not valid JSON"),
        (lambda data: data.replace(b'"said"', b'"sait"', 1), f"{FILE}:1: "),
        (lambda data: data.replace(b'"prompt": "', b'"prompt": "0', 1), f"{FILE}:1: prompt"),
    ],
)
def test_what_is_no_longer_whole_is_refused_in_a_line(folder, kept, cli, change, expected):
    (folder / FILE).write_bytes(change(kept))
    code, out, err = cli("rescore", folder)
    assert (code, out, err.count("\n")) == (2, "", 1) and expected in err


def test_tasks_that_are_not_there_any_more(folder, monkeypatch):
    monkeypatch.setattr(MathNano, "find", lambda self, id: self.task(0, "test"))
    with pytest.raises(PgbenchError, match="is not the task that it was"):
        rescore(pgbench.load(folder))


def test_runs_without_responses(folder, kept, tiny, cli):
    code, _, err = cli("rescore", tiny[0])
    assert code == 2 and "has no verifier" in err and err.count("\n") == 1
    (folder / FILE).unlink()
    code, _, err = cli("rescore", folder)
    assert code == 2 and "--fresh" in err and err.count("\n") == 1
