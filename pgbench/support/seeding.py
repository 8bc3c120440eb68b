"""Seeds: nobody chooses them; training and evaluation streams never meet, nor tuning and boards.

Every stream is a SHA-256 of what it is for. The lowest bit says whether it trains (0) or evaluates
(1), so the two sets are disjoint by construction. Evaluation seeds depend on the environment alone:
all algorithms are judged on the same episodes, which makes their comparison a paired one. Tuning
has streams of its own for both: a setting is never chosen on what a board will ask.
"""

from __future__ import annotations

import hashlib

PURPOSES = ("board", "tune")  # what a run is for; each has streams of its own


def _stream(bit: int, *parts: str | int) -> int:
    text = "\x1f".join(str(part) for part in parts)
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) << 1) | bit


def train_seed(env: str, seed: int, stream: str, index: int = 0, purpose: str = "board") -> int:
    """Seed of one training stream (`stream`: env, algorithm, loop) of run `seed` on `env`."""
    return _stream(0, "train" if purpose == "board" else purpose, env, seed, stream, index)


def eval_seeds(env: str, episodes: int, seed: int = 0, purpose: str = "board") -> list[int]:
    """Seeds of the evaluation episodes on `env`, one an episode."""
    head = "eval" if purpose == "board" else f"eval {purpose}"
    return [_stream(1, head, env, seed, index) for index in range(episodes)]
