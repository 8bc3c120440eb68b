"""Networks as pure functions of one flat parameter vector.

A network here is a frozen description (sizes, activation) whose call takes its parameters as a
tensor `theta` of shape (P,). One vector a network makes everything around it one operation: an
Adam step, a Polyak average, a frozen copy, a gradient norm, a natural gradient, a checksum; and
`torch.func.vmap` over a leading axis of `theta` gives ensembles and stacks of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh, "relu": F.relu, "elu": F.elu,
}  # fmt: skip


@dataclass(frozen=True)
class Mlp:
    """A multi-layer perceptron: `sizes` = (inputs, hidden..., outputs), linear output layer."""

    sizes: tuple[int, ...]
    activation: str = "tanh"

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Weight and bias shapes in the order in which `theta` holds them."""
        pairs = zip(self.sizes, self.sizes[1:], strict=False)
        return [shape for n_in, n_out in pairs for shape in ((n_out, n_in), (n_out,))]

    @property
    def count(self) -> int:
        """Number of parameters P."""
        return sum(math.prod(shape) for shape in self.shapes)

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
        parts = theta.split([math.prod(shape) for shape in self.shapes])
        for i in range(0, len(parts), 2):
            x = F.linear(x, parts[i].view(self.shapes[i]), parts[i + 1])
            if i < len(parts) - 2:
                x = act(x)
        return x


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

    def __call__(self, theta: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (..., a) and log-std (a,) for observations (..., d)."""
        net, log_std = theta.split([self.mean.count, self.mean.sizes[-1]])
        return self.mean(net, obs), log_std
