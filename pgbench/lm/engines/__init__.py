"""Engines that write responses: one protocol, so that a loop does not know which one it has.

Imports `lm.packing` and `support`. Start with `Engine`, then `transformers`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from pgbench.errors import PgbenchError

ENGINES = {
    "transformers": "pgbench.lm.engines.transformers:TransformersEngine",
    "vllm": "pgbench.lm.engines.vllm:VllmEngine",
}


class EngineError(RuntimeError):
    """An engine died; it may be built anew and asked again."""


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn. Temperature 0 is the most likely token at every step."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()  # a response ends with the first token that completes one of these


@dataclass(frozen=True)
class Responses:
    """N responses, those to one prompt next to each other."""

    tokens: Tensor  # (N, T) long, zero-padded on the right
    lengths: Tensor  # (N,) long, an end token included
    finished: Tensor  # (N,) bool: ended by itself, not by the limit
    logp: Tensor  # (N, T) of the drawn tokens under the distribution that they were drawn from
    texts: list[str]  # without special tokens; a stop text and what follows it are left out


class Engine(Protocol):
    """Writes responses with the weights that it was last given."""

    def generate(
        self, prompts: Sequence[Sequence[int]], count: int, sampling: Sampling, seed: int
    ) -> Responses:
        """`count` responses to each prompt; the same seed gives the same ones.

        Raises: EngineError if the engine cannot go on.
        """
        ...

    def sync(self) -> None:
        """Take over the model's present weights, in place."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


def make_engine(name: str, model: Any) -> Engine:
    """The engine of that name for a `LanguageModel`.

    Raises: PgbenchError for an unknown name or a missing package.
    """
    if name not in ENGINES:
        raise PgbenchError(f"unknown engine '{name}'; take {' or '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(importlib.import_module(module), attribute)(model)
    return engine
