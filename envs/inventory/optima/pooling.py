"""Stores behind a warehouse that keeps nothing: a lower bound by pooling (Federgruen and Zipkin).

If the warehouse could balance the stores' inventories at every allocation, the stores would act
as one: its order is exposed to the total demand for L_w periods, and what each store gets to that
store's demand for L + 1 more. Real allocations are at least 0, so the true cost is above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import ndtri

from pgbench.errors import PgbenchError

from .inputs import periods, positive
from .newsvendor import density


def bound(
    std: Sequence[float],
    correlation: float,
    penalty: float,
    holding: float,
    lead_time: int,
    warehouse_lead_time: int,
) -> float:
    """Lower bound on the long-run cost of a period and store; demand is normal, not clipped.

    `std` holds each store's deviation in units, `correlation` is that of every pair of stores;
    costs and lead time are the same for all stores.

    Raises: PgbenchError for a number out of range.
    """
    if not len(std):
        raise PgbenchError("std must name the deviation of at least one store")
    for deviation in std:
        positive(std=deviation)
    positive(penalty=penalty, holding=holding)
    periods(lead_time=lead_time, warehouse_lead_time=warehouse_lead_time)
    least = -1 / max(len(std) - 1, 1)  # below it, no such normal distribution exists
    if not least <= correlation <= 1:
        raise PgbenchError(
            f"correlation must be from {least:.4g} to 1 for {len(std)} stores, not {correlation}"
        )
    together = math.fsum(std) ** 2
    total = (1 - correlation) * math.fsum(s * s for s in std) + correlation * together
    exposed = warehouse_lead_time * max(total, 0.0) + (lead_time + 1) * together
    z = float(ndtri(penalty / (penalty + holding)))
    return (holding + penalty) * density(z) / len(std) * math.sqrt(exposed)
