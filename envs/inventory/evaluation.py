"""How a policy for a supply network is judged: long simulations, without their warm-up.

An episode is a block of samples that are simulated side by side; its score is their mean cost per
store and period, or by how many percent that exceeds the optimum (or bound) where one is known.

Where the optimal policy is known too, it runs on the same demand, and the gap is that of the two
costs: the optimal policy's mean cost is known exactly, so it is a control variate that takes out
what a lucky or unlucky demand does to both, and changes no expectation. In transshipment, where
only a bound is known, a balancing policy does the same service. On weekly sales the score is the
profit as a share of the just-in-time oracle's. What a score is relative to goes into the details:
mean cost and optimum (or bound), mean profit and the oracle's, each per store and period.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pgbench.catalogue.capabilities import make
from pgbench.catalogue.registry import EnvSpec
from pgbench.worlds.network import Traces

BLOCK = 512  # samples times stores of an episode


def evaluate(
    policy: Callable[[Any], Any], spec: EnvSpec, seeds: Sequence[int], env_kwargs: Mapping[str, Any]
) -> tuple[list[float], list[int], dict[str, float]]:
    """Scores and lengths (periods) of one episode a seed, and what the scores are relative to.

    All episodes run in one batch; `policy` maps raw observations (n, d) to orders (n, edges).
    """
    env = make(spec, num_envs=1, **env_kwargs)
    count = max(1, BLOCK // env.network.stores)
    periods, warm_up = env.horizon("test")
    traces = Traces.joined([env.traces(count, seed, "test") for seed in seeds])
    cost = simulate(env, policy, traces, periods, warm_up, numpy=True)
    details = {}
    if hasattr(env, "optimum"):
        details = {"cost": float(cost.mean()), "optimum": float(env.optimum.value)}
        best, guide = env.optimum.value, env.guide
        luck = simulate(env, lambda obs: guide.orders(obs.T).T, traces, periods, warm_up)
        cost = 100 * (cost - (luck - guide.cost) - best) / abs(best)
    scores = cost.reshape(len(seeds), -1).mean(1)
    if hasattr(env, "yardstick"):
        details = {"profit": -float(scores.mean())}
        most = env.yardstick(traces).double().reshape(len(seeds), -1).mean(1)
        details["oracle-profit"] = float(most.mean())
        scores = -100 * scores / most
    return scores.tolist(), [periods] * len(seeds), details


@torch.inference_mode()
def simulate(
    env: Any, policy: Callable[[Any], Any], traces: Traces, periods: int, warm_up: int,
    numpy: bool = False,
) -> Tensor:  # fmt: skip
    """Mean cost per store and period after the warm-up of every sample, (B,) float64.

    `policy` takes and gives tensors, or arrays with `numpy`; a trained one knows its device.
    """
    on_tensors = getattr(policy, "on_tensors", None)
    device = policy.algorithm.device if on_tensors else "cpu"  # type: ignore[attr-defined]
    sim, traces = env.simulator(device), traces.to(device)
    state, fixed = traces.start, sim.fixed(traces)
    total = torch.zeros(len(traces), dtype=torch.float64, device=device)
    for t in range(periods):
        rest = sim.context(traces, t)
        obs = (state if rest is None else torch.cat([state, rest])).T
        if on_tensors:
            orders = on_tensors(obs)
        elif numpy:
            orders = torch.from_numpy(np.asarray(policy(obs.numpy()), np.float32))
        else:
            orders = policy(obs)
        demand = traces.demand[traces.shift + t]
        state, cost = sim.step(state, env.admissible(state, orders.T, sim), demand, fixed)
        if t >= warm_up:
            total += cost
    stores: int = env.network.stores
    return (total / (periods - warm_up) / stores).cpu()
