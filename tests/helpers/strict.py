"""A device without a machine behind it: whole updates run on shapes alone.

PyTorch takes a backend that is registered in Python, and fake tensors can live on it. What would
break or slow a run on a GPU raises there: two devices in one operation, a host synchronisation
(`.item()`, `if t > 0`), a shape that depends on data (`t[mask]`), which no CUDA graph takes.
"""

import dataclasses
import functools
from types import FunctionType, MethodType, ModuleType

import torch
import torch.distributed.tensor  # before any backend is registered, or its import fails later
from gymnasium import Space
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

LEAVES = (str, bytes, int, float, bool, type(None), type, FunctionType, MethodType, ModuleType,
          torch.Generator, Space)  # fmt: skip


@functools.cache
def device() -> torch.device:
    """The strict device, registered at the first call in a process."""
    _setup_privateuseone_for_python_backend("strict")
    torch.strict.get_amp_supported_dtype = lambda: [torch.bfloat16]  # torch.autocast asks
    return torch.device("strict:0")


def mode() -> FakeTensorMode:
    """A block in which tensors have shapes and devices, but no values."""
    device()
    return FakeTensorMode(allow_non_fake_inputs=False)


class Mover:
    """Moves things to the strict device, inside `mode()`; views of one storage stay so."""

    def __init__(self) -> None:
        self.done: dict[int, object] = {}
        self.kept: list[object] = []  # so that no identity is given out twice
        self.bases: dict[int, torch.Tensor] = {}

    def __call__(self, x):
        """`x` there: tensors are replaced, objects of the package changed in place."""
        if isinstance(x, LEAVES):
            return x
        if id(x) not in self.done:
            self.kept.append(x)
            self.done[id(x)] = x  # for circles
            self.done[id(x)] = self.moved(x)
        return self.done[id(x)]

    def moved(self, x):
        if isinstance(x, torch.device):
            return device()
        if isinstance(x, torch.Tensor):
            return self.tensor(x)
        if isinstance(x, dict):
            for key, value in list(x.items()):
                x[key] = self(value)
            return x
        if isinstance(x, list):
            x[:] = [self(value) for value in x]
            return x
        if type(x) is tuple:
            return tuple(self(value) for value in x)
        if type(x).__module__.startswith("pgbench."):
            names = [f.name for f in dataclasses.fields(x)] if dataclasses.is_dataclass(x) else []
            for name in {*names, *getattr(x, "__dict__", {})}:
                object.__setattr__(x, name, self(getattr(x, name)))
        return x

    def tensor(self, x: torch.Tensor) -> torch.Tensor:
        key = x.untyped_storage().data_ptr() or id(x)
        base = self.bases.get(key)
        if base is None or base.dtype != x.dtype:
            count = x.untyped_storage().nbytes() // x.element_size()
            base = self.bases[key] = torch.empty(count, dtype=x.dtype, device=device())
        out = base.as_strided(x.shape, x.stride(), x.storage_offset())
        return out.requires_grad_(x.requires_grad) if x.is_leaf else out
