"""Networks as pure functions of one flat parameter vector, and the policies that they give.

A network here is a frozen description (sizes, activation) whose call takes its parameters as a
tensor `theta` of shape (P,). One vector a network makes everything around it one operation: an
Adam step, a Polyak average, a frozen copy, a gradient norm, a natural gradient, a checksum; and
`torch.func.vmap` over a leading axis of `theta` gives ensembles and stacks of seeds.

A policy's network gives a distribution over actions, `Gaussian` or `Categorical` by the action
space (`policy_net`); both answer the same questions, so an algorithm's equations are written once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from gymnasium.spaces import Discrete
from torch import Tensor

from pgbench.learning.ops import categorical, gaussian
from pgbench.learning.ops.draws import Drawn

if TYPE_CHECKING:
    from pgbench.learning.algorithm import Setup

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh, "relu": F.relu, "elu": F.elu,
}  # fmt: skip


@dataclass(frozen=True)
class Mlp:
    """A multi-layer perceptron: `sizes` = (inputs, hidden..., outputs), linear output layer."""

    sizes: tuple[int, ...]
    activation: str = "tanh"

    # Weight and bias shapes in the order in which `theta` holds them, and their sizes: kept, since
    # acting on few states is bound by Python.
    shapes: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)
    lengths: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pairs = zip(self.sizes, self.sizes[1:], strict=False)
        shapes = tuple(shape for n_in, n_out in pairs for shape in ((n_out, n_in), (n_out,)))
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(self, "lengths", tuple(math.prod(shape) for shape in shapes))

    @property
    def count(self) -> int:
        """Number of parameters P."""
        return sum(self.lengths)

    def init(self, rng: torch.Generator, gain: float = math.sqrt(2), last: float = 1.0) -> Tensor:
        """Orthogonal weights (gain `gain`, of the output layer `last`), zero biases: (P,)."""
        parts = []
        for i, shape in enumerate(self.shapes):
            value = torch.zeros(shape)
            if len(shape) == 2:
                is_last = i == len(self.shapes) - 2
                torch.nn.init.orthogonal_(value, last if is_last else gain, generator=rng)
            parts.append(value.flatten())
        return torch.cat(parts)

    def init_uniform(self, rng: torch.Generator) -> Tensor:
        """PyTorch's own default for linear layers, U(-1/sqrt(inputs), 1/sqrt(inputs)): (P,)."""
        parts = []
        for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False):
            bound = 1 / math.sqrt(n_in)
            parts.append(torch.empty(n_out * n_in + n_out).uniform_(-bound, bound, generator=rng))
        return torch.cat(parts)

    def __call__(self, theta: Tensor, x: Tensor) -> Tensor:
        """Outputs (..., out) for inputs (..., in) under parameters `theta` (P,)."""
        act = ACTIVATIONS[self.activation]
        # One split, whose backward is one concatenation; slices would each cost a zero-filled copy.
        parts = theta.split(self.lengths)
        for i in range(0, len(parts), 2):
            x = F.linear(x, parts[i].view(self.shapes[i]), parts[i + 1])
            if i < len(parts) - 2:
                x = act(x)
        return x


