"""The graph network against its equations, written out node by node and edge by edge."""

import math
import sys
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from pgbench.baselines.inventory.policies import make_policy
from pgbench.baselines.inventory.policies.graph import Gather, Graph, Take
from pgbench.errors import PgbenchError
from pgbench.worlds.network import OUTSIDE, Edge, Network


def network(edges, upstream, stores, columns=(4, 4), **more):
    n = upstream + stores
    return Network(
        upstream, stores, tuple(Edge(*e) for e in edges),
        holding=tuple(0.1 * (v + 1) for v in range(n)),
        penalty=tuple(9.0 + k for k in range(stores)),
        mean=tuple(5.0 - 0.5 * k for k in range(stores)),
        std=tuple(1.5 + 0.1 * k for k in range(stores)),
        columns=columns, **more,
    )  # fmt: skip


def fork(stores, **more):
    edges = [*((0, 1 + k, 2 + k % 2) for k in range(stores)), (OUTSIDE, 0, 3)]
    return network(edges, 1, stores, (3, 5), **more)


ONE = network([(OUTSIDE, 0, 3)], 0, 1)
CHAIN = network([(0, 1, 4), (1, 2, 3), (2, 3, 4), (OUTSIDE, 0, 2)], 3, 1)
MANY = network(
    [(0, 2, 3), (0, 3, 4), (1, 3, 2), (1, 4, 1), (OUTSIDE, 0, 3, 0.5), (OUTSIDE, 1, 3, 1.5)], 2, 3
)
TIERS = network(
    [(0, 1, 2), (0, 2, 1), (1, 3, 2), (2, 3, 1), (2, 4, 2), (OUTSIDE, 0, 2), (OUTSIDE, 4, 3)], 3, 2
)
REAL = network(
    [(OUTSIDE, 0, 3), (OUTSIDE, 1, 3)], 0, 2, varying=("penalty", "holding", "lead"), past=5,
    clock=True,
)  # fmt: skip
REAL_MANY = replace(MANY, varying=("holding",), past=3, clock=True)
NETWORKS = {
    "one": ONE, "chain": CHAIN, "fork": fork(4), "ship": fork(4, transship=True), "many": MANY,
    "tiers": TIERS, "real": REAL, "real_many": REAL_MANY,
}  # fmt: skip


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def state(net, batch, seed=1):
    obs = torch.rand(net.size, batch, generator=seeded(seed)) * 6
    if "lead" in net.varying:
        obs[net.rows["lead"]] = obs[net.rows["lead"]].remainder(3).floor() + 1
    return obs


def in_words(net, theta, obs, steps, width):
    """Orders of one sample (d,): the equations in the head of gnn.py, one object at a time."""
    u, k, h = net.upstream, net.stores, width
    lu, ls = net.columns
    longest = max(lu, ls) if u else ls

    def row(name, store):
        return obs[net.rows[name]][store] if name in net.varying else None

    def vector(v):
        inventory = obs[v * lu : (v + 1) * lu] if v < u else obs[u * lu :][(v - u) * ls :][:ls]
        inventory = [*inventory, *[torch.zeros(())] * (longest - len(inventory))]
        if v < u:
            cost = next(e.cost for e in net.edges if e.target == v)
            values = [net.holding[v], cost]
        else:
            store = v - u
            holding, penalty = row("holding", store), row("penalty", store)
            values = [
                net.holding[v] if holding is None else holding,
                net.penalty[store] if penalty is None else penalty,
            ]
            if net.past:
                values += [obs[net.rows["past"]][t * k + store] for t in range(net.past)]
                values += list(obs[net.rows["clock"]])
            else:
                values += [net.mean[store], net.std[store]]
        length = 2 + (net.past + 1 if net.past else 2)
        values = [torch.as_tensor(float(x) if isinstance(x, float) else x) for x in values]
        return torch.stack([*inventory, *values, *[torch.zeros(())] * (length - len(values))])

    sizes = [(len(vector(0)), h, h, h), (2 * h + 1, h, h, h), (3 * h, h, h, h), (3 * h, h, h, h)]
    nets, at = [], 0
    for widths in [*sizes, (h, h, h, 1)]:
        layers = []
        for n_in, n_out in pairwise(widths):
            weight = theta[at : at + n_in * n_out].view(n_out, n_in)
            at += n_in * n_out
            layers.append((weight, theta[at : at + n_out]))
            at += n_out
        nets.append(layers)
    assert at == len(theta)

    def run(layers, *inputs, last=True):
        x = torch.cat([i.reshape(-1) for i in inputs])
        for i, (weight, bias) in enumerate(layers):
            x = weight @ x + bias
            x = F.elu(x) if last or i < 2 else x
        return x

    zeros = torch.zeros(h)
    nodes = {OUTSIDE: zeros, **{v: run(nets[0], vector(v)) for v in range(u + k)}}
    ends = [(e.source, e.target) for e in net.edges]
    ends += [] if net.transship else [(v, v) for v in range(u)]
    leads = [0.0] * len(ends) + [0.0] * k
    for i, e in enumerate(net.edges):
        varies = "lead" in net.varying and e.target >= u
        leads[i] = row("lead", e.target - u) if varies else float(e.lead)
    ends += [(u + i, OUTSIDE) for i in range(k)]
    edges = [
        run(nets[1], nodes[s], nodes[t], torch.as_tensor(lead))
        for (s, t), lead in zip(ends, leads, strict=True)
    ]
    for _ in range(steps):
        new = {OUTSIDE: zeros}
        for v in range(u + k):
            into = [m for m, (_, t) in zip(edges, ends, strict=True) if t == v]
            out = [m for m, (s, _) in zip(edges, ends, strict=True) if s == v]
            mean = [sum(ms) / math.sqrt(len(ms)) for ms in (into, out)]
            new[v] = nodes[v] + run(nets[2], nodes[v], *mean)
        nodes = new
        edges = [
            m + run(nets[3], m, nodes[s], nodes[t]) for m, (s, t) in zip(edges, ends, strict=True)
        ]
    asked = [F.softplus(run(nets[4], m, last=False))[0] for m in edges]
    orders = []
    for i, e in enumerate(net.edges):
        if e.source == OUTSIDE:
            orders.append(asked[i])
            continue
        mine = [j for j, (s, _) in enumerate(ends) if s == e.source]
        share = obs[e.source * lu] / (sum(asked[j] for j in mine) + 1e-10)
        orders.append(asked[i] * (share if net.transship else share.clamp(max=1)))
    return torch.stack(orders)


