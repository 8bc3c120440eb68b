"""Exact optima: known tables, limits in which one is another, and simulations that must agree."""

import numpy as np
import pytest

from pgbench.envs.inventory.optima import clark_scarf, newsvendor, pooling
from pgbench.errors import PgbenchError

PENALTIES = (4, 9, 19, 39)
BACKLOGGED = {  # N(5, 1.6^2), holding 1
    1: (3.1674, 3.9711, 4.6674, 5.2898),
    4: (5.0081, 6.2788, 7.3798, 8.3640),
    7: (6.3348, 7.9421, 9.3348, 10.5797),
    10: (7.4282, 9.3130, 10.9460, 12.4058),
    15: (8.9588, 11.2319, 13.2014, 14.9619),
    20: (10.2636, 12.8678, 15.1241, 17.1411),
}
SERIAL = {  # by the store's lead time
    1: (6.8988, 8.3670, 9.6081, 10.7011),
    2: (7.5985, 9.2611, 10.6705, 11.9132),
    3: (8.2061, 10.0369, 11.5921, 12.9651),
    4: (8.7527, 10.7341, 12.4203, 13.9103),
}
LONGER = {3: 9.8689, 4: 10.7341, 5: 10.9867, 6: 11.7074, 7: 12.2892}
POOLED = {  # (stores, correlation, lead time, penalty), warehouse lead time 3
    (3, 0.5, 2, 4): 5.753735, (3, 0.5, 2, 9): 7.213631,
    (3, 0.5, 6, 4): 7.717182, (3, 0.5, 6, 9): 9.675263,
    (5, 0.5, 2, 4): 5.296388, (5, 0.5, 2, 9): 6.640241,
    (5, 0.5, 6, 4): 7.169472, (5, 0.5, 6, 9): 8.988583,
    (10, 0.5, 2, 4): 5.535855, (10, 0.5, 2, 9): 6.940467,
    (10, 0.5, 6, 4): 7.546230, (10, 0.5, 6, 9): 9.460935,
    (3, 0.5, 4, 9): 8.533674, (5, 0.5, 4, 9): 7.902133, (10, 0.5, 4, 9): 8.296968,
    (20, 0.5, 4, 9): 8.731082, (30, 0.5, 4, 9): 8.377328, (50, 0.5, 4, 9): 8.118102,
    (3, 0.0, 2, 4): 5.151388, (5, 0.0, 2, 4): 4.591193, (10, 0.0, 6, 9): 8.698883,
}  # fmt: skip


def per_period(costs):
    """Mean and standard error of (T, B) costs: the B histories are independent."""
    means = costs.mean(axis=0)
    return means.mean(), means.std(ddof=1) / np.sqrt(len(means))


def card(stores):
    """(means, deviations) of the network instances with that many stores."""
    means = np.round(np.random.RandomState(33).uniform(2.5, 7.5, stores), 3)
    return means, np.round(means * np.random.RandomState(92).uniform(0.25, 0.5, stores), 3)


# Newsvendor


@pytest.mark.parametrize("lead", BACKLOGGED)
@pytest.mark.parametrize("p", PENALTIES)
def test_backlogged_optimum(lead, p):
    known = BACKLOGGED[lead][PENALTIES.index(p)]
    assert newsvendor.cost(5, 1.6, p, 1, lead) == pytest.approx(known, abs=5.1e-5)
    best = newsvendor.level(5, 1.6, p, 1, lead)
    for S in (best - 0.1, best + 0.1):
        assert newsvendor.cost_of_level(S, 5, 1.6, p, 1, lead) > newsvendor.cost(5, 1.6, p, 1, lead)


