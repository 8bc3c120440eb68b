"""What happened in a run, step by step: the figures of its record that are not the score."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, pstdev, quantiles, stdev
from typing import Any

from torch import Tensor

WINDOW = 20  # steps over which a figure is averaged, or called steady or not
END = 50  # steps at the end of a run
GAIN = 0.05  # of pass@1 over the first window, at which entropies of methods are compared
KEPT = ("grad_norm", "logp", "pass@1", "pass@k", "length", "format", "wrong_sign")


class History:
    """A run's metrics, a value each step: those of `KEPT` and `watched`, where they are logged."""

    def __init__(self, watched: Sequence[str] = ()) -> None:
        self.watched = tuple(watched)
        self.values: dict[str, list[float]] = {}

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Append a step's."""
        for name in (*KEPT, *self.watched):
            if name in metrics:
                self.values.setdefault(name, []).append(float(metrics[name]))

    def summary(self) -> dict[str, float]:
        """Figures of the whole run.

        grad_norm_cv: standard deviation of the gradient norm over its mean, within windows of
        `WINDOW` steps, averaged over the windows; grad_norm_p95: its 95th percentile. entropy_end,
        length_end, format_end, pass@k_end (k: the group): means of the last `END` steps.
        pass@1_drop: of the training responses, the best window less the last. entropy_at_gain: the
        entropy in the first window whose pass@1 is `GAIN` above the first one's. wrong_sign: share
        of right responses with a negative advantage, mean of the run. X_mean and X_sd of what an
        algorithm watches.

        Entropies, in nats a token, are estimated by all responses' own log-probabilities: the
        logged ones leave out responses without a gradient, differently in each method.
        """
        out: dict[str, float] = {}
        surprise = [-value for value in self.values.get("logp", [])]
        norms = self.values.get("grad_norm", [])
        spreads = [stdev(w) / mean(w) for w in windows(norms) if mean(w) > 0]
        if spreads:
            out["grad_norm_cv"] = mean(spreads)
            out["grad_norm_p95"] = quantiles(norms, n=20)[-1]
        ends = {name: self.values.get(name, []) for name in ("length", "format", "pass@k")}
        for name, tail in {"entropy": surprise, **ends}.items():
            if tail:
                out[f"{name}_end"] = mean(tail[-END:])
        rates = [mean(w) for w in windows(self.values.get("pass@1", []))]
        if rates:
            out["pass@1_drop"] = max(rates) - rates[-1]
            gained = [i for i, rate in enumerate(rates) if rate >= rates[0] + GAIN]
            entropies = windows(surprise)
            if gained and gained[0] < len(entropies):
                out["entropy_at_gain"] = mean(entropies[gained[0]])
        if values := self.values.get("wrong_sign"):
            out["wrong_sign"] = mean(values)
        for name in self.watched:
            if values := self.values.get(name):
                out |= {f"{name}_mean": mean(values), f"{name}_sd": pstdev(values)}
        return out

    def state_dict(self) -> dict[str, Any]:
        """Every value so far."""
        return {name: list(values) for name, values in self.values.items()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.values = {name: list(values) for name, values in saved.items()}


def windows(values: Sequence[float]) -> list[Sequence[float]]:
    """The values in whole windows of `WINDOW`, first to last; what is left over is dropped."""
    whole = [values[i : i + WINDOW] for i in range(0, len(values), WINDOW)]
    return [w for w in whole if len(w) == WINDOW]
