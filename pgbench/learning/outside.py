"""Out of `torch.vmap` and back: functions of whole stacks, called with one seed's tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


class _Outside(torch.autograd.Function):
    """A function of whole stacks, called from inside `torch.vmap` with one seed's tensors."""

    @staticmethod
    def forward(fn: Callable[..., Any], args: Any) -> Any:
        raise AssertionError("a stacked algorithm works under torch.vmap alone")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing to keep: no gradient passes through."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, fn: Callable[..., Any], args: Any) -> tuple[Any, Any]:
        """Call `fn` with all seeds' tensors, the seeds first."""
        leaves, tree = pytree.tree_flatten(args)
        dims = pytree.tree_flatten(in_dims[1], is_leaf=lambda x: x is None)[0]
        whole = [
            (x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0))
            if isinstance(x, Tensor) else x
            for x, dim in zip(leaves, dims, strict=True)
        ]  # fmt: skip
        out = fn(*pytree.tree_unflatten(whole, tree))
        return out, pytree.tree_map(lambda _: 0, out)


def outside(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` of stacks (N, ...), as a function to call under `torch.vmap`."""
    return lambda *args: _Outside.apply(fn, args)
