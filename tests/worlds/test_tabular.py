"""Exact values of finite decision processes: worked numbers, identities, autograd, samples."""

import numpy as np
import pytest
import torch

from pgbench.catalogue.capabilities import make
from pgbench.catalogue.registry import find_env
from pgbench.errors import PgbenchError
from pgbench.worlds.tabular import TabularEnv, TabularModel

S, A, H = 5, 3, 4


def model(horizon=None, discount=0.9, seed=0) -> TabularModel:
    rng = torch.Generator().manual_seed(seed)
    P = torch.rand(S, A, S, generator=rng, dtype=torch.float64)
    R = torch.randn(S, A, generator=rng, dtype=torch.float64)
    rho = torch.rand(S, generator=rng, dtype=torch.float64)
    return TabularModel(P / P.sum(-1, keepdim=True), R, rho / rho.sum(), horizon, discount)


MODELS = [model(), model(horizon=H, discount=1.0), model(horizon=H, discount=0.8)]
EVERY = pytest.mark.parametrize("mdp", MODELS, ids=["discount", "horizon", "both"])


def policies(mdp: TabularModel, *batch: int, seed: int = 1) -> torch.Tensor:
    """Random logits (*batch, S, A) or (*batch, H, S, A)."""
    rng = torch.Generator().manual_seed(seed)
    shape = (S, A) if mdp.horizon is None else (mdp.horizon, S, A)
    return torch.randn(*batch, *shape, generator=rng, dtype=torch.float64)


def two_states(**kwargs) -> TabularModel:
    """Action 0 stays, action 1 goes to the other state; staying in state 1 pays 1."""
    P = torch.tensor([[[1.0, 0], [0, 1]], [[0, 1], [1, 0]]])
    return TabularModel(P, torch.tensor([[0.0, 0], [1, 0]]), torch.tensor([1.0, 0]), **kwargs)


def test_worked_numbers_with_a_discount():
    mdp = two_states(discount=0.5)
    pi = torch.tensor([[0.0, 1], [1, 0]])  # go to state 1, stay there
    assert mdp.values(pi).tolist() == pytest.approx([1.0, 2.0])  # V(1) = 1/(1 - 0.5)
    assert mdp.action_values(pi).tolist() == [pytest.approx([0.5, 1]), pytest.approx([2, 0.5])]
    assert float(mdp.returns(pi)) == pytest.approx(1.0)
    assert mdp.occupancy(pi).tolist() == [pytest.approx([0, 1]), pytest.approx([1, 0])]
    q, best = mdp.optimum()
    assert best.tolist() == pi.tolist() and q.tolist() == mdp.action_values(pi).tolist()
    stay = torch.tensor([[1.0, 0], [1, 0]])
    assert mdp.regret(torch.stack([pi, stay])).tolist() == pytest.approx([0.0, 1.0])


def test_worked_numbers_with_a_horizon():
    mdp = two_states(horizon=3)
    go = mdp.stationary(torch.tensor([[0.0, 1], [1, 0]]))
    assert mdp.values(go).tolist() == [[2, 3], [1, 2], [0, 1]]
    assert mdp.best() == 2.0 and float(mdp.returns(mdp.uniform())) == pytest.approx(0.5)
    # uniform: at the second and third step in state 1 with 1/2, where staying has 1/2 and pays 1
    assert mdp.occupancy(go).sum((-1, -2)).tolist() == [1, 1, 1]


def test_river_swim_by_hand():
    """Backward induction written out; the best returns of one and of two states follow by hand."""
    mdp = make("river-swim").model
    value = np.zeros(6)
    for _ in range(20):
        left = [0.005 + value[0], *value[:-1]]
        right = [0.4 * value[0] + 0.6 * value[1]]
        right += [0.05 * value[s - 1] + 0.6 * value[s] + 0.35 * value[s + 1] for s in range(1, 5)]
        right += [1 + 0.6 * value[5] + 0.4 * value[4]]
        value = np.maximum(left, right)
    assert mdp.best() == pytest.approx(value[0], rel=1e-12) == 3.3972639591508393
    # Four steps cannot reach the right end: drifting is best.
    assert make("river-swim", horizon=4).model.best() == pytest.approx(4 * 0.005)
    # Two states, two steps: right, then right again at the right end with 0.6, or drift with 0.4.
    assert make("river-swim", states=2, horizon=2).model.best() == pytest.approx(0.6 + 0.4 * 0.005)
    spec = find_env("river-swim")
    assert spec.anchors["optimum"].value == pytest.approx(mdp.best(), abs=1e-6)
    random = float(mdp.returns(mdp.uniform()))
    assert spec.anchors["random"].value == pytest.approx(random, abs=1e-6)
    assert make("river-swim").optimum.value == mdp.best()


@EVERY
def test_the_bellman_equation_holds(mdp):
    pi = policies(mdp, 2, 3).softmax(-1)
    v, q = mdp.values(pi), mdp.action_values(pi)
    assert v.shape == pi.shape[:-1] and q.shape == pi.shape
    assert torch.allclose(v, (pi * q).sum(-1), atol=1e-12)
    best, greedy = mdp.optimum()
    assert torch.allclose(mdp.values(greedy), best.amax(-1), atol=1e-12)
    assert (best + 1e-9 >= q).all() and (mdp.regret(pi) >= 0).all()


