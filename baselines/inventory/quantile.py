"""Generalised newsvendor and quantile policies for one store (Alvo et al., arXiv:2306.11246).

Equations, numbered here (p, h: penalty and holding cost of the sample, IP its inventory position,
x what is observed of past demand; f and v(q) are Eqs. 1 and 3 of `forecaster`):
  Eq. 1   order = max(v(q) - IP, 0), v(q) the forecast q-quantile of the demand until the unit
          that is ordered now can be followed by another one (L + 1 weeks)
  Eq. 2   q = p / (p + h)                                             policy = quantile_nv
          q = sigmoid(b), one number for all samples                  policy = fixed_quantile
          q = sigmoid(net(p / (p + h)))                               policy = transformed_nv
          q = p / (p + h), orders may be negative (stock goes back)   policy = returns_nv
  Eq. 3   f minimises the mean pinball loss over windows of the training traces
  Eq. 4   the map of Eq. 2 minimises the mean cost of the training traces, all periods counted, by
          its pathwise gradient (f is fixed then)

returns_nv is not admissible: it says what the newsvendor's inability to send stock back costs.

Departures from the released code:
- f is trained here, in the first share of the updates, on the traces of the setting; the authors
  load one that was trained elsewhere;
- fixed_quantile starts at the level p / (p + h) of the network's typical costs, not at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.learning.nets import Mlp
from pgbench.learning.optim import adam_, with_adam
from pgbench.settings.config import Settings, option, other
from pgbench.settings.ranges import SettingError
from pgbench.worlds.network import Network, Traces

from .forecaster import Forecaster, interpolate, pinball

TRAINED = ("fixed_quantile", "transformed_nv")  # those with a map to train
POLICIES = ("quantile_nv", "fixed_quantile", "transformed_nv", "returns_nv")


@dataclass(frozen=True)
class Config(Settings):
    """Sizes and the map's step size are the released code's; it holds no training of f."""

    policy: str = option("quantile_nv", "how the level q comes about, Eq. 2", choices=POLICIES)
    traces: int = option(32768, "training traces", "released code", at_least=1)
    batch: int = option(8192, "traces an update", "released code", at_least=1)
    dev_traces: int = option(32768, "traces on which the best parameters are chosen", at_least=1)
    dev_every: int = option(10, "epochs between two looks at them", "released code", at_least=1)
    forecast: float = option(
        0.5,
        "share of the updates that train f, if a map is trained at all",
        above=0,
        at_most=1,
        only={"policy": TRAINED},
    )
    forecast_lr: float = option(3e-3, "Adam step size of f", above=0)
    windows: int = option(4096, "windows an update of f", at_least=1)
    hidden: tuple[int, ...] = option(
        (128, 128), "ELU units a layer of f", "released code", at_least=1
    )
    leads: tuple[int, ...] = option(
        (4, 5, 6), "lead times that f knows, where they vary", at_least=1
    )
    lr: float = option(
        0.03,
        "Adam step size of the map",
        "released code",
        above=0,
        only={"policy": TRAINED, "forecast": other(1)},
    )
    map_hidden: tuple[int, ...] = option(
        (32, 32),
        "ELU units a layer of the map",
        "released code",
        at_least=1,
        only={"policy": ("transformed_nv",)},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.leads or len(set(self.leads)) < len(self.leads):
            raise SettingError(f"leads must be different lead times, not {self.leads}")


class Quantile(Algorithm):
    """Forecast quantiles; order up to the one that Eq. 2 names."""

    Config = Config
    on_host = frozenset({"updates"})
    action_range = "free"
    explores: ClassVar[bool] = False

    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        network: Network = setup.env.network
        misfit = _misfit(network)
        if misfit:
            raise PgbenchError(f"quantile policies need {misfit}; choose another environment")
        self.network = network
        self.simulator = setup.env.simulator(self.device)
        self.varies = "lead" in network.varying
        if not self.varies and config.leads != type(config).leads:
            raise PgbenchError("leads does nothing where the lead time does not vary; leave it out")
        leads = config.leads if self.varies else (network.edges[0].lead,)
        self.lead_of = torch.tensor(leads, device=self.device)
        self.unchecked = self.varies
        self.forecaster = Forecaster(network.past, leads, network.clock, config.hidden)
        self.returns = config.policy == "returns_nv"
        if self.returns and not setup.env.returns:
            raise PgbenchError("returns_nv sends stock back; allow it with --set env.returns=true")
        init = torch.Generator().manual_seed(setup.seed)
        f = self.forecaster.net.init_uniform(init)
        self.map = Mlp((1, *config.map_hidden, 1), "elu")
        g = self._first_map(init)
        self.state = {
            **with_adam("forecaster", f.to(self.device)),
            **(with_adam("map", g.to(self.device)) if len(g) else {"map": g.to(self.device)}),
            "best": torch.cat([f, g]).to(self.device),
            "best_cost": torch.full((), math.inf, device=self.device),
            "updates": torch.zeros((), dtype=torch.long),  # on the host: it picks the phase
        }
        self.forecast_step = self.compiled(self._forecast_step)

    def _first_map(self, rng: torch.Generator) -> Tensor:
        """Parameters of Eq. 2: one logit, a network's, or none."""
        if self.config.policy == "transformed_nv":
            return self.map.init_uniform(rng)
        if self.config.policy == "fixed_quantile":
            return torch.tensor([math.log(self.network.penalty[0] / self.network.holding[0])])
        return torch.zeros(0)

    def _row(self, name: str, obs: Tensor) -> Tensor:
        """What varies between samples (n,), from the observation or the network."""
        if name in self.network.varying:
            return obs[:, self.network.rows[name]].squeeze(-1)
        return obs.new_full((len(obs),), getattr(self.network, name)[0])

    def quantile(self, theta: Tensor, obs: Tensor) -> Tensor:
        """Eq. 2: the level q (n,) of each sample."""
        p, h = self._row("penalty", obs), self._row("holding", obs)
        if self.config.policy == "fixed_quantile":
            return theta.sigmoid().expand(len(obs))
        q = p / (p + h)
        if self.config.policy == "transformed_nv":
            return self.map(theta, q[:, None]).squeeze(-1).sigmoid()
        return q

    def forecast(self, theta: Tensor, obs: Tensor) -> Tensor:
        """Forecast quantiles (n, 19) for the lead time of each sample."""
        rows = self.network.rows
        known = slice(rows["past"].start, rows["past"].stop + self.network.clock)
        values = self.forecaster(theta, obs[:, known]).clamp(min=0)
        if not self.varies:
            return values[:, 0]
        index = (self._row("lead", obs)[:, None] == self.lead_of).int().argmax(-1)
        return values[torch.arange(len(obs), device=obs.device), index]

    def orders(self, values: Tensor, q: Tensor, position: Tensor) -> Tensor:
        """Eq. 1: (n,) from forecast quantiles (n, 19), levels (n,) and positions (n,)."""
        order = interpolate(values, q) - position
        return order if self.returns else order.clamp(min=0)

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Orders (n, 1) of the best parameters so far."""
        sizes = [len(self.state["forecaster"]), len(self.state["map"])]
        f, g = torch.split_with_sizes(self.state["best"], sizes)
        position = obs[:, self.network.rows["store"]].sum(-1)
        return self.orders(self.forecast(f, obs), self.quantile(g, obs), position)[:, None]

    def cost(self, f: Tensor, g: Tensor, traces: Traces, ignore: int = 0) -> Tensor:
        """Mean cost (B,) of the periods from `ignore` on, differentiable in the map `g`."""
        fixed, state = self.simulator.fixed(traces), traces.start
        total = torch.zeros(len(traces), device=state.device)
        level = None
        for t in range(traces.periods):
            # Read beside an idle state, so that the gradient does not run through the forecaster.
            seen = torch.cat([traces.start, self.simulator.context(traces, t)]).T
            values = self.forecast(f, seen)
            level = self.quantile(g, seen) if level is None else level
            orders = self.orders(values, level, state.sum(0))[None]
            orders = self.simulator.feasible(state, orders, returns=self.returns)
            demand = traces.demand[traces.shift + t]
            state, cost = self.simulator.step(state, orders, demand, fixed)
            if t >= ignore:
                total = total + cost
        return total / (traces.periods - ignore)

    def _forecast_step(self, state: dict[str, Tensor], x: Tensor, outcome: Tensor) -> Tensor:
        """One Adam step on Eq. 3."""

        def loss(theta: Tensor) -> Tensor:
            return pinball(self.forecaster(theta, x), outcome).mean()

        value: Tensor
        grad, value = torch.func.grad_and_value(loss)(state["forecaster"])
        adam_(state, "forecaster", grad, self.config.forecast_lr)
        return value

    def _map_step(self, traces: Traces) -> Tensor:
        """One Adam step on Eq. 4."""
        f, g = self.state["forecaster"], self.state["map"]
        value: Tensor
        grad, value = torch.func.grad_and_value(lambda g: self.cost(f, g, traces).mean())(g)
        adam_(self.state, "map", grad, self.config.lr)
        return value

    @torch.no_grad()
    def update(self, batch: Traces) -> dict[str, Tensor]:
        """One step of the phase that the share `forecast` of the budget names."""
        self._check(batch)
        done = int(self.state["updates"])
        self.state["updates"] += 1
        total = self.setup.budget // (len(batch) * batch.periods)
        if len(self.state["map"]) and done >= self.config.forecast * total:
            return {"cost": self._map_step(batch)}
        weeks, n = self.forecaster.weeks(batch), (self.config.windows,)
        rng, device = self.rng, self.device
        week = torch.randint(weeks.start, weeks.stop, n, generator=rng, device=device)
        sample = torch.randint(len(batch), n, generator=rng, device=device)
        x, outcome = self.forecaster.windows(batch, week, sample)
        return {"pinball": self.forecast_step(self.state, x, outcome)}

    def _check(self, batch: Traces) -> None:
        """Once: the traces are long enough, and f knows their lead times.

        Raises: PgbenchError otherwise.
        """
        if not self.forecaster.weeks(batch):
            needed = self.network.past + max(self.forecaster.leads) + 1
            raise PgbenchError(
                f"traces of {len(batch.demand)} weeks: the forecaster needs at least {needed}"
            )
        if self.unchecked:
            odd = set(batch.fixed["lead"].flatten().tolist()) - set(self.forecaster.leads)
            if odd:
                raise PgbenchError(
                    f"lead time {min(odd):g} is not among leads = {self.forecaster.leads}; "
                    "change them with --set leads"
                )
            self.unchecked = False

    @torch.no_grad()
    def validate(self, traces: Traces, ignore: int) -> Tensor:
        """The mean reported cost on `traces`; keeps the parameters if it is the lowest so far."""
        s = self.state
        cost = self.cost(s["forecaster"], s["map"], traces, ignore).mean()
        better = cost < s["best_cost"]
        s["best"].copy_(torch.where(better, torch.cat([s["forecaster"], s["map"]]), s["best"]))
        s["best_cost"].copy_(torch.where(better, cost, s["best_cost"]))
        return cost


def _misfit(network: Network) -> str:
    """What `network` lacks for these policies; empty if nothing."""
    if network.upstream or network.stores != 1:
        return f"one store without a warehouse, not {network.stores} and {network.upstream}"
    if not network.past:
        return "past demand in the observation"
    return ""
