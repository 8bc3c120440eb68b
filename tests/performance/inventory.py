"""The inventory simulator side by side with the public reference: interleaved rounds, medians.

    python tests/performance/inventory.py --reference FOLDER
    python tests/performance/inventory.py --reference FOLDER --threads 2 --batch 8192
    python tests/performance/inventory.py --memory

`FOLDER` is a checkout of MatiasAlvo/Neural_inventory_control (MIT; it needs pandas and matplotlib).
Both simulate the same traces for 50 periods from the same start, under the same orders or the same
policy with the same weights, and differentiate the mean cost. A store-period is one store in one
period of one trace, simulated and differentiated. "of copy" compares the bytes that a period must
at least move (state, demand and orders read, state written, and again backwards) with the rate at
which this machine copies memory. `--memory` measures the peak of long horizons, with and without
recomputation, each in a process of its own.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

import pgbench
from pgbench.baselines.inventory.policies import make_policy
from pgbench.baselines.inventory.replay import costs, frugal_gradient, segment
from pgbench.learning.ops.matmul import fast_matmul

PERIODS = 50


def copy_rate() -> float:
    """Bytes a second that a copy moves (read and written), of blocks that no cache holds."""
    source, target = torch.rand(2, 32 * 2**20 // 4 * 4).unbind()
    times = []
    for _ in range(9):
        began = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - began)
    return 2 * source.nbytes / statistics.median(times)


class Ours:
    """One policy on one environment's traces."""

    def __init__(self, env: str, policy: str, batch: int, compiled: bool) -> None:
        self.env = pgbench.make(env)
        self.sim, self.network = self.env.simulator(), self.env.network
        self.traces = self.env.traces(batch, 1)
        self.unroll = 10
        if policy == "given":
            # The orders themselves are the parameters: a fixed share of the mean demand.
            shape = (PERIODS, len(self.network.edges), batch)
            rng = torch.Generator().manual_seed(0)
            self.theta = torch.rand(shape, generator=rng) * self._usual()
            self.replay = self._given
        else:
            pi = make_policy(policy, self.network)
            self.unroll = pi.unroll
            self.theta = pi.init(torch.Generator().manual_seed(0))
            self.pi, self.replay = pi, segment(self.sim, pi)
        if compiled:
            self.replay = torch.compile(self.replay, fullgraph=True, dynamic=False)

    def _usual(self) -> torch.Tensor:
        n = self.network
        mean = [n.mean[e.target - n.upstream] if e.target >= n.upstream else sum(n.mean)
                for e in n.edges]  # fmt: skip
        return torch.tensor(mean)[:, None]

    def _given(self, orders: Any, state: Any, demand: Any, rest: Any, fixed: Any) -> Any:
        total = []
        for t in range(len(demand)):
            state, cost = self.sim.step(state, orders[t], demand[t], fixed, each=False)
            total.append(cost)
        return state, torch.stack(total)

    def __call__(self) -> tuple[float, torch.Tensor]:
        theta = self.theta.requires_grad_()
        if self.theta.dim() == 1:
            with fast_matmul(theta.device) if self.pi.wide else nullcontext():
                cost = costs(self.replay, self.sim, theta, self.traces, self.unroll).mean()
                (grad,) = torch.autograd.grad(cost, theta)
            return cost.item(), grad
        state, out = self.traces.start, []
        demands = self.traces.demand.split(self.unroll)
        for orders, demand in zip(theta.split(self.unroll), demands, strict=True):
            state, paid = self.replay(orders, state, demand, None, {})
            out.append(paid)
        cost = torch.cat(out).mean() / (len(self.traces) * self.network.stores)
        (grad,) = torch.autograd.grad(cost, theta)
        return cost.item(), grad

    @property
    def bytes(self) -> int:
        """What a period of all traces must move at least, there and back."""
        n = self.network
        return 2 * 4 * len(self.traces) * (2 * n.stock + n.stores + len(n.edges))