def orders_and_gradient(policy, theta, obs):
    theta, obs = theta.clone().requires_grad_(), obs.clone().requires_grad_()
    orders = policy(theta, obs)
    loss = (orders * torch.arange(1.0, 1 + len(orders))[:, None]).square().mean()
    return orders.detach(), *torch.autograd.grad(loss, [theta, obs])


def assert_same(got, want):
    """Orders and both gradients to 1e-5 of the largest entry."""
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max().clamp(min=1)))


@pytest.mark.parametrize("backend", ["dense", "pyg"])
@pytest.mark.parametrize("which", NETWORKS)
def test_equations(which, backend):
    if backend == "pyg":
        pytest.importorskip("torch_geometric")
    net = NETWORKS[which]
    policy = make_policy("gnn", net, backend=backend, hidden=6)
    theta, obs = policy.init(seeded()) * 1.5, state(net, 3)

    def words(p, x):
        return torch.stack([in_words(net, p, x[:, b], policy.steps, 6) for b in range(3)], 1)

    assert_same(orders_and_gradient(policy, theta, obs), orders_and_gradient(words, theta, obs))


@pytest.mark.parametrize("which", NETWORKS)
def test_backends_agree(which):
    pytest.importorskip("torch_geometric")
    net = NETWORKS[which]
    dense, pyg = (make_policy("gnn", net, backend=b, steps=2) for b in ("dense", "pyg"))
    theta, obs = dense.init(seeded()), state(net, 40)
    assert theta.equal(pyg.init(seeded()))
    assert_same(orders_and_gradient(dense, theta, obs), orders_and_gradient(pyg, theta, obs))


def test_batch_size_does_not_matter():
    policy = make_policy("gnn", MANY)
    theta, obs = policy.init(seeded()), state(MANY, 7)
    single = torch.cat([policy(theta, obs[:, b : b + 1]) for b in range(7)], 1)
    torch.testing.assert_close(policy(theta, obs), single)


@pytest.mark.parametrize("transship", [False, True])
def test_permuting_stores_permutes_orders(transship):
    net, order = fork(4, transship=transship), [2, 0, 3, 1]
    leads = [net.edges[i].lead for i in order]
    swapped = replace(
        net,
        edges=(*(Edge(0, 1 + k, lead) for k, lead in enumerate(leads)), net.edges[-1]),
        holding=(net.holding[0], *(net.holding[1 + i] for i in order)),
        **{
            name: tuple(getattr(net, name)[i] for i in order) for name in ("penalty", "mean", "std")
        },
    )
    policy, other = make_policy("gnn", net), make_policy("gnn", swapped)
    theta, obs = policy.init(seeded()) * 2, state(net, 9)
    up, store = net.inventories(obs)
    moved = torch.cat([up.flatten(0, 1), store[order].flatten(0, 1)])
    want = policy(theta, obs)
    assert want[:4].std(0).min() > 1e-4  # the stores do order different amounts
    torch.testing.assert_close(other(theta, moved), want[[*order, 4]])


