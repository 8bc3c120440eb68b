"""What loops hand to algorithms: one typed batch a loop, named tensors of stated shapes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rollout:
    """Experience of one policy: T steps of n environments, time first.

    Observations are as the policy saw them (normalised if the config asks for it); `next_obs` is
    the true successor, the final observation where an episode ended. `reward` is what to learn
    from (scaled if the config asks for it).
    """

    obs: Tensor  # (T, n, d)
    action: Tensor  # (T, n, a), before clipping to the box; int64 (T, n) where discrete
    reward: Tensor  # (T, n)
    next_obs: Tensor  # (T, n, d)
    terminated: Tensor  # (T, n) bool: the task ended, no bootstrap
    truncated: Tensor  # (T, n) bool: a time limit cut the episode, bootstrap

    @property
    def done(self) -> Tensor:
        """(T, n) bool: an episode ended here, for either reason."""
        return self.terminated | self.truncated


@dataclass(frozen=True)
class Transitions:
    """A batch of B transitions drawn from a replay buffer."""

    obs: Tensor  # (B, d)
    action: Tensor  # (B, a)
    reward: Tensor  # (B,)
    next_obs: Tensor  # (B, d)
    terminated: Tensor  # (B,) float: 1 where the task ended

    def tensors(self) -> tuple[Tensor, ...]:
        """The fields in order."""
        return tuple(getattr(self, f.name) for f in fields(self))


class Replay:
    """A ring of the last `capacity` transitions, in preallocated tensors."""

    def __init__(self, capacity: int, obs_dim: int, act_dim: int, device: torch.device) -> None:
        self.capacity, self.size, self.head = capacity, 0, 0
        self.widths = [obs_dim, act_dim, 1, obs_dim, 1]
        # One row a transition: adding and drawing are one copy and one gather.
        self.rows = torch.zeros(capacity, sum(self.widths), device=device)

    def add(self, rows: Tensor) -> None:
        """Append rows (n, width), oldest overwritten first."""
        at = (self.head + torch.arange(len(rows))) % self.capacity
        self.rows[at] = rows
        self.head = (self.head + len(rows)) % self.capacity
        self.size = min(self.size + len(rows), self.capacity)

    def draw(self, index: Tensor) -> Transitions:
        """The transitions at `index` (B,)."""
        obs, action, reward, next_obs, end = self.rows[index].split(self.widths, -1)
        return Transitions(obs, action, reward.squeeze(-1), next_obs, end.squeeze(-1))


@dataclass(frozen=True)
class TokenGroups:
    """N responses to B prompts, judged; row i answers prompt `group[i]`.

    T is the length of the longest response. `mask` marks the tokens that the policy chose, EOS
    included; what an environment said in between is valid, but not the policy's.
    """

    prompts: tuple[tuple[int, ...], ...]  # token ids of the B prompts
    tokens: Tensor  # (N, T) long, padded on the right
    valid: Tensor  # (N, T) bool: not padding
    mask: Tensor  # (N, T) float
    group: Tensor  # (N,) long
    reward: Tensor  # (N,)
    correct: Tensor  # (N,) bool
    parts: Tensor  # (N, K): the K binary rewards that the reward is made of
    finished: Tensor  # (N,) bool: ended by itself, not by the limit
    rollout_logp: Tensor  # (N, T): the engine's own log-probabilities
    limit: int  # Lmax, tokens that a response may take
    part_names: tuple[str, ...] = ()  # of the K parts
    greedy: Tensor | None = None  # (B,) reward of each prompt's greedy response, where asked for
    # (N, 2): equal numbers where responses to one prompt have equal final answers, by value and as
    # written; None where the verifier knows of none.
    answers: Tensor | None = None
    # (N, ...) what an algorithm's `shape` hands to its `prepare`.
    notes: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.group)

    def rows(self, index: Tensor) -> TokenGroups:
        """The rows at `index`, in its order; prompts keep their numbers."""
        names = ("tokens", "valid", "mask", "group", "reward", "correct", "parts", "finished",
                 "rollout_logp")  # fmt: skip
        return replace(
            self, **{name: getattr(self, name)[index] for name in names},
            answers=None if self.answers is None else self.answers[index],
            notes={name: value[index] for name, value in self.notes.items()},
        )  # fmt: skip

    @property
    def lengths(self) -> Tensor:
        """Tokens of each response that the policy chose, (N,)."""
        return self.mask.sum(-1)
