"""Reading recorded demand, its splits and costs, and the just-in-time oracle on it."""

import numpy as np
import pytest
import torch

from pgbench.envs.inventory import justintime, recorded
from pgbench.envs.inventory.simulator import Simulator
from pgbench.errors import PgbenchError
from pgbench.worlds.network import OUTSIDE, Edge, Network, Traces


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors: a second thread costs more than it gives."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def demand():
    return torch.randint(-2, 50, (3, 2, 4), generator=torch.Generator().manual_seed(0)).float()


def save(path, demand):
    """`demand` in the format that the file's name asks for; CSV lines in reverse order."""
    if path.suffix == ".pt":
        torch.save(demand, path)
    elif path.suffix == ".npy":
        np.save(path, demand.numpy())
    else:
        lines = [f"{w},{k},{i},{demand[i, k, w]:g}" for i, k, w in np.ndindex(*demand.shape)]
        path.write_text("\n".join(["week,store,sample,demand", *lines[::-1]]) + "\n")
    return path


@pytest.mark.parametrize("name", ["sales.pt", "sales.npy", "sales.csv"])
def test_all_formats_give_the_same_demand(tmp_path, demand, name):
    found = recorded.read(save(tmp_path / name, demand), stores=2, weeks=4)
    assert found.demand.dtype == torch.float32 and torch.equal(found.demand, demand)
    assert (found.demand < 0).any()  # returns stay
    assert name in found.origin and found.sha256 in found.origin
    assert recorded.read(tmp_path / name, sha256=found.sha256.upper()).sha256 == found.sha256


def test_a_known_file_is_recognised(tmp_path, demand, monkeypatch):
    path = save(tmp_path / "sales.npy", demand)
    monkeypatch.setitem(recorded.KNOWN, recorded.read(path).sha256, "that data set")
    assert recorded.read(path).origin == "that data set"
    assert len(recorded.FAVORITA_21) == 64 and recorded.FAVORITA_21 in recorded.KNOWN


def spoiled(path, data, tmp_path):
    path = tmp_path / path
    path.write_bytes(data) if isinstance(data, bytes) else save(path, data)
    return path


def with_value(value):
    demand = torch.zeros(3, 2, 4)
    demand[1, 0, 3] = demand[2, 1, 0] = value
    return demand


HEAD = b"sample,store,week,demand\n"
BAD = [
    ("a.txt", b"1", ["'.txt'", ".pt, .npy and .csv"]),
    ("a.pt", b"not a tensor", ["holds no tensor"]),
    ("a.pt", b"", ["holds no tensor"]),
    ("a.npy", b"", ["holds no array"]),
    ("a.npy", b"nonsense", ["holds no array"]),
    ("a.pt", torch.zeros(3, 4), ["2 dimensions, shape (3, 4)", "(samples, stores, weeks)"]),
    ("a.npy", torch.zeros(1, 2, 3, 4), ["4 dimensions"]),
    ("a.npy", torch.zeros(3, 0, 4), ["empty", "(3, 0, 4)"]),
    ("a.pt", torch.zeros(3, 3, 4), ["3 stores, the setting needs 2"]),
    ("a.pt", torch.zeros(3, 2, 5), ["5 weeks, the setting needs 4"]),
    ("a.pt", with_value(float("nan")), ["nan at sample 1, store 0, week 3 (2 such entries)"]),
    ("a.npy", with_value(float("-inf")), ["-inf at sample 1, store 0, week 3"]),
    ("a.pt", with_value(1.0).double() * 1e39, ["1e+39 at sample 1, store 0, week 3"]),
    ("a.pt", torch.zeros(3, 2, 4, dtype=torch.bool), ["type bool, not numbers"]),
    ("a.pt", torch.zeros(3, 2, 4, dtype=torch.complex64), ["complex64, not numbers"]),
    ("a.pt", torch.zeros(3, 2, 4).to_sparse(), ["sparse"]),
    ("a.csv", b"", ["lacks column 'sample'", "sample,store,week,demand"]),
    ("a.csv", b"sample,store,week\n0,0,0\n", ["lacks column 'demand'"]),
    ("a.csv", b"sample,store,week,demand,price\n", ["unknown column 'price'"]),
    ("a.csv", b"sample,store,week,week,demand\n", ["column 'week' twice"]),
    ("a.csv", HEAD, ["no line below its header"]),
    ("a.csv", HEAD + b"0,0,0\n", ["line 2: 3 cells, not 4"]),
    ("a.csv", HEAD + b"0,0,0,1\n0,x,1,1\n", ["line 3: store 'x' is no whole number"]),
    ("a.csv", HEAD + b"0,0,-1,1\n", ["line 2: week '-1'"]),
    ("a.csv", HEAD + b"99999999999,0,0,1\n", ["line 2: sample '99999999999'"]),
    ("a.csv", HEAD + b"0,0,0,much\n", ["line 2: demand 'much' is no number"]),
    ("a.csv", HEAD + b"0,0,0,1\n0,0,0,2\n", ["sample 0, store 0, week 0 occurs twice"]),
    ("a.csv", HEAD + b"0,0,0,1\n1,0,1,2\n", ["sample 0, store 0, week 1 is missing"]),
    ("a.csv", HEAD + b"0,0,0,1\n0,0,1,2\n1,0,0,2\n", ["sample 1, store 0, week 1 is missing"]),
    (
        "a.csv",
        HEAD + b"999999999,999999999,999999999,1\n",
        ["sample 0, store 0, week 0 is missing"],
    ),
    ("a.csv", HEAD + b"0,0,0,nan\n", ["nan at sample 0, store 0, week 0"]),
    ("a.csv", b"\xff\xfe\x00", ["no CSV text"]),
]


