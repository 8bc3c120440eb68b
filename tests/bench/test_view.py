"""The live table shows every run of a suite; without a terminal there is a line for each end."""

import json

from rich.console import Console

from pgbench.bench.job import Job
from pgbench.bench.schedule import Task
from pgbench.bench.view import Lines, Table
from pgbench.records.suite import read_suite


def tasks_of(suite_file, tmp_path):
    tasks = []
    for cell in read_suite(suite_file()).cells():
        folder = tmp_path / f"{cell.track.name}-{cell.entry.label}-{cell.env.id}-{cell.seed}"
        job = Job(cell.entry.algo, cell.env.id, cell.seed, cell.track.budget, str(tmp_path))
        tasks.append(Task(cell, job, folder, ("", cell.seed)))
    return tasks


def test_table_has_a_sign_for_every_run(suite_file, tmp_path):
    tasks = tasks_of(suite_file, tmp_path)
    first, second, third = (t for t in tasks if t.cell.entry.label == "ppo, fast" and
                            t.cell.env.id == "toy")  # fmt: skip
    first.state, first.score = "finished", 12.0
    second.state, second.note = "failed", "diverged: kl not finite"
    third.state = "running"
    third.folder.mkdir()
    (third.folder / "events.jsonl").write_text(json.dumps({"kind": "train", "step": 420}) + "\n")
    assert third.progress() == 0.42
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(Table("Toys", console).render(tasks))
    text = console.export_text()
    line = next(line for line in text.splitlines() if "ppo, fast" in line and "toy" in line)
    assert "■×4" in line and "2/3" in line and "12.0" in line
    assert "2 of 13 runs ended" in text and "diverged: kl not finite" in text


def test_progress_of_a_torn_or_missing_log_is_nothing(suite_file, tmp_path):
    task = tasks_of(suite_file, tmp_path)[0]
    assert task.progress() == 0.0
    task.folder.mkdir()
    for text in ('{"kind": "tra', "[1]", "7", "", '{"step": null}', '{"step": 1e400}', "[" * 5000):
        (task.folder / "events.jsonl").write_text(text)
        assert task.progress() == 0.0, text


def test_lines_say_each_end_once(suite_file, tmp_path):
    tasks, said = tasks_of(suite_file, tmp_path), []
    view = Lines(said.append)
    tasks[0].state = "finished"
    view(tasks)  # what had ended before is not news
    assert said == []
    tasks[1].state, tasks[1].score = "finished", 1234.5
    view(tasks)
    view(tasks)
    assert said == ["2/13 ppo, fast on toy, seed 0: finished 1,234.5"]
