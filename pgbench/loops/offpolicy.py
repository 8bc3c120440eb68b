"""The off-policy loop: every environment step goes to a replay buffer and pays for one update."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Algorithm
from pgbench.learning.batches import Replay, Transitions
from pgbench.learning.policy import Policy
from pgbench.loops.base import Episodes, Loop, Phase, lane_seeds
from pgbench.settings.ranges import Count, Natural
from pgbench.worlds import checks

CHUNK = 200  # environment steps a phase: about two seconds between chances to save


class OffPolicy(Loop):
    """`start` random steps, then an update a step, on `batch` of the last `buffer` transitions."""

    needs: ClassVar[dict[str, Any]] = {
        "num_envs": Count,
        "buffer": Count,
        "batch": Count,
        "start": Natural,
    }
    compile_from: ClassVar[int] = 5_000
    threads: ClassVar[int] = 0

    def __init__(self, algorithm: Algorithm, env: Any, budget: int, seed: int) -> None:
        c = algorithm.config
        self.steps_of(c, budget)
        self.algorithm, self.env, self.budget = algorithm, env, budget
        self.steps = 0
        d, a = algorithm.setup.box_dims
        self.replay = Replay(min(c.buffer, budget + c.num_envs), d, a, algorithm.device)
        self.policy = Policy(algorithm, env.single_action_space)
        self.episodes = Episodes(c.num_envs)
        self.rng = torch.Generator().manual_seed(seed)
        self.act_dim = a
        self.obs = checks.reset(env, lane_seeds(seed, c.num_envs))

    @staticmethod
    def steps_of(config: Any, budget: int) -> int:
        """Environment steps of a run with that budget.

        Raises: PgbenchError if it ends before the first update.
        """
        if budget <= config.start:
            raise PgbenchError(
                f"a budget of {budget} ends before learning begins: the first {config.start} steps "
                "are random actions; raise --budget or lower --set start"
            )
        return budget

    def phases(self) -> Iterator[Phase]:
        """Chunks of (act, store, update) until the budget is spent."""
        c = self.algorithm.config
        while self.steps < self.budget:
            metrics: dict[str, Tensor] = {}
            until = min(self.steps + CHUNK, self.budget)
            while self.steps < until:
                self.interact(random=self.steps < c.start)
                self.steps += c.num_envs
                if self.steps <= c.start:
                    continue
                for _ in range(c.num_envs):
                    metrics = checks.learn(self.algorithm, self.draw())
            yield Phase("update" if metrics else "collect", metrics)

    @torch.no_grad()
    def interact(self, random: bool) -> None:
        """One step of every environment into the buffer; `random` acts uniformly over the box."""
        seen = self.policy.see(self.obs)
        action = self.random_action() if random else self.policy.act(seen)
        step = checks.step(self.env, self.policy.to_env(action))
        self.keep(seen, action, step)
        self.obs = step.obs

    def random_action(self) -> Tensor:
        """Actions (n, a), uniform over the box."""
        shape = self.algorithm.config.num_envs, self.act_dim
        action = torch.rand(*shape, generator=self.rng) * 2 - 1
        return action.to(self.algorithm.device)

    def draw(self) -> Transitions:
        """A batch from the buffer, uniform with replacement."""
        size = (self.algorithm.config.batch,)
        index = torch.randint(self.replay.size, size, generator=self.rng)
        return self.replay.draw(index.to(self.algorithm.device))

    def keep(self, seen: Tensor, action: Tensor, step: checks.Step) -> None:
        """One step of every environment into the buffer."""
        rest = np.concatenate(
            [step.reward[:, None], step.next_obs, step.terminated[:, None]], 1, dtype=np.float32
        )
        rows = torch.from_numpy(rest).to(self.algorithm.device)
        self.replay.add(torch.cat([seen, action, rows], 1))
        self.episodes.add(step.reward, step.done)

    def state_dict(self) -> dict[str, Any]:
        """Environment, generator, counters and the filled part of the buffer."""
        return {
            "env": self.env.state_dict(),
            "obs": torch.from_numpy(np.array(self.obs)),
            "steps": self.steps,
            "rng": self.rng.get_state(),
            "episodes": self.episodes.state_dict(),
            "head": self.replay.head,
            # A clone, because torch.save would write the whole storage behind a view.
            "rows": self.replay.rows[: self.replay.size].clone(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.env.load_state_dict(saved["env"])
        self.obs = saved["obs"].numpy()
        self.steps = saved["steps"]
        self.rng.set_state(saved["rng"])
        self.episodes.load_state_dict(saved["episodes"])
        self.replay.head, self.replay.size = saved["head"], len(saved["rows"])
        self.replay.rows[: self.replay.size] = saved["rows"].to(self.algorithm.device)
