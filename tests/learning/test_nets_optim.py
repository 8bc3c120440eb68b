"""Flat networks and the flat Adam against PyTorch's own modules."""

import math

import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from torch import nn

from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Setup
from pgbench.learning.nets import (
    Categorical,
    CategoricalMlp,
    Gaussian,
    GaussianMlp,
    Mlp,
    policy_net,
)
from pgbench.learning.optim import adam_, clip_norm, with_adam

F64 = torch.float64


def as_module(net: Mlp, theta: torch.Tensor) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(zip(net.sizes, net.sizes[1:], strict=False)):
        layers.append(nn.Linear(n_in, n_out))
        if i < len(net.sizes) - 2:
            layers.append(nn.Tanh() if net.activation == "tanh" else nn.ReLU())
    module = nn.Sequential(*layers)
    nn.utils.vector_to_parameters(theta.clone(), module.parameters())
    return module


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("sizes", [(3, 2), (5, 7, 1), (4, 8, 6, 3)])
def test_mlp_equals_sequential(sizes: tuple[int, ...], activation: str):
    net, rng = Mlp(sizes, activation), torch.Generator().manual_seed(0)
    theta, x = net.init_uniform(rng), torch.randn(9, sizes[0], generator=rng)
    assert theta.shape == (net.count,)
    module = as_module(net, theta)
    torch.testing.assert_close(net(theta, x), module(x))
    grad = torch.func.grad(lambda p: net(p, x).square().mean())(theta)
    module(x).square().mean().backward()
    want = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    torch.testing.assert_close(grad, want)


def test_mlp_takes_leading_axes_and_stacked_parameters():
    net, rng = Mlp((3, 8, 2)), torch.Generator().manual_seed(0)
    stack = torch.stack([net.init(rng) for _ in range(4)])
    x = torch.randn(5, 6, 3, generator=rng)
    out = torch.func.vmap(net, in_dims=(0, None))(stack, x)
    assert out.shape == (4, 5, 6, 2)
    torch.testing.assert_close(out[2, 1], net(stack[2], x[1]))


def test_orthogonal_init():
    net = Mlp((6, 6, 6, 2))
    theta = net.init(torch.Generator().manual_seed(0), last=0.01)
    parts = torch.split(theta, [36, 6, 36, 6, 12, 2])
    for w in (parts[0], parts[2]):
        w = w.view(6, 6)
        torch.testing.assert_close(w @ w.T, 2 * torch.eye(6), atol=1e-5, rtol=0)
    head = parts[4].view(2, 6)
    torch.testing.assert_close(head @ head.T, 1e-4 * torch.eye(2), atol=1e-8, rtol=0)
    assert all(b.eq(0).all() for b in parts[1::2])


def test_default_init_has_the_bounds_of_linear_layers():
    theta = Mlp((100, 50)).init_uniform(torch.Generator().manual_seed(0))
    assert theta.abs().max() <= 0.1
    assert theta.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.05)


def test_gaussian_mlp():
    pi = GaussianMlp(Mlp((3, 8, 2)))
    theta = pi.init(torch.Generator().manual_seed(0), log_std=-0.5)
    mean, log_std = pi(theta, torch.ones(4, 3))
    assert theta.shape == (pi.count,)
    assert mean.shape == (4, 2)
    assert log_std.tolist() == [-0.5, -0.5]


def test_categorical_mlp():
    pi = CategoricalMlp(Mlp((3, 8, 4)))
    theta = pi.init(torch.Generator().manual_seed(0))
    at = pi(theta, torch.ones(5, 3))
    assert theta.shape == (pi.count,) and at.logits.shape == (5, 4)
    assert at.logits.softmax(-1).sub(0.25).abs().max() < 0.02
    assert at.mode().tolist() == at.logits.argmax(-1).tolist()


def heads(rng):
    """Two distributions of each kind at six states, float64, with actions."""
    mean = torch.randn(2, 6, 2, generator=rng, dtype=F64)
    log_std = torch.randn(2, 2, generator=rng, dtype=F64)
    logits = torch.randn(2, 6, 4, generator=rng, dtype=F64)
    return [
        (Gaussian(mean[0], log_std[0]), Gaussian(mean[1], log_std[1]), mean[1]),
        (Categorical(logits[0]), Categorical(logits[1]), torch.randint(4, (6,), generator=rng)),
    ]