def test_backlogged_level_by_hand():
    assert newsvendor.level(5, 1.6, 9, 1, 4) == pytest.approx(29.585, abs=1e-3)
    # At the mean, half of sqrt(2 / pi) deviations are missing and as many too much.
    at_mean = newsvendor.cost_of_level(25, 5, 1.6, 9, 1, 4)
    assert at_mean == pytest.approx(10 * 1.6 * np.sqrt(5) / np.sqrt(2 * np.pi))
    # Far from it, the cost is that of the difference.
    assert newsvendor.cost_of_level(65, 5, 1.6, 9, 1, 4) == pytest.approx(40)
    assert newsvendor.cost_of_level(-15, 5, 1.6, 9, 1, 4) == pytest.approx(9 * 40)


@pytest.mark.parametrize("S", [27.0, 29.585, 33.0])
def test_cost_of_a_level_by_simulation(S):
    lead, histories, periods = 4, 4000, 300
    demand = np.random.default_rng(1).normal(5, 1.6, (periods, histories))
    inventory = np.zeros((histories, lead))
    inventory[:, 0] = S
    costs = np.empty((periods, histories))
    for t in range(periods):
        new = np.maximum(S - inventory.sum(axis=1), 0)
        rest = inventory[:, 0] - demand[t]
        costs[t] = np.where(rest < 0, -9 * rest, rest)
        inventory = np.column_stack([inventory[:, 1:], new])
        inventory[:, 0] += rest
    mean, error = per_period(costs[50:])
    assert abs(mean - newsvendor.cost_of_level(S, 5, 1.6, 9, 1, lead)) < 3 * error


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        ((-5, 1.6, 9, 1, 1), "mean"),
        ((5, 0, 9, 1, 1), "std"),
        ((5, 1.6, 0, 1, 1), "penalty"),
        ((5, 1.6, 9, -1, 1), "holding"),
        ((5, 1.6, 9, 1, 0), "lead_time"),
    ],
)
@pytest.mark.parametrize("function", [newsvendor.level, newsvendor.cost])
def test_newsvendor_bad_input(function, numbers, name):
    with pytest.raises(PgbenchError, match=f"^{name} must be"):
        function(*numbers)


# Serial system


@pytest.mark.parametrize("lead", SERIAL)
@pytest.mark.parametrize("p", PENALTIES)
def test_serial_optimum(lead, p):
    """The table's grid of 0.05 with rounded demand lies up to 4e-4 above the limit."""
    found = clark_scarf.solve(5, 2, p, [1, 0.5, 0.2, 0.1], [lead, 3, 4, 2])
    assert found.cost == pytest.approx(SERIAL[lead][PENALTIES.index(p)], abs=4e-4)


@pytest.mark.parametrize(
    ("lead", "levels"), [(1, (14.65, 32.55, 56.8, 67.35)), (4, (32.35, 49.0, 72.8, 83.2))]
)
def test_serial_levels(lead, levels):
    found = clark_scarf.solve(5, 2, 9, [1, 0.5, 0.2, 0.1], [lead, 3, 4, 2])
    assert found.levels == pytest.approx(levels, abs=0.03)  # the table's grid is 0.05 wide


@pytest.mark.parametrize("locations", LONGER)
def test_longer_serial_systems(locations):
    holding = [0.1, 0.2, 0.25, 0.3, 0.4][: locations - 2]
    lead_times = [2, 4, 1, 3, 2][: locations - 2]
    found = clark_scarf.solve(5, 2, 9, [1, 0.5, *holding[::-1]], [4, 3, *lead_times[::-1]])
    assert found.cost == pytest.approx(LONGER[locations], abs=4e-4)
    assert len(found.levels) == locations


def test_a_finer_grid_changes_nothing(monkeypatch):
    coarse = clark_scarf.solve(5, 2, 39, [1, 0.5, 0.2, 0.1], [4, 3, 4, 2])
    monkeypatch.setattr(clark_scarf, "STEPS", 1600)
    fine = clark_scarf.solve(5, 2, 39, [1, 0.5, 0.2, 0.1], [4, 3, 4, 2])
    assert coarse.cost == pytest.approx(fine.cost, abs=1e-5)
    assert coarse.levels == pytest.approx(fine.levels, abs=0.005)


