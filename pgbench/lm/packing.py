"""Responses as sequences for the training forward: a prompt once, then several of its responses.

G responses to one prompt share its tokens. A sequence here is the prompt and some of its responses,
each of which sees the prompt and itself, at the positions that it would have alone: the same
log-probabilities and gradients as G padded rows, for (P + G T) tokens in place of G (P + T).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PROMPT = -1  # segment of prompt tokens; responses have their row's number; padding has PAD
PAD = -2


@dataclass(frozen=True)
class Packed:
    """S sequences of L tokens that hold M predicted tokens of n rows."""

    ids: Tensor  # (S, L)
    positions: Tensor  # (S, L)
    allowed: Tensor  # (S, 1, L, L) bool: what each token sees
    valid: Tensor  # (S, L) 1 for a token, 0 for padding
    where: Tensor  # (M,) flat index into (S, L) of the state that predicts each token
    target: Tensor  # (M,) the token
    row: Tensor  # (M,) its row
    step: Tensor  # (M,) its place in the row
    shape: tuple[int, int]  # (n, T)

    @property
    def tokens(self) -> int:
        """Tokens that the forward pass computes, padding included."""
        return self.ids.numel()

    def unpack(self, values: Tensor) -> Tensor:
        """Values (M,) of the predicted tokens as (n, T), zero elsewhere."""
        out = values.new_zeros(self.shape)
        return out.index_put((self.row, self.step), values)


def sequences(
    lengths: Sequence[int], group: Sequence[int], prompts: Sequence[Sequence[int]], limit: int
) -> list[list[int]]:
    """Rows that go into one sequence each: of one prompt, together at most `limit` tokens.

    A single response may be longer than `limit`. Sorted by the length of the sequences.
    """
    by_prompt: dict[int, list[int]] = {}
    for row, prompt in enumerate(group):
        by_prompt.setdefault(prompt, []).append(row)
    out: list[tuple[int, list[int]]] = []
    for prompt, rows in by_prompt.items():
        base = len(prompts[prompt])
        current: list[int] = []
        total = base
        for row in rows:
            if current and total + lengths[row] > limit:
                out.append((total, current))
                current, total = [], base
            current.append(row)
            total += lengths[row]
        out.append((total, current))
    return [rows for _, rows in sorted(out, key=lambda pair: pair[0])]


def pack(
    prompts: Sequence[Sequence[int]],
    tokens: Tensor,
    lengths: Sequence[int],
    mask: Tensor,
    group: Sequence[int],
    plan: Sequence[Sequence[int]],
    device: torch.device | str = "cpu",
    left: bool = False,
) -> Packed:
    """The sequences of `plan` (lists of rows of one prompt) as tensors on `device`.

    `tokens` (n, T) and `lengths` hold the responses, `mask` (n, T) says which of their tokens are
    to be predicted. `left` puts the padding before the sequences instead of after them.
    """
    sizes = [len(prompts[group[rows[0]]]) + sum(lengths[row] for row in rows) for rows in plan]
    length = max(sizes)
    ids, begin, end = [], [], []  # of each sequence: its prompt, padded; where the prompt lies
    order, of, first = [], [], []  # of each row: itself, its sequence, its first token's flat index
    for s, (rows, size) in enumerate(zip(plan, sizes, strict=True)):
        prompt = prompts[group[rows[0]]]
        begin.append(length - size if left else 0)
        end.append(begin[-1] + len(prompt))
        ids.append([0] * begin[-1] + list(prompt) + [0] * (length - end[-1]))
        at = s * length + end[-1]
        for row in rows:
            order.append(row)
            of.append(s)
            first.append(at)
            at += lengths[row]
    begin_t, end_t, order_t, of_t, first_t = map(torch.tensor, (begin, end, order, of, first))
    place = torch.arange(length)
    in_prompt = (place >= begin_t[:, None]) & (place < end_t[:, None])
    ids_t = torch.tensor(ids)
    pos_t = torch.where(in_prompt, place - begin_t[:, None], 0)
    seg_t = torch.where(in_prompt, PROMPT, PAD)
    # The responses, all at once.
    step = torch.arange(tokens.shape[1])
    held = step < torch.tensor([lengths[row] for row in order])[:, None]
    spot = (first_t[:, None] + step)[held]
    ids_t.view(-1)[spot] = tokens[order_t][held]
    pos_t.view(-1)[spot] = ((end_t - begin_t)[of_t, None] + step)[held]
    seg_t.view(-1)[spot] = order_t[:, None].expand_as(held)[held]
    r, step_t = (held & (mask[order_t] > 0)).nonzero(as_tuple=True)
    row_t = order_t[r]
    # The first token is predicted by the prompt's last one, the others by their forerunner.
    prompt_last = of_t[r] * length + end_t[of_t[r]] - 1
    where = torch.where(step_t > 0, first_t[r] + step_t - 1, prompt_last)
    seg = seg_t.to(device)
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    same = (seg[:, None, :] == PROMPT) | (seg[:, None, :] == seg[:, :, None])
    return Packed(
        ids=ids_t.to(device),
        positions=pos_t.to(device),
        allowed=(causal & same)[:, None],
        valid=(seg != PAD).long(),
        where=where.to(device),
        target=tokens[row_t, step_t].to(device),
        row=row_t.to(device),
        step=step_t.to(device),
        shape=(len(lengths), tokens.shape[1]),
    )


def micro_batches(
    plan: Sequence[Sequence[int]], sizes: Sequence[int], budget: int
) -> list[list[int]]:
    """Indices of `plan`'s sequences by micro-batch: padded to the longest, at most `budget` tokens.

    `sizes` are the sequences' lengths, ascending; a single sequence may exceed the budget.
    """
    out: list[list[int]] = []
    current: list[int] = []
    for i, size in enumerate(sizes):
        if current and (len(current) + 1) * size > budget:
            out.append(current)
            current = []
        current.append(i)
    if current:
        out.append(current)
    return out
