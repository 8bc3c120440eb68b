"""HDPO and REINFORCE on replayed traces: gradients against finite differences, and learning."""

import copy

import pytest
import torch

import pgbench
from pgbench.baselines.inventory import hdpo, reinforce
from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Setup
from pgbench.runs.plan import Protocol
from pgbench.worlds.network import Traces


def make(module, env_id, env_settings=None, **config):
    env = pgbench.make(env_id, **(env_settings or {}))
    cls = {hdpo: "HDPO", reinforce: "REINFORCE"}[module]
    spaces = env.single_observation_space, env.single_action_space
    setup = Setup(*spaces, budget=1, seed=3, env=env)
    return getattr(module, cls)(module.Config(**config), setup), env


def short(traces, periods):
    return Traces(traces.demand[:periods], traces.start)


@pytest.mark.parametrize(
    "env", ["one-store-lost-sales-p9-l2", "serial-system-p4-l1", "one-warehouse-3"]
)
def test_the_gradient_is_the_finite_difference_of_the_cost(env):
    algorithm, made = make(hdpo, env, hidden=(8,))
    traces = short(made.traces(64, 5), 12)
    traces = Traces(traces.demand.double(), traces.start.double())
    for name, value in vars(algorithm.sim).items():
        if isinstance(value, torch.Tensor):
            setattr(algorithm.sim, name, value.double())
    theta = algorithm.state["theta"].double()
    grad, cost = algorithm.gradient(theta, traces)
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        way = torch.randn(len(theta), generator=rng).double()
        way /= way.norm()
        up, down = (algorithm.gradient(theta + s * 1e-5 * way, traces)[1] for s in (1, -1))
        assert (up - down).item() / 2e-5 == pytest.approx((grad @ way).item(), rel=2e-3, abs=1e-6)
    assert cost > 0


def test_replaying_again_backwards_gives_the_same_gradient():
    algorithm, made = make(hdpo, "one-warehouse-3", hidden=(8,))
    again, _ = make(hdpo, "one-warehouse-3", hidden=(8,), recompute=True)
    traces = made.traces(16, 5)
    theta = algorithm.state["theta"]
    one, two = (a.gradient(theta, traces) for a in (algorithm, again))
    torch.testing.assert_close(one[1], two[1])
    torch.testing.assert_close(one[0], two[0], rtol=1e-4, atol=1e-6 * one[0].abs().max().item())


def test_the_objective_counts_all_periods_and_stores_only():
    """Never ordering, one warehouse that holds nothing: each store pays its penalty for all demand.

    Initial stock serves the first periods, so a start without any is given.
    """
    algorithm, made = make(hdpo, "one-warehouse-3", hidden=(8,))
    drawn = made.traces(8, 1)
    traces = Traces(drawn.demand, torch.zeros_like(drawn.start))
    algorithm.state["theta"].zero_()
    algorithm.state["theta"][-len(made.network.edges) :] = -60.0  # sigmoid and softmax give nothing
    _, cost = algorithm.gradient(algorithm.state["theta"], traces)
    penalty = torch.tensor(made.network.penalty)[:, None]
    expected = (penalty * traces.demand).mean()  # over T = 50 periods, 3 stores and 8 traces
    assert cost.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_policy_is_kept_if_it_is_the_best_so_far():
    algorithm, made = make(hdpo, "one-store-backlogged-p9-l4", policy="base_stock", lr=0.5)
    dev = made.traces(64, 9, "dev")
    first = algorithm.validate(dev, 60)
    kept = algorithm.state["best"].clone()
    algorithm.state["theta"].sub_(5.0)  # a far lower level
    worse = algorithm.validate(dev, 60)
    assert worse > first and algorithm.state["best_cost"] == first
    assert torch.equal(algorithm.state["best"], kept)


def test_base_stock_trained_by_the_gradient_finds_the_newsvendor_level():
    """S* = 29.585 for penalty 9, lead time 4 (closed form)."""
    algorithm, made = make(hdpo, "one-store-backlogged-p9-l4", policy="base_stock")
    traces = made.traces(2048, 1)
    for step in range(250):
        algorithm.lr = 0.5 if step < 150 else 0.05
        algorithm.update(traces)
    obs = torch.zeros(1, made.network.size)
    algorithm.state["best"].copy_(algorithm.state["theta"])
    assert algorithm.act(obs).item() == pytest.approx(29.585, abs=0.3)


def test_cost_to_go():
    cost = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert reinforce.cost_to_go(cost).tolist() == [[9, 12], [8, 10], [5, 6]]