@pytest.mark.parametrize("lead", [1, 4])
@pytest.mark.parametrize("p", PENALTIES)
def test_one_location_is_the_newsvendor(lead, p):
    found = clark_scarf.solve(20, 2, p, [1.0], [lead])  # far from 0: nothing is clipped
    assert found.cost == pytest.approx(newsvendor.cost(20, 2, p, 1, lead), abs=1e-5)
    assert found.levels[0] == pytest.approx(newsvendor.level(20, 2, p, 1, lead), abs=0.005)


def test_one_location_with_an_atom_at_zero():
    """Demand is 0 half the time; the newsvendor of two such demands, by sampling."""
    found = clark_scarf.solve(1e-9, 1.0, 9.0, [1.0], [1])
    rng = np.random.default_rng(5)
    two = np.maximum(rng.normal(size=(2, 4_000_000)), 0).sum(axis=0)
    best = np.quantile(two, 0.9)
    costs = np.where(two > best, 9 * (two - best), best - two)
    error = costs.std() / np.sqrt(len(costs))
    assert abs(found.cost - costs.mean()) < 3 * error
    assert found.levels[0] == pytest.approx(best, abs=0.01)


def test_an_almost_free_supplier_next_door_hardly_matters():
    """Upstream stock that costs next to nothing: the store is alone with the outer lead time 1."""
    chain = clark_scarf.solve(20, 2, 9, [1.0, 1e-7], [2, 1])
    assert chain.cost == pytest.approx(newsvendor.cost(20, 2, 9, 1, 2), abs=1e-3)


@pytest.mark.parametrize("lead", [1, 4])
def test_echelon_base_stock_earns_the_serial_optimum(lead):
    holding, lead_times = [1, 0.5, 0.2, 0.1], [lead, 3, 4, 2]
    found = clark_scarf.solve(5, 2, 9, holding, lead_times)
    mean, error = play_serial(found.levels, holding, lead_times)
    assert error < 0.005 * mean
    assert abs(mean - found.cost) < 3 * error
    worse, error = play_serial(np.add(found.levels, (1.5, 3, 3, 3)), holding, lead_times)
    assert worse > found.cost + 3 * error


def play_serial(levels, holding, lead_times, penalty=9, histories=4000, periods=400, warm=100):
    """(mean cost, standard error) of echelon levels, store first, backlogged N(5, 2) clipped."""
    rng = np.random.default_rng(3)
    stocks = [np.zeros((histories, lead)) for lead in lead_times]
    costs = np.zeros((periods, histories))
    for t in range(periods):
        echelon = np.cumsum([s.sum(axis=1) for s in stocks], axis=0)
        orders = [np.maximum(S - position, 0) for S, position in zip(levels, echelon, strict=True)]
        for j in range(len(stocks) - 1):
            orders[j] = np.minimum(orders[j], stocks[j + 1][:, 0])
        taken = [np.maximum(rng.normal(5, 2, histories), 0), *orders[:-1]]
        for j, stock in enumerate(stocks):
            rest = stock[:, 0] - taken[j]
            costs[t] += np.where(rest < 0, -penalty * rest, holding[j] * rest)
            stocks[j] = np.column_stack([stock[:, 1:], orders[j]])
            stocks[j][:, 0] += rest
    return per_period(costs[warm:])


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0, 2, 9, [1], [1]), "mean must be"),
        ((5, -2, 9, [1], [1]), "std must be"),
        ((5, 2, 0, [1], [1]), "penalty must be"),
        ((5, 2, 9, [1, 0], [1, 1]), "holding must be"),
        ((5, 2, 9, [1, 0.5], [1, 0]), "lead_times must be"),
        ((5, 2, 9, [0.5, 1], [1, 1]), "holding must fall"),
        ((5, 2, 9, [1, 1], [1, 1]), "holding must fall"),
        ((5, 2, 9, [1, 0.5], [1]), "holding names 2 locations and lead_times 1"),
        ((5, 2, 9, [], []), "at least the store"),
        ((5e4, 1, 9, [1], [1]), "grid of"),
    ],
)
def test_serial_bad_input(numbers, words):
    with pytest.raises(PgbenchError) as caught:
        clark_scarf.solve(*numbers)
    assert words in str(caught.value)


