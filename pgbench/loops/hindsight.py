"""The hindsight loop: recorded traces of everything exogenous are replayed under each new policy.

The algorithm gets batches of traces and simulates them itself; there is no stepping of
environments in training. Held-out traces choose among the policies that training passes through;
the evaluation's traces are others again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Algorithm
from pgbench.learning.policy import Policy
from pgbench.loops.base import Episodes, Loop, Phase
from pgbench.settings.ranges import Count
from pgbench.worlds import checks
from pgbench.worlds.network import Traces

LOOK = "dev_cost"  # name of the metric that `validate` gives
CHUNK = 10  # updates a phase: seconds at most between chances to save


class Hindsight(Loop):
    """Needs of the algorithm:

    `update(traces)` learns from a batch; `validate(traces, warm_up)` returns the mean cost on
    held-out traces and keeps the best parameters so far.
    """

    needs: ClassVar[dict[str, Any]] = {
        "traces": Count,
        "batch": Count,
        "dev_traces": Count,
        "dev_every": Count,
    }
    compile_from: ClassVar[int] = 2_000_000
    threads: ClassVar[int] = 1

    def __init__(self, algorithm: Algorithm, env: Any, budget: int, seed: int) -> None:
        c = algorithm.config
        self.train: Traces = env.traces(c.traces, seed, "train").to(algorithm.device)
        self.dev: Traces = env.traces(c.dev_traces, seed + 2, "dev").to(algorithm.device)
        periods, self.warm_up = self.train.periods, env.horizon("dev")[1]
        self.batch = min(c.batch, len(self.train))
        self.cost: int = self.batch * periods  # environment steps an update
        if budget < self.cost:
            raise PgbenchError(
                f"a budget of {budget} is below one update of {self.cost} environment steps "
                f"({self.batch} traces of {periods} periods); raise --budget or lower --set batch"
            )
        self.algorithm, self.env = algorithm, env
        self.budget, self.steps = budget - budget % self.cost, 0
        self.policy = Policy(algorithm, env.single_action_space)
        self.episodes = Episodes(1)
        self.rng = torch.Generator().manual_seed(seed)
        self.per_epoch = len(self.train) // self.batch
        self.order = torch.empty(0, dtype=torch.long)  # what is left of the epoch's permutation

    @staticmethod
    def steps_of(config: Any, budget: int) -> int:
        """Environment steps of a run with that budget at most: what a trace has, the world tells.

        Raises: PgbenchError if it ends before the first update even with traces of one period.
        """
        batch = min(config.batch, config.traces)
        if budget < batch:
            raise PgbenchError(
                f"a budget of {budget} is below one update, which has {batch} traces of a period "
                "or more; raise --budget or lower --set batch"
            )
        return budget

    @property
    def updates(self) -> int:
        """Updates so far."""
        return self.steps // self.cost

    def phases(self) -> Iterator[Phase]:
        """Updates on shuffled traces, with a look at the held-out ones every `dev_every` epochs."""
        every = self.algorithm.config.dev_every * self.per_epoch
        while self.steps < self.budget:
            looks: dict[str, Tensor] = {}  # the chunk's last one, whichever update it followed
            for _ in range(CHUNK):
                metrics = checks.learn(self.algorithm, self.next_batch(), (LOOK,))
                self.steps += self.cost
                last = self.steps == self.budget
                if self.updates % every == 0 or last:
                    looks = {LOOK: self.validate()}
                if last:
                    break
            yield Phase("update", {**metrics, **looks})

    def validate(self) -> Tensor:
        """The algorithm's cost on the held-out traces, per store and period."""
        algorithm = self.algorithm
        cost = algorithm.validate(self.dev, self.warm_up)  # type: ignore[attr-defined]
        return checks.scalar(f"{type(algorithm).__name__}.validate", LOOK, cost, algorithm.device)

    def next_batch(self) -> Traces:
        """The next samples of a permutation that is drawn anew every epoch."""
        if self.batch == len(self.train):
            return self.train
        if len(self.order) < self.batch:
            self.order = torch.randperm(len(self.train), generator=self.rng)
        index, self.order = self.order[: self.batch], self.order[self.batch :]
        return self.train.pick(index.to(self.algorithm.device))

    def state_dict(self) -> dict[str, Any]:
        """Generator, counter and the rest of the permutation; the traces follow from the seed."""
        return {"steps": self.steps, "rng": self.rng.get_state(), "order": self.order.clone()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.steps, self.order = saved["steps"], saved["order"]
        self.rng.set_state(saved["rng"])
