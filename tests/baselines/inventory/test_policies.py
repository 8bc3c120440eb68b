"""Order policies: worked numbers, feasibility for any scores, and what `make_policy` refuses."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pgbench.baselines.inventory.policies import POLICIES, default_policy, make_policy
from pgbench.baselines.inventory.policies.allocate import Slots, leaves, proportional, softmax
from pgbench.baselines.inventory.policies.graph import depth
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


ONE = network([(OUTSIDE, 0, 3)], 0, 1)
THREE = network([(OUTSIDE, k, 2) for k in range(3)], 0, 3)
CHAIN = network([(0, 1, 4), (1, 2, 3), (2, 3, 4), (OUTSIDE, 0, 2)], 3, 1)
FORK = network([*((0, 1 + k, 2 + k % 2) for k in range(3)), (OUTSIDE, 0, 3)], 1, 3, (3, 4))
SHIP = replace(FORK, transship=True)
MANY = network(
    [(0, 2, 3), (0, 3, 4), (1, 3, 2), (1, 4, 1), (OUTSIDE, 0, 3, 0.5), (OUTSIDE, 1, 3, 1.5)], 2, 3
)
# Two tiers, and a store that also orders from outside.
TIERS = network(
    [(0, 1, 2), (0, 2, 1), (1, 3, 2), (2, 3, 1), (2, 4, 2), (OUTSIDE, 0, 2), (OUTSIDE, 4, 3)], 3, 2
)
REAL = replace(THREE, varying=("penalty", "holding", "lead"), past=5, clock=True, profit=True)
REAL_MANY = replace(MANY, varying=("penalty", "holding"), past=5, clock=True, profit=True)
NETWORKS = {
    "one": ONE, "three": THREE, "chain": CHAIN, "fork": FORK, "ship": SHIP, "many": MANY,
    "tiers": TIERS, "real": REAL, "real_many": REAL_MANY,
}  # fmt: skip
FITS = {
    "one": {"base_stock", "capped_base_stock"},
    "three": {"base_stock", "capped_base_stock"},
    "chain": {"echelon_stock"},
    "fork": {"symmetry_aware", "context_free"},
    "ship": {"symmetry_aware", "context_free"},
    "many": {"symmetry_aware", "context_free"},
    "tiers": set(),
    "real": {"base_stock", "capped_base_stock", "data_driven"},
    "real_many": {"symmetry_aware", "context_free", "data_driven"},
}
PAIRS = [(p, n) for n, some in FITS.items() for p in sorted(some | {"vanilla", "gnn"})]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def state(net, batch, scale=6.0, seed=1):
    obs = torch.rand(net.size, batch, generator=seeded(seed)) * scale
    if "lead" in net.varying:
        obs[net.rows["lead"]] = obs[net.rows["lead"]].remainder(2).floor() + 1
    return obs


def column(*values):
    return torch.tensor(values)[:, None]


class TestAllocation:
    all_from_one = torch.ones(1, 2)

    @pytest.mark.parametrize(
        ("have", "ship_all", "want"),
        [(4.0, False, (1.5, 2.5)), (10.0, False, (3.0, 5.0)), (10.0, True, (3.75, 6.25))],
    )
    def test_proportional(self, have, ship_all, want):
        got = proportional(column(3.0, 5.0), column(have), self.all_from_one, ship_all=ship_all)
        torch.testing.assert_close(got, column(*want))

    def test_proportional_keeps_what_the_source_asks_for(self):
        got = proportional(column(3.0, 5.0), column(5.0), self.all_from_one, keep=column(2.0))
        torch.testing.assert_close(got, column(1.5, 2.5))

    @pytest.mark.parametrize("ship_all", [False, True])
    def test_nothing_asked_for_is_no_nan(self, ship_all):
        want = torch.zeros(2, 1, requires_grad=True)
        got = proportional(want, column(4.0), self.all_from_one, ship_all=ship_all)
        got.sum().backward()
        assert got.eq(0).all()
        assert want.grad.isfinite().all()

    def test_softmax_with_and_without_keeping(self):
        logits, have = torch.zeros(2, 1), column(10.0)
        got = softmax(logits, have)
        torch.testing.assert_close(got, column(2.11942, 2.11942), atol=1e-5, rtol=0)
        assert float(10 - got.sum()) == pytest.approx(5.76117, abs=1e-5)
        torch.testing.assert_close(softmax(logits, have, keep=False), column(5.0, 5.0))

    @pytest.mark.parametrize("net", [MANY, replace(MANY, transship=True), TIERS])
    def test_several_sources_are_several_single_ones(self, net):
        logits = torch.randn(len(net.internal), 7, generator=seeded()) * 3
        have = torch.rand(net.upstream, 7, generator=seeded(1)) * 9
        divided = softmax(logits, have, Slots.of(net))
        wanted = proportional(logits.exp(), have, leaves(net), ship_all=net.transship)
        for u in range(net.upstream):
            mine = [i for i, e in enumerate(net.internal) if e.source == u]
            alone = softmax(logits[mine], have[u : u + 1], keep=not net.transship)
            torch.testing.assert_close(divided[mine], alone)
            one = torch.ones(1, len(mine))
            alone = proportional(logits[mine].exp(), have[u : u + 1], one, ship_all=net.transship)
            torch.testing.assert_close(wanted[mine], alone)


class TestStockLevels:
    def test_base_stock_returns_the_position_to_the_level(self):
        policy, obs = make_policy("base_stock", ONE), column(7.0, 2.0, 1.5, 0.0)
        assert float(policy(policy.init(seeded()), obs)) == 0.0  # 10.5 is above softplus(10)
        assert float(policy(torch.tensor([29.585]), obs)) == pytest.approx(29.585 - 10.5)

    def test_one_level_serves_all_stores(self):
        obs = torch.zeros(THREE.size, 1)
        obs[0], obs[4], obs[8] = 3.0, 5.0, 40.0
        got = make_policy("base_stock", THREE)(torch.tensor([20.0]), obs)
        torch.testing.assert_close(got, column(17.0, 15.0, 0.0))

    def test_cap(self):
        policy, obs = make_policy("capped_base_stock", ONE), column(7.0, 2.0, 1.5, 0.0)
        assert float(policy(torch.tensor([29.585, 20.0]), obs)) == pytest.approx(19.085)
        order = policy(torch.tensor([29.585, 6.0]), obs)
        assert float(order) == pytest.approx(math.log1p(math.exp(6.0)))

    def test_echelon_stock_by_hand(self):
        # Levels 100, 60, 40, 15 of echelons from upstream: increments 40, 20, 25, 15.
        increments = torch.tensor([15.0, 25.0, 20.0, 40.0])  # the store's first
        theta = increments + torch.log(-torch.expm1(-increments)) - 10  # softplus(theta + 10)
        obs = torch.zeros(CHAIN.size, 1)
        on_hand, position = (12.0, 5.0, 4.0, 3.0), (30.0, 20.0, 15.0, 8.0)
        for v in range(4):
            obs[4 * v], obs[4 * v + 2] = on_hand[v], position[v] - on_hand[v]
        orders = make_policy("echelon_stock", CHAIN)(theta, obs)
        # Edges: first to second location, ..., to the store, then from outside to the first.
        torch.testing.assert_close(orders, column(12.0, 5.0, 4.0, 27.0), atol=1e-4, rtol=0)

    def test_starting_values(self):
        assert make_policy("capped_base_stock", ONE).init(seeded()).tolist() == [10.0, 10.0]
        theta = make_policy("echelon_stock", CHAIN).init(seeded())
        assert theta.shape == (4,)
        assert (theta.abs() <= 1).all()


def plain(policy, theta):
    """The policy's network as PyTorch's own modules, on (B, d)."""
    sizes = policy.net.sizes
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ELU()]
    module = nn.Sequential(*layers[:-1])
    nn.utils.vector_to_parameters(theta, module.parameters())
    return module


class TestVanilla:
    def made(self, net, **options):
        policy = make_policy("vanilla", net, **options)
        theta, obs = policy.init(seeded()) * 1.5, state(net, 5)
        return policy(theta, obs), plain(policy, theta)(obs.T).T, obs

    def test_store(self):
        orders, out, _ = self.made(THREE)
        torch.testing.assert_close(orders, F.softplus(out + 1))

    def test_chain(self):
        orders, out, obs = self.made(CHAIN)
        share = out.sigmoid()
        for i in range(3):  # edge i leaves location i, whose stock on hand is row 4 i
            torch.testing.assert_close(orders[i], share[i] * obs[4 * i])
        torch.testing.assert_close(orders[3], share[3] * 4 * 5.0)

    def test_warehouse(self):
        orders, out, obs = self.made(FORK, hidden=(16,))
        weights = out[:3].exp()
        shipped = weights / (weights.sum(0) + math.e) * obs[0]
        torch.testing.assert_close(orders[:3], shipped)
        torch.testing.assert_close(orders[3], out[3].sigmoid() * 4 * (5.0 + 4.5 + 4.0))

    def test_transshipment_ships_everything(self):
        orders, _, obs = self.made(SHIP)
        torch.testing.assert_close(orders[:3].sum(0), obs[0])

    @pytest.mark.parametrize(
        ("net", "widths", "lr"),
        [(ONE, (32, 32, 32), 0.003), (CHAIN, (32, 32), 0.01), (FORK, (512,) * 3, 0.0003),
         (SHIP, (256,) * 3, 0.0001), (MANY, (512,) * 3, 0.0003)],
    )  # fmt: skip
    def test_sizes_and_step_sizes_of_the_released_code(self, net, widths, lr):
        policy = make_policy("vanilla", net)
        assert policy.net.sizes == (net.size, *widths, len(net.edges))
        assert (policy.lr, policy.clip) == (lr, None)

    def test_data_driven(self):
        policy = make_policy("data_driven", REAL_MANY)
        theta, obs = policy.init(seeded()), state(REAL_MANY, 5)
        assert theta[-6:].eq(1).all()
        want = plain(policy, theta)(obs.T).T.relu()
        orders = policy(theta, obs)
        torch.testing.assert_close(orders[4:], want[4:])
        for u, edges in ((0, [0, 1]), (1, [2, 3])):
            share = (obs[4 * u] / (want[edges].sum(0) + 1e-10)).clamp(max=1)
            torch.testing.assert_close(orders[edges], want[edges] * share)


class TestSymmetric:
    @pytest.mark.parametrize("name", ["symmetry_aware", "context_free"])
    def test_stores_share_their_network(self, name):
        """Orders of the first layer written out, store by store."""
        policy = make_policy(name, FORK)
        theta, obs = policy.init(seeded()) * 2, state(FORK, 5)
        parts = theta.split([net.count for net in policy.nets])
        context = torch.zeros(5, 0)
        if policy.context:
            context = policy.nets[2](parts[2], obs.T).sigmoid()
        want = []
        for k in range(3):
            lead = FORK.edges[k].lead
            static = torch.tensor([FORK.mean[k], FORK.std[k], FORK.penalty[k], lead]).expand(5, 4)
            own = obs[3 + 4 * k : 7 + 4 * k].T
            x = torch.cat([own, static, context], -1)
            want.append(F.softplus(policy.nets[0](parts[0], x)).squeeze(-1))
        q = torch.stack(want)
        shipped = q * (obs[0] / q.sum(0)).clamp(max=1)
        x = torch.cat([obs[:3].T, context], -1)
        bought = policy.nets[1](parts[1], x).sigmoid().T * 4 * 13.5
        torch.testing.assert_close(policy(theta, obs), torch.cat([shipped, bought]))

    def test_parameters_do_not_depend_on_the_number_of_stores_without_context(self):
        counts = set()
        for k in (2, 7):
            edges = [*((0, 1 + i, 2) for i in range(k)), (OUTSIDE, 0, 3)]
            counts.add(make_policy("context_free", network(edges, 1, k)).count)
        assert len(counts) == 1


@pytest.mark.parametrize(("name", "which"), PAIRS)
def test_any_scores_become_feasible_orders(name, which):
    net = NETWORKS[which]
    policy = make_policy(name, net)
    obs = state(net, 64)
    obs[:, 0] = 0.0  # nothing anywhere
    theta = policy.init(seeded())
    assert theta.shape == (policy.count,)
    scores = policy.scores(theta, obs)
    noisy = scores + 5 * torch.randn(scores.shape, generator=seeded(2))
    for given in (scores, noisy):
        orders = policy.orders(given, obs)
        assert orders.shape == (len(net.edges), 64)
        assert orders.isfinite().all()
        assert (orders >= 0).all()
        for u in range(net.upstream):
            leaving = sum(orders[i] for i, e in enumerate(net.edges) if e.source == u)
            have = obs[u * net.columns[0]]
            assert (leaving <= have * (1 + 1e-5) + 1e-6).all()
            if net.transship:
                torch.testing.assert_close(leaving, have)
    torch.testing.assert_close(policy(theta, obs), policy.orders(scores, obs))


@pytest.mark.parametrize(("name", "which"), PAIRS)
def test_every_parameter_gets_a_finite_gradient(name, which):
    net = NETWORKS[which]
    policy = make_policy(name, net)
    theta = policy.init(seeded())
    obs = state(net, 32, scale=3.0)
    grad = torch.func.grad(lambda p: (policy(p, obs) * (1 + obs[:1])).sum())(theta)
    assert grad.isfinite().all()
    parts = grad.split([net.count for net in getattr(policy, "nets", [])] or [policy.count])
    assert all(part.abs().sum() > 0 for part in parts)


# Tracing takes seconds: two cases here, the others with the slow tests.
QUICK = {("vanilla", "many"), ("gnn", "one")}
CASES = [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow) for pair in PAIRS]


@pytest.mark.parametrize(("name", "which"), CASES)
def test_compiles_to_one_graph(name, which):
    net = NETWORKS[which]
    policy = make_policy(name, net)
    theta, obs = policy.init(seeded()), state(net, 3)
    compiled = torch.compile(
        lambda p, x: policy(p, x), backend="eager", fullgraph=True, isolate_recompiles=True
    )
    torch.testing.assert_close(compiled(theta, obs), policy(theta, obs))


def test_the_catalogue_says_what_fits():
    for which, net in NETWORKS.items():
        assert default_policy(net) == ("data_driven" if net.past else "vanilla")
        for name in POLICIES:
            if (name, which) in PAIRS:
                make_policy(name, net)
                continue
            with pytest.raises(PgbenchError, match=f"policy {name} needs .*these fit: ") as error:
                make_policy(name, net)
            fit = str(error.value).partition("these fit: ")[2].split(", ")
            assert sorted((p, which) for p in fit) == sorted(p for p in PAIRS if p[1] == which)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [("vanila", {}, "unknown policy 'vanila'; did you mean vanilla?"),
     ("gnn", {"backend": "pig"}, "unknown backend of gnn 'pig'; did you mean pyg?"),
     ("gnn", {"depth": 2}, "policy gnn has no option 'depth'; it takes hidden, steps"),
     ("base_stock", {"hidden": (3,)}, "policy base_stock has no option 'hidden'; it takes none")],
)  # fmt: skip
def test_refusals(name, options, message):
    with pytest.raises(PgbenchError) as error:
        make_policy(name, ONE, **options)
    assert str(error.value) == message


def test_depth():
    depths = {name: depth(net) for name, net in NETWORKS.items()}
    assert depths == {
        "one": 0, "three": 0, "chain": 3, "fork": 1, "ship": 1, "many": 1, "tiers": 2,
        "real": 0, "real_many": 1,
    }  # fmt: skip
