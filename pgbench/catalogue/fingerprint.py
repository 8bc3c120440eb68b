"""An environment's fingerprint: the hash of a short fixed trajectory, played on this machine.

Names and version numbers do not tell whether two people measured on the same environment: MuJoCo's
minor versions give other rewards for the same actions, and a reward fix may keep its environment's
name. Sixteen steps of fixed actions do tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pgbench.catalogue.capabilities import make
from pgbench.catalogue.registry import EnvSpec

STEPS = 16
LANES = 2
SEED = 20_260_101
DIGITS = 7  # significant: another processor's last bits do not matter, another simulator's do
DECIMALS = 9  # likewise for what should be zero


def golden(env: EnvSpec, env_kwargs: Mapping[str, Any] | None = None) -> str:
    """SHA-256 (hex) of observations, rewards and ends over `STEPS` steps of fixed actions."""
    vector = make(env, num_envs=LANES, **(env_kwargs or {}))
    try:
        return golden_of(vector)
    finally:
        vector.close()


def golden_of(vector: Any) -> str:
    """The fingerprint by an environment of `LANES` lanes, or by any that has a `probe`.

    Where actions are texts, a fixed trajectory would be wrong answers only: there the environment
    names what its verdicts depend on, and shows some (`probe`).
    """
    total = hashlib.sha256()
    if hasattr(vector, "probe"):
        total.update("\n".join(vector.probe()).encode())
        return total.hexdigest()
    actions = _actions(vector.single_action_space)
    obs, _ = vector.reset(seed=[SEED + lane for lane in range(LANES)])
    _add(total, obs)
    for step in range(STEPS):
        obs, reward, terminated, truncated, _ = vector.step(actions[step])
        for part in (obs, reward, terminated, truncated):
            _add(total, part)
    return total.hexdigest()


def _actions(space: Any) -> NDArray[Any]:
    """Actions (STEPS, LANES, ...): uniform in a box or over choices, else the space's samples."""
    rng = np.random.Generator(np.random.Philox(SEED))
    if isinstance(space, spaces.Box):
        low = np.maximum(space.low, -1e3).astype(np.float64)
        high = np.minimum(space.high, 1e3).astype(np.float64)
        return low + (high - low) * rng.random((STEPS, LANES, *space.shape))
    if isinstance(space, spaces.Discrete):
        return int(space.start) + (int(space.n) * rng.random((STEPS, LANES))).astype(np.int64)
    space.seed(SEED)
    return np.array([[space.sample() for _ in range(LANES)] for _ in range(STEPS)])


def _add(total: Any, part: Any) -> None:
    values = np.asarray(part)
    if values.dtype.kind != "f":
        total.update(values.tobytes())
        return
    # Rounded through text: what differs in the last bits is one number, as "-0" and "0" are.
    flat = np.round(values.astype(np.float64).ravel(), DECIMALS) + 0.0
    words = (f"{value:.{DIGITS - 1}e}" for value in flat)
    total.update(" ".join(words).encode())