def test_the_score_function_gradient_is_the_derivative_of_the_noisy_cost():
    """One period, backlog: both estimate d/dtheta E[cost]; many samples, five standard errors."""
    settings = {"lead_time": 1}
    algorithm, made = make(
        reinforce, "one-store-backlogged", settings, policy="base_stock", sigma=0.5
    )
    n = 200_000
    drawn = short(made.traces(n, 3), 2)
    start = drawn.start * 0 + 4.0
    traces = Traces(drawn.demand, start)
    theta = algorithm.state["theta"].double().float()
    noise = torch.randn(1, n, generator=torch.Generator().manual_seed(1))

    def cost(parameters):
        scores = algorithm.pi.scores(parameters, traces.start) + 0.5 * noise
        state, first = algorithm.sim.step(
            traces.start, algorithm.pi.orders(scores, traces.start), traces.demand[0], {}
        )
        second = algorithm.sim.step(state, torch.zeros(1, n), traces.demand[1], {})[1]
        return first + second

    way = torch.ones_like(theta)
    pathwise = (cost(theta + 0.05 * way) - cost(theta - 0.05 * way)) / 0.1
    paid = cost(theta)
    scores = algorithm.pi.scores(theta, traces.start)
    per_sample = (paid - paid.mean()) * noise.flatten() / 0.5  # d log pi / d score = eps / sigma
    shift = algorithm.pi.scores(theta + 0.05 * way, traces.start) - scores
    per_sample = per_sample * shift.flatten() / 0.05
    error = (per_sample.var() / n + pathwise.var() / n).sqrt().item()
    assert abs(per_sample.mean().item() - pathwise.mean().item()) < 5 * error
    # The surrogate's own gradient is that estimator.
    adv = paid - paid.mean()
    grad = torch.func.grad(algorithm.surrogate)(theta, traces.start, noise, adv)
    assert (grad @ way).item() == pytest.approx(per_sample.mean().item(), rel=0.05, abs=2 * error)


def test_hdpo_learns_in_seconds(tmp_path):
    """256 traces, 300 updates: nearer than the best base-stock policy (5.55, a gap of 2.1%)."""
    result = pgbench.run(
        "hdpo", "one-store-lost-sales-p9-l1", runs=tmp_path, budget="3840k", compile=False,
        protocol=Protocol(episodes=2, curve_points=1, curve_episodes=1),
        settings={"traces": 256, "batch": 256, "lr": 1e-2, "hidden": "32,32"},
    )  # fmt: skip
    assert result.score < 1.5


@pytest.mark.slow
@pytest.mark.parametrize(("lead", "base"), [(1, 5.55), (2, 6.31)])
@pytest.mark.parametrize("lr", [1e-2, 1e-3])
def test_hdpo_is_near_optimal_over_learning_rates(tmp_path, lead, base, lr):
    """The card's check: 1024 traces, 2000 Adam steps, below 1.5% and below the best base stock."""
    result = pgbench.run(
        "hdpo", f"one-store-lost-sales-p9-l{lead}", runs=tmp_path, budget=2000 * 1024 * 50,
        protocol=Protocol(episodes=4, curve_points=1, curve_episodes=1),
        settings={"traces": 1024, "batch": 1024, "lr": lr, "hidden": "32,32"},
    )  # fmt: skip
    optimum = {1: 5.4382, 2: 6.0936}[lead]
    assert result.score < 1.5 and optimum * (1 + result.score / 100) < base


def test_traces_do_not_depend_on_the_policy_and_resume_at_the_same_place():
    from pgbench.loops.hindsight import Hindsight

    algorithm, env = make(hdpo, "one-store-lost-sales", traces=48, batch=16, hidden=(4,))
    loop = Hindsight(algorithm, env, 16 * 50 * 100, seed=2)
    batches = [loop.next_batch().demand.clone() for _ in range(5)]
    epoch = torch.cat(batches[:3], -1).flatten(0, 1).T
    whole = loop.train.demand.flatten(0, 1).T
    assert {tuple(row) for row in epoch.tolist()} == {tuple(row) for row in whole.tolist()}
    saved = copy.deepcopy(loop.state_dict())
    expected = [loop.next_batch().demand.clone() for _ in range(4)]
    again = Hindsight(algorithm, env, 16 * 50 * 100, seed=2)
    again.load_state_dict(saved)
    assert all(torch.equal(again.next_batch().demand, x) for x in expected)
    assert not torch.equal(loop.train.demand[:, :, :48], loop.dev.demand[:50, :, :48])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch": 0}, "batch must be at least 1"),
        ({"policy": "gmn"}, "unknown policy 'gmn'; did you mean gnn?"),
        ({"policy": "echelon_stock"}, "echelon_stock"),
        ({"traces": 0}, "traces must be at least 1"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, settings, words):
    with pytest.raises(PgbenchError) as error:
        pgbench.run("hdpo", "one-store-lost-sales", runs=tmp_path, settings=settings)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (1000, "below one update, which has 1024 traces"),  # known before anything is built
        (2000, "below one update of 51200 environment steps"),  # once traces have a length
    ],
)
def test_a_budget_below_one_update_is_refused(tmp_path, budget, words):
    with pytest.raises(PgbenchError, match=words):
        pgbench.run("hdpo", "one-store-lost-sales", runs=tmp_path, budget=budget)
    assert not list(tmp_path.rglob("run.json"))


def test_the_log_has_every_look_at_the_held_out_traces():
    """Every third update: the chunks of ten end after one of them, not with it."""
    from pgbench.loops.hindsight import Hindsight

    settings = {"traces": 4, "batch": 4, "dev_traces": 2, "dev_every": 3, "hidden": (4,)}
    algorithm, env = make(hdpo, "one-store-lost-sales", **settings)
    phases = list(Hindsight(algorithm, env, 4 * 50 * 20, seed=2).phases())
    assert [("dev_cost" in phase.metrics) for phase in phases] == [True, True]
