"""Which library multiplies float32 matrices on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

ONEDNN: Any = torch.backends.mkldnn


@contextmanager
def _through_onednn() -> Iterator[None]:
    before = ONEDNN.matmul.fp32_precision
    ONEDNN.matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        ONEDNN.matmul.fp32_precision = before


@functools.cache
def onednn_keeps_float32() -> bool:
    """Whether oneDNN, allowed to round its inputs, still computes in full float32 on this machine.

    It rounds only where matrix tiles (AMX and the like) make that faster.
    """
    if not (ONEDNN.is_available() and hasattr(ONEDNN, "matmul")):
        return False
    x = torch.full((256, 256), 1 + 2.0**-20)
    with _through_onednn():
        return bool((x @ torch.eye(256) == x).all())


def fast_matmul(device: torch.device) -> AbstractContextManager[None]:
    """A block in which products of wide float32 matrices go to oneDNN where that loses no bit.

    PyTorch sends them to MKL, which leaves AVX-512 unused on AMD processors: half the speed at
    256 x 256. Small products (below about 64 x 64 x 64) are slower inside the block.
    """
    if device.type != "cpu" or not onednn_keeps_float32():
        return nullcontext()
    return _through_onednn()
