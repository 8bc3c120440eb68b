"""One Gymnasium environment with the tape that leads to where it stands; `Lanes` has many."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.utils.seeding import np_random
from numpy.random import mtrand
from numpy.typing import NDArray

from pgbench.errors import Breach
from pgbench.worlds.flat import flat_action, flat_observation

# observation, reward, terminated, truncated
Given: TypeAlias = tuple[NDArray[Any], Any, bool, bool]

_global_bits, _draw_from = mtrand.get_bit_generator, mtrand.set_bit_generator

EPISODE, LIFE = "episode", "life"  # where a tape begins: at the last reset, or at the last seed

WORD = 2**32  # what numpy's global generator takes as a seed is below it


class Lane:
    """One environment and the tape that leads to where it stands."""

    def __init__(self, env: gymnasium.Env[Any, Any], name: str, replay: str, terms: int) -> None:
        self.env, self.name, self.replay = env, name, replay
        self.terms = terms  # of a reward; 0 for a number
        space, self._flat = flat_observation(env.observation_space, name)
        self.shape = space.shape
        _, self.act = flat_action(env.action_space, name)
        self.bits = np.random.MT19937(0)  # what it has for numpy's global generator,
        self.mark = 0  # and what that is seeded with at a reset
        self.seed: int | None = None  # the tape: of its first reset,
        self.rng: dict[str, Any] | None = None  # or its generator's state before that,
        self.actions: list[Any] = []  # and the actions since

    def begin(self, seed: int | None = None) -> NDArray[Any]:
        """Start an episode, with a seed or with the generator as it stands: its observation."""
        if seed is None and self.seed is None and self.rng is None:
            seed = np_random()[1]  # a first reset without a seed has one of its own
        if seed is not None:
            self.seed, self.rng, self.actions = seed, None, []
            self.mark = seed % WORD
        else:
            self.mark = _after(self.mark)
            if self.replay == EPISODE:
                bits = getattr(self.env.unwrapped.np_random, "bit_generator", None)
                self.rng = {"own": bits.state if bits else None, "mark": self.mark}
                self.seed, self.actions = None, []
            else:
                self.actions.append(None)  # stands for a reset
        return self.observe(self._called("reset", seed=seed)[0])

    def step(self, action: Any) -> Given:
        """One step; `action` as the flat action space has it."""
        self.actions.append(action)
        observation, reward, terminated, truncated, _ = self._called("step", self.act(action))
        return self.observe(observation), self.rewarded(reward), bool(terminated), bool(truncated)

    def observe(self, given: Any) -> NDArray[Any]:
        """An observation as a vector.

        Raises: Breach if it is none of its space.
        """
        try:
            vector = self._flat(given)
        except (TypeError, ValueError, IndexError):
            vector = np.empty(0)
        if vector.shape != self.shape:
            raise Breach(
                f"{self.name} gives an observation of shape {np.shape(given)}, which is none of "
                f"its observation space {self.env.observation_space}"
            )
        return vector

    def rewarded(self, reward: Any) -> Any:
        """A reward as the environment promised it, a number or a vector of `terms`.

        Raises: Breach.
        """
        if type(reward) is float and not self.terms:
            return reward
        try:
            value = np.asarray(reward, np.float64)
        except (TypeError, ValueError):
            value = np.empty(0)
        if value.shape == ((self.terms,) if self.terms else ()):
            return value
        if value.size == 1 and not self.terms:
            return value.reshape(())
        kind = f"vector of {self.terms} numbers" if self.terms else "number"
        raise Breach(f"{self.name} gives {reward!r} as a reward, not a {kind}")

    def tape(self) -> dict[str, Any]:
        """What leads to where the environment stands, as arrays and plain values."""
        resets = [i for i, action in enumerate(self.actions) if action is None]
        acted = [action for action in self.actions if action is not None]
        return {
            "seed": self.seed,
            "rng": self.rng,
            "actions": np.array(acted),
            "resets": resets,  # their places among actions and resets
        }

    def play(self, tape: dict[str, Any]) -> NDArray[Any]:
        """Come to where `tape` was taken: the observation there."""
        self.seed, self.rng = tape["seed"], tape["rng"]
        if self.rng is not None:
            self._called("reset", seed=0)  # whatever waits for a first seed
            self.mark = self.rng["mark"]
            if self.rng["own"]:
                self.env.unwrapped.np_random = _generator(self.rng["own"])
        else:
            self.mark = tape["seed"] % WORD
        observation = self._called("reset", seed=self.seed)[0]
        resets, acted = set(tape["resets"]), iter(tape["actions"])
        self.actions = []
        for i in range(len(tape["actions"]) + len(resets)):
            action = None if i in resets else next(acted)
            self.actions.append(action)
            self.mark = _after(self.mark) if action is None else self.mark
            given = (
                self._called("reset", seed=None)
                if action is None
                else self._called("step", self.act(action))
            )
            observation = given[0]
        return self.observe(observation)

    def _called(self, method: str, *args: Any, **kwargs: Any) -> Any:
        before = _global_bits()
        _draw_from(self.bits)
        try:
            if method == "reset":
                np.random.seed(self.mark)
            given = getattr(self.env, method)(*args, **kwargs)
        finally:
            _draw_from(before)
        parts = 2 if method == "reset" else 5
        if not (isinstance(given, tuple) and len(given) == parts):
            what = "(observation, info)" if parts == 2 else (
                "(observation, reward, terminated, truncated, info)"
            )  # fmt: skip
            raise Breach(f"{self.name}: {method} does not give {what}, as Gymnasium's do")
        return given


@contextlib.contextmanager
def drawing_from(bits: Any) -> Iterator[None]:
    """With numpy's global generator on other bits."""
    before = _global_bits()
    _draw_from(bits)
    try:
        yield
    finally:
        _draw_from(before)


def _after(mark: int) -> int:
    """The next of a sequence of 32-bit numbers."""
    return (69069 * mark + 1) % WORD


def _generator(state: dict[str, Any]) -> np.random.Generator:
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)
