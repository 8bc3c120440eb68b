"""A supply network as a batch of environments, as a differentiable simulator, and as a problem."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import Any, Protocol, Unpack

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from pgbench.catalogue.capabilities import Optimum
from pgbench.errors import PgbenchError
from pgbench.settings.ranges import Count, Natural
from pgbench.worlds.batch_env import BatchEnv, Bools, Floats, Info, Options, Rows
from pgbench.worlds.network import Network, Traces

from .demand import Guide
from .simulator import Simulator

TRAIN, DEV = (50, 30), (100, 60)  # periods, and how many of them warm up (the paper's)
MOST = 4.0  # times the mean demand: the largest order of the action box
LIMIT = 100.0  # times the mean demand: the largest order that a supplier takes


class Problem(Protocol):
    """What an environment is made from: a network and its exogenous traces."""

    @property
    def network(self) -> Network:
        """Locations, edges, costs."""
        ...

    def draw(self, rng: np.random.Generator, count: int, periods: int, split: str) -> Traces:
        """`count` samples of `periods` periods."""
        ...


class Inventory(BatchEnv):
    """Base of the family: observations and orders are flat rows, a lane is one sample.

    Observation float32 (n, d): the rows that `network.rows` describes, in units: of each location
    the stock on hand, then what arrives in 1, 2, ... periods.
    Action float32 (n, edges): units ordered on each edge of `network.edges`. Negative orders
    become 0, and where a location's orders exceed its stock they are scaled down together; an
    order above 100 times the mean demand counts as that.
    Reward: minus the cost of the period per store. Episodes are truncated after 50 periods; demand
    of a longer one is drawn in blocks of 50. Recorded weeks end where the recording does.
    """

    default_episode_steps = TRAIN[0]
    render_modes = ()

    def __init__(
        self, num_envs: int, problem: Problem, *, test_periods: Count = 1000,
        warm_up: Natural = 300, returns: bool = False, **options: Unpack[Options],
    ) -> None:  # fmt: skip
        if not 0 <= warm_up < test_periods:
            raise PgbenchError(
                f"test_periods {test_periods} must exceed warm_up {warm_up}: nothing would be "
                "measured"
            )
        if returns and problem.network.upstream:
            raise PgbenchError("returns are for stores that order from outside only; leave it out")
        self.problem, self.network, self.returns = problem, problem.network, returns
        self.horizons = {"train": TRAIN, "dev": DEV, "test": (test_periods, warm_up)}
        n = self.network
        total = sum(n.mean)
        usual = [
            n.mean[e.target - n.upstream] if e.target >= n.upstream else total for e in n.edges
        ]
        high = MOST * np.array(usual, np.float32)
        self._limit = LIMIT * torch.tensor(usual)[:, None]
        low = -high if returns else np.zeros_like(high)
        super().__init__(num_envs, spaces.Box(low, high), render_fps=1, **options)
        self._simulator = Simulator(n)
        self._state = torch.zeros(n.stock, num_envs)
        self._traces: Traces | None = None
        if self.max_episode_steps > self.longest_episode():
            raise PgbenchError(
                f"max_episode_steps takes at most {self.longest_episode()}, the recorded weeks, "
                f"not {self.max_episode_steps}"
            )
        bound = np.full(n.size, np.inf, np.float32)
        self.set_observation_space(spaces.Box(-bound, bound))

    def simulator(self, device: Any = "cpu") -> Simulator:
        """The dynamics as functions of tensors on `device`."""
        return Simulator(self.network, device)

    def horizon(self, split: str) -> tuple[int, int]:
        """Periods of a simulation and of its warm-up, for `train`, `dev` or `test`."""
        return self.horizons[split]

    def traces(self, count: int, seed: int, split: str = "train") -> Traces:
        """`count` samples over the split's horizon, the same for the same seed."""
        rng = np.random.default_rng(seed)
        return self.problem.draw(rng, count, self.horizons[split][0], split)

    # The vector environment.

    def observe(self, rows: Rows) -> Floats:
        """See the class."""
        assert self._traces is not None
        picked = np.arange(self.num_envs)[rows]
        parts = [self._state[:, picked].T]
        # Lanes may be in different periods of their episodes.
        elapsed = self._elapsed[picked]
        for t in np.unique(elapsed).tolist():
            rest = self._simulator.context(self._traces, min(t, self._traces.periods - 1))
            if rest is None:
                break
            here = np.flatnonzero(elapsed == t)
            if len(parts) == 1:
                parts.append(torch.empty(len(picked), len(rest)))
            parts[1][here] = rest[:, picked[here]].T
        observed: Floats = torch.cat(parts, 1).numpy()
        return observed

    def advance(self, actions: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        self._lengthen()
        assert self._traces is not None
        sim = self._simulator
        wanted = torch.from_numpy(actions.astype(np.float32)).T
        orders = self.admissible(self._state, wanted, sim)
        at = torch.from_numpy(self._elapsed % self._traces.periods) + self._traces.shift
        demand = self._traces.demand[at, :, torch.arange(self.num_envs)].T
        self._state, cost = sim.step(self._state, orders, demand, sim.fixed(self._traces))
        rewards = -cost.double().numpy() / self.network.stores
        return rewards, np.zeros(self.num_envs, np.bool_), {"cost": -rewards}

    def admissible(
        self, state: torch.Tensor, orders: torch.Tensor, simulator: Simulator
    ) -> torch.Tensor:
        """Orders (edges, B) as they are carried out: feasible, limited, whole where units are.

        Without the limit, a policy that orders the more the more it has would reach infinity.
        """
        orders = torch.minimum(orders, self._limit.to(orders))
        orders = orders.round() if self.network.integer else orders
        return simulator.feasible(state, orders, self.returns)

    def restart(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """Draw a new trace for each lane of `ids`."""
        drawn = self._draw(rngs)
        index = torch.from_numpy(ids)
        if self._traces is None:
            self._traces = drawn[0].pick(torch.zeros(self.num_envs, dtype=torch.long))
        for name in ("demand", "start"):
            new = torch.cat([getattr(d, name) for d in drawn], -1)
            getattr(self._traces, name)[..., index] = new
        for key, value in self._traces.fixed.items():
            value[..., index] = torch.cat([d.fixed[key] for d in drawn], -1)
        self._state[:, index] = self._traces.start[:, index]

    def _draw(self, rngs: list[np.random.Generator]) -> list[Traces]:
        """A trace from each generator: one block, or of a recording the whole episode.

        And the week after it, which the last observation shows, where there is one.
        """
        recorded = self.longest_episode()
        length = min(self.max_episode_steps + 1, recorded)
        if recorded == sys.maxsize:
            length = self.default_episode_steps
        return [self.problem.draw(rng, 1, length, "train") for rng in rngs]

    def _lengthen(self) -> None:
        """Draw the next block of demand for the lanes that have used theirs up."""
        assert self._traces is not None
        periods = self._traces.periods
        if self._elapsed.max() < periods:
            return
        ids = ((self._elapsed > 0) & (self._elapsed % periods == 0) & ~self._over).nonzero()[0]
        for i in ids.tolist():
            rng = self._rngs[i]
            assert rng is not None
            self._traces.demand[..., i] = self._draw([rng])[0].demand[..., 0]

    def longest_episode(self) -> int:
        """The recorded periods; where demand is drawn there is no end."""
        recorded: int | None = getattr(self.problem, "recorded", None)
        return sys.maxsize if recorded is None else recorded

    def save(self) -> Info:
        """See `BatchEnv`."""
        t = self._traces
        held = None if t is None else {
            "demand": t.demand.numpy().copy(), "start": t.start.numpy().copy(),
            "fixed": {k: v.numpy().copy() for k, v in t.fixed.items()}, "shift": t.shift,
            "clock": None if t.clock is None else t.clock.numpy().copy(),
        }  # fmt: skip
        return {"state": self._state.numpy().copy(), "traces": held}

    def load(self, state: Info) -> None:
        """See `BatchEnv`."""
        self._state = torch.from_numpy(np.array(state["state"]))
        t = state["traces"]
        if t is not None:
            clock = None if t["clock"] is None else _tensor(t["clock"])
            fixed = {key: _tensor(value) for key, value in t["fixed"].items()}
            self._traces = Traces(
                _tensor(t["demand"]), _tensor(t["start"]), fixed, clock, t["shift"]
            )

    def render(self) -> None:
        """There is nothing to draw."""


class Solved(Inventory):
    """An inventory problem whose optimal cost, or a lower bound on it, is known."""

    @cached_property
    def optimum(self) -> Optimum:
        """Cost per store and period of the best policy; exact methods, computed once."""
        solve = getattr(self.problem, "optimum", None)
        assert solve is not None
        found: Optimum = solve()
        return found

    @cached_property
    def guide(self) -> Guide:
        """A good policy whose expected cost is known: the optimal one, but where only a bound is.

        Computed on first use; may take seconds.
        """
        make = getattr(self.problem, "guide", None)
        assert make is not None
        found: Guide = make()
        return found


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))