class Theirs:
    """The reference on the same traces with the same weights."""

    def __init__(self, ours: Ours, policy: str) -> None:
        from environment import Simulator  # type: ignore[import-not-found]

        n, t = ours.network, ours.traces
        self.ours, self.policy, self.batch = ours, policy, len(t)
        self.problem = {
            "n_stores": n.stores, "n_warehouses": n.upstream, "n_extra_echelons": 0,
            "lost_demand": n.lost, "maximize_profit": n.profit,
        }  # fmt: skip
        static = {"holding_costs": True, "underage_costs": True, "lead_times": True}
        if n.upstream:
            static |= {"mean": True, "std": True}
        self.observed = {
            "include_warehouse_inventory": n.upstream > 0, "include_static_features": static,
            "demand": {"past_periods": 0, "period_shift": 0},
            "time_features": None, "sample_features": None,
        }  # fmt: skip
        up, store = n.inventories(t.start)

        def spread(values: Any) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float32).expand(self.batch, -1)

        leads = [e.lead for e in n.edges if e.target >= n.upstream]
        self.data = {
            "initial_inventories": store.permute(2, 0, 1).contiguous(),
            "demands": t.demand.permute(2, 1, 0).contiguous(),
            "holding_costs": spread(n.holding[n.upstream :]), "underage_costs": spread(n.penalty),
            "lead_times": torch.tensor(leads).expand(self.batch, -1)[..., None],
            "mean": spread(n.mean), "std": spread(n.std),
        }  # fmt: skip
        if n.upstream:
            self.data |= {
                "initial_warehouse_inventories": up.permute(2, 0, 1).contiguous(),
                "warehouse_lead_times": torch.tensor([[n.supply[0].lead]]).expand(self.batch, -1),
                "warehouse_holding_costs": spread(n.holding[: n.upstream]),
            }
        self.sim = Simulator()
        self.parameters = self._policy()

    def _policy(self) -> list[torch.Tensor]:
        theta = self.ours.theta.detach().clone()
        if self.policy == "given":
            self.given = theta.permute(0, 2, 1).contiguous().requires_grad_()
            return [self.given]
        if self.policy == "base_stock":
            level = theta.requires_grad_()
            self.level = level
            return [level]
        if self.policy == "gnn":
            return self._gnn(theta)
        sizes = self.ours.pi.net.shapes  # type: ignore[attr-defined]
        parts = iter(theta.split([math.prod(s) for s in sizes]))
        layers: list[nn.Module] = []
        for weight, bias in zip(sizes[::2], sizes[1::2], strict=True):
            layer = nn.Linear(weight[1], weight[0])
            layer.weight.data, layer.bias.data = next(parts).view(weight), next(parts).view(bias)
            layers += [layer, nn.ELU()]
        self.net = nn.Sequential(*layers[:-1])
        return list(self.net.parameters())

    def _gnn(self, theta: torch.Tensor) -> list[torch.Tensor]:
        """Its own network with our weights, which lie in the same order."""
        import yaml
        from neural_networks import NeuralNetworkCreator  # type: ignore[import-not-found]

        n, module = self.ours.network, sys.modules["neural_networks"]
        file = Path(module.__file__).parent / "config_files/policies_and_hyperparams/gnn.yml"
        scenario = SimpleNamespace(
            problem_params={**self.problem, "warehouse_store_adjacency": [[1] * n.stores]},
            store_params={"demand": {"mean": list(n.mean)}},
        )
        settings = yaml.safe_load(file.read_text())["nn_params"]
        self.net = NeuralNetworkCreator().create_neural_network(scenario, settings)
        obs, _ = self.sim.reset(PERIODS, self.problem, dict(self.data), self.observed)
        self.net(obs)  # its layers get their shapes
        parts = iter(theta.split([p.numel() for p in self.net.parameters()]))
        for parameter in self.net.parameters():
            parameter.data = next(parts).view(parameter.shape).clone()
        return list(self.net.parameters())

    def act(self, obs: dict[str, Any], t: int) -> dict[str, torch.Tensor]:
        n = self.ours.network
        if self.policy == "given":
            q = self.given[t]
            if not n.upstream:
                return {"stores": q[:, :, None]}
            return {"stores": q[:, : n.stores, None], "warehouses": q[:, n.stores :, None]}
        if self.policy == "gnn":
            out: dict[str, torch.Tensor] = self.net(obs)
            return {name: q if q.dim() == 3 else q[..., None] for name, q in out.items()}
        stock = obs["store_inventories"]
        if self.policy == "base_stock":
            level = nn.functional.softplus(self.level)
            return {"stores": torch.clip(level - stock.sum(2), min=0)[:, :, None]}
        if not n.upstream:
            return {"stores": nn.functional.softplus(self.net(stock.flatten(1)) + 1)[:, :, None]}
        held = obs["warehouse_inventories"]
        out = self.net(torch.cat([held.flatten(1), stock.flatten(1)], 1))
        keep = torch.ones_like(out[:, :1])
        shares = torch.softmax(torch.cat([out[:, : n.stores], keep], 1), 1)[:, :-1]
        order = torch.sigmoid(out[:, n.stores :]) * 4 * sum(n.mean)
        return {"stores": (shares * held[:, :, 0])[:, :, None], "warehouses": order[:, :, None]}

    def __call__(self) -> tuple[float, torch.Tensor]:
        obs, _ = self.sim.reset(PERIODS, self.problem, dict(self.data), self.observed)
        total: Any = 0
        for t in range(PERIODS):
            obs, paid, *_ = self.sim.step(self.act(obs, t))
            total = total + paid.sum()
        cost = total / (self.batch * PERIODS * self.problem["n_stores"])
        grads = torch.autograd.grad(cost, self.parameters)
        if self.policy == "given":
            return cost.item(), grads[0].permute(0, 2, 1)
        return cost.item(), torch.cat([g.flatten() for g in grads])


