"""One store that backlogs what it cannot serve, normal demand: base stock is optimal.

An order covers the demand of L + 1 periods, mean (L + 1) and deviation std sqrt(L + 1); the cost
of a level is the newsvendor's for that demand. All levels are inventory positions after ordering
in units, all costs are per period. Demand is not clipped at 0; where it is, the numbers hold as
far as P(demand < 0) is negligible.
"""

from __future__ import annotations

import math

from scipy.special import ndtr, ndtri

from .inputs import periods, positive


def level(mean: float, std: float, penalty: float, holding: float, lead_time: int) -> float:
    """The optimal base-stock level S*.

    Raises: PgbenchError for a number out of range.
    """
    centre, spread = _covered(mean, std, penalty, holding, lead_time)
    return centre + spread * float(ndtri(penalty / (penalty + holding)))


def cost(mean: float, std: float, penalty: float, holding: float, lead_time: int) -> float:
    """The optimal cost of a period.

    Raises: PgbenchError for a number out of range.
    """
    best = level(mean, std, penalty, holding, lead_time)
    return cost_of_level(best, mean, std, penalty, holding, lead_time)


def cost_of_level(
    S: float, mean: float, std: float, penalty: float, holding: float, lead_time: int
) -> float:
    """The exact cost of a period with base-stock level `S`.

    Raises: PgbenchError for a number out of range.
    """
    centre, spread = _covered(mean, std, penalty, holding, lead_time)
    z = (S - centre) / spread
    # E (D - S)^+ = spread * (phi(z) - z (1 - Phi(z))), the normal loss; E (S - D)^+ likewise.
    short = spread * loss(z)
    return holding * (S - centre + short) + penalty * short


def density(z: float) -> float:
    """phi(z) of the standard normal."""
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def loss(z: float) -> float:
    """E (Z - z)^+ of a standard normal Z."""
    return density(z) - z * float(ndtr(-z))


def _covered(
    mean: float, std: float, penalty: float, holding: float, lead_time: int
) -> tuple[float, float]:
    """Mean and deviation of the demand that one order covers, the numbers having been checked."""
    positive(mean=mean, std=std, penalty=penalty, holding=holding)
    periods(lead_time=lead_time)
    return mean * (lead_time + 1), std * math.sqrt(lead_time + 1)
