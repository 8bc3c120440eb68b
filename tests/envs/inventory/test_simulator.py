"""One period of a supply network, against worked examples and the released definition."""

import pytest
import torch

from pgbench.envs.inventory import instances
from pgbench.envs.inventory.simulator import Simulator
from pgbench.errors import PgbenchError
from pgbench.worlds.network import OUTSIDE, Edge, Network, Traces


def one_store(lead, columns, **more):
    edge = (Edge(OUTSIDE, 0, lead),)
    return Network(0, 1, edge, (1.0,), (9.0,), (5.0,), (2.0,), (2, columns), **more)


def column(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None]


@pytest.mark.parametrize(
    ("more", "lead", "state", "order", "demand", "cost", "after"),
    [
        ({}, 3, (7, 2, 3), 4, 9, 18, (2, 3, 4)),
        ({"lost": False}, 3, (7, 2, 3), 4, 9, 18, (0, 3, 4)),
        ({"profit": True}, 3, (7, 2, 3), 4, 9, -63, (2, 3, 4)),
        ({}, 1, (7, 0), 4, 5, 2, (6, 0)),
        ({}, 2, (7, 1, 2, 3), 4, 5, 2, (3, 6, 3, 0)),  # vectors longer than the lead time
        ({}, 3, (7, 1, 2, 3), 4, 5, 2, (3, 2, 7, 0)),
    ],
)
def test_a_period_worked_by_hand(more, lead, state, order, demand, cost, after):
    sim = Simulator(one_store(lead, len(state), **more))
    new, paid = sim.step(column(*state), column(order), column(demand), {})
    assert paid.item() == cost
    assert new.flatten().tolist() == list(after)


def test_never_ordering_costs_all_demand():
    sim = Simulator(one_store(2, 4))
    state = torch.zeros(4, 1)
    for demand in (3.0, 0.0, 8.0):
        state, cost = sim.step(state, column(0), column(demand), {})
        assert cost.item() == 9 * demand


@pytest.mark.parametrize(
    "instance",
    [
        instances.serial(9.0, 2, 5, 5.0, 2.0),
        instances.transshipment(9.0, 4, 3, 0.5),
    ],
    ids=["serial", "transshipment"],
)
def test_backlogged_units_are_conserved(instance):
    network, rng = instance.network, torch.Generator().manual_seed(0)
    sim = Simulator(network)
    state = torch.rand(network.stock, 7, generator=rng).double() * 9
    sim = _double(sim)
    for _ in range(12):
        wanted = torch.rand(len(network.edges), 7, generator=rng).double() * 6
        orders = sim.feasible(state, wanted)
        demand = torch.rand(network.stores, 7, generator=rng).double() * 6
        new, _ = sim.step(state, orders, demand, {})
        outside = orders[len(network.internal) :].sum(0)
        torch.testing.assert_close(new.sum(0), state.sum(0) + outside - demand.sum(0))
        state = new


def _double(sim):
    for name, value in vars(sim).items():
        if isinstance(value, torch.Tensor):
            setattr(sim, name, value.double())
    return sim


def test_base_stock_orders_what_was_sold_when_backlogged():
    sim, level = Simulator(one_store(3, 4, lost=False)), 40.0
    state, rng = torch.rand(4, 5) * 5, torch.Generator().manual_seed(1)
    demand = torch.rand(1, 5, generator=rng) * 9
    for t in range(10):
        order = (level - state.sum(0, keepdim=True)).clamp(min=0)
        if t:
            torch.testing.assert_close(order, demand, rtol=0, atol=1e-4)
        demand = torch.rand(1, 5, generator=rng) * 9
        torch.testing.assert_close((state.sum(0) + order), torch.full((1, 5), level))
        state, _ = sim.step(state, order, demand, {})


@pytest.mark.parametrize(("second", "slope"), [(2.0, 1.0), (9.0, -9.0)])
def test_the_pathwise_derivative_of_an_order(second, slope):
    """L = 1, T = 2: h where what arrives is more than the demand, else -p; the last order: 0."""
    sim = Simulator(one_store(1, 2, lost=False))
    first, last = (column(4.0).requires_grad_() for _ in range(2))
    state, cost = sim.step(column(6, 0), first, column(5.0), {})
    _, more = sim.step(state, last, column(second), {})
    total = (cost + more).sum() + 0 * last.sum()
    grad = torch.autograd.grad(total, (first, last))
    assert [g.item() for g in grad] == [slope, 0.0]


