"""What policies order for one store with lost sales, and what simple ones cost, exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgbench.errors import PgbenchError

Ints = NDArray[np.int64]
Orders = Callable[[Ints], NDArray[Any]]  # inventories (n, L) -> orders (n,)


@dataclass(frozen=True)
class Curves:
    """What policies order for `on_hand` units on hand, one entry a pipeline (units on the way)."""

    title: str
    on_hand: Ints
    pipelines: list[tuple[int, ...]]
    learned: list[NDArray[Any]]
    optimal: list[Ints]
    base: tuple[int, float]  # level S and its gap in percent
    capped: tuple[int, int, float]  # level S, cap and their gap in percent
    # Share of the periods with this pipeline under the optimal policy, and the range of on hand
    # that holds 98% of them; None where it never comes.
    visits: list[tuple[float, int, int] | None]


@dataclass(frozen=True)
class LostSales:
    """The Markov chain of one store with Poisson demand and lost sales under a policy."""

    mean: float
    penalty: float
    holding: float
    lead: int

    def visits(self, orders: Orders) -> tuple[Ints, NDArray[np.float64]]:
        """Inventories (n, L) that are reached from nothing, and the share of time in each (n,)."""
        from scipy.sparse import csr_array
        from scipy.stats import poisson

        states = new = np.zeros((1, self.lead), np.int64)
        while len(new):
            known = len(states)
            new = np.unique(self._after(new, orders)[0], axis=0)
            states = np.unique(np.concatenate([states, new]), axis=0)
            new = new if len(states) > known else new[:0]
        after, start, sold = self._after(states, orders)
        chance = poisson.pmf(sold, self.mean)
        out = sold == states[start, 0]
        chance[out] = poisson.sf(sold[out] - 1, self.mean)
        _, index = np.unique(np.concatenate([states, after]), axis=0, return_inverse=True)
        target = index[len(states) :]  # states are sorted, as what np.unique returns
        move = csr_array((chance, (target, start)), shape=(len(states), len(states)))
        share = np.full(len(states), 1 / len(states))
        for _ in range(10_000):
            last, share = share, move @ share
            if np.abs(share - last).sum() < 1e-12:
                break
        return states, share

    def _after(self, states: Ints, orders: Orders) -> tuple[Ints, Ints, Ints]:
        """Every possible next state (m, L), the row it follows (m,) and the units sold (m,)."""
        row, sold = np.nonzero(np.arange(states[:, 0].max() + 1) <= states[:, :1])
        pipeline = np.column_stack([states[:, 1:], orders(states)])[row]
        stock = states[row, 0] - sold + pipeline[:, 0]
        return np.column_stack([stock, pipeline[:, 1:]]).astype(np.int64), row, sold

    def cost(self, orders: Orders) -> float:
        """Long-run average cost of a period."""
        from scipy.stats import poisson

        states, share = self.visits(orders)
        stock = states[:, 0]
        units = np.arange(stock.max() + 1)
        served = np.cumsum(poisson.sf(units - 1, self.mean)) - 1  # E min(stock, D)
        paid = self.holding * (stock - served[stock]) + self.penalty * (self.mean - served[stock])
        return float(share @ paid)


def base_stock(level: int, cap: int | None = None) -> Orders:
    """Order up to `level`, at most `cap`."""
    return lambda held: np.clip(level - held.sum(1), 0, cap)


def best(cost: Callable[[tuple[int, ...]], float], start: tuple[int, ...]) -> tuple[Any, ...]:
    """The numbers from which no step of one (in any of them at once) lowers the cost; and it."""
    seen: dict[tuple[int, ...], float] = {}
    moves = np.stack(np.meshgrid(*[[-1, 0, 1]] * len(start)), -1).reshape(-1, len(start))
    here = start
    while True:
        near = [tuple(int(x) for x in np.maximum(np.array(here) + move, 1)) for move in moves]
        seen |= {at: cost(at) for at in near if at not in seen}
        next_ = min(near, key=lambda at: seen[at])
        if seen[next_] >= seen[here]:
            return *here, seen[here]
        here = next_


def curves(env: Any, policy: Callable[[Any], Any], title: str) -> Curves:
    """What `policy` orders in `env`, beside the optimal policy and the best of two heuristics.

    Raises: PgbenchError for another setting than one store with lost sales.
    """
    import torch

    n = env.network
    if n.upstream or n.stores != 1 or not n.lost or not n.integer or not hasattr(env, "guide"):
        raise PgbenchError("orders need a run on one-store-lost-sales; give another run")
    lead = n.edges[0].lead
    chain = LostSales(n.mean[0], n.penalty[0], n.holding[0], lead)
    least = env.optimum.value

    def optimal(held: Ints) -> Ints:
        orders = env.guide.orders(torch.from_numpy(held.T.astype(np.float32)))
        found: Ints = orders[0].numpy().astype(np.int64)
        return found

    usual = round(n.mean[0])
    level, cost = best(lambda at: chain.cost(base_stock(*at)), (usual * (lead + 1),))
    *both, cost_capped = best(lambda at: chain.cost(base_stock(*at)), (level, usual + 2))
    states, share = chain.visits(optimal)
    pipelines = [(q,) * (lead - 1) for q in (0, 4, 8)] if lead > 1 else [()]
    on_hand = np.arange(level + 3)
    learned, exact, visits = [], [], list[tuple[float, int, int] | None]()
    for pipeline in pipelines:
        held = np.column_stack([on_hand, *[np.full_like(on_hand, q) for q in pipeline]])
        obs = np.zeros((len(held), n.size), np.float32)
        obs[:, :lead] = held
        learned.append(np.asarray(policy(obs))[:, 0])
        exact.append(optimal(held))
        at = (states[:, 1:] == np.array(pipeline)).all(1)
        total = float(share[at].sum())
        inside = np.cumsum(share[at]) / total if total > 1e-9 else None
        low, high = (0, 0) if inside is None else np.searchsorted(inside, (0.01, 0.99))
        stock = states[at, 0]
        visits.append(None if inside is None else (total, int(stock[low]), int(stock[high])))
    gaps = [100 * (value / least - 1) for value in (cost, cost_capped)]
    return Curves(
        title, on_hand, pipelines, learned, exact, (level, gaps[0]), (*both, gaps[1]), visits
    )


def curves_of(run: Path) -> Curves:
    """The curves of a finished run."""
    import pgbench

    result = pgbench.load(run)
    env = pgbench.make(result.env, num_envs=1, **result.env_kwargs)
    record = result.record
    name = f"{record['algorithm']['name']} on {record['environment']['id']}"
    name += f", {record['protocol']['budget']:,} steps, seed {record['protocol']['seed']}"
    return curves(env, result.policy, f"{name} (record {record['id'][:8]})")
