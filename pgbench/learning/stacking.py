"""Seeds of one algorithm that learn together: `torch.vmap` over their flat vectors.

The update of one seed is written once, in the algorithm. Here it runs once for N seeds: under
`torch.vmap` every tensor of `state` and of the batch stands for N of them, and each function that
the algorithm gave to `compiled` is called once with all N. Random numbers come from each seed's
own generator, outside the vmapped functions, so a seed draws what it draws alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from pgbench.learning.algorithm import Algorithm
from pgbench.learning.ops.draws import Draw
from pgbench.learning.optim import as_copies
from pgbench.learning.outside import outside
from pgbench.learning.policy import Policy
from pgbench.worlds import checks

Acting = tuple[Callable[..., Any], list[Draw]]


class Together:
    """N algorithms of one class and config, one a seed, whose tensors are rows of common ones.

    `lead` is one more instance, made with `Setup.stacked`: it learns and acts for all.
    """

    def __init__(self, algorithms: Sequence[Algorithm], lead: Algorithm) -> None:
        self.algorithms, self.lead = tuple(algorithms), lead
        names = algorithms[0].state
        self.state = {n: torch.stack([one.state[n] for one in algorithms]) for n in names}
        for i, one in enumerate(algorithms):
            one.state = {name: rows[i] for name, rows in self.state.items()}
        self.lanes = torch.arange(len(algorithms), device=lead.device)
        self._acting: Acting | None = None
        self.lane = self.lanes  # of the seed at work, under vmap
        lead.drawn = self._drawn  # type: ignore[method-assign]

    def _drawn(self, draw: Draw) -> Tensor:
        """One draw of each seed's own generator."""
        out: Tensor = outside(lambda _: self._each(draw))(self.lane)
        return out

    def _each(self, draw: Draw) -> Tensor:
        return torch.stack([draw(one.rng) for one in self.algorithms])

    def _as_one(self, fn: Callable[..., Any], *args: Any) -> Any:
        """`fn` of one seed's tensors, for all seeds' `args` (N, ...), on the common state."""
        return self._on(self.state, fn, *args)

    def _on(self, state: dict[str, Tensor], fn: Callable[..., Any], *args: Any) -> Any:

        def one(state: dict[str, Tensor], lane: Tensor, args: Any) -> Any:
            self.lead.state, self.lane = state, lane
            return fn(*args)

        with torch.no_grad(), as_copies():
            return torch.vmap(one)(state, self.lanes, args)

    def act(self, seen: Tensor, policy: Policy) -> Tensor:
        """Actions (N, n, ...) of exploring seeds for what they see (N, n, d).

        `policy` is the lead's. Raises: Breach, as its `act` does.
        """
        if self._acting is None:
            self._acting = self._traced(seen, policy)
        act, draws = self._acting
        out: Tensor = act(self.state, seen, [self._each(draw) for draw in draws])
        return out

    def _traced(self, seen: Tensor, policy: Policy) -> Acting:
        """`act` of all seeds as plain operations on stacks, and what it draws before.

        A policy acts at every step of the environments: `torch.vmap` around each call would take
        longer than the network.
        """
        draws: list[Draw] = []
        given: list[Tensor] = []

        def noted(draw: Draw) -> Tensor:
            draws.append(draw)
            return self._drawn(draw)

        def handed(draw: Draw) -> Tensor:
            return given.pop(0)

        def act(rows: Tensor, noise: list[Tensor]) -> Tensor:
            given[:] = noise
            return policy.act(rows)

        kept = [one.rng.get_state() for one in self.algorithms]
        try:
            self.lead.drawn = noted  # type: ignore[method-assign]
            self._as_one(act, seen, [])
            noise = [self._each(draw) for draw in draws]
            self.lead.drawn = handed  # type: ignore[method-assign]
            traced = make_fx(lambda state, seen, noise: self._on(state, act, seen, noise))(
                self.state, seen, noise
            )
        finally:
            self.lead.drawn = self._drawn  # type: ignore[method-assign]
            for one, state in zip(self.algorithms, kept, strict=True):
                one.rng.set_state(state)
        compiled = self.lead.compile(traced) if self.lead.setup.compile else traced
        return torch.no_grad()(compiled), draws

    def learn(self, batches: Sequence[Any]) -> list[dict[str, Tensor]]:
        """`update` of every seed on its own batch; the metrics of each.

        Raises: Breach, as `pgbench.worlds.checks.learn` does.
        """
        kind = type(batches[0])
        names = [field.name for field in fields(kind)]
        given = {name: torch.stack([getattr(b, name) for b in batches]) for name in names}
        metrics = self._as_one(lambda whole: checks.learn(self.lead, kind(**whole)), given)
        return [{name: rows[i] for name, rows in metrics.items()} for i in range(len(batches))]
