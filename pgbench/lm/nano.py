"""The nano model: a small Llama over bytes, made from a seed and an environment's demonstrations.

It stands in for a pretrained model where there is no network and no GPU: a real Hugging Face
directory, which transformers and vLLM load, that already solves part of the environment's tasks.
The supervised warm start takes about a minute on two cores; the directory is cached under a hash of
everything that went into it.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pgbench.catalogue.fingerprint import golden_of
from pgbench.errors import PgbenchError
from pgbench.settings.config import build, digest, option, parse_settings
from pgbench.support.ticker import counted

from .cache import cache_folder, making

RECIPE = 2  # to be raised by whoever changes what a recipe gives
SHOWN = 32  # demonstrations by which a directory in the cache is told from others
SPECIALS = ("<pad>", "<eos>")
DIGITS, LETTERS = "0123456789", "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Recipe:
    """What a nano model is made of; `--model nano:warmup=0,width=128` changes a part."""

    layers: int = option(3, "transformer layers")
    width: int = option(64, "size of a hidden state")
    heads: int = option(4, "attention heads")
    context: int = option(256, "longest sequence in tokens")
    warmup: int = option(1200, "steps of the supervised warm start; 0: random weights")
    batch: int = option(128, "demonstrations a step")
    noise: float = option(0.5, "share of the demonstrations that a slip of one character spoils")
    lr: float = option(3e-3, "peak step size of AdamW, after a linear rise falling as a cosine")
    seed: int = option(0, "of the weights and of the demonstrations")

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "context", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if self.width // self.heads % 2:  # rotary positions turn the numbers of a head in pairs
            raise ValueError(
                f"width / heads must be even, not {self.width} / {self.heads} = "
                f"{self.width // self.heads}"
            )
        if self.warmup < 0:
            raise ValueError(f"warmup must be at least 0, not {self.warmup}")
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise must be in [0, 1], not {self.noise}")
        if self.lr <= 0:
            raise ValueError(f"lr must be above 0, not {self.lr}")
        if not -(2**63) <= self.seed < 2**63:
            raise ValueError(f"seed must be in [-2^63, 2^63), not {self.seed}")


def make_nano(settings: str, env: Any) -> Path:
    """The directory of the nano model for `env`, made on first use.

    Raises: PgbenchError for unknown settings, or an environment without demonstrations.
    """
    recipe = build(Recipe, parse_settings(filter(None, settings.split(","))), "nano")
    source = None
    if recipe.warmup:
        size = 0 if env is None else env.size("train")
        count = SHOWN if size is None else min(SHOWN, size)
        shown = [env.task(i).demonstration for i in range(count)]
        if not shown or not shown[0]:
            raise PgbenchError(
                "the nano model learns from demonstrations, which this environment lacks; take "
                "--model nano:warmup=0 (random weights), smollm2-135m or a directory"
            )
        # Two environments may judge alike and show different work on the way to an answer.
        source = [golden_of(env), *shown]
    key = digest({"recipe": RECIPE, **asdict(recipe), "environment": source})[:16]
    target = cache_folder() / "models" / f"nano-{key}"
    with making(target) as folder:
        if folder is not None:
            _make(recipe, env, folder)
    return target


def byte_tokenizer() -> Any:
    """A tokenizer whose tokens are the 256 bytes, an end and a padding token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate((*SPECIALS, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=SPECIALS[0], eos_token=SPECIALS[1],
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def slip(text: str, rng: random.Random) -> str:
    """The text with a letter or digit too many at its end, or with one replaced by another."""
    spots = [i for i, symbol in enumerate(text) if symbol in DIGITS or symbol in LETTERS]
    if not spots:
        return text
    extra = rng.random() < 0.5
    at = spots[-1] if extra else rng.choice(spots)
    kind = DIGITS if text[at] in DIGITS else LETTERS
    if extra:
        return text[: at + 1] + rng.choice(kind) + text[at + 1 :]
    return text[:at] + rng.choice(kind.replace(text[at], "")) + text[at + 1 :]


def _make(recipe: Recipe, env: Any, folder: Path) -> None:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = byte_tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.width, num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
        intermediate_size=4 * recipe.width, max_position_embeddings=recipe.context,
        tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        initializer_range=1 / math.sqrt(recipe.width) / 2,
    )  # fmt: skip
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = transformers.LlamaForCausalLM(config)
        try:
            # With one thread sums have one order: the same machine gives the same weights.
            torch.set_num_threads(1)
            if recipe.warmup:
                _warm_up(recipe, env, tokenizer, net)
        finally:
            torch.set_num_threads(threads)
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "recipe.json").write_text(json.dumps({"recipe": RECIPE, **asdict(recipe)}, indent=1))


def _warm_up(recipe: Recipe, env: Any, tokenizer: Any, net: Any) -> None:
    """Supervised steps on the completions of fresh training tasks."""
    import torch
    import torch.nn.functional as F

    rng = random.Random(recipe.seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.lr, weight_decay=0.01, fused=True)
    steps, rise = recipe.warmup, max(1, recipe.warmup // 20)
    for step in counted("making the nano model (once)", steps):
        tasks = env.sample(recipe.batch, rng)
        prompts = tokenizer(["\n".join(m.content for m in t.messages) for t in tasks])["input_ids"]
        said = [slip(t.demonstration, rng) if rng.random() < recipe.noise else t.demonstration
                for t in tasks]  # fmt: skip
        answers = tokenizer(said)["input_ids"]
        rows = [p + a + [tokenizer.eos_token_id] for p, a in zip(prompts, answers, strict=True)]
        length = min(max(map(len, rows)), recipe.context)
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        target = torch.full_like(ids, -100)
        for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            cut = row[:length]
            ids[i, : len(cut)] = torch.tensor(cut)
            target[i, len(prompt) : len(cut)] = ids[i, len(prompt) : len(cut)]
        for group in optimiser.param_groups:
            fall = 0.5 * (1 + math.cos(math.pi * step / steps))
            group["lr"] = recipe.lr * min(1.0, (step + 1) / rise) * fall
        logits = net(input_ids=ids, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=-100)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
