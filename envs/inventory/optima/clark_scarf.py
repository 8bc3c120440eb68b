"""A serial system, backlogged: optimal echelon base-stock levels (Clark and Scarf 1960).

Location 1 is the store, each other one supplies the one before it, and the last orders without
limit. Demand is normal, clipped at 0. Stock in transit costs nothing. With h_{N+1} = 0 and D_L the
demand of L periods,

    c_1(x) = -h_2 x + E[h_1 (x - xi)^+ + p (xi - x)^+]
    C_j(y) = E c_j(y - D_{L_j}),  y_j = argmin C_j
    c_{j+1}(x) = (h_{j+1} - h_{j+2}) x + C_j(min(x, y_j))
    optimum = C_N(y_N) - E[xi] sum_{j<N} h_{j+1} L_j

The last sum takes off what the echelon costs charge for stock in transit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.special import ndtr

from pgbench.errors import PgbenchError

from .inputs import periods, positive

STEPS = 400  # grid steps in a standard deviation of demand: the cost is within 1e-5 of its limit
TAIL = 9.0  # deviations of demand above its mean that the grid holds; 1e-19 is beyond
MAX_POINTS = 20_000_000


@dataclass(frozen=True)
class Serial:
    """The optimum: average cost of a period, and echelon order-up-to levels in units.

    `levels`, store first: the inventory position of a location and all those below it, after
    ordering; each is found to 1/400 of a deviation of demand.
    """

    cost: float
    levels: tuple[float, ...]


def solve(
    mean: float,
    std: float,
    penalty: float,
    holding: Sequence[float],
    lead_times: Sequence[int],
) -> Serial:
    """The optimal echelon base-stock policy for demand N(mean, std^2) clipped at 0.

    `holding` (a unit and period) and `lead_times` (periods) name the locations, the store first.

    Raises: PgbenchError for numbers out of range, or if holding does not fall from the store up.
    """
    positive(mean=mean, std=std, penalty=penalty)
    _check_locations(holding, lead_times)
    step = std / STEPS
    demand_end = math.ceil((mean + TAIL * std) / step)
    top = (sum(lead_times) + 1) * demand_end
    # Each expectation looks as far down as its lead time's demand reaches.
    low = -sum(lead_times) * demand_end
    if top - low > MAX_POINTS:
        raise PgbenchError(
            f"mean {mean} with std {std} needs a grid of {top - low} points, {MAX_POINTS} is the "
            "limit; give a larger std"
        )
    grid = np.arange(low, top + 1, dtype=np.float64) * step
    below = _below(grid, mean, std)  # E (x - xi)^+
    # Weights on the grid with exactly the demand's expectation for functions that are linear
    # between its points: its total, its mean and its atom at 0 are kept.
    ends = slice(-low - 1, -low + demand_end + 2)
    weights = np.diff(below[ends], n=2) / step
    mu = float(weights @ np.arange(demand_end + 1)) * step

    above = [*holding[1:], 0.0]  # h_{j+1}
    cost = -above[0] * grid + holding[0] * below + penalty * (below - grid + mu)
    levels = []
    for j, lead_time in enumerate(lead_times):
        expected = fftconvolve(cost, reduce(fftconvolve, [weights] * lead_time), mode="valid")
        grid = grid[-len(expected) :]
        best = int(expected.argmin())
        levels.append(float(grid[best]))
        if j + 1 < len(lead_times):
            reached = expected[np.minimum(np.arange(len(grid)), best)]  # C_j(min(x, y_j))
            cost = (above[j] - above[j + 1]) * grid + reached
    transit = mu * math.fsum(h * L for h, L in zip(above, lead_times, strict=True))
    return Serial(float(expected[best]) - transit, tuple(levels))


def _check_locations(holding: Sequence[float], lead_times: Sequence[int]) -> None:
    """As many lead times as holding costs, at least one; dearer to hold further down."""
    if len(holding) != len(lead_times) or not len(holding):
        raise PgbenchError(
            f"holding names {len(holding)} locations and lead_times {len(lead_times)}; "
            "both name the same ones, at least the store"
        )
    for h, lead_time in zip(holding, lead_times, strict=True):
        positive(holding=h)
        periods(lead_times=lead_time)
    if any(b >= a for a, b in pairwise(holding)):
        raise PgbenchError(
            f"holding must fall from the store up, not {list(holding)}; otherwise a location "
            "would never keep stock, so leave it out"
        )


def _below(x: NDArray[np.float64], mean: float, std: float) -> NDArray[np.float64]:
    """E (x - xi)^+ for xi = max(N(mean, std^2), 0): that of the normal less its part below 0."""

    def normal(x: NDArray[np.float64]) -> NDArray[np.float64]:
        z = (x - mean) / std
        out: NDArray[np.float64] = std * (np.exp(-z * z / 2) / math.sqrt(2 * math.pi) + z * ndtr(z))
        return out

    return np.where(x > 0, normal(x) - normal(np.zeros(1)), 0.0)
