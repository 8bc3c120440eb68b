"""One store that loses the demand it cannot serve: the optimum by relative value iteration.

A period: order, demand D ~ Poisson(mean) is served from I_0 on hand, cost
p (D - I_0)^+ + h (I_0 - D)^+, then the next entry of the pipeline is on hand; an order of
period t is on hand at the start of period t + L. The state is (I_0, q_1, ..., q_{L-1}).

The model is cut to at most `on_hand` units on hand (what is above vanishes) and `order` units an
order. That changes nothing as long as an optimal policy stays inside, which `solve` verifies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from pgbench.errors import PgbenchError

from .inputs import periods, positive

# The cost is known to half of this share of itself: five digits and a bit, a thousandth of the
# gaps between policies that are of interest.
TOLERANCE = 1e-6
MAX_SWEEPS = 10_000
MAX_BYTES = 4e9
SETTLE = 1000  # periods after which a state visited is one that is visited again


@dataclass(frozen=True, eq=False)
class LostSales:
    """The optimum: long-run average cost of a period, its bounds, and an optimal order per state.

    The true cost of the model, and that of the policy in `orders`, lie in [low, high]; `cost` is
    the middle. `orders` has shape (on_hand + 1, order + 1, ..., order + 1), one axis for the units
    on hand and for each of the L - 1 orders under way, the next to arrive first.
    """

    cost: float
    low: float
    high: float
    orders: NDArray[np.int64]

    def order(self, inventory: NDArray[np.int64]) -> NDArray[np.int64]:
        """The optimal orders (B,) for inventories (B, L): on hand, then what arrives next.

        Amounts above the table's ends, which the policy itself never reaches, count as its ends.

        Raises: PgbenchError if the inventories are not (B, L) whole numbers of at least 0.
        """
        inventory = np.asarray(inventory)
        if inventory.ndim != 2 or inventory.shape[1] != self.orders.ndim:
            raise PgbenchError(
                f"inventory must have shape (B, {self.orders.ndim}), not {inventory.shape}"
            )
        if inventory.dtype.kind not in "iu" or (inventory < 0).any():
            raise PgbenchError("inventory must hold whole numbers of at least 0; round it first")
        held = np.minimum(inventory, np.array(self.orders.shape) - 1)
        found: NDArray[np.int64] = self.orders[tuple(held.T)]
        return found


def solve(
    mean: float,
    penalty: float,
    holding: float,
    lead_time: int,
    on_hand: int = 40,
    order: int = 14,
) -> LostSales:
    """The optimal policy for Poisson(mean) demand; costs a unit and period, lead time in periods.

    The work of a sweep grows with (on_hand + 1)^2 (order + 1)^lead_time: in all about 0.4 s
    for lead time 4, 10 s for 5.

    Raises: PgbenchError for bad numbers, for a table that is too large, or for one so small that
    the optimal policy would leave it.
    """
    positive(mean=mean, penalty=penalty, holding=holding)
    periods(lead_time=lead_time, on_hand=on_hand, order=order)
    size = 16.0 * (on_hand + 1) * (order + 1) ** lead_time
    if size > MAX_BYTES:
        raise PgbenchError(
            f"lead_time {lead_time} needs {size / 1e9:.1f} GB of memory, {MAX_BYTES / 1e9:.0f} is "
            "the limit; give a shorter lead time, or a smaller on_hand and order"
        )
    left = _left_over(mean, on_hand)
    stock = np.arange(on_hand + 1)
    served = stock - left @ stock
    cost = holding * (stock - served) + penalty * (mean - served)
    cost = cost.reshape(-1, *[1] * (lead_time - 1))
    arrive = np.minimum(stock[:, None] + np.arange(order + 1), on_hand)

    value = np.zeros((on_hand + 1, *[order + 1] * (lead_time - 1)))
    for _ in range(MAX_SWEEPS):
        # after[y, q_1, ..., q_L] = V(y + q_1, q_2, ..., q_L) with y left over: the expectation is
        # one matrix product over the first axis, and the new order q_L is always the last one.
        after = value[arrive]
        expected = (left @ after.reshape(on_hand + 1, -1)).reshape(after.shape)
        change = cost + expected.min(axis=-1) - value
        low, high = float(change.min()), float(change.max())
        value += change
        value -= value.flat[0]  # only differences of values matter
        if high - low <= TOLERANCE * low:
            break
    else:
        raise PgbenchError(
            f"value iteration did not settle in {MAX_SWEEPS} sweeps ({low} to {high}); "
            "give a smaller on_hand"
        )
    # The greedy orders for the values of before the last sweep, to which low and high belong.
    found = LostSales((low + high) / 2, low, high, expected.argmin(axis=-1))
    _verify_inside(found, on_hand, order)
    return found


def _left_over(mean: float, on_hand: int) -> NDArray[np.float64]:
    """P(y units are left | x units were on hand), (on_hand + 1, on_hand + 1)."""
    x, y = np.ogrid[: on_hand + 1, : on_hand + 1]
    left: NDArray[np.float64] = poisson.pmf(x - y, mean)  # 0 for y > x
    left[:, 0] = poisson.sf(np.arange(on_hand + 1) - 1, mean)
    return left


def _verify_inside(found: LostSales, on_hand: int, order: int) -> None:
    """The states that the policy visits again and again never touch the ends of the table.

    Raises: PgbenchError if they do.
    """
    state = np.zeros((1, found.orders.ndim), np.int64)
    for _ in range(SETTLE):  # all stock is used up in every period: it is possible for ever
        state = np.column_stack([state[:, 1:], found.order(state)])
    seen = np.zeros(found.orders.shape, bool)
    seen[tuple(state.T)] = True
    while len(state):
        new = found.order(state)
        pipeline = np.column_stack([state[:, 1:], new])
        # Anything from nothing to all of the stock may be left over.
        row, left = np.nonzero(np.arange(on_hand + 1) <= state[:, :1])
        stock = left + pipeline[row, 0]
        if stock.max() > on_hand or new.max() == order:
            raise PgbenchError(
                f"the optimal policy leaves the table of on_hand {on_hand} and order {order}; "
                "give larger ones"
            )
        after = np.column_stack([stock, pipeline[row, 1:]])
        after = after[~seen[tuple(after.T)]]
        seen[tuple(after.T)] = True
        state = np.unique(after, axis=0)