@pytest.mark.parametrize(("name", "data", "words"), BAD)
def test_bad_files_are_named_in_one_line(tmp_path, name, data, words):
    path = spoiled(name, data, tmp_path)
    shape = {} if name == "a.csv" else {"stores": 2, "weeks": 4}
    with pytest.raises(PgbenchError) as caught:
        recorded.read(path, **shape)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    for word in words:
        assert word in text


def test_other_bad_inputs(tmp_path, demand):
    with pytest.raises(PgbenchError, match=r"sales\.pt does not exist"):
        recorded.read(tmp_path / "sales.pt")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(PgbenchError, match=r"folder\.npy cannot be read"):
        recorded.read(tmp_path / "folder.npy")
    path = save(tmp_path / "sales.npy", demand)
    with pytest.raises(PgbenchError, match=r"SHA-256 is [0-9a-f]{64}, expected 00ff"):
        recorded.read(path, sha256="00FF")
    torch.save({"sales": demand}, tmp_path / "dict.pt")
    with pytest.raises(PgbenchError, match="holds a dict, not a tensor"):
        recorded.read(tmp_path / "dict.pt")
    np.savez(tmp_path / "many.npz", a=demand)
    (tmp_path / "many.npz").rename(tmp_path / "many.npy")
    with pytest.raises(PgbenchError, match="several arrays"):
        recorded.read(tmp_path / "many.npy")
    np.save(tmp_path / "object.npy", np.array([[[None]]]), allow_pickle=True)
    with pytest.raises(PgbenchError, match="holds no array"):
        recorded.read(tmp_path / "object.npy")


def test_a_pickle_is_not_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save(Trap(), tmp_path / "trap.pt")
    with pytest.raises(PgbenchError, match="holds no tensor"):
        recorded.read(tmp_path / "trap.pt")
    assert not (tmp_path / "executed").exists()


def test_days_from_christmas():
    # Dates of the published table: Tuesdays from 2013-01-01 to 2017-08-15.
    days = recorded.days_from_christmas(242).tolist()
    for week, expected in {
        0: 7, 25: 182, 26: -176, 50: -8, 51: -1, 52: 6, 103: -2, 104: 5, 155: -3, 208: 2, 241: -132,
    }.items():  # fmt: skip
        assert days[week] == expected
    assert recorded.days_from_christmas(1, "2016-12-25").tolist() == [0]


