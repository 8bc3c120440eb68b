"""What the loop and the learner need of the config of every algorithm on groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pgbench.settings.config import Settings, option
from pgbench.settings.ranges import SettingError


@dataclass(frozen=True)
class GroupConfig(Settings):
    """What the loop and the learner need of every algorithm of this family."""

    least_group: ClassVar[int] = 1  # 2 where responses to a prompt are compared with each other

    model: str = option("nano", "nano, nano:KEY=VALUE,..., smollm2-135m, a directory or a hub id")
    prompts: int = option(32, "prompts B of a step", at_least=1)
    group: int = option(8, "responses G to each prompt", at_least=1)
    temperature: float = option(1.0, "sampling temperature; log-probabilities use it, too", above=0)
    top_p: float = option(1.0, "share of the probability that sampling keeps", above=0, at_most=1)
    max_tokens: int = option(0, "tokens of a response at most; 0: the environment's", at_least=0)
    lr: float = option(1e-4, "AdamW step size; papers' 1e-6 is for models of billions", above=0)
    weight_decay: float = option(0.0, "AdamW decay", at_least=0)
    max_grad_norm: float = option(1.0, "limit of the gradient norm", above=0)
    epochs: int = option(1, "passes over a batch", at_least=1)
    minibatches: int = option(1, "optimiser steps a pass; groups are not split", at_least=1)
    engine: str = option(
        "transformers", "what writes the responses", choices=("transformers", "vllm")
    )
    importance_cap: float = option(
        0.0,
        "truncated importance weights min(pi_train/pi_engine, cap); 0: none",
        at_least=0,
    )
    equalise: bool = option(
        False,
        "advantages of a batch scaled to a root mean square of one, so that only their direction "
        "counts",
    )
    micro_tokens: int = option(
        4096, "tokens of a forward pass at most; memory, not mathematics", at_least=1
    )
    pack: bool = option(True, "responses to a prompt share its tokens in the forward pass")
    lora_rank: int = option(
        0, "train adapters of that rank in place of all parameters; 0: all", at_least=0
    )
    checkpointing: bool = option(False, "recompute activations in the backward pass")
    dtype: str = option(
        "float32", "arithmetic of the forward pass", choices=("float32", "bfloat16")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group < self.least_group:
            raise SettingError(
                f"group must be at least {self.least_group}, not {self.group}: what is learnt from "
                "are the differences between the responses to a prompt"
            )
        if self.minibatches > self.prompts:
            raise SettingError(
                f"minibatches must be at most prompts ({self.prompts}), not {self.minibatches}: "
                "groups are not split"
            )
