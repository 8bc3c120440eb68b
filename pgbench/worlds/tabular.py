"""Finite Markov decision processes as tensors: exact values, gradients, occupancy, optima, regret.

P (S, A, S) are the transition probabilities, R (S, A) the expected rewards, rho (S,) the
distribution of the first state. With a `horizon` H an episode has H steps and a policy is
pi (..., H, S, A), one table a step; without one, episodes never end, the `discount` gamma is below
one and a policy is pi (..., S, A). The dots are any batch of policies.

    V_h(s) = sum_a pi_h(a|s) Q_h(s, a)                              (Eq. 1)
    Q_h(s, a) = R(s, a) + gamma sum_s' P(s'|s, a) V_{h+1}(s')       (Eq. 2), V_H = 0
    J = sum_s rho(s) V_0(s) = sum_{h,s,a} d_h(s, a) R(s, a)         (Eq. 3)
    d_h(s, a) = gamma^h Pr(s_h = s, a_h = a)                        (Eq. 4)
    dJ/dtheta_h(s, a) = d_h(s, a) (Q_h(s, a) - V_h(s))              (Eq. 5), pi = softmax(theta)

Without a horizon the index h is absent, and d is the sum over all steps. Everything but `optimum`
is differentiable in pi, P, R and rho. Float64 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.settings.ranges import Count
from pgbench.worlds.batch_env import BatchEnv, Bools, Floats, Info, Rows

CLOSE = 1e-6  # how far the sum of a distribution may be from one
BETTER = 1e-12  # by which an action must be better to be changed for, relative to the largest value
LONG = 1000  # steps until an episode without a horizon is truncated


@dataclass(frozen=True)
class TabularModel:
    """P (S, A, S), R (S, A), rho (S,) and a horizon, a discount, or both; see the module.

    Raises: PgbenchError for shapes that do not fit, numbers that are not finite, rows of P or a
    rho that are no distributions, a discount that is none.
    """

    P: Tensor
    R: Tensor
    rho: Tensor
    horizon: int | None = None
    discount: float = 1.0

    def __post_init__(self) -> None:
        for name in ("P", "R", "rho"):
            table = torch.as_tensor(getattr(self, name), dtype=torch.float64)
            object.__setattr__(self, name, table)
            if not bool(table.isfinite().all()):
                raise PgbenchError(f"{name} of a tabular model holds numbers that are not finite")
        if self.R.dim() != 2 or self.P.shape != (*self.R.shape, len(self.R)):
            raise PgbenchError(
                "P of a tabular model is (S, A, S) and R is (S, A), not "
                f"{tuple(self.P.shape)} and {tuple(self.R.shape)}"
            )
        if self.rho.shape != self.R.shape[:1]:
            raise PgbenchError(
                f"rho of a tabular model has a number for each of {self.states} states, not the "
                f"shape {tuple(self.rho.shape)}"
            )
        for s, a in (~_distributions(self.P)).nonzero()[:1].tolist():
            raise PgbenchError(
                f"P[{s}, {a}] of a tabular model is no distribution: {_fault(self.P[s, a])}"
            )
        if not _distributions(self.rho):
            raise PgbenchError(f"rho of a tabular model is no distribution: {_fault(self.rho)}")
        if self.horizon is not None and (type(self.horizon) is not int or self.horizon < 1):
            raise PgbenchError(f"a horizon is a whole number from 1, not {self.horizon!r}")
        if not 0 <= self.discount <= 1 or (self.horizon is None and self.discount == 1):
            raise PgbenchError(
                f"a discount is from 0 to 1, and below 1 without a horizon, not {self.discount!r}"
            )

    @property
    def states(self) -> int:
        """S, the number of states."""
        return self.R.shape[0]

    @property
    def actions(self) -> int:
        """A, the number of actions."""
        return self.R.shape[1]

    def stationary(self, pi: Tensor) -> Tensor:
        """pi (..., S, A) as this model's policies: with a horizon the same table at every step."""
        if self.horizon is None:
            return pi
        *batch, s, a = pi.shape
        return pi.unsqueeze(-3).expand(*batch, self.horizon, s, a)

    def uniform(self) -> Tensor:
        """The policy that takes every action alike: (S, A), or (H, S, A)."""
        return self.stationary(torch.full_like(self.R, 1.0 / self.actions))

    def values(self, pi: Tensor) -> Tensor:
        """Eq. 1: V (..., S), or (..., H, S).

        Raises: PgbenchError if pi has another shape or rows that are no distributions.
        """
        pi = self._policy(pi)
        reward = (pi * self.R).sum(-1)
        step = torch.einsum("...sa,sat->...st", pi, self.P)
        if self.horizon is None:
            return _solved(self.discount, step, reward)
        value, out = torch.zeros_like(reward[..., 0, :]), []
        for h in reversed(range(self.horizon)):
            ahead = (step[..., h, :, :] @ value.unsqueeze(-1)).squeeze(-1)
            value = reward[..., h, :] + self.discount * ahead
            out.append(value)
        return torch.stack(out[::-1], -2)

    def action_values(self, pi: Tensor) -> Tensor:
        """Eq. 2: Q (..., S, A), or (..., H, S, A)."""
        return self._ahead(self.values(pi))

    def returns(self, pi: Tensor) -> Tensor:
        """Eq. 3: J (...)."""
        first = self.values(pi) if self.horizon is None else self.values(pi)[..., 0, :]
        return first @ self.rho

    def occupancy(self, pi: Tensor) -> Tensor:
        """Eq. 4: d (..., S, A) with the sum 1/(1 - gamma), or (..., H, S, A), each step gamma^h."""
        pi = self._policy(pi)
        step = torch.einsum("...sa,sat->...st", pi, self.P)
        if self.horizon is None:
            states = _solved(
                self.discount, step.transpose(-1, -2), self.rho.expand(step.shape[:-1])
            )
            return states.unsqueeze(-1) * pi
        here, out = self.rho.expand(pi[..., 0, :, 0].shape), []
        for h in range(self.horizon):
            out.append(here)
            here = self.discount * (here.unsqueeze(-2) @ step[..., h, :, :]).squeeze(-2)
        return torch.stack(out, -2).unsqueeze(-1) * pi

    def gradient(self, theta: Tensor) -> Tensor:
        """Eq. 5: dJ/dtheta for logits theta of pi's shape, in closed form."""
        pi = theta.to(torch.float64).softmax(-1)
        q = self.action_values(pi)
        return self.occupancy(pi) * (q - (pi * q).sum(-1, keepdim=True))

    def optimum(self) -> tuple[Tensor, Tensor]:
        """Q* and an optimal policy, both of a policy's shape; of equals the first action.

        By backward induction with a horizon, else by policy iteration, which is exact after
        finitely many steps.
        """
        if self.horizon is not None:
            value, out = torch.zeros_like(self.rho), []
            for _ in range(self.horizon):
                out.append(self.R + self.discount * self.P @ value)
                value = out[-1].amax(-1)
            q = torch.stack(out[::-1])
            return q, _greedy(q)
        pi = _greedy(self.R)
        while True:
            q = self.action_values(pi)
            mine, best = (pi * q).sum(-1), q.amax(-1)
            better = best > mine + BETTER * q.abs().amax()
            if not bool(better.any()):
                return q, pi
            pi = torch.where(better.unsqueeze(-1), _greedy(q), pi)

    def best(self) -> float:
        """J of an optimal policy."""
        return float(self.returns(self.optimum()[1]))

    def regret(self, pi: Tensor) -> Tensor:
        """J* - J (...): what an episode by pi falls short of an optimal one by, expected."""
        return self.best() - self.returns(pi)

    def _policy(self, pi: Tensor) -> Tensor:
        pi = pi.to(torch.float64)
        shape = self.R.shape if self.horizon is None else (self.horizon, *self.R.shape)
        if pi.shape[-len(shape) :] != shape:
            raise PgbenchError(
                f"a policy of this model ends in the shape {tuple(shape)}, not {tuple(pi.shape)}"
                + ("" if self.horizon is None else "; stationary(pi) repeats one table")
            )
        if not bool(_distributions(pi.detach()).all()):
            raise PgbenchError("a policy of a tabular model has rows that are no distributions")
        return pi

    def _ahead(self, value: Tensor) -> Tensor:
        """Eq. 2 from V of all steps."""
        if self.horizon is not None:
            value = torch.cat([value[..., 1:, :], torch.zeros_like(value[..., :1, :])], -2)
        return self.R + self.discount * torch.einsum("sat,...t->...sa", self.P, value)


