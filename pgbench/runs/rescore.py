"""A language model's final responses, judged again by the verifier as it is now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pgbench.catalogue.capabilities import make
from pgbench.catalogue.fingerprint import golden_of
from pgbench.errors import PgbenchError
from pgbench.runs.responses import FILE, Response, prompt_hash, read_responses
from pgbench.runs.result import Result
from pgbench.statistics.intervals import mean
from pgbench.worlds.tasks import Task, Verdict


@dataclass(frozen=True)
class Rescored:
    """Scores of the stored responses then and now, of each task and as means."""

    tasks: int  # whose responses were stored
    of: int  # all tasks of the final evaluation
    responses: int
    then: list[float]
    now: list[float]
    changed: list[tuple[Task, Response, Verdict]]  # verdicts that are not what they were
    same_environment: bool  # by its fingerprint

    @property
    def differs(self) -> bool:
        """Whether any task has another score."""
        return self.then != self.now

    def text(self, show: int) -> str:
        """What was found, with up to `show` of the verdicts that changed."""
        more = sum(verdict.correct for *_, verdict in self.changed)
        stored = "" if self.tasks == self.of else f" (stored, of {self.of})"
        lines = [
            f"{self.tasks} tasks{stored}, {self.responses} responses; the environment's "
            f"fingerprint {'is what it was' if self.same_environment else 'differs'}",
            f"score then {mean(self.then):.4f}, now {mean(self.now):.4f}; "
            f"{len(self.changed)} verdicts changed: {more} to right, "
            f"{len(self.changed) - more} to wrong",
        ]
        for task, response, verdict in self.changed[:show]:
            was, now = ("right" if correct else "wrong" for correct in
                        (response.correct, verdict.correct))  # fmt: skip
            gold = f"\n-- answer: {task.answer}" if task.answer else ""
            lines.append(
                f"\n== {task.id}\n{task.text}\n-- {now} ({verdict.how}), was {was} "
                f"({response.how}):\n{response.said}{gold}"
            )
        return "\n".join(lines)


def rescore(result: Result) -> Rescored:
    """Judge the stored responses of a finished run again; the run's files stay as they are.

    Raises: PgbenchError if the run is none of a language model or kept no responses, or if these
        are not what its record was made from, or its tasks are not there any more.
    """
    final, env_spec = result.record["result"]["final"], result.env
    if "Verifier" not in env_spec.capabilities:
        raise PgbenchError(f"{result.folder}: {env_spec.id} has no verifier to judge responses")
    if final is None:
        raise PgbenchError(
            f"{result.folder} has no final evaluation (status {result.record['status']}); give its "
            "`pgbench run` command again to finish it"
        )
    if not (result.folder / FILE).is_file():
        raise PgbenchError(
            f"{result.folder} kept no {FILE} (it was made before runs did); `pgbench reproduce`, "
            "or the run's command with --fresh, makes it again"
        )
    found = read_responses(result.folder)
    then = _scores(found, [response.correct for response in found])
    if not found or then != final[: len(then)]:
        raise PgbenchError(
            f"{result.folder / FILE} is not what the record was made from: its verdicts give other "
            "scores; make the run again with --fresh"
        )
    env = make(env_spec, **result.env_kwargs)
    try:
        tasks = [_task(env, response, result) for response in found]
        verdicts: list[Verdict] = env.verify(tasks, [response.said for response in found])
        same = golden_of(env) == result.record["environment"]["golden"]
    finally:
        env.close()
    triples = zip(tasks, found, verdicts, strict=True)
    return Rescored(
        tasks=len(then),
        of=len(final),
        responses=len(found),
        then=then,
        now=_scores(found, [verdict.correct for verdict in verdicts]),
        changed=[(t, r, v) for t, r, v in triples if r.correct != v.correct],
        same_environment=same,
    )


def _scores(responses: list[Response], right: list[bool]) -> list[float]:
    """The share of right responses to each task, in the order of the file."""
    by_task: dict[str, list[bool]] = {}
    for response, correct in zip(responses, right, strict=True):
        by_task.setdefault(response.task, []).append(correct)
    return [sum(flags) / len(flags) for flags in by_task.values()]


def _task(env: Any, response: Response, result: Result) -> Task:
    try:
        task: Task | None = env.find(response.task)
    except (LookupError, ValueError, PgbenchError):
        task = None
    if task is None or prompt_hash(task) != response.prompt:
        raise PgbenchError(
            f"{result.folder}: {response.task} is not the task that it was (other data, or another "
            "version of what makes the tasks), so its responses cannot be judged again"
        )
    return task
