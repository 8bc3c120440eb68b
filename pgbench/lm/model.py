"""A causal language model whose trained parameters are one flat vector.

The vector makes everything around the model one operation, as for the small networks of the house:
an optimiser step, a gradient norm, a frozen copy, a checksum, a checkpoint. The model's own
parameters are views into it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pgbench.errors import PgbenchError, install
from pgbench.learning.ops.matmul import fast_matmul
from pgbench.worlds.tasks import Message

from .chat import chat_between, chat_text
from .logprobs import token_logp
from .packing import Packed

WIDE = 256  # hidden states from this size on have matrices that `fast_matmul` is for


@dataclass(frozen=True)
class Looked:
    """What a forward pass says of n rows of T tokens; zero where nothing is predicted."""

    logp: Tensor  # (n, T), at the sampling temperature
    entropy: Tensor  # (n, T), nats, without gradient
    hidden: Tensor  # (M, d) states that predict the tokens
    packed: Packed


class LanguageModel:
    """Weights and tokenizer of a Hugging Face directory.

    `theta` (P,) holds what is trained: all parameters, or with `lora_rank` > 0 the adapters'.
    """

    def __init__(
        self,
        path: Path,
        device: torch.device,
        dtype: str = "float32",
        lora_rank: int = 0,
        seed: int = 0,
        checkpointing: bool = False,
    ) -> None:
        self.path, self.device, self.dtype = path, device, dtype
        self.tokenizer, self.net = _load(path)
        if lora_rank:
            self.net = _with_lora(self.net, lora_rank, seed)
        self.net.to(device)
        self.lora, self.checkpointing = bool(lora_rank), checkpointing
        if checkpointing:
            self.net.gradient_checkpointing_enable({"use_reentrant": False})
            self.net.enable_input_require_grads()
        self.net.eval()
        _without_dropout(self.net)
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.theta = torch.cat([p.detach().float().flatten() for p in self.parameters])
        self.grad = torch.zeros_like(self.theta)
        for p, part, grad in zip(
            self.parameters, self._views(self.theta), self._views(self.grad), strict=True
        ):
            p.data = part
            p.grad = grad
        core = self.net.get_base_model() if self.lora else self.net
        self.core, self.decoder = core, core.get_decoder()
        self.cap = getattr(core.config, "final_logit_softcapping", None)
        self.context = int(getattr(core.config, "max_position_embeddings", 2**31))
        # A model that sees a window only would not see the prompt from a response further on.
        windows = getattr(core.config, "sliding_window", None)
        layers = getattr(core.config, "layer_types", None) or []
        self.packs = not (windows and (not layers or "sliding_attention" in layers))
        eos = core.generation_config.eos_token_id if core.generation_config else None
        eos = eos if eos is not None else core.config.eos_token_id
        self.ends = frozenset(eos if isinstance(eos, list) else [eos])
        self.ends = (self.ends | {self.tokenizer.eos_token_id}) - {None}
        if not self.ends:
            raise PgbenchError(f"model {path} names no token that ends a text (eos_token_id)")
        self._check_head()

    @torch.inference_mode()
    def _check_head(self) -> None:
        """Refuse a model whose logits are not its last hidden states times a matrix."""
        ids = torch.arange(4, device=self.device)[None] % self.core.config.vocab_size
        logits = self.core(input_ids=ids, use_cache=False).logits
        if self.core.get_output_embeddings() is not None:
            own = self.decoder(input_ids=ids, use_cache=False).last_hidden_state @ self.head.T
            own = own if self.cap is None else torch.tanh(own / self.cap) * self.cap
            if torch.allclose(own, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
                return
        raise PgbenchError(
            f"model {self.path}: its logits are more than hidden states times a matrix (a bias, a "
            "scale), which is not supported"
        )

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([p.numel() for p in self.parameters])
        return [part.view_as(p) for part, p in zip(parts, self.parameters, strict=True)]

    @property
    def size(self) -> int:
        """Number of all parameters."""
        return sum(p.numel() for p in self.net.parameters())

    @property
    def width(self) -> int:
        """Size d of a hidden state."""
        return int(self.head.shape[1])

    @property
    def head(self) -> Tensor:
        """The output matrix (V, d)."""
        weight: Tensor = self.core.get_output_embeddings().weight
        return weight

    @contextlib.contextmanager
    def at(self, theta: Tensor) -> Iterator[None]:
        """Be the model of other parameters `theta` (P,) for a while."""
        for p, part in zip(self.parameters, self._views(theta), strict=True):
            p.data = part
        try:
            yield
        finally:
            for p, part in zip(self.parameters, self._views(self.theta), strict=True):
                p.data = part

    def arithmetic(self) -> contextlib.AbstractContextManager[None]:
        """A block for this model's matrix products, forward and backward: fast where it is wide."""
        return fast_matmul(self.device) if self.width >= WIDE else contextlib.nullcontext()

    def look(self, packed: Packed, temperature: float = 1.0) -> Looked:
        """Log-probabilities and entropies of the rows of `packed`, with gradient if enabled."""
        half = self.dtype != "float32"
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=half)
        with self.arithmetic(), autocast, self._keeping_little():
            hidden = self.decoder(
                input_ids=packed.ids,
                # A mask of our own would take the place of a model's window.
                attention_mask=packed.allowed if self.packs else packed.valid,
                position_ids=packed.positions,
                use_cache=False,
            ).last_hidden_state
            chosen = hidden.flatten(0, 1)[packed.where]
        head = self.head.to(chosen.dtype)
        with self.arithmetic():
            logp, entropy = token_logp(chosen, head, packed.target, temperature, self.cap)
        return Looked(packed.unpack(logp), packed.unpack(entropy), chosen, packed)

    @contextlib.contextmanager
    def _keeping_little(self) -> Iterator[None]:
        """A forward pass whose activations are computed again for the gradient, if so asked.

        That is a matter of training mode, in which there is no cache to write with.
        """
        if not (self.checkpointing and torch.is_grad_enabled()):
            yield
            return
        self.net.train()
        try:
            yield
        finally:
            self.net.eval()

    def encode(self, messages: tuple[Message, ...], chat: bool) -> list[int]:
        """Token ids of a prompt: in the model's chat template if it is to chat and has one.

        Raises: PgbenchError if the template refuses the conversation.
        """
        if self._templated(chat):
            text = chat_text(self.tokenizer, messages)
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            ids = self.tokenizer("\n".join(m.content for m in messages))["input_ids"]
        if not ids:
            ids = [next(iter(self.ends))]
        return list(ids)

    def encode_reply(
        self, talk: tuple[Message, ...], reply: Message, chat: bool, written: Sequence[int]
    ) -> list[int]:
        """Token ids of what follows a response: the environment's words, and whose turn it is.

        `written` are the ids of the response, the last of `talk`, as they were sampled. See
        `pgbench.lm.chat` for what is between two turns.

        Raises: PgbenchError if the template refuses the conversation or leaves responses out.
        """
        if self._templated(chat):
            last = written[-1] if written and written[-1] in self.ends else None
            return chat_between(self.tokenizer, talk, reply, last)
        return list(self.tokenizer(f"\n{reply.content}", add_special_tokens=False)["input_ids"])

    def _templated(self, chat: bool) -> bool:
        return chat and bool(self.tokenizer.chat_template)

    def weights(self) -> dict[str, Tensor]:
        """The whole model's state dict under its own names, adapters merged in."""
        if not self.lora:
            return dict(self.net.state_dict())
        return _merged(self.net)

    def save(self, folder: Path) -> None:
        """Write a Hugging Face directory that transformers and vLLM load.

        How the model is used to write is passed on as it came: transformers itself refuses to write
        some of what it reads (a temperature without sampling, which many models have).
        """
        own = self.core.generation_config
        if own is not None:
            self.core.generation_config = type(own)()
        try:
            self.core.save_pretrained(folder, state_dict=self.weights())
        finally:
            self.core.generation_config = own
        if own is not None:
            own.to_json_file(folder / "generation_config.json")
        self.tokenizer.save_pretrained(folder)


