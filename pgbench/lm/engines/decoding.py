"""One token at a time without copying what came before.

The cache of transformers is concatenated anew for every token, and heads that share keys and values
(grouped-query attention) get copies of them under a mask. Here a cache is written in place, and the
heads of a group are taken for so many queries of one head: the same products.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "pgbench_decoding"
ROOM = 64  # tokens by which a cache grows


class GrowingLayer(DynamicLayer):
    """Keys and values (N, heads, t, d) of one layer: the beginnings of buffers with more room."""

    def __init__(self, keys: Tensor | None, values: Tensor | None) -> None:
        assert keys is not None and values is not None, "a prompt comes first"
        super().__init__()
        self.lazy_initialization(keys, values)
        self.room = keys, values
        self.show(keys.shape[-2])

    def show(self, length: int) -> tuple[Tensor, Tensor]:
        """The first `length` tokens of the buffers, from now on the cache's."""
        keys, values = self.room
        self.keys = keys = keys[..., :length, :]
        self.values = values = values[..., :length, :]
        return keys, values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values (N, heads, new, d); all of them."""
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        keys, values = self.room
        if after > keys.shape[-2]:
            self.room = keys, values = _with_room(keys, before), _with_room(values, before)
        keys[..., before:after, :] = key_states
        values[..., before:after, :] = value_states
        return self.show(after)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        length = self.get_seq_length()
        keys, values = self.room
        self.room = keys[indices, :, :length], values[indices, :, :length]
        self.show(length)


def _with_room(x: Tensor, length: int) -> Tensor:
    out = x.new_empty(*x.shape[:-2], length + ROOM, x.shape[-1])
    out[..., :length, :] = x[..., :length, :]
    return out


def growing(cache: Any) -> Any:
    """The cache of a prompt, its plain layers made to grow in place."""
    cache.layers = [
        GrowingLayer(x.keys, x.values) if type(x) is DynamicLayer else x for x in cache.layers
    ]
    return cache


@contextlib.contextmanager
def decoding(config: Any) -> Iterator[None]:
    """A block in which the model of that configuration attends through `attend`."""
    before = config._attn_implementation
    if before == "sdpa":
        config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention (N, 1, heads, d) of one query a row (N, heads, 1, d), keys (N, groups, t, d).

    Anything else goes to the function of transformers.
    """
    rows, heads, length, size = query.shape
    groups = key.shape[1]
    odd = kwargs.get("position_bias") is not None or kwargs.get("dropout")
    if length != 1 or heads == groups or odd:
        out: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return out
    seen = torch.nn.functional.scaled_dot_product_attention(
        query.view(rows, groups, heads // groups, size), key, value, attention_mask, scale=scaling
    )
    return seen.reshape(rows, 1, heads, seen.shape[-1]), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
