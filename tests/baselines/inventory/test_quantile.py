"""Quantile policies: pinball loss, interpolation, orders by hand, gradients, phases, profit."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from pgbench.baselines.inventory.forecaster import Forecaster, interpolate, pinball
from pgbench.baselines.inventory.quantile import POLICIES, Config, Quantile
from pgbench.envs.inventory import justintime, recorded, seasonal
from pgbench.envs.inventory.simulator import Simulator
from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Setup
from pgbench.settings.config import active, build
from pgbench.worlds.network import OUTSIDE, Edge, Network, Traces


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors: a second thread costs more than it gives."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


ONE = {"past": 4, "clock": True, "varying": ("penalty", "lead"), "profit": True}


def network(**changes):
    return Network(
        0, 1, (Edge(OUTSIDE, 0, 6),), (1.0,), (9.0,), (50.0,), (10.0,), (0, 6), **ONE | changes
    )  # fmt: skip


def traces(count=32, weeks=40, seed=0):
    """Independent N(50, 10) demand in every week, penalty 9, lead times 4, 5 and 6."""
    rng = torch.Generator().manual_seed(seed)
    demand = 50 + 10 * torch.randn(weeks, 1, count, generator=rng)
    lead = torch.randint(4, 7, (1, count), generator=rng).float()
    fixed = {"penalty": torch.full((1, count), 9.0), "lead": lead}
    return Traces(demand, torch.zeros(6, count), fixed, torch.zeros(weeks), shift=4)


def make(net=None, budget=10**9, returns=True, seed=0, **settings):
    net = net or network()
    env = SimpleNamespace(network=net, simulator=lambda d: Simulator(net, d), returns=returns)
    settings = {"hidden": (16,), "map_hidden": (8,), "windows": 64} | settings
    return Quantile(
        Config(**active(Config, settings)), Setup(None, None, budget, seed=seed, env=env)
    )


def fixed_forecast(algorithm):
    """Make it forecast v_i = (L - 3) i for lead time L at the i-th level, whatever it sees."""
    bias = torch.arange(1.0, 20.0) * torch.tensor([[1.0], [2.0], [3.0]])
    theta = torch.zeros_like(algorithm.state["forecaster"])
    theta[-57:] = bias.flatten()
    algorithm.state["forecaster"].copy_(theta)
    algorithm.state["best"][: len(theta)] = theta
    return algorithm


def observe(inventory, penalty, lead):
    past = [40.0, 50, 60, 50, -30]
    return torch.tensor([[*inventory, penalty, lead, *past]])


def test_pinball_by_hand():
    same = torch.full((1, 19), 8.0)
    assert pinball(same, torch.tensor([10.0])).item() == pytest.approx(2 * 0.5)
    assert pinball(same, torch.tensor([5.0])).item() == pytest.approx(3 * 0.5)
    # Too low costs q, too high 1 - q: 0.95 * 2 at the last level alone.
    last = torch.full((1, 19), 10.0)
    last[0, -1] = 8
    assert pinball(last, torch.tensor([10.0])).item() == pytest.approx(0.95 * 2 / 19)


def test_pinball_is_least_at_the_quantile():
    outcome = torch.arange(1.0, 101.0)
    for i in range(19):
        q = 0.05 * (i + 1)
        loss = []
        for v in range(102):
            forecast = outcome[:, None].repeat(1, 19)  # without loss at the other levels
            forecast[:, i] = v
            loss.append(pinball(forecast, outcome).mean().item())
        least = min(range(102), key=lambda v: round(loss[v], 6))
        assert least in (round(100 * q), round(100 * q) + 1)


def test_interpolation_and_extrapolation():
    values = torch.arange(1.0, 20.0) ** 2  # v(.05) = 1, v(.10) = 4, ..., v(.90) = 324, v(.95) = 361
    q = torch.tensor([0.0, 0.025, 0.05, 0.075, 0.5, 0.525, 0.9, 0.95, 0.975, 1.0])
    expected = [2 * 1 - 4, -0.5, 1, 2.5, 100, 110.5, 324, 361, (361 + 398) / 2, 2 * 361 - 324]
    found = interpolate(values.expand(10, -1), q)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)
    slope = torch.func.grad(lambda q: interpolate(values[None], q).sum())(torch.tensor([0.52]))
    assert slope.item() == pytest.approx((121 - 100) / 0.05, rel=1e-4)


def test_windows():
    demand = torch.stack([torch.arange(20.0), 100 + torch.arange(20.0)], -1)[:, None]
    data = Traces(demand, torch.zeros(6, 2), {}, -torch.arange(20.0), shift=4)
    forecaster = Forecaster(past=4, leads=(4, 6))
    weeks = forecaster.weeks(data)
    assert (weeks.start, weeks.stop) == (4, 14)  # the last one needs weeks 13 to 19
    x, outcome = forecaster.windows(data, torch.tensor([4, 13]), torch.tensor([0, 1]))
    assert x.tolist() == [[0, 1, 2, 3, -4], [109, 110, 111, 112, -13]]
    assert outcome.tolist() == [[4 + 5 + 6 + 7 + 8, sum(range(4, 11))], [575, sum(range(113, 120))]]


def test_forecasts_are_clipped_where_they_are_used_only():
    algorithm = fixed_forecast(make())
    algorithm.state["forecaster"][-57:] -= 5
    theta, obs = algorithm.state["forecaster"], observe([0.0] * 6, 9.0, 4.0)
    values = algorithm.forecast(theta, obs)
    assert values[0].tolist() == [0, 0, 0, 0, *range(15)]
    x = obs[:, 8:]
    assert algorithm.forecaster(theta, x)[0, 0].tolist() == list(range(-4, 15))
    # So an output below zero goes on learning.
    loss = lambda theta: pinball(algorithm.forecaster(theta, x), torch.ones(1, 3)).sum()  # noqa: E731
    assert (torch.func.grad(loss)(theta)[-57:] != 0).all()


def test_orders_by_hand():
    stock, position = [3.0, 0, 2, 0, 0, 1], 6.0
    nv = fixed_forecast(make(policy="quantile_nv"))
    # p = 9: q = 0.9, the 18th level; p = 6.4: q = 32/37, between the 17th and the 18th.
    assert nv.act(observe(stock, 9.0, 4.0)).tolist() == [[pytest.approx(18 - position)]]
    assert nv.act(observe(stock, 9.0, 6.0)).item() == pytest.approx(3 * 18 - position, rel=1e-5)
    assert nv.act(observe(stock, 6.4, 5.0)).item() == pytest.approx(
        2 * 20 * 6.4 / 7.4 - position, rel=1e-5
    )
    assert nv.act(observe([20.0, 0, 0, 0, 0, 0], 9.0, 4.0)).item() == 0
    back = fixed_forecast(make(policy="returns_nv"))
    assert back.act(observe([20.0, 0, 0, 0, 0, 0], 9.0, 4.0)).item() == pytest.approx(-2)
    level = fixed_forecast(make(policy="fixed_quantile"))
    assert level.act(observe(stock, 6.4, 4.0)).item() == pytest.approx(18 - position)
    level.state["best"][-1] = 0  # sigmoid(0) = 0.5 is the tenth level
    assert level.act(observe(stock, 6.4, 4.0)).item() == pytest.approx(10 - position)
    mapped = fixed_forecast(make(policy="transformed_nv"))
    mapped.state["best"][-mapped.map.count :] = 0
    assert mapped.act(observe(stock, 9.0, 4.0)).item() == pytest.approx(10 - position)


def test_a_lead_time_that_all_share_is_known_without_being_observed():
    net = network(varying=("penalty",), clock=False)
    nv = make(net)
    assert nv.forecaster.leads == (6,) and nv.forecaster.net.sizes[0] == 4
    obs = torch.rand(7, net.size)
    assert nv.act(obs).shape == (7, 1)


@pytest.mark.parametrize("policy", ["fixed_quantile", "transformed_nv"])
def test_pathwise_gradient(policy):
    algorithm = fixed_forecast(make(policy=policy))
    scale = 15.0  # levels that matter: 5 weeks of demand 50 lie between the forecast quantiles
    algorithm.state["forecaster"][-57:] = 200 + algorithm.state["forecaster"][-57:] * scale / 3
    data = traces(256)
    f, g = algorithm.state["forecaster"], algorithm.state["map"].clone()
    if policy == "fixed_quantile":
        g.fill_(0.3)

    def cost(g):
        return algorithm.cost(f, g, data).mean()

    grad = torch.func.grad(cost)(g)
    along = torch.randn(len(g), generator=torch.Generator().manual_seed(0))
    along /= along.norm()
    step = 0.02
    with torch.no_grad():
        difference = (cost(g + step * along) - cost(g - step * along)) / (2 * step)
    assert (grad @ along).item() == pytest.approx(difference.item(), rel=0.03)
    assert difference.abs() > 0.1


def test_the_forecaster_learns_quantiles():
    algorithm = make(windows=1024, hidden=(32,))
    data = traces(256, weeks=60)
    data = replace(data, demand=data.demand / 50)  # N(1, 0.2)
    losses = [algorithm.update(data)["pinball"].item() for _ in range(800)]
    assert losses[-1] < losses[0] / 5
    x, _ = algorithm.forecaster.windows(data, torch.tensor([30] * 256), torch.arange(256))
    values = algorithm.forecaster(algorithm.state["forecaster"], x).mean(0)
    for i, weeks in enumerate((5, 6, 7)):
        for at, z in ((1, -1.2816), (9, 0.0), (17, 1.2816)):  # 10, 50, 90%
            expected = weeks + z * 0.2 * math.sqrt(weeks)
            assert values[i, at].item() == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("policy", POLICIES)
def test_phases_follow_the_budget(policy):
    data = traces(8)  # 36 periods
    algorithm = make(policy=policy, budget=8 * 36 * 10, forecast=0.3)
    phases = [next(iter(algorithm.update(data))) for _ in range(10)]
    mapped = policy in ("fixed_quantile", "transformed_nv")
    assert phases == (["pinball"] * 3 + ["cost"] * 7 if mapped else ["pinball"] * 10)


def test_map_steps_leave_the_forecaster_alone_and_move_the_level_downhill():
    algorithm = fixed_forecast(make(policy="fixed_quantile", budget=1))
    algorithm.state["forecaster"][-57:] = 200 + algorithm.state["forecaster"][-57:] * 5
    data = traces(64)
    before = algorithm.state["forecaster"].clone()
    costs = [algorithm.update(data)["cost"].item() for _ in range(30)]
    assert torch.equal(algorithm.state["forecaster"], before)
    assert costs[-1] < costs[0]


def test_the_best_parameters_are_kept():
    algorithm, data = make(), traces(16)
    first = algorithm.validate(data, 10)
    best = algorithm.state["best"].clone()
    assert first == algorithm.state["best_cost"] and first.shape == ()
    with torch.no_grad():
        found = algorithm.cost(best[: len(algorithm.state["forecaster"])], best[:0], data, 10)
    assert first.item() == pytest.approx(found.mean().item())
    algorithm.state["forecaster"][-57:] = 0  # forecasts nothing: orders nothing, earns nothing
    algorithm.state["forecaster"][:-57] = 0
    worse = algorithm.validate(data, 10)
    assert worse > first and torch.equal(algorithm.state["best"], best)
    fixed_forecast(algorithm)
    algorithm.state["forecaster"][-57:] += 250
    better = algorithm.validate(data, 10)
    assert better < first and algorithm.state["best_cost"] == better
    assert torch.equal(algorithm.state["best"], algorithm.state["forecaster"])


def test_a_saved_state_goes_on_as_if_nothing_had_happened():
    data = traces(16)
    settings = {"policy": "fixed_quantile", "budget": 16 * 36 * 8, "forecast": 0.5}
    whole, part = make(**settings), make(**settings)
    for _ in range(3):
        whole.update(data)
        part.update(data)
    part.validate(data, 10)
    whole.validate(data, 10)
    other = make(**settings, seed=5)
    other.load_state_dict(part.state_dict())
    for _ in range(5):
        whole.update(data)
        other.update(data)
    for name, value in whole.state.items():
        assert torch.equal(other.state[name], value), name


def test_profit_on_seasonal_demand_comes_near_the_oracle():
    demand = seasonal.generate(300, 1, 171, 0)
    parts = {name: recorded.one_store(demand, name) for name in recorded.WEEKS}
    net, data = parts["train"]
    profits = {}
    for policy in ("quantile_nv", "fixed_quantile"):
        # The map takes few steps: each replays the whole recording.
        updates = 200 if policy == "quantile_nv" else 215
        budget = updates * len(data) * data.periods
        algorithm = make(
            net, budget, policy=policy, windows=512, hidden=(64,), forecast=200 / updates, lr=0.2,
        )  # fmt: skip
        for _ in range(updates):
            algorithm.update(data)
        algorithm.validate(parts["dev"][1], 16)
        s = algorithm.state
        with torch.no_grad():
            test = algorithm.cost(s["forecaster"], s["map"], parts["test"][1], 16)
        best = justintime.profit(net, parts["test"][1], 16)
        assert (-test <= best + 1e-3).all()
        profits[policy] = (-test.mean() / best.mean()).item()
    assert profits["quantile_nv"] > 0.6
    assert profits["fixed_quantile"] > 0.65


def test_what_does_not_fit_is_said():
    wide = Network(
        1, 1, (Edge(0, 1, 1), Edge(OUTSIDE, 0, 1)), (1.0, 1.0), (9.0,), (5.0,), (1.0,), (2, 2),
        past=4,
    )  # fmt: skip
    with pytest.raises(PgbenchError, match="one store without a warehouse"):
        make(wide)
    with pytest.raises(PgbenchError, match="past demand in the observation"):
        make(network(past=0))
    with pytest.raises(PgbenchError, match=r"--set env\.returns=true"):
        make(policy="returns_nv", returns=False)
    with pytest.raises(PgbenchError, match=r"lead time 4 is not among leads = \(5, 6\)"):
        make(leads=(5, 6)).update(traces())
    with pytest.raises(PgbenchError, match="traces of 10 weeks: the forecaster needs at least 11"):
        make().update(traces(weeks=10))
    make().update(traces(weeks=11))
    for key, value in (("forecast", "0"), ("leads", "4,4"), ("leads", "0"), ("policy", "nv")):
        with pytest.raises(PgbenchError, match=key):
            build(Config, {key: value}, "quantile")
