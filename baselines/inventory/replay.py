"""Replaying recorded traces under a policy: what the algorithms of the family share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pgbench.worlds.network import Traces

from .policies import OrderPolicy

Policy = OrderPolicy | Callable[[Tensor, Tensor], Tensor]
Segment = Callable[..., tuple[Tensor, Tensor]]


def segment(sim: Any, pi: Policy) -> Segment:
    """A function (theta, state, demand, rest, fixed) of the state before some periods.

    It gives the state (R, B) after them and the cost of each, summed over the batch, (periods,).
    """

    def replay(
        theta: Tensor, state: Tensor, demand: Tensor, rest: Tensor | None, fixed: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        costs = []
        for t in range(len(demand)):
            obs = state if rest is None else torch.cat([state, rest[t]])
            state, cost = sim.step(state, pi(theta, obs), demand[t], fixed, each=False)
            costs.append(cost)
        return state, torch.stack(costs)

    return replay


def parts(sim: Any, traces: Traces, unroll: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Demand (n, K, B) of segments of n <= unroll periods, and what each period shows besides."""
    for t in range(0, traces.periods, unroll):
        ends = range(t, min(t + unroll, traces.periods))
        seen = [rest for at in ends if (rest := sim.context(traces, at)) is not None]
        demand = traces.demand[traces.shift + t : traces.shift + ends.stop]
        yield demand, torch.stack(seen) if seen else None


def costs(replay: Segment, sim: Any, theta: Tensor, traces: Traces, unroll: int) -> Tensor:
    """Mean cost per store of each period, (T,), differentiable in `theta`.

    Segments of `unroll` periods are compiled together.
    """
    state, fixed, out = traces.start, sim.fixed(traces), []
    for demand, rest in parts(sim, traces, unroll):
        state, cost = replay(theta, state, demand, rest, fixed)
        out.append(cost)
    stores: int = sim.network.stores
    return torch.cat(out) / (len(traces) * stores)


def frugal_gradient(
    replay: Segment, sim: Any, theta: Tensor, traces: Traces, unroll: int
) -> tuple[Tensor, Tensor]:
    """Gradient (P,) of the mean of `costs`, and that mean, in the memory of one segment.

    Forwards it keeps the states between segments alone; backwards each segment runs again.
    """
    fixed, pieces = sim.fixed(traces), list(parts(sim, traces, unroll))
    scale = 1 / (len(traces) * sim.network.stores * traces.periods)
    states, total = [traces.start], torch.zeros((), device=theta.device)
    with torch.no_grad():
        for demand, rest in pieces:
            state, cost = replay(theta, states[-1], demand, rest, fixed)
            states.append(state)
            total += cost.sum() * scale
    grad, later = torch.zeros_like(theta), torch.zeros_like(states.pop())
    for (demand, rest), before in zip(reversed(pieces), reversed(states), strict=True):
        inputs = theta.detach().requires_grad_(), before.requires_grad_()
        with torch.enable_grad():
            after, cost = replay(*inputs, demand, rest, fixed)
            weights = later, torch.full_like(cost, scale)
            own, later = torch.autograd.grad((after, cost), inputs, weights)
        grad += own
    return grad, total


def keep_best_(state: dict[str, Tensor], cost: Tensor) -> None:
    """`theta` becomes `best` where its cost is below `best_cost`; without host synchronisation."""
    better = cost < state["best_cost"]
    for name, new in (("best", state["theta"]), ("best_cost", cost)):
        state[name].copy_(torch.where(better, new, state[name]))
