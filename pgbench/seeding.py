"""Seeds: nobody chooses them; training and evaluation streams never meet.

Every stream is a SHA-256 of what it is for. The lowest bit says whether it trains (0) or evaluates
(1), so the two sets are disjoint by construction. Evaluation seeds depend on the environment alone:
all algorithms are judged on the same episodes, which makes their comparison a paired one.
"""

from __future__ import annotations

import hashlib


def _stream(bit: int, *parts: str | int) -> int:
    text = "\x1f".join(str(part) for part in parts)
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) << 1) | bit


def train_seed(env: str, seed: int, purpose: str, index: int = 0) -> int:
    """Seed of one training stream (`purpose`: env, algorithm, loop) of run `seed` on `env`."""
    return _stream(0, "train", env, seed, purpose, index)


def eval_seeds(env: str, episodes: int, seed: int = 0) -> list[int]:
    """Seeds of the evaluation episodes on `env`, one an episode."""
    return [_stream(1, "eval", env, seed, index) for index in range(episodes)]
