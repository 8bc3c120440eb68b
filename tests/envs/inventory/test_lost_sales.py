"""Lost sales: the known table, every policy of a small case, and simulated policies."""

import itertools
import math

import numpy as np
import pytest

from pgbench.envs.inventory.optima import lost_sales
from pgbench.errors import PgbenchError

PENALTIES = (4, 9, 19, 39)
LOST = {  # Zipkin 2008, holding 1, Poisson(5)
    1: (4.0407, 5.4382, 6.6757, 7.8359),
    2: (4.3953, 6.0936, 7.6644, 9.1064),
    3: (4.5987, 6.5314, 8.3625, 10.0385),
    4: (4.7285, 6.8359, 8.8872, 10.7944),
}
BASE_STOCK = {  # (cost, S), cost to 0.2% by simulation
    1: ((4.16, 12), (5.55, 13), (6.73, 15), (7.87, 16)),
    2: ((4.64, 16), (6.31, 19), (7.84, 21), (9.19, 22)),
    3: ((4.97, 20), (6.86, 23), (8.60, 26), (10.21, 28)),
    4: ((5.20, 25), (7.27, 28), (9.23, 31), (11.05, 33)),
}
CAPPED = {  # (cost, S, cap)
    1: ((4.06, 12, 6), (5.48, 14, 7), (6.69, 15, 8), (7.84, 16, 9)),
    2: ((4.41, 17, 5), (6.12, 19, 6), (7.72, 21, 7), (9.13, 22, 8)),
    3: ((4.63, 21, 5), (6.62, 24, 6), (8.40, 26, 6), (10.08, 28, 7)),
    4: ((4.80, 26, 5), (6.91, 29, 5), (8.95, 31, 6), (10.89, 34, 6)),
}
CASES = [(lead, p) for lead in LOST for p in PENALTIES]


@pytest.fixture(scope="module")
def optimum():
    """The solved lost-sales problem of (lead time, penalty), each once."""
    return {(lead, p): lost_sales.solve(5.0, p, 1.0, lead) for lead, p in CASES}


def per_period(costs):
    """Mean and standard error of (T, B) costs: the B histories are independent."""
    means = costs.mean(axis=0)
    return means.mean(), means.std(ddof=1) / np.sqrt(len(means))


def play_lost(order, lead, penalty, histories=2000, periods=1000, warm=200, seed=7):
    """(mean cost, standard error) of `order(inventory (B, L)) -> (B,)` with lost sales."""
    rng = np.random.default_rng(seed)
    inventory = np.full((histories, lead), 5)
    costs = np.empty((periods, histories))
    for t in range(periods):
        new = order(inventory)
        rest = inventory[:, 0] - rng.poisson(5.0, histories)
        costs[t] = np.where(rest < 0, -penalty * rest, rest)
        pipeline = np.column_stack([inventory[:, 1:], new])
        pipeline[:, 0] += np.maximum(rest, 0)
        inventory = pipeline
    return per_period(costs[warm:])


def capped(S, cap=1000):
    return lambda inventory: np.clip(S - inventory.sum(axis=1), 0, cap)


@pytest.mark.parametrize(("lead", "p"), CASES)
def test_lost_sales_optimum(optimum, lead, p):
    found = optimum[lead, p]
    assert found.cost == pytest.approx(LOST[lead][PENALTIES.index(p)], abs=6e-5)
    assert found.low <= found.cost <= found.high <= found.low * (1 + 1e-6)
    assert found.orders.shape == (41, *[15] * (lead - 1))


@pytest.mark.parametrize(("lead", "p"), [(lead, p) for lead in (1, 2) for p in PENALTIES])
def test_a_larger_table_changes_nothing(optimum, lead, p):
    larger = lost_sales.solve(5.0, p, 1.0, lead, on_hand=50, order=16)
    assert larger.cost == pytest.approx(optimum[lead, p].cost, rel=1e-6)


