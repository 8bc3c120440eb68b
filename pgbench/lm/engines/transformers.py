"""The engine that needs nothing but the model itself: batched decoding with a key-value cache.

A prompt is read once for all responses to it. Rows that have ended leave the batch. Random numbers
belong to rows, not to places in a batch: a response does not depend on what else is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import Responses, Sampling
from .decoding import decoding, growing

ROWS = 512  # responses written at a time
SHRINK = 0.75  # the batch is cut when so few of its rows are left


class TransformersEngine:
    """Decodes with the policy's own module: there are no weights to copy."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.ends = torch.tensor(sorted(model.ends), device=model.device)

    def sync(self) -> None:
        """Nothing to do: the weights are the policy's."""

    def close(self) -> None:
        """Nothing to free."""

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Sequence[int]], count: int, sampling: Sampling, seed: int
    ) -> Responses:
        """`count` responses to each prompt; the same seed gives the same ones."""
        rng = torch.Generator().manual_seed(seed)
        # One number a row and step, drawn beforehand: (N, T).
        noise = torch.rand(len(prompts) * count, sampling.max_tokens, generator=rng)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        width = max(1, ROWS // count)
        rows, parts = [], []
        for at in range(0, len(order), width):
            chosen = order[at : at + width]
            rows.append(torch.tensor([i * count + k for i in chosen for k in range(count)]))
            asked = [prompts[i] for i in chosen]
            with self.model.arithmetic():
                parts.append(self._write(asked, count, sampling, noise[rows[-1]]))
        back = torch.cat(rows).argsort()
        tokens, lengths, finished, logp = (torch.cat(p)[back] for p in zip(*parts, strict=True))
        longest = int(lengths.max())
        tokens = tokens[:, :longest]
        return Responses(
            tokens=tokens,
            lengths=lengths,
            finished=finished,
            logp=logp[:, :longest],
            texts=texts_of(self.model.tokenizer, tokens, lengths, sampling.stop),
        )

    def _write(
        self, prompts: Sequence[Sequence[int]], count: int, sampling: Sampling, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens (N, limit), lengths, finished and log-probabilities (N, limit), on the CPU."""
        device, limit = self.model.device, sampling.max_tokens
        length = max(map(len, prompts))
        ids = torch.zeros(len(prompts), length, dtype=torch.long)
        seen = torch.zeros(len(prompts), length, dtype=torch.long)
        for i, prompt in enumerate(prompts):
            ids[i, length - len(prompt) :] = torch.tensor(prompt)
            seen[i, length - len(prompt) :] = 1
        ids, seen, noise = ids.to(device), seen.to(device), noise.to(device)
        positions = (seen.cumsum(-1) - 1).clamp(min=0)
        out = self.model.decoder(
            input_ids=ids, attention_mask=seen, position_ids=positions, use_cache=True
        )
        out.past_key_values.batch_repeat_interleave(count)
        cache = growing(out.past_key_values)
        hidden = out.last_hidden_state[:, -1].repeat_interleave(count, 0)
        seen = seen.repeat_interleave(count, 0)
        position = positions[:, -1].repeat_interleave(count, 0)
        total = len(prompts) * count
        tokens = torch.zeros(total, limit, dtype=torch.long, device=device)
        logps = torch.zeros(total, limit, device=device)
        lengths = torch.full((total,), limit, device=device)
        finished = torch.zeros(total, dtype=torch.bool, device=device)
        rows = torch.arange(total, device=device)  # those still being written
        live = torch.ones(total, dtype=torch.bool, device=device)
        for step in range(limit):
            logits = self._logits(hidden)
            token, logp = draw(logits, noise[rows, step], sampling)
            tokens[rows, step], logps[rows, step] = token, logp
            ended = torch.isin(token, self.ends)
            if sampling.stop:
                ended |= self._stopped(tokens, rows, step, sampling.stop)
            now = live & ended
            lengths[rows[now]], finished[rows[now]] = step + 1, True
            live &= ~ended
            left = int(live.sum())
            if not left or step == limit - 1:
                break
            if left < SHRINK * len(rows):
                keep = live.nonzero().squeeze(-1)
                cache.batch_select_indices(keep)
                rows, token, seen, position, live = (
                    x[keep] for x in (rows, token, seen, position, live)
                )
            position = position + 1
            seen = torch.cat([seen, seen.new_ones(len(seen), 1)], 1)
            with decoding(self.model.decoder.config):
                hidden = self.model.decoder(
                    input_ids=token[:, None], attention_mask=seen, position_ids=position[:, None],
                    past_key_values=cache, use_cache=True,
                ).last_hidden_state[:, -1]  # fmt: skip
        beyond = torch.arange(limit, device=device) >= lengths[:, None]
        tokens.masked_fill_(beyond, 0)
        logps.masked_fill_(beyond, 0.0)
        return tokens.cpu(), lengths.cpu(), finished.cpu(), logps.cpu()

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = (hidden @ self.model.head.T).float()
        cap = self.model.cap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _stopped(self, tokens: Tensor, rows: Tensor, step: int, stop: Sequence[str]) -> Tensor:
        """Which rows have just completed a stop text."""
        # A token is a character at least, so that the text's end lies in this many tokens.
        tail = tokens[rows, max(0, step + 1 - max(map(len, stop)) - 4) : step + 1].tolist()
        texts = self.model.tokenizer.batch_decode(tail)
        hit = [any(s in text for s in stop) for text in texts]
        return torch.tensor(hit, device=tokens.device)


def texts_of(tokenizer: Any, tokens: Tensor, lengths: Tensor, stop: Sequence[str]) -> list[str]:
    """Responses (N, T) as texts, without special tokens and what a stop text ends."""
    rows = [row[:n] for row, n in zip(tokens.tolist(), lengths.tolist(), strict=True)]
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [before(text, stop) for text in texts]


def before(text: str, stop: Sequence[str]) -> str:
    """The text up to the first of the stop texts."""
    ends = [at for at in map(text.find, stop) if at >= 0]
    return text[: min(ends)] if ends else text


def draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Tokens (n,) and their log-probabilities for logits (n, V) and one uniform number a row.

    By inversion of the cumulative distribution, so that a row's token depends on its own number.
    """
    if sampling.temperature == 0:
        token = logits.argmax(-1)
        return token, torch.zeros_like(uniform)
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    p = logits.softmax(-1)
    if sampling.top_p < 1:
        ranked, index = p.sort(-1, descending=True)
        # Kept are the fewest tokens whose probabilities reach top_p.
        drop = ranked.cumsum(-1) - ranked >= sampling.top_p
        p = p.scatter(-1, index, ranked.masked_fill(drop, 0.0))
        p = p / p.sum(-1, keepdim=True)
    bound = p.cumsum(-1)
    token = torch.searchsorted(bound, uniform[:, None] * bound[:, -1:], right=True).squeeze(-1)
    # Rounding may lead past the last token that can be drawn.
    token = torch.minimum(
        token, (p > 0).long().mul_(torch.arange(p.shape[-1], device=p.device)).amax(-1)
    )
    return token, p.gather(-1, token[:, None]).squeeze(-1).log()