def test_parameters_do_not_depend_on_the_number_of_stores():
    first = (5 + 4, 2 * 32 + 1, 3 * 32, 3 * 32, 32)  # inputs of the five networks
    rest = [32 * 33 + 32 * 33] * 4 + [32 * 33 + 33]
    want = sum(32 * (inputs + 1) for inputs in first) + sum(rest)
    assert {make_policy("gnn", fork(k)).count for k in (1, 3, 20)} == {want}


@pytest.mark.parametrize(
    ("stock", "transship", "shipped"),
    [(2.0, False, 0.4), (50.0, False, math.log(2)), (2.0, True, 0.5), (50.0, True, 12.5)],
)
def test_zero_weights_ask_for_the_same_everywhere(stock, transship, shipped):
    """softplus(0) = log 2 on each of four edges and, unless everything is shipped, the loop."""
    net = fork(4, transship=transship)
    policy, obs = make_policy("gnn", net), torch.ones(net.size, 1)
    obs[0] = stock
    got = policy(torch.zeros(policy.count), obs)[:, 0]
    torch.testing.assert_close(got, torch.tensor([shipped] * 4 + [math.log(2)]))


def test_released_settings():
    policy = make_policy("gnn", CHAIN)
    assert (policy.lr, policy.clip, policy.width) == (1e-3, 1.0, 32)
    steps = {name: make_policy("gnn", net).steps for name, net in NETWORKS.items()}
    assert steps == {
        "one": 1, "chain": 3, "fork": 1, "ship": 1, "many": 1, "tiers": 2, "real": 1,
        "real_many": 1,
    }  # fmt: skip
    assert policy.init(seeded())[-1] == 5.0
    real = make_policy("gnn", REAL)
    assert (real.width, real.init(seeded())[-1].item()) == (64, 1.0)


def test_gather_by_hand():
    """Two warehouses; edges 0 to 2, 0 to 3, 1 to 3, each with embedding 10^i; loops 1000, 2000."""
    net = network([(0, 2, 1), (0, 3, 1), (1, 3, 1), (OUTSIDE, 0, 1), (OUTSIDE, 1, 1)], 2, 2)
    groups = [[1.0, 10.0, 100.0], [5.0, 6.0], [1000.0, 2000.0], [0.5, 0.25]]
    into, out = Graph(net).gather([torch.tensor(g).view(-1, 1, 1) for g in groups])
    root2, root3 = math.sqrt(2), math.sqrt(3)
    assert into.flatten().tolist() == pytest.approx([1005 / root2, 2006 / root2, 1, 110 / root2])
    assert out.flatten().tolist() == pytest.approx([1011 / root3, 2100 / root2, 0.5, 0.25])


@pytest.mark.parametrize("index", [[0, 1, 2], [1, 2], [1, 1, 1], [2, 0, 2], [0]])
def test_take(index):
    x = torch.arange(6.0).view(3, 1, 2)
    got = Take(index, 3, "cpu")(x)
    torch.testing.assert_close(got.expand(len(index), -1, -1), x[index])


def test_gather_is_the_transpose_of_take():
    index, x = [2, 0, 2], torch.arange(6.0).view(3, 1, 2)
    gather = Gather([index], range(3), "cpu")
    want = torch.zeros_like(x).index_add(0, torch.tensor(index), x)
    want = want / torch.tensor([1.0, 1.0, math.sqrt(2)]).view(3, 1, 1)
    torch.testing.assert_close(gather([x]), want)


@pytest.mark.slow
def test_message_passing_compiles_to_one_graph():
    pytest.importorskip("torch_geometric")
    policy = make_policy("gnn", MANY, backend="pyg")
    theta, obs = policy.init(seeded()), state(MANY, 3)
    compiled = torch.compile(policy.__call__, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(theta, obs), policy(theta, obs))


def test_without_pytorch_geometric(monkeypatch):
    monkeypatch.delitem(sys.modules, "pgbench.baselines.inventory.policies.message", raising=False)
    for name in ("torch_geometric", "torch_geometric.nn"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PgbenchError, match=r"pip install .*\[inventory\]"):
        make_policy("gnn", ONE, backend="pyg")
    make_policy("gnn", ONE)