def _load(path: Path) -> tuple[Any, Any]:
    """Tokenizer and model of a directory or hub id, in float32.

    Raises: PgbenchError naming what is missing.
    """
    try:
        import transformers
    except ImportError as error:
        raise PgbenchError(f"transformers is not installed; run: {install('text')}") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    except Exception as error:
        raise PgbenchError(
            f"model {path} has no tokenizer that loads ({_first_line(error)}); a model directory "
            "holds config.json, tokenizer.json and *.safetensors"
        ) from error
    try:
        net = transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, attn_implementation="sdpa"
        )
    except Exception as error:
        raise PgbenchError(f"model {path} does not load: {_first_line(error)}") from error
    return tokenizer, net


def _without_dropout(net: Any) -> None:
    """No unit is dropped in either mode, be it by a module or by a function."""
    for module in net.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and (
                "drop" in name or isinstance(module, torch.nn.Dropout)
            ):
                setattr(module, name, 0.0)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _with_lora(net: Any, rank: int, seed: int) -> Any:
    """`net` with adapters of that rank on its linear layers; only they are trained."""
    try:
        import peft
    except ImportError as error:
        raise PgbenchError(f"peft is not installed; run: {install('text')}") from error
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return peft.get_peft_model(net, config)


@torch.no_grad()
def _merged(net: Any) -> dict[str, Tensor]:
    """The base model's state dict with every adapter's product added to its matrix."""
    out: dict[str, Tensor] = {}
    for name, module in net.get_base_model().named_modules():
        if hasattr(module, "base_layer"):
            delta = module.get_delta_weight("default")
            out[f"{name}.weight"] = module.base_layer.weight + delta
            if getattr(module.base_layer, "bias", None) is not None:
                out[f"{name}.bias"] = module.base_layer.bias
    rest = net.get_base_model().state_dict().items()
    out |= {n: v for n, v in rest if "lora_" not in n and ".base_layer." not in n}
    return out