@pytest.mark.parametrize("kind", [0, 1], ids=["gaussian", "categorical"])
def test_a_distribution_answers_as_torchs_does(kind):
    p, q, action = heads(torch.Generator().manual_seed(0))[kind]

    def theirs(x):
        if kind:
            return torch.distributions.Categorical(logits=x.logits)
        return torch.distributions.Independent(
            torch.distributions.Normal(x.mean, x.log_std.exp()), 1
        )

    torch.testing.assert_close(p.log_prob(action), theirs(p).log_prob(action))
    torch.testing.assert_close(p.entropy().expand(6), theirs(p).entropy())
    torch.testing.assert_close(p.kl(q), torch.distributions.kl_divergence(theirs(p), theirs(q)))
    assert p.sample(lambda draw: draw(torch.Generator().manual_seed(0))).shape == action.shape
    assert (p.log_prob(p.mode()) >= p.log_prob(action)).all()


@pytest.mark.parametrize("kind", [0, 1], ids=["gaussian", "categorical"])
def test_fisher_is_the_hessian_of_the_mean_kl(kind):
    rng = torch.Generator().manual_seed(1)
    p, _, _ = heads(rng)[kind]
    x = type(p)(*(torch.randn(part.shape, generator=rng, dtype=F64) for part in p))

    def kl(*parts):
        return p.kl(type(p)(*parts)).mean()

    def slope(*parts):
        return torch.func.grad(kl, argnums=tuple(range(len(p))))(*parts)

    _, want = torch.func.jvp(slope, tuple(p), tuple(x))
    torch.testing.assert_close(tuple(p.fisher(x)), want)


def test_the_policys_network_goes_by_the_action_space():
    box = Box(-1, 1, (3,))
    for space, kind, outputs in ((Box(-1, 1, (2,)), GaussianMlp, 2),
                                 (Discrete(5, start=2), CategoricalMlp, 5)):  # fmt: skip
        net = policy_net(Setup(box, space, 1000), (16,))
        assert isinstance(net, kind)
        (mlp,) = vars(net).values()
        assert mlp.sizes == (3, 16, outputs)
    with pytest.raises(PgbenchError, match="a flat Box as action space, not MultiDiscrete"):
        policy_net(Setup(box, MultiDiscrete([2, 2]), 1000), (16,))
    with pytest.raises(PgbenchError, match="a flat Box as observation space, not Discrete"):
        policy_net(Setup(Discrete(3), Discrete(5), 1000), (16,))
    with pytest.raises(PgbenchError, match="a Discrete action space, not Box"):
        _ = Setup(box, box, 1000).choice_dims


@pytest.mark.parametrize("eps", [1e-8, 1e-5])
def test_adam_equals_torch(eps: float):
    rng = torch.Generator().manual_seed(0)
    theta = torch.randn(30, generator=rng, dtype=torch.float64)
    other = theta.clone().requires_grad_()
    optimizer = torch.optim.Adam([other], lr=0.01, eps=eps)
    state = with_adam("x", theta)
    for step in range(50):
        grad = torch.randn(30, generator=rng, dtype=torch.float64) * (step % 7)
        other.grad = grad.clone()
        optimizer.step()
        adam_(state, "x", grad, 0.01, eps=eps)
    # The bias corrections are float32, also for float64 parameters.
    torch.testing.assert_close(state["x"], other.detach(), rtol=1e-5, atol=5e-6)
    assert state["x"] is theta
    assert state["x.t"].item() == 50


@pytest.mark.parametrize("scale", [0.0, 0.01, 100.0])
def test_clip_norm_equals_torch(scale: float):
    grad = torch.randn(40, generator=torch.Generator().manual_seed(0)) * scale
    parameter = nn.Parameter(torch.zeros(40))
    parameter.grad = grad.clone()
    norm = nn.utils.clip_grad_norm_([parameter], 0.5)
    clipped, before = clip_norm(grad, 0.5)
    torch.testing.assert_close(clipped, parameter.grad)
    torch.testing.assert_close(before, norm)