def test_every_gradient_is_the_finite_difference():
    network = instances.warehouses(instances.TWO_WAREHOUSES, (0.3, 0.4), (0.5, 1.5), 3, 0.5).network
    sim, rng = _double(Simulator(network)), torch.Generator().manual_seed(3)
    state = torch.rand(network.stock, 2, generator=rng).double() * 9
    # Half of what is allowed: at the edge of feasibility the holding cost has a kink.
    orders = sim.feasible(state, torch.rand(len(network.edges), 2, generator=rng).double() * 3) / 2
    demand = torch.rand(network.stores, 2, generator=rng).double() * 6
    inputs = (state.requires_grad_(), orders.detach().requires_grad_())
    assert torch.autograd.gradcheck(lambda s, q: sim.step(s, q, demand, {}), inputs)


def test_several_suppliers_fill_the_columns_of_their_own_lead_times():
    leads = ((1, 3), (0, 2))
    network = instances.warehouses(leads, (0.3, 0.4), (0.5, 1.5), 2, 0.5).network
    sim = Simulator(network)
    assert [(e.source, e.target, e.lead) for e in network.edges] == [
        (0, 2, 1), (1, 2, 3), (1, 3, 2), (-1, 0, 2), (-1, 1, 2),
    ]  # fmt: skip
    state = column(10, 0, 20, 0, 5, 0, 0, 5, 0, 0)
    new, cost = sim.step(state, column(1, 2, 4, 8, 16), column(5, 5), {})
    assert new.flatten().tolist() == [9, 8, 14, 16, 1, 0, 2, 0, 4, 0]
    # Nothing is left in the stores; 0.3 * 9 + 0.4 * 14 of stock and 0.5 * 8 + 1.5 * 16 of orders.
    assert cost.item() == pytest.approx(0.3 * 9 + 0.4 * 14 + 0.5 * 8 + 1.5 * 16)


def test_costs_and_lead_times_may_differ_between_samples():
    network = one_store(3, 3, varying=("penalty", "lead"))
    sim = Simulator(network)
    traces = Traces(
        torch.zeros(4, 1, 2), torch.zeros(3, 2),
        {"penalty": torch.tensor([[4.0, 19.0]]), "lead": torch.tensor([[1.0, 3.0]])},
    )  # fmt: skip
    state = torch.tensor([[2.0, 2.0], [1.0, 1.0], [0.0, 0.0]])
    new, cost = sim.step(state, torch.full((1, 2), 7.0), torch.full((1, 2), 5.0), sim.fixed(traces))
    assert new.T.tolist() == [[8, 0, 0], [1, 0, 7]]
    assert cost.tolist() == [12, 57]
    assert sim.context(traces, 0).tolist() == [[4, 19], [1, 3]]


def test_orders_are_made_feasible():
    network = instances.warehouses([[2], [2]], [0.3], [0.0], 3, 0.5).network
    sim = Simulator(network)
    state = torch.zeros(network.stock, 3)
    state[0] = torch.tensor([4.0, 10.0, 4.0])
    wanted = torch.tensor([[3.0, 3.0, 0.0], [5.0, 5.0, -1.0], [7.0, 7.0, -2.0]])
    allowed = sim.feasible(state, wanted).T.tolist()
    assert allowed == [[1.5, 2.5, 7], [3, 5, 7], [0, 0, 0]]
    everything = Simulator(instances.transshipment(9.0, 4, 2, 0.5).network)
    state = torch.zeros(everything.network.stock, 1)
    state[0] = 10.0
    assert everything.feasible(state, wanted[:, :1]).flatten().tolist() == [3.75, 6.25, 7]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: instances.one_store_lost(9.0, -1, 1.0, 5.0), "lead_time"),
        (lambda: instances.one_store_lost(9.0, 0, 1.0, 5.0), "lead_time"),
        (lambda: instances.serial(9.0, 1, 9, 5.0, 2.0), "locations takes 3 to 7, not 9"),
        (
            lambda: instances.warehouses([[2, 1], [0, 0]], [0.3, 0.4], [0, 0], 3, 0.5),
            "lead_times[1]: no warehouse reaches store 1",
        ),
        (
            lambda: instances.warehouses([[2, -1]], [0.3, 0.4], [0, 0], 3, 0.5),
            "lead_times[0][1]",
        ),
        (lambda: instances.warehouses([[2]], [0.3, 0.4], [0, 0], 3, 0.5), "lead_times[0] has 1"),
        (lambda: instances.transshipment(9.0, 4, 3, 2.0), "correlation"),
        (
            lambda: Network(1, 1, (Edge(OUTSIDE, 0, 3),), (1, 1), (9,), (5,), (2,), (3, 2)),
            "store 0 is reached by no edge",
        ),
    ],
)
def test_an_impossible_network_is_refused_by_name(build, words):
    with pytest.raises(PgbenchError) as error:
        build()
    assert words in str(error.value)
    assert "\n" not in str(error.value)
