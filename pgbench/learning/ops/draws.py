"""Random numbers of an algorithm: what is drawn is said apart from whose generator draws it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Draw = Callable[[torch.Generator], Tensor]  # of shapes that do not change
# Makes a draw: with one generator, or in a stack of seeds with each seed's (`Algorithm.drawn`).
Drawn = Callable[[Draw], Tensor]