def test_splits():
    weeks = torch.arange(171.0).expand(1, 1, 171)
    for name, first, periods in (("train", 0, 95), ("dev", 88, 37), ("test", 118, 37)):
        part, shift = recorded.split(weeks, name)
        assert shift == 16 and part.shape == (1, 1, 16 + periods) and part[0, 0, 0] == first
    counted = {n: set(range(a + 32, b)) for n, (a, b) in recorded.WEEKS.items()}
    assert not counted["dev"] & set(range(*recorded.WEEKS["train"]))
    assert not counted["test"] & set(range(*recorded.WEEKS["dev"]))
    with pytest.raises(PgbenchError, match="170 weeks of demand; the split 'test' ends at 171"):
        recorded.split(weeks[..., :170], "test")
    with pytest.raises(PgbenchError, match="no split 'validation'; there are train, dev, test"):
        recorded.split(weeks, "validation")


def test_costs_are_the_published_draws():
    penalty, holding, lead = recorded.costs(5, 1)
    # The first entries of the published tensors of random costs and lead times.
    expected = torch.tensor([[10.2367, 9.3307, 6.9748, 8.4470, 10.5191]])
    torch.testing.assert_close(penalty, expected, atol=5e-5, rtol=0)
    assert holding.tolist() == [1.0] and lead.tolist() == [[4, 4, 6, 4, 5]]
    penalty, holding, _ = recorded.costs(4, 3)
    assert penalty.shape == (3, 4)
    # Drawn sample by sample: the second entry is that of the second store of the first sample.
    torch.testing.assert_close(penalty[:, 0], expected[0, :3], atol=5e-5, rtol=0)
    torch.testing.assert_close(holding, torch.tensor([1.0856, 1.0232, 1.0071]), atol=5e-5, rtol=0)
    assert not torch.equal(recorded.costs(4, 3, seed=1)[0], penalty)
    many = recorded.costs(4000, 1)
    assert many[0].min() >= 6.3 and many[0].max() <= 11.7
    assert set(many[2].unique().tolist()) == {4, 5, 6}


def sales(samples, stores=21):
    rng = torch.Generator().manual_seed(1)
    size = 5 + 100 * torch.rand(samples, stores, 1, generator=rng)
    return torch.poisson(size.expand(-1, -1, 171), generator=rng)


def test_one_store_takes_every_series():
    demand = sales(4, 3)
    network, traces = recorded.one_store(demand, "test")
    assert len(traces) == 12 and traces.periods == 37 and traces.shift == 16
    assert torch.equal(traces.demand[:, 0, 5], demand[1, 2, 118:])
    assert traces.clock.tolist() == recorded.days_from_christmas(171)[118:].tolist()
    assert network.lost and network.profit and network.holding == (1.0,)
    assert not traces.start.any() and traces.start.shape == (6, 12)
    assert network.mean[0] == pytest.approx(demand[..., :111].mean().item(), rel=1e-5)
    # On hand and pipeline, penalty, lead time, 16 weeks of past, days from Christmas.
    assert network.size == 6 + 1 + 1 + 16 + 1
    same = recorded.one_store(demand, "train")
    assert same[0] == network and torch.equal(same[1].fixed["lead"], traces.fixed["lead"])
    wrapped = recorded.Recorded(demand, "", "")
    assert torch.equal(recorded.one_store(wrapped, "test")[1].demand, traces.demand)


def test_many_warehouses():
    demand = sales(5)
    network, traces = recorded.many_warehouses(demand, "dev")
    assert (network.upstream, network.stores, network.columns) == (3, 21, (3, 6))
    assert len(network.internal) == 3 * 21 - 2 - 5 - 1  # what three warehouses do not serve
    lead = {(e.source, e.target - 3): e.lead for e in network.internal}
    assert [lead[w, 0] for w in range(3)] == [6, 1, 5] and (1, 5) not in lead
    assert [(e.lead, e.cost) for e in network.supply] == [(3, 0.5), (3, 1.5), (3, 0.7)]
    assert network.holding[:3] == (0.3, 0.4, 0.2)
    assert torch.equal(traces.demand[7, 20], demand[:, 20, 95])
    assert traces.start.shape == (3 * 3 + 21 * 6, 5)
    assert network.varying == ("penalty",) and traces.fixed["penalty"].shape == (21, 5)
    with pytest.raises(PgbenchError, match="demand of 20 stores; many_warehouses needs 21"):
        recorded.many_warehouses(demand[:, :20], "dev")


