"""Tasks to judged responses: one turn, or a conversation with the environment's feedback in it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch

from pgbench.errors import Diverged
from pgbench.learning.batches import TokenGroups
from pgbench.lm.engines import Engine, EngineError, Sampling
from pgbench.verify.answers import canonical
from pgbench.worlds.tasks import Message, Task, Verdict

from .model import LanguageModel

CHUNKS = 4  # parts of a batch, so that one is judged while the next is written


@dataclass
class Row:
    """One response as it grows: token ids, who chose them, what was said."""

    task: Task
    prompt: int  # index of the prompt
    talk: tuple[Message, ...]
    tokens: list[int]
    mask: list[float]
    logp: list[float]
    finished: bool = False
    verdict: Verdict | None = None
    said: str = ""


@dataclass(frozen=True)
class Rollout:
    """N judged responses to B prompts, those to one prompt next to each other."""

    prompts: tuple[tuple[int, ...], ...]
    rows: list[Row]
    verdicts: list[Verdict]
    unread: int = 0  # prompts that do not fit into the model's context

    @property
    def generated(self) -> int:
        """Tokens that the policy wrote."""
        return int(sum(sum(row.mask) for row in self.rows))


def respond(
    model: LanguageModel, engine: Engine, env: Any, tasks: Sequence[Task], count: int,
    sampling: Sampling, seed: int,
) -> Rollout:  # fmt: skip
    """`count` judged responses to each task, in up to `env.turns` turns.

    A task whose prompt does not fit into the model's context with a response (`readable`) gets
    empty responses, which are judged as such: what cannot be read is not answered. `unread` of the
    result counts these tasks.

    Raises: EngineError from the engine; Diverged if it draws with probabilities that are NaN.
    """
    prompts = [model.encode(task.messages, env.chat) for task in tasks]
    fits = [len(prompt) + sampling.max_tokens <= model.context for prompt in prompts]
    rows = [
        Row(task, i, task.messages, [], [], [])
        for i, task in enumerate(tasks)
        for _ in range(count)
    ]
    width = len(tasks)
    if getattr(env, "slow_verifier", False):
        width = max(1, -(-len(tasks) // CHUNKS))
    with ThreadPoolExecutor(1) as judge:
        waiting: list[tuple[list[Row], Future[list[Verdict]]]] = []
        for at in range(0, len(tasks), width):
            part = rows[at * count : (at + width) * count]
            asked = [i for i in range(at, min(at + width, len(tasks))) if fits[i]]
            if asked:
                out = engine.generate([prompts[i] for i in asked], count, sampling, seed + at)
                _add([row for row in part if fits[row.prompt]], out)
            waiting.append((part, judge.submit(_verify, env, part)))
        for part, judged in waiting:
            _judge(part, judged.result())
    for turn in range(1, env.turns):
        open_rows = [(row, _reply(env, row)) for row in rows if fits[row.prompt]]
        going = [(row, reply) for row, reply in open_rows if reply is not None]
        if not going:
            break
        going_on = [
            row
            for row, reply in going
            if _say(model, env, row, reply, len(prompts[row.prompt]) + sampling.max_tokens)
        ]
        if not going_on:
            break
        said = [[*prompts[row.prompt], *row.tokens] for row in going_on]
        _add(going_on, engine.generate(said, 1, sampling, seed + 1_000_003 * turn))
        _judge(going_on, _verify(env, going_on))
    verdicts = [row.verdict for row in rows if row.verdict is not None]
    assert len(verdicts) == len(rows)
    return Rollout(tuple(tuple(p) for p in prompts), rows, verdicts, fits.count(False))


def retried(ask: Callable[[], Rollout], restart: Callable[[], None]) -> Rollout:
    """What `ask` returns, after a restart if its engine died the first time.

    Raises: EngineError if it dies again.
    """
    try:
        return ask()
    except EngineError:
        restart()
        return ask()


def _verify(env: Any, rows: Sequence[Row]) -> list[Verdict]:
    verdicts: list[Verdict] = env.verify([row.task for row in rows], [row.said for row in rows])
    return verdicts


def _add(rows: Sequence[Row], out: Any) -> None:
    """Append what the engine wrote.

    Raises: Diverged if the probabilities that it drew from were NaN.
    """
    if out.logp.isnan().any():
        raise Diverged("the model's probabilities are NaN")
    lengths = out.lengths.tolist()
    tokens, logps, finished = out.tokens.tolist(), out.logp.tolist(), out.finished.tolist()
    for i, row in enumerate(rows):
        n = lengths[i]
        row.tokens += tokens[i][:n]
        row.mask += [1.0] * n
        row.logp += logps[i][:n]
        row.finished, row.said = finished[i], out.texts[i]


def _judge(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> None:
    for row, verdict in zip(rows, verdicts, strict=True):
        row.verdict = verdict
        row.talk = (*row.talk, Message("assistant", row.said))


def _reply(env: Any, row: Row) -> Message | None:
    if row.talk[-1].role != "assistant":  # its conversation was cut off by the context
        return None
    reply: Message | None = env.reply(row.task, row.talk, row.verdict)
    return reply


def _say(model: LanguageModel, env: Any, row: Row, reply: Message, others: int) -> bool:
    """Append what the environment said: valid tokens that the policy did not choose.

    Nothing is said, and the conversation ends, where with so many other tokens it would be more
    than the model reads.
    """
    words = model.encode_reply(row.talk, reply, env.chat, row.tokens)
    row.talk = (*row.talk, reply)
    if others + len(row.tokens) + len(words) > model.context:
        return False
    row.tokens += words
    row.mask += [0.0] * len(words)
    row.logp += [0.0] * len(words)
    return True


def batch_of(rollout: Rollout, limit: int, greedy: torch.Tensor | None = None) -> TokenGroups:
    """The rollout as tensors; prompts keep their order, and so do the rows."""
    rows, verdicts = rollout.rows, rollout.verdicts
    length = max(1, *(len(row.tokens) for row in rows))
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    mask, logp = torch.zeros(len(rows), length), torch.zeros(len(rows), length)
    for i, row in enumerate(rows):
        n = len(row.tokens)
        tokens[i, :n] = torch.tensor(row.tokens)
        mask[i, :n] = torch.tensor(row.mask)
        logp[i, :n] = torch.tensor(row.logp)
    sizes = torch.tensor([len(row.tokens) for row in rows])
    names = sorted({name for verdict in verdicts for name in verdict.parts})
    parts = [[verdict.parts.get(name, 0.0) for name in names] for verdict in verdicts]
    reward = torch.tensor([verdict.reward for verdict in verdicts], dtype=torch.float32)
    return TokenGroups(
        prompts=rollout.prompts,
        tokens=tokens,
        valid=torch.arange(length) < sizes[:, None],
        mask=mask,
        group=torch.tensor([row.prompt for row in rows]),
        reward=reward,
        correct=torch.tensor([verdict.correct for verdict in verdicts]),
        parts=torch.tensor(parts) if names else reward[:, None],
        finished=torch.tensor([row.finished for row in rows]),
        rollout_logp=logp,
        limit=limit,
        part_names=tuple(names),
        greedy=greedy,
        answers=numbered([verdict.answer for verdict in verdicts]),
    )


def coined(batch: TokenGroups, seed: int) -> TokenGroups:
    """The batch as the random-reward control has it: a fair coin for each response.

    The coin stands wherever an algorithm may look for what the verifier said: `reward`, `correct`,
    every part, and the rewards of greedy responses. Answers and lengths are the policy's, and stay.
    """
    rng = random.Random(seed)

    def coins(count: int) -> torch.Tensor:
        return torch.tensor([float(rng.getrandbits(1)) for _ in range(count)])

    coin = coins(len(batch))
    return replace(
        batch,
        reward=coin,
        correct=coin > 0,
        parts=coin[:, None].repeat(1, batch.parts.shape[1]),
        greedy=None if batch.greedy is None else coins(len(batch.greedy)),
    )


def numbered(answers: Sequence[str | None]) -> torch.Tensor | None:
    """Numbers of the answers by value and as written, (N, 2); None if there are none to be had."""
    if any(answer is None for answer in answers):
        return None
    seen: dict[str, int] = {}
    pairs = [(canonical(answer or ""), answer or "") for answer in answers]
    return torch.tensor([[seen.setdefault(text, len(seen)) for text in pair] for pair in pairs])


def readable(model: LanguageModel, env: Any, tasks: Sequence[Task], limit: int) -> list[Task]:
    """The tasks whose prompts fit into the model's context with a response of `limit` tokens."""
    room = model.context - limit
    return [task for task in tasks if len(model.encode(task.messages, env.chat)) <= room]
