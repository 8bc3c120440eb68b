"""Running mean and variance, and the two normalisers of the on-policy loop."""

from __future__ import annotations

import torch
from torch import Tensor

CLIP = 10.0


class RunningMoments:
    """Mean and variance of all rows seen, in float64, by Chan et al.'s pairwise update."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.state = {
            "count": torch.zeros((), dtype=torch.float64, device=device),
            "mean": torch.zeros(size, dtype=torch.float64, device=device),
            "m2": torch.zeros(size, dtype=torch.float64, device=device),
        }
        self.mean = torch.zeros(size, device=device)
        self.inv_std = torch.ones(size, device=device)

    def update(self, rows: Tensor) -> None:
        """Take in rows (n, size)."""
        x = rows.double()
        n, mean = len(x), x.mean(0)
        m2 = (x - mean).square().sum(0)
        s = self.state
        delta, total = mean - s["mean"], s["count"] + n
        s["m2"] += m2 + delta.square() * s["count"] * n / total
        s["mean"] += delta * n / total
        s["count"].copy_(total)
        self.refresh()

    def refresh(self) -> None:
        """Derive the float32 mean and 1/std that `normalize` uses from the moments."""
        s = self.state
        if s["count"] > 1:
            self.mean = s["mean"].float()
            self.inv_std = (s["m2"] / s["count"] + 1e-8).rsqrt().float()

    def normalize(self, x: Tensor) -> Tensor:
        """(x - mean) / std, clipped to +-10; the identity (clipped) before the first update."""
        return ((x - self.mean) * self.inv_std).clamp(-CLIP, CLIP)