def test_no_policy_of_a_small_table_is_better():
    """All 4^6 policies for at most 5 on hand and 3 ordered; their costs by powers of the chain."""
    mean, p, h, on_hand, order = 0.5, 4.0, 1.0, 5, 3
    demand = [math.exp(-mean) * mean**d / math.factorial(d) for d in range(on_hand)]
    stock = range(on_hand + 1)
    cost, left = np.zeros(on_hand + 1), np.zeros((on_hand + 1, on_hand + 1))
    for x in stock:
        left[x, 1 : x + 1] = demand[:x][::-1]
        left[x, 0] = 1 - sum(demand[:x])
        served = x - left[x] @ stock
        cost[x] = h * (x - served) + p * (mean - served)
    move = np.zeros((order + 1, on_hand + 1, on_hand + 1))  # from x with order q to y
    for q in range(order + 1):
        for y in stock:
            move[q, :, min(y + q, on_hand)] += left[:, y]
    policies = np.array(list(itertools.product(range(order + 1), repeat=on_hand + 1)))
    chain = move[policies, np.arange(on_hand + 1)]
    for _ in range(12):
        chain = chain @ chain
    costs = (chain @ cost).min(axis=1)  # of the best state to start in
    found = lost_sales.solve(mean, p, h, 1, on_hand, order)
    assert found.low - 1e-9 <= costs.min() <= found.high + 1e-9
    assert costs[(policies == found.orders).all(axis=1)] == pytest.approx([found.cost], rel=1e-6)


@pytest.mark.parametrize(("lead", "p"), [(1, 9), (2, 4), (3, 19), (4, 39)])
def test_the_optimal_policy_earns_the_optimum(optimum, lead, p):
    found = optimum[lead, p]
    mean, error = play_lost(found.order, lead, p)
    assert error < 0.004 * mean
    assert abs(mean - found.cost) < 3 * error


@pytest.mark.parametrize(("lead", "p"), [(1, 9), (2, 39), (3, 4), (4, 9)])
def test_base_stock_and_capped_base_stock(optimum, lead, p):
    known, S = BASE_STOCK[lead][PENALTIES.index(p)]
    known_capped, S_capped, cap = CAPPED[lead][PENALTIES.index(p)]
    for value, policy in ((known, capped(S)), (known_capped, capped(S_capped, cap))):
        mean, error = play_lost(policy, lead, p)
        assert abs(mean - value) < 3 * np.hypot(error, 0.002 * value) + 0.005
        assert optimum[lead, p].cost <= mean + 3 * error


def test_orders_of_inventories(optimum):
    found = optimum[2, 9]
    inventory = np.array([[0, 0], [3, 7], [40, 14], [99, 20]])
    orders = found.order(inventory)
    assert orders.tolist() == [*(found.orders[i, j] for i, j in inventory[:2]), 0, 0]
    assert 0 < orders[1] < orders[0]


@pytest.mark.parametrize(
    ("inventory", "words"),
    [
        (np.zeros((3, 3), int), "shape (B, 2), not (3, 3)"),
        (np.zeros(2, int), "shape (B, 2), not (2,)"),
        (np.array([[1, -1]]), "at least 0"),
        (np.zeros((3, 2)), "whole numbers"),
    ],
)
def test_orders_of_bad_inventories(optimum, inventory, words):
    with pytest.raises(PgbenchError) as caught:
        optimum[2, 9].order(inventory)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0, 9, 1, 1), "mean must be"),
        ((float("nan"), 9, 1, 1), "mean must be"),
        ((5, -1, 1, 1), "penalty must be"),
        ((5, 9, 0, 1), "holding must be"),
        ((5, 9, float("inf"), 1), "holding must be"),
        ((5, 9, 1, 0), "lead_time must be"),
        ((5, 9, 1, 1.5), "lead_time must be"),
        ((5, 9, 1, 6), "7.5 GB of memory"),
        ((5, 9, 1, 2, 0), "on_hand must be"),
        ((5, 9, 1, 2, 40, 0), "order must be"),
        ((20, 9, 1, 1), "leaves the table of on_hand 40"),
        ((5, 9, 1, 2, 18), "leaves the table of on_hand 18"),
        ((5, 9, 1, 2, 40, 7), "and order 7"),
    ],
)
def test_lost_sales_bad_input(numbers, words):
    with pytest.raises(PgbenchError) as caught:
        lost_sales.solve(*numbers)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
