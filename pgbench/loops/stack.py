"""Loops of several seeds in one process: one batch of environments, one update for all.

Each seed has the loop that it would have alone (normaliser, buffer, generators, counters); what
takes time is done for all seeds at once: acting, stepping, learning. A seed whose numbers stop
being finite is out: its rows go on with actions of zero, and change nothing of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pgbench.errors import Diverged, PgbenchError
from pgbench.learning.ops.normalize import CLIP
from pgbench.learning.policy import Policy
from pgbench.learning.stacking import Together
from pgbench.loops.base import Phase
from pgbench.loops.offpolicy import CHUNK, OffPolicy
from pgbench.loops.onpolicy import Array, OnPolicy
from pgbench.worlds import checks


class Share:
    """One seed's rows of the environments that a stack shares, as far as its loop asks for them."""

    def __init__(self, env: Any, first: Array) -> None:
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space
        self.first = first  # its first observations: the stack has reset all seeds' at once

    def reset(self, seed: Any) -> tuple[Array, dict[str, Any]]:
        """What the seed's reset gave."""
        return self.first, {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the stack saves the environments."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Nothing: the stack has put them back."""


class Stack:
    """N loops of one kind that go together; `phases` gives a phase of each."""

    def __init__(self, loops: Sequence[Any], together: Together, env: Any, obs: Array) -> None:
        self.loops, self.together, self.env, self.obs = tuple(loops), together, env, obs
        self.policy = Policy(together.lead, env.single_action_space)
        self.n = len(obs) // len(loops)  # environments of one seed
        self.rows = [slice(i * self.n, (i + 1) * self.n) for i in range(len(loops))]
        self.failed: dict[int, Exception] = {}  # seeds that are out, and why

    @property
    def steps(self) -> int:
        """Of each seed."""
        return int(self.loops[0].steps)

    @property
    def budget(self) -> int:
        """Of each seed."""
        return int(self.loops[0].budget)

    def phases(self) -> Iterator[list[Phase]]:
        """Work until the budgets are spent."""
        raise NotImplementedError

    def see(self, obs: Array) -> Tensor:
        """Raw observations (N * n, d) as each seed's algorithm sees them before normalising."""
        seen = self.policy.see(obs)
        return seen.view(len(self.loops), self.n, *seen.shape[1:])

    def step(self, action: Tensor) -> checks.Step:
        """One step of all environments with actions (N, n, ...), and of `obs`.

        A seed whose actions, observations or rewards are not finite is out from here on.
        """
        step = checks.step(self.env, self.policy.to_env(self._sound(action)), finite=False)
        try:
            checks.finite_step(self.env, step, slice(None))
        except Diverged:
            for i in self._living():
                try:
                    checks.finite_step(self.env, step, self.rows[i])
                except Diverged as error:
                    self.failed[i] = error
        self.obs = step.obs
        return step

    def _living(self) -> list[int]:
        return [i for i in range(len(self.loops)) if i not in self.failed]

    def _sound(self, action: Tensor) -> Tensor:
        """The actions, one a row, with zeros for seeds that are out."""
        rows = action.flatten(0, 1)
        if action.is_floating_point() and not bool(rows.isfinite().all()):
            for i in self._living():
                try:
                    self.policy.to_env(action[i])
                except Diverged as error:
                    self.failed[i] = error
        if self.failed:
            rows = rows.clone()
            for i in self.failed:
                rows[self.rows[i]] = 0
        return rows

    def state_dict(self) -> dict[str, Any]:
        """Environments, and each seed's loop."""
        return {
            "env": self.env.state_dict(),
            "obs": torch.from_numpy(np.array(self.obs)),
            "loops": [loop.state_dict() for loop in self.loops],
            "failed": sorted(self.failed),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.env.load_state_dict(saved["env"])
        self.obs = saved["obs"].numpy()
        for loop, state in zip(self.loops, saved["loops"], strict=True):
            loop.load_state_dict(state)
        self.failed = {i: Diverged("in an earlier start") for i in saved["failed"]}


class OnPolicyStack(Stack):
    """See `OnPolicy`."""

    loops: tuple[OnPolicy, ...]

    def phases(self) -> Iterator[list[Phase]]:
        """Alternate collection and update."""
        first = self.loops[0]
        while first.pending is not None or first.steps < first.budget:
            if first.pending is None:
                self.collect()
                yield [Phase("collect")] * len(self.loops)
            batches = [loop.pending for loop in self.loops]
            metrics = self.together.learn(batches)
            for loop in self.loops:
                loop.learned()
            yield [Phase("update", found) for found in metrics]

    @torch.no_grad()
    def collect(self) -> None:
        """Step the environments for one horizon with the present policies."""
        count, d = self.obs.shape
        length = self.loops[0].horizon // self.n
        raw = np.empty((length, count, d), np.float32)
        raw_next = np.empty((length, count, d), np.float32)
        reward = np.empty((length, count), np.float32)
        terminated, truncated = np.empty((2, length, count), bool)
        actions: list[Tensor] = []
        moments = [loop.moments for loop in self.loops if loop.moments is not None]
        if moments:
            mean = torch.stack([m.mean for m in moments])[:, None]
            inv_std = torch.stack([m.inv_std for m in moments])[:, None]
        for t in range(length):
            raw[t] = self.obs
            seen = self.see(self.obs)
            if moments:
                seen = ((seen - mean) * inv_std).clamp(-CLIP, CLIP)
            action = self.together.act(seen, self.policy)
            actions.append(action)
            step = self.step(action)
            reward[t], terminated[t], truncated[t] = step.reward, step.terminated, step.truncated
            raw_next[t] = step.next_obs
            for loop, rows in zip(self.loops, self.rows, strict=True):
                loop.episodes.add(reward[t, rows], step.done[rows])
        taken = torch.stack(actions, 1)  # (N, T, n, ...)
        for i, (loop, rows) in enumerate(zip(self.loops, self.rows, strict=True)):
            own = [x[:, rows].copy() for x in (reward, raw_next, terminated, truncated)]
            loop.pending = loop.rollout(raw[:, rows].copy(), taken[i], *own)


class OffPolicyStack(Stack):
    """See `OffPolicy`."""

    loops: tuple[OffPolicy, ...]

    def phases(self) -> Iterator[list[Phase]]:
        """Chunks of (act, store, update)."""
        c, first = self.together.lead.config, self.loops[0]
        while first.steps < first.budget:
            metrics: list[dict[str, Tensor]] = []
            until = min(first.steps + CHUNK, first.budget)
            while first.steps < until:
                self.interact(random=first.steps < c.start)
                for loop in self.loops:
                    loop.steps += c.num_envs
                if first.steps <= c.start:
                    continue
                for _ in range(c.num_envs):
                    metrics = self.together.learn([loop.draw() for loop in self.loops])
            found = metrics or [{}] * len(self.loops)
            yield [Phase("update" if one else "collect", one) for one in found]

    @torch.no_grad()
    def interact(self, random: bool) -> None:
        """One step of every environment into its seed's buffer."""
        seen = self.see(self.obs)
        if random:
            action = torch.stack([loop.random_action() for loop in self.loops])
        else:
            action = self.together.act(seen, self.policy)
        step = self.step(action)
        for i, (loop, rows) in enumerate(zip(self.loops, self.rows, strict=True)):
            loop.keep(seen[i], action[i], checks.Step(*(x[rows] for x in step)))


STACKS: dict[type, type[Stack]] = {OnPolicy: OnPolicyStack, OffPolicy: OffPolicyStack}


def stack_of(algo: str, algorithm: Any, loop: type) -> type[Stack]:
    """The stack for an algorithm's class and loop.

    Raises: PgbenchError if it cannot be stacked.
    """
    if loop not in STACKS:
        raise PgbenchError(
            f"--stack is for the on-policy and the off-policy loop; {algo} has loop "
            f"{loop.__name__}: leave --stack out"
        )
    if not getattr(algorithm, "stacks", False) or algorithm.on_host:
        raise PgbenchError(
            f"{algo} does not say that its seeds can be stacked (Algorithm.stacks, "
            "docs/plugins.md): leave --stack out"
        )
    return STACKS[loop]
