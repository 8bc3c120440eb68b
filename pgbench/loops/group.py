"""The group loop: prompts, several responses to each, verdicts, one update.

One step of the budget is one round of generation: `prompts` prompts with `group` responses each. An
algorithm that refuses some of them (`keep`) gets others in further rounds, which count.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import group_mean, is_constant, masked_mean
from pgbench.lm.engines import EngineError
from pgbench.lm.evaluation import held_out
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rollout import Rollout, batch_of, coined, readable, respond, retried
from pgbench.loops.base import Episodes, Loop, Phase
from pgbench.loops.history import History
from pgbench.settings.ranges import Count, Natural, Positive
from pgbench.worlds import checks
from pgbench.worlds.tasks import Task

TOO_LONG = "too_long"  # name of the metric that counts prompts which the model cannot read
TRIES = 20  # draws in which a step's prompts must be found


class Group(Loop):
    """Needs of the algorithm: `GroupAlgorithm`'s hooks; its config is best a `GroupConfig`."""

    needs: ClassVar[dict[str, Any]] = {
        "model": str,
        "prompts": Count,
        "group": Count,
        "temperature": Positive,
        "max_tokens": Natural,
    }
    compile_from: ClassVar[int] = 2**62  # sequences differ in length from step to step

    @staticmethod
    def threads(config: Any) -> int:
        """One for a nano model, whose matrices are too small to share; all for others."""
        return 1 if config.model.startswith("nano") else 0

    @staticmethod
    def steps_of(config: Any, budget: int) -> int:
        """Rounds of a run with that budget: all of it."""
        return budget

    def __init__(self, algorithm: GroupAlgorithm, env: Any, budget: int, seed: int) -> None:
        held_out(env, [0])  # without a test task there is no score: said now, not after training
        self.algorithm, self.env = algorithm, env
        self.budget, self.steps = budget, 0
        self.rng = random.Random(seed)
        self.policy = algorithm.policy()
        self.episodes = Episodes(1)
        self.history = History(algorithm.watched)
        self.counts = {"samples": 0, "generated_tokens": 0, "trained_tokens": 0, "timeouts": 0}
        self.too_long = 0  # prompts that were passed over, because the model cannot read them

    def phases(self) -> Iterator[Phase]:
        """A batch of groups and an update on it, until the budget is spent."""
        while self.steps < self.budget:
            batch, metrics = self.collect()
            algorithm = self.algorithm
            if len(batch):
                before = algorithm.trained_tokens
                taken = (*metrics, *self.counts, TOO_LONG)
                metrics |= on_cpu(checks.learn(algorithm, algorithm.shape(batch), taken))
                self.counts["trained_tokens"] += algorithm.trained_tokens - before
                try:
                    algorithm.engine.sync()
                except EngineError:
                    algorithm.restart_engine()  # the next one begins with the new weights
            self.history.add(metrics)
            for name, value in self.counts.items():
                metrics[name] = torch.tensor(float(value), dtype=torch.float64)
            if self.too_long:
                metrics[TOO_LONG] = torch.tensor(float(self.too_long))
            yield Phase("update", metrics)

    def collect(self) -> tuple[TokenGroups, dict[str, Tensor]]:
        """Rounds of generation until the algorithm has its prompts, and what to log of them."""
        c = self.algorithm.config
        rounds = getattr(c, "max_rounds", 1)
        kept: list[TokenGroups] = []
        seen: list[TokenGroups] = []
        coins: list[Tensor] = []  # rewards of the control (pgbench/worlds/tasks.py)
        count, coin = 0, getattr(self.env, "reward", "") == "random"
        while count < c.prompts and len(seen) < rounds and self.steps < self.budget:
            batch = self.round()
            self.steps += 1
            seen.append(batch)
            if coin:
                batch = coined(batch, self.rng.getrandbits(48))
                coins.append(batch.reward)
            keep = self.algorithm.keep(batch)
            part = batch if keep is None else some_prompts(batch, keep, c.prompts - count)
            kept.append(part)
            count += len(part.prompts)
        # Of the control, too, accuracy is logged as the verifier sees it.
        first = describe(joined(seen), torch.cat(coins) if coin else None)
        self.episodes.recent.append(float(first["reward"]))
        return joined(kept), {**first, "rounds": torch.tensor(float(len(seen)))}

    def round(self) -> TokenGroups:
        """One round: prompts, responses, verdicts."""
        c, algorithm = self.algorithm.config, self.algorithm
        sampling = algorithm.sampling()
        tasks = self.tasks(c.prompts, sampling.max_tokens)
        rollout = self.ask(tasks, c.group, sampling, self.rng.getrandbits(48))
        greedy = None
        if algorithm.greedy:
            best = self.ask(tasks, 1, algorithm.sampling(explore=False), 0)
            greedy = torch.tensor([verdict.reward for verdict in best.verdicts])
        return batch_of(rollout, sampling.max_tokens * self.env.turns, greedy)

    def tasks(self, count: int, limit: int) -> list[Task]:
        """`count` tasks that the model can read, fewer if `TRIES` draws do not find so many.

        Those that do not fit into its context with a response of `limit` tokens are counted and
        others drawn in their place, so that one of them does not end a run.

        Raises: PgbenchError if none fits.
        """
        algorithm = self.algorithm
        found: list[Task] = []
        for _ in range(TRIES):
            drawn = algorithm.choose(self.env, count - len(found), self.rng)
            fit = readable(algorithm.model, self.env, drawn, limit)
            self.too_long += len(drawn) - len(fit)
            found += fit
            if len(found) >= count:
                return found
        if not found:
            sizes = [len(algorithm.model.encode(task.messages, self.env.chat)) for task in drawn]
            raise PgbenchError(
                f"no prompt fits: the shortest of {len(drawn)} has {min(sizes)} tokens; with a "
                f"response of up to {limit} it exceeds the {algorithm.model.context} that "
                f"{algorithm.model.path.name} reads; lower --set max_tokens or take another model"
            )
        return found

    def ask(self, tasks: Sequence[Task], count: int, sampling: Any, seed: int) -> Rollout:
        """Judged responses; an engine that dies is built anew and asked once more."""
        algorithm = self.algorithm

        def once() -> Rollout:
            return respond(
                algorithm.model, algorithm.engine, self.env, tasks, count, sampling, seed
            )

        rollout = retried(once, algorithm.restart_engine)
        self.counts["samples"] += len(rollout.rows)
        self.counts["generated_tokens"] += rollout.generated
        self.counts["timeouts"] += sum(verdict.timed_out for verdict in rollout.verdicts)
        return rollout

    def summary(self) -> dict[str, float]:
        """Figures of the whole run for its record: those of `History`, and what it cost.

        Where prompts were too long for the model: how many were passed over in training
        (too_long), and in the last evaluation, where they count as wrong (too_long_test).
        """
        tokens = {name: float(self.counts[name]) for name in ("trained_tokens", "generated_tokens")}
        unread = {TOO_LONG: self.too_long, f"{TOO_LONG}_test": self.policy.unread}
        return (
            self.history.summary()
            | tokens
            | {name: float(count) for name, count in unread.items() if count}
        )

    def state_dict(self) -> dict[str, Any]:
        """Generator and counters; between two steps there is no open batch."""
        version, words, gauss = self.rng.getstate()
        return {
            "steps": self.steps,
            "rng": [version, list(words), gauss],
            "counts": dict(self.counts),
            "too_long": self.too_long,
            "history": self.history.state_dict(),
            "episodes": self.episodes.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.steps, self.counts = saved["steps"], dict(saved["counts"])
        self.too_long = saved.get("too_long", 0)
        self.history.load_state_dict(saved["history"])
        version, words, gauss = saved["rng"]
        self.rng.setstate((version, tuple(words), gauss))
        self.episodes.load_state_dict(saved["episodes"])


def on_cpu(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """The metrics of an update, fetched from a device all at once."""
    away = [name for name, value in metrics.items() if value.device.type != "cpu"]
    if away:
        values = torch.stack([metrics[name].float() for name in away]).cpu()
        metrics = metrics | dict(zip(away, values, strict=True))
    return metrics


def some_prompts(batch: TokenGroups, keep: Tensor, limit: int) -> TokenGroups:
    """The batch with the first `limit` prompts that `keep` (B,) names, numbered anew."""
    chosen = keep.nonzero().squeeze(-1)[:limit]
    number = torch.full((len(batch.prompts),), -1)
    number[chosen] = torch.arange(len(chosen))
    part = batch.rows((number[batch.group] >= 0).nonzero().squeeze(-1))
    return replace(
        part,
        prompts=tuple(batch.prompts[i] for i in chosen.tolist()),
        group=number[part.group],
        greedy=None if batch.greedy is None else batch.greedy[chosen],
    )


def joined(batches: Sequence[TokenGroups]) -> TokenGroups:
    """Several batches as one; prompts are numbered through."""
    if len(batches) == 1:
        return batches[0]
    length = max(batch.tokens.shape[1] for batch in batches)

    def wide(name: str) -> Any:
        values = [getattr(batch, name) for batch in batches]
        return torch.cat([torch.nn.functional.pad(x, (0, length - x.shape[1])) for x in values])

    starts = [0]
    for batch in batches:
        starts.append(starts[-1] + len(batch.prompts))
    flat: dict[str, Any] = {
        name: torch.cat([getattr(batch, name) for batch in batches])
        for name in ("reward", "correct", "parts", "finished")
    }
    greedy = [batch.greedy for batch in batches if batch.greedy is not None]
    answers = [batch.answers for batch in batches if batch.answers is not None]
    return TokenGroups(
        prompts=tuple(prompt for batch in batches for prompt in batch.prompts),
        **{name: wide(name) for name in ("tokens", "valid", "mask", "rollout_logp")},
        **flat,
        group=torch.cat([b.group + start for b, start in zip(batches, starts, strict=False)]),
        limit=batches[0].limit,
        part_names=batches[0].part_names,
        greedy=torch.cat(greedy) if greedy else None,
        answers=torch.cat(answers) if answers else None,
    )


def describe(batch: TokenGroups, reward: Tensor | None = None) -> dict[str, Tensor]:
    """What is logged of the responses of a step; `reward` (N,) if training has another one."""
    reward = batch.reward if reward is None else reward
    right = batch.correct.float()
    rate = group_mean(right, batch.group)
    return {
        "reward": reward.mean(),
        "pass@1": right.mean(),
        "pass@k": (rate > 0).float().mean(),
        "all_right": (rate == 1).float().mean(),
        "all_wrong": (rate == 0).float().mean(),
        "same_reward": is_constant(reward, batch.group).float().mean(),
        "length": batch.lengths.mean(),
        "cut_off": (~batch.finished).float().mean(),
        # Not finite if the weights are not: then every response is wrong, and nothing else tells.
        "logp": masked_mean(batch.rollout_logp, batch.mask),
        **({"format": batch.parts[:, batch.part_names.index("format")].mean()}
           if "format" in batch.part_names else {}),
    }  # fmt: skip