def test_returned_units_go_back_on_the_shelf_and_are_paid_back():
    network, _ = recorded.one_store(sales(1, 1), "test")
    fixed = {"penalty": torch.tensor([[9.0]])}
    state = torch.tensor([[4.0], [0], [0], [0], [0], [0]])
    state, cost = Simulator(network).step(state, torch.zeros(1, 1), torch.tensor([[-3.0]]), fixed)
    assert state[0].item() == 7 and cost.item() == 7 * 1 + 9 * 3


def rollout(network, traces, ignore, order):
    """Profit of each trace under `order(state, t)`."""
    sim, state, total = Simulator(network), traces.start, torch.zeros(len(traces))
    for t in range(traces.periods):
        orders = sim.feasible(state, order(state, t))
        demand = traces.demand[traces.shift + t]
        state, cost = sim.step(state, orders, demand, sim.fixed(traces))
        total -= cost * (t >= ignore)
    return total / ((traces.periods - ignore) * network.stores)


def test_just_in_time_sells_everything_and_stores_nothing():
    network, traces = recorded.one_store(sales(3, 4), "test")
    revenue = traces.fixed["penalty"] * traces.demand[32:, 0]
    best = justintime.profit(network, traces, 16)
    torch.testing.assert_close(best, revenue.mean(0), rtol=1e-5, atol=0)


def test_just_in_time_bounds_base_stock_policies():
    network, traces = recorded.one_store(sales(3, 4), "test")
    best = justintime.profit(network, traces, 16)
    mean = traces.demand.mean(0)
    gaps = []
    for weeks in torch.linspace(3, 10, 15):
        found = rollout(
            network, traces, 16, lambda s, t, w=weeks: w * mean - s.sum(0, keepdim=True)
        )
        assert (found <= best).all()
        gaps.append((best - found).mean().item())
    assert min(gaps) < 0.15 * best.mean()  # a good level comes near it: the bound is no slack one


def test_just_in_time_picks_its_routes():
    # One store behind two warehouses: 0 is slow and cheap, 1 is fast and dear.
    edges = (Edge(0, 2, 3), Edge(1, 2, 1), Edge(OUTSIDE, 0, 2, 0.5), Edge(OUTSIDE, 1, 2, 1.5))
    network = Network(
        2, 1, edges, (0.3, 0.4, 1.0), (9.0,), (5.0,), (1.0,), (2, 3), profit=True
    )  # fmt: skip
    rng = torch.Generator().manual_seed(2)
    demand = torch.poisson(torch.full((40, 1, 6), 5.0), generator=rng)
    traces = Traces(demand, torch.zeros(7, 6))
    sold = demand[10:, 0].sum(0)
    # Units of week t are bought 3 weeks before along the fast route, 5 along the slow one; past the
    # end of the recording the oracle buys for its last week again.
    fast = justintime.profit(network, traces, 10)
    bought = demand[13:, 0].sum(0) + 3 * demand[-1, 0]
    torch.testing.assert_close(fast, (9 * sold - 1.5 * bought) / 30, rtol=1e-5, atol=0)
    cheap = justintime.profit(network, traces, 10, cheapest=True)
    bought = demand[15:, 0].sum(0) + 5 * demand[-1, 0]
    torch.testing.assert_close(cheap, (9 * sold - 0.5 * bought) / 30, rtol=1e-5, atol=0)
    assert (cheap > fast).all()


def test_just_in_time_on_the_published_network():
    network, traces = recorded.many_warehouses(sales(4), "test")
    fast, cheap = (justintime.profit(network, traces, 16, c) for c in (False, True))
    revenue = (traces.fixed["penalty"] * traces.demand[32:]).mean((0, 1))
    assert (fast < cheap).all() and (cheap < revenue).all()
    # Sixteen stores buy at 1.5 along the fast route; what is sold has cost less than 1.5.
    assert (revenue - fast < 1.6 * traces.demand[32:].mean((0, 1))).all()


def test_just_in_time_needs_lost_demand():
    network = Network(0, 1, (Edge(OUTSIDE, 0, 1),), (1.0,), (9.0,), (5.0,), (1.0,), (2, 2), False)
    with pytest.raises(PgbenchError, match="lost demand only"):
        justintime.profit(network, Traces(torch.zeros(3, 1, 1), torch.zeros(2, 1)), 0)