CASES = (
    ("one-store-lost-sales-p9-l4", "given"),
    ("one-store-lost-sales-p9-l4", "base_stock"),
    ("one-store-lost-sales-p9-l4", "vanilla"),
    ("one-warehouse-10", "given"),
    ("one-warehouse-10", "vanilla"),
    ("one-warehouse-10", "gnn"),
)


def compare(cases: Sequence[tuple[str, str]], batch: int, rounds: int, reference: bool) -> None:
    """Print a Markdown table of all cases."""
    rate = copy_rate()
    print(f"memory copy: {rate / 1e9:.1f} GB/s (read and written), batch {batch}\n")
    print("| environment, policy | ours, compiled | ours, eager | reference | ratio | eager ratio "
          "| largest gradient difference | of copy |")  # fmt: skip
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for env, policy in cases:
        fast, plain = (Ours(env, policy, batch, compiled) for compiled in (True, False))
        runs = {"fast": fast, "plain": plain}
        if reference:
            runs["theirs"] = Theirs(plain, policy)
        results = {name: run() for name, run in runs.items()}
        for run in runs.values():
            run()
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                began = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - began)
        seconds = {name: statistics.median(values) for name, values in times.items()}
        work = batch * PERIODS * fast.network.stores
        grads = [grad for _, grad in results.values()]
        size = grads[0].abs().max()
        apart = max(float((g - grads[0]).abs().max() / size) for g in grads)
        share = fast.bytes * PERIODS / seconds["fast"] / rate
        theirs = seconds.get("theirs", math.nan)
        cells = [work / seconds["fast"], work / seconds["plain"], work / theirs]
        print(
            f"| {env}, {policy} | " + " | ".join(f"{c / 1e6:.2f} M/s" for c in cells)
            + f" | {theirs / seconds['fast']:.1f} | {theirs / seconds['plain']:.1f} | {apart:.0e} "
            f"| {100 * share:.0f}% |", flush=True,
        )  # fmt: skip


def peak(periods: int, recompute: bool) -> None:
    """Print the peak memory of one gradient of the vanilla network on one warehouse."""
    env = pgbench.make("one-warehouse-10")
    env.horizons["train"] = (periods, 30)
    traces, pi = env.traces(256, 1), make_policy("vanilla", env.network)
    theta = pi.init(torch.Generator().manual_seed(0)).requires_grad_()
    sim = env.simulator()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    args = segment(sim, pi), sim, theta, traces, pi.unroll
    if recompute:
        frugal_gradient(*args)
    else:
        torch.autograd.grad(costs(*args).mean(), theta)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"| {periods} | {'yes' if recompute else 'no'} | {used / 1024:,.0f} MiB |", flush=True)


def main() -> None:
    """Read the command line and print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--reference", type=Path, help="a checkout of the reference")
    parser.add_argument("--policy", nargs="*", help="only these: given base_stock vanilla gnn")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        peak(args.peak[0], bool(args.peak[1]))
        return
    if args.memory:
        print("| periods | recompute | peak above the start |\n| ---: | --- | ---: |", flush=True)
        for periods in (50, 200, 800):
            for recompute in (0, 1):
                words = [sys.executable, __file__, "--peak", str(periods), str(recompute)]
                subprocess.run(words, check=True)
        return
    if args.reference:
        sys.path.insert(0, str(args.reference))
    cases = [case for case in CASES if not args.policy or case[1] in args.policy]
    compare(cases, args.batch, args.rounds, bool(args.reference))


if __name__ == "__main__":
    main()