# Pooling


def test_instances():
    means, std = card(5)
    assert means.tolist() == [3.743, 4.75, 4.555, 3.801, 6.852]
    assert std.tolist() == [1.765, 2.124, 1.622, 1.405, 1.714]


@pytest.mark.parametrize("case", POOLED)
def test_pooled_bound(case):
    stores, correlation, lead, p = case
    found = pooling.bound(card(stores)[1].tolist(), correlation, p, 1, lead, 3)
    assert found == pytest.approx(POOLED[case], abs=6e-7)


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 0.5, 1.0])
def test_one_store_pooled_is_the_newsvendor(correlation):
    found = pooling.bound([1.6], correlation, 9, 1, 4, 3)
    assert found == pytest.approx(newsvendor.cost(5, 1.6, 9, 1, 4 + 3), rel=1e-12)


def test_opposite_stores_leave_the_warehouse_nothing_to_cover():
    found = pooling.bound([2.0, 2.0], -1.0, 9, 1, 4, 3)
    assert found == pytest.approx(newsvendor.cost(5, 2.0, 9, 1, 4), rel=1e-12)


def test_a_balancing_policy_is_just_above_the_bound():
    """Order up to the bound's level, give every store the same safety factor: within 2%."""
    stores, lead, warehouse, p = 3, 2, 3, 9
    means, std = card(stores)
    covariance = 0.5 * np.outer(std, std) + 0.5 * np.diag(std**2)
    bound = pooling.bound(std.tolist(), 0.5, p, 1, lead, warehouse)
    spread = bound * stores / newsvendor.cost(5, 1, p, 1, 1) * np.sqrt(2)
    level = means.sum() * (warehouse + lead + 1) + 1.2815516 * spread
    rng, histories, periods = np.random.default_rng(11), 2000, 500
    stock, supply = np.zeros((histories, stores, lead)), np.zeros((histories, warehouse))
    costs = np.empty((periods, histories))
    for t in range(periods):
        position, arrived = stock.sum(axis=2), supply[:, 0]
        new = np.maximum(level - position.sum(axis=1) - supply.sum(axis=1), 0)
        covered = means * (lead + 1)
        factor = (position.sum(axis=1) + arrived - covered.sum()) / std.sum()
        wish = np.maximum(covered + factor[:, None] * std - position, 0)
        orders = wish * (arrived / (wish.sum(axis=1) + 1e-10))[:, None]
        rest = stock[:, :, 0] - rng.multivariate_normal(means, covariance, histories)
        costs[t] = np.where(rest < 0, -p * rest, rest).mean(axis=1)
        stock = np.concatenate([stock[:, :, 1:], orders[:, :, None]], axis=2)
        stock[:, :, 0] += rest
        supply = np.column_stack([supply[:, 1:], new])
    mean, error = per_period(costs[100:])
    assert bound - 3 * error < mean < 1.02 * bound


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (([], 0.5, 9, 1, 1, 1), "at least one store"),
        (([1, 0], 0.5, 9, 1, 1, 1), "std must be"),
        (([1, 1, 1], -0.6, 9, 1, 1, 1), "correlation must be from -0.5 to 1 for 3 stores"),
        (([1, 1], 1.1, 9, 1, 1, 1), "correlation must be"),
        (([1, 1], float("nan"), 9, 1, 1, 1), "correlation must be"),
        (([1, 1], 0.5, 0, 1, 1, 1), "penalty must be"),
        (([1, 1], 0.5, 9, 1, 0, 1), "^lead_time must be"),
        (([1, 1], 0.5, 9, 1, 1, 0), "warehouse_lead_time must be"),
    ],
)
def test_pooling_bad_input(numbers, words):
    with pytest.raises(PgbenchError, match=words):
        pooling.bound(*numbers)