@EVERY
def test_occupancy_sums_and_gives_the_return(mdp):
    pi = policies(mdp, 3).softmax(-1)
    d = mdp.occupancy(pi)
    if mdp.horizon is None:
        assert torch.allclose(d.sum((-1, -2)), torch.tensor(10.0, dtype=torch.float64))
    else:
        powers = mdp.discount ** torch.arange(H, dtype=torch.float64)
        assert torch.allclose(d.sum((-1, -2)), powers.expand(3, H))
    axes = tuple(range(1, d.dim()))
    assert torch.allclose((d * mdp.R).sum(axes), mdp.returns(pi), atol=1e-12)


@EVERY
def test_the_performance_difference_lemma(mdp):
    """J(new) - J(old) = sum of d_new (Q_old - V_old)."""
    old, new = policies(mdp).softmax(-1), policies(mdp, seed=2).softmax(-1)
    advantage = mdp.action_values(old) - mdp.values(old).unsqueeze(-1)
    gain = (mdp.occupancy(new) * advantage).sum()
    assert float(gain) == pytest.approx(float(mdp.returns(new) - mdp.returns(old)), abs=1e-12)
    assert abs(float(gain)) > 0.01


@EVERY
def test_the_gradient_is_autograds(mdp):
    theta = policies(mdp, 2).requires_grad_()
    (auto,) = torch.autograd.grad(mdp.returns(theta.softmax(-1)).sum(), theta)
    assert torch.allclose(mdp.gradient(theta), auto, atol=1e-12)
    assert float(auto.abs().max()) > 0.01


def test_everything_is_differentiable_in_the_model_too():
    mdp = model()
    reward = mdp.R.clone().requires_grad_()
    other = TabularModel(mdp.P, reward, mdp.rho, discount=0.9)
    pi = policies(mdp).softmax(-1)
    (grad,) = torch.autograd.grad(other.returns(pi), reward)
    assert torch.allclose(grad, mdp.occupancy(pi), atol=1e-12)


@EVERY
def test_sampled_returns_are_the_exact_ones(mdp):
    """The mean of 4,000 episodes lies within four standard errors of J."""
    steps = mdp.horizon or 60  # 0.9^60 = 0.002
    env, n = TabularEnv(4000, mdp, observe="index"), 4000
    pi = (mdp.stationary(policies(model()).softmax(-1))).expand(steps, S, A).numpy()
    obs, _ = env.reset(seed=0)
    rng, total = np.random.default_rng(1), np.zeros(n)
    for h in range(steps):
        chances = pi[h, obs[:, 0].astype(int)].cumsum(1)
        actions = np.minimum((rng.random((n, 1)) >= chances).sum(1), A - 1)
        obs, reward, terminated, truncated, _ = env.step(actions)
        total += mdp.discount**h * reward
    assert terminated.all() == (mdp.horizon is not None) and not truncated.any()
    exact = float(mdp.returns(torch.from_numpy(pi[0] if mdp.horizon is None else pi.copy())))
    assert abs(total.mean() - exact) < 4 * total.std() / n**0.5 + 0.01


def test_observations_and_ends():
    env = make("river-swim", num_envs=2, horizon=3, clock=True, seed=0)
    obs = env.reset(seed=0)[0]
    assert obs.shape == (2, 10) and obs[0].tolist() == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    for _ in range(3):
        obs, reward, terminated, truncated, info = env.step(np.zeros(2, int))
        assert reward.tolist() == [0.005, 0.005]
    assert terminated.all() and not truncated.any()
    assert info["final_obs"][0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert obs[0].tolist() == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    index = make("river-swim", num_envs=1, observe="index", clock=True, seed=0)
    assert index.step(np.array([0]))[0].tolist() == [[0.0, 1.0]]
    assert index.single_observation_space.high.tolist() == [5.0, 20.0]


def test_a_saved_river_flows_on_to_the_same_bits():
    env = make("river-swim", num_envs=3, seed=4)
    actions = [np.array([1, 1, 0])] * 50
    for action in actions[:27]:
        env.step(action)
    other = make("river-swim", num_envs=3)
    other.load_state_dict(env.state_dict())
    for action in actions:
        for a, b in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
            assert np.array_equal(a, b)


def test_what_is_no_decision_process_is_refused():
    P, R, rho = MODELS[0].P, MODELS[0].R, MODELS[0].rho
    off, negative = P.clone(), P.clone()
    off[1, 2] *= 1.1
    negative[0, 1, 0] = -0.5
    refused = [
        ((off, R, rho, None, 0.9), r"P\[1, 2\] of a tabular model is no distribution: it sums"),
        ((negative, R, rho, None, 0.9), r"P\[0, 1\] .* negative entry -0.5"),
        (
            (P, R, rho * 2, None, 0.9),
            "rho of a tabular model is no .* it sums to 2, not",
        ),
        ((P, R * torch.nan, rho, None, 0.9), "R of a tabular model holds numbers that are not"),
        ((P, R[:3], rho, None, 0.9), r"P of a tabular model is \(S, A, S\)"),
        ((P, R, rho[:2], None, 0.9), "rho of a tabular model has a number for each of 5 states"),
        ((P, R, rho), "a discount is from 0 to 1, and below 1 without a horizon, not 1.0"),
        ((P, R, rho, 0), "a horizon is a whole number from 1, not 0"),
        ((P, R, rho, 3, 1.5), "a discount is from 0 to 1"),
    ]
    for parts, words in refused:
        with pytest.raises(PgbenchError, match=words):
            TabularModel(*parts)
    with pytest.raises(PgbenchError, match="no distributions"):
        MODELS[0].values(torch.ones(S, A))
    with pytest.raises(PgbenchError, match=r"stationary\(pi\) repeats one table"):
        MODELS[1].values(torch.full((S, A), 1 / A))
    with pytest.raises(PgbenchError, match="observe is one-hot or index"):
        make("river-swim", observe="picture")