def _solved(discount: float, step: Tensor, right: Tensor) -> Tensor:
    """x with x = right + discount step x, for step (..., S, S) and right (..., S)."""
    eye = torch.eye(step.shape[-1], dtype=step.dtype, device=step.device)
    solved: Tensor = torch.linalg.solve(eye - discount * step, right.unsqueeze(-1))
    return solved.squeeze(-1)


def _greedy(q: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(q.argmax(-1), q.shape[-1]).to(q.dtype)


def _distributions(table: Tensor) -> Tensor:
    """Whether each row (..., n) of `table` is a distribution."""
    return ((table.sum(-1) - 1).abs() <= CLOSE) & (table.amin(-1) >= -CLOSE)


def _fault(row: Tensor) -> str:
    if float(row.min()) < -CLOSE:
        return f"it has the negative entry {float(row.min()):g}"
    return f"it sums to {float(row.sum()):.9g}, not to 1"


class TabularEnv(BatchEnv):
    """Episodes of a `TabularModel`; what a family of tabular environments is made of.

    | observation | shape |
    | --- | --- |
    | `observe="one-hot"`: the state as a vector | float32 (n, S) |
    | `observe="index"`: its number | float32 (n, 1) |
    | `clock=True` appends the steps so far, 0 to H, in the same way | (n, H + 1) or (n, 1) more |

    Action int (n,), from 0. The reward is R(s, a), without noise. With a horizon an episode
    terminates after its last step: nothing comes after it, in the model either. Without one it is
    truncated after `max_episode_steps`.
    """

    render_modes = ()

    def __init__(
        self,
        num_envs: int,
        model: TabularModel,
        *,
        observe: str = "one-hot",
        clock: bool = False,
        max_episode_steps: Count | None = None,
    ) -> None:
        if observe not in ("one-hot", "index"):
            raise PgbenchError(f"observe is one-hot or index, not {observe!r}")
        if clock and model.horizon is None:
            raise PgbenchError("clock=True is for episodes with a horizon; leave it out")
        self.model, self.observes, self.clock = model, observe, clock
        if max_episode_steps is None:  # of a horizon nothing is left to truncate
            max_episode_steps = LONG if model.horizon is None else model.horizon + 1
        action = spaces.Discrete(model.actions)
        super().__init__(num_envs, action, render_fps=1, max_episode_steps=max_episode_steps)
        self._next = model.P.cumsum(-1).numpy()
        self._next[..., -1] = 1.0
        self._first = model.rho.cumsum(-1).numpy()
        self._first[-1] = 1.0
        self._rewards = model.R.numpy()
        self._state = np.zeros(num_envs, np.int64)
        sizes = [model.states] + ([model.horizon + 1] if clock and model.horizon else [])
        self._hot = [np.eye(size, dtype=np.float32) for size in sizes]
        if observe == "one-hot":
            box = spaces.Box(0.0, 1.0, (sum(sizes),), np.float32)
        else:
            box = spaces.Box(0.0, np.array(sizes, np.float32) - 1, dtype=np.float32)
        self.set_observation_space(box)

    def observe(self, rows: Rows) -> Floats:
        """See the class."""
        parts = [self._state[rows]]
        if self.clock:
            parts.append(np.maximum(self._elapsed[rows], 0))
        if self.observes == "index":
            return np.stack(parts, 1).astype(np.float32)
        return np.concatenate([hot[k] for hot, k in zip(self._hot, parts, strict=True)], 1)

    def advance(self, actions: Floats) -> tuple[Floats, Bools, Info]:
        """See the class."""
        rewards = self._rewards[self._state, actions]
        drawn = np.array([rng.random() for rng in self._rngs if rng is not None])
        chances = self._next[self._state, actions]
        self._state = (drawn[:, None] >= chances).sum(1)
        over = np.zeros(self.num_envs, np.bool_)
        if self.model.horizon is not None:
            over = self._elapsed + 1 >= self.model.horizon
        return rewards, over, {}

    def restart(self, ids: NDArray[np.intp], rngs: list[np.random.Generator]) -> None:
        """See the class."""
        drawn = np.array([rng.random() for rng in rngs])
        self._state[ids] = (drawn[:, None] >= self._first).sum(1)

    def save(self) -> Info:
        """See `BatchEnv`."""
        return {"state": self._state.copy()}

    def load(self, state: dict[str, Any]) -> None:
        """See `BatchEnv`."""
        self._state = np.array(state["state"])