class Distribution(Protocol):
    """A distribution over actions at each state; a tuple of tensors, so that `torch.func` maps it.

    Actions are float (..., a) or int64 (...); sums run over the dimensions of an action.
    """

    def sample(self, drawn: Drawn) -> Tensor:
        """An action for each state; an algorithm hands over its `drawn`."""
        ...

    def mode(self) -> Tensor:
        """The most probable action of each state."""
        ...

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density or log-probability: (...)."""
        ...

    def entropy(self) -> Tensor:
        """In nats: (...), or () where it is the same at every state."""
        ...

    def kl(self, other: Any, /) -> Tensor:
        """KL(self || other), in closed form: (...)."""
        ...

    def fisher(self, x: Any, /) -> Any:
        """M x / B: M the Fisher information in the distribution's own parameters at B states.

        `x` is a change of these parameters, a tuple as this one.
        """
        ...


class Gaussian(NamedTuple):
    """A diagonal Gaussian; one log-std for all states."""

    mean: Tensor  # (..., a)
    log_std: Tensor  # (a,)

    def sample(self, drawn: Drawn) -> Tensor:
        """See `Distribution`."""
        shape, device = self.mean.shape, self.mean.device
        noise = drawn(lambda rng: torch.randn(shape, generator=rng, device=device))
        return self.mean + self.log_std.exp() * noise

    def mode(self) -> Tensor:
        """See `Distribution`."""
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        """See `Distribution`."""
        return gaussian.log_prob(self.mean, self.log_std, action)

    def entropy(self) -> Tensor:
        """See `Distribution`: ()."""
        return gaussian.entropy(self.log_std)

    def kl(self, other: Gaussian) -> Tensor:
        """See `Distribution`."""
        return gaussian.kl(*self, *other)

    def fisher(self, x: Gaussian) -> Gaussian:
        """See `Distribution`: 1 / sigma^2 for a mean, 2 for a log-std."""
        states = math.prod(self.mean.shape[:-1])
        return Gaussian(x.mean * torch.exp(-2 * self.log_std) / states, 2 * x.log_std)


class Categorical(NamedTuple):
    """One of n choices, counted from 0, with probabilities softmax(logits)."""

    logits: Tensor  # (..., n)

    def sample(self, drawn: Drawn) -> Tensor:
        """See `Distribution`."""
        return categorical.sample(self.logits, drawn)

    def mode(self) -> Tensor:
        """See `Distribution`; the first one of equals."""
        return self.logits.argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """See `Distribution`."""
        return categorical.log_prob(self.logits, action)

    def entropy(self) -> Tensor:
        """See `Distribution`: (...)."""
        return categorical.entropy(self.logits)

    def kl(self, other: Categorical) -> Tensor:
        """See `Distribution`."""
        return categorical.kl(self.logits, other.logits)

    def fisher(self, x: Categorical) -> Categorical:
        """See `Distribution`: diag(p) - p p^T for the logits of a state."""
        states = math.prod(self.logits.shape[:-1])
        p = self.logits.softmax(-1)
        return Categorical(p * (x.logits - (p * x.logits).sum(-1, keepdim=True)) / states)


@dataclass(frozen=True)
class GaussianMlp:
    """A diagonal Gaussian policy: an MLP gives the mean; each dimension has one free log-std."""

    mean: Mlp

    @property
    def count(self) -> int:
        """Number of parameters, the log-stds last."""
        return self.mean.count + self.mean.sizes[-1]

    def init(self, rng: torch.Generator, last: float = 0.01, log_std: float = 0.0) -> Tensor:
        """Orthogonal means (output gain `last`), constant log-std: (P,)."""
        tail = torch.full((self.mean.sizes[-1],), log_std)
        return torch.cat([self.mean.init(rng, last=last), tail])

    def __call__(self, theta: Tensor, obs: Tensor) -> Gaussian:
        """Mean (..., a) and log-std (a,) for observations (..., d)."""
        net, log_std = theta.split([self.mean.count, self.mean.sizes[-1]])
        return Gaussian(self.mean(net, obs), log_std)


@dataclass(frozen=True)
class CategoricalMlp:
    """A policy over n choices: an MLP gives their logits."""

    logits: Mlp

    @property
    def count(self) -> int:
        """Number of parameters."""
        return self.logits.count

    def init(self, rng: torch.Generator, last: float = 0.01) -> Tensor:
        """Orthogonal weights, of the output layer `last`: nearly the same probabilities: (P,)."""
        return self.logits.init(rng, last=last)

    def __call__(self, theta: Tensor, obs: Tensor) -> Categorical:
        """Logits (..., n) for observations (..., d)."""
        return Categorical(self.logits(theta, obs))


def policy_net(setup: Setup, hidden: tuple[int, ...]) -> GaussianMlp | CategoricalMlp:
    """A tanh network of these hidden layers for the spaces of `setup`.

    Raises: PgbenchError for spaces of another kind.
    """
    if isinstance(setup.action_space, Discrete):
        d, n = setup.choice_dims
        return CategoricalMlp(Mlp((d, *hidden, n)))
    d, a = setup.box_dims
    return GaussianMlp(Mlp((d, *hidden, a)))
