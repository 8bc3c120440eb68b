"""What an algorithm and an environment hand over, checked where they hand it over.

Every loop and the evaluation step, act and learn through these functions, so that one place says
what is accepted (docs/plugins.md has it in words). Whatever is odd is a `Breach`, one line that
names whose it is and what was expected; a number that is not finite is `Diverged`.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, Space
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray
from torch import Tensor

from pgbench.errors import Breach, Diverged, PgbenchError

HUGE = 1e18  # numbers beyond it have squares that float32 cannot hold
RESERVED = ("kind", "step", "train_return")  # what the log and the runner write themselves
NUMBERS = "biuf"  # kinds of numpy types that are numbers
ACTIONS: dict[str, type[Space[Any]]] = {"ContinuousActions": Box, "DiscreteActions": Discrete}

Array = NDArray[Any]


class Step(NamedTuple):
    """What one step of n environments gave."""

    obs: Array  # (n, d) what to act on next
    reward: Array  # (n,) float; (n, k) of an environment with VectorReward
    terminated: NDArray[np.bool_]  # (n,)
    truncated: NDArray[np.bool_]  # (n,)
    done: NDArray[np.bool_]  # (n,)
    next_obs: Array  # (n, d) the true successor: the last observation where an episode ended


def check_env(env: Any, name: str, num_envs: int, capabilities: Mapping[str, type]) -> None:
    """Refuse an environment that cannot be trained on as it is.

    `capabilities` are the protocols that it has to keep, by name.

    Raises: PgbenchError naming all that is missing.
    """
    if not hasattr(env, "single_action_space"):
        raise PgbenchError(
            f"{name} is {type(env).__name__}, which is no vector environment; its entry point "
            "returns a gymnasium.vector.VectorEnv (docs/plugins.md)"
        )
    if isinstance(env, SyncVectorEnv | AsyncVectorEnv):
        raise PgbenchError(
            f"{name} is Gymnasium's {type(env).__name__}, which cannot be saved in the middle of a "
            "run; return pgbench.worlds.lanes.Lanes(make_one, num_envs) instead, where make_one() "
            "makes one environment (docs/environments.md)"
        )
    lacks = []
    if env.num_envs != num_envs:
        lacks.append(f"it has {env.num_envs} environments where num_envs={num_envs} was asked for")
    mode = env.metadata.get("autoreset_mode")
    if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.SAME_STEP.value):
        word = getattr(mode, "value", mode)
        lacks.append(
            f"its autoreset mode is {word}, not SameStep with info['final_obs'] (Gymnasium's "
            "vector environments take autoreset_mode=AutoresetMode.SAME_STEP)"
        )
    for capability, protocol in capabilities.items():
        missing = [member for member in _members(protocol) if not _has(env, member)]
        if missing:
            lacks.append(f"it has no {' and no '.join(missing)} ({capability})")
    for capability in ACTIONS:
        if capability in capabilities:
            lacks += _odd_spaces(env.single_observation_space, env.single_action_space, capability)
    if lacks:
        raise PgbenchError(
            f"{name} cannot be trained on as it is: {'; '.join(lacks)}; docs/plugins.md says "
            "what an environment must be"
        )


def _members(protocol: type) -> list[str]:
    names = {name for name, value in vars(protocol).items() if callable(value) or name == "optimum"}
    names |= set(getattr(protocol, "__annotations__", {}))
    return sorted(name for name in names if not name.startswith("_"))


def _has(env: Any, name: str) -> bool:
    """Whether there is such an attribute; a property is not computed for that."""
    try:
        inspect.getattr_static(env, name)
    except AttributeError:
        return hasattr(env, name)
    return True


def _odd_spaces(observation: Space[Any], action: Space[Any], capability: str) -> list[str]:
    """What keeps the spaces of one environment from being those of a capability in `ACTIONS`."""
    odd = []
    for what, space, kind in (
        ("observation", observation, Box),
        ("action", action, ACTIONS[capability]),
    ):
        if not isinstance(space, kind):
            fits = [name for name, other in ACTIONS.items() if isinstance(space, other)]
            hint = f" (that would be {fits[0]})" if what == "action" and fits else ""
            article = "a " if kind is Box else ""
            odd.append(
                f"its {what} space is {type(space).__name__}, not {article}{kind.__name__}{hint}"
            )
        elif isinstance(space, Box) and len(space.shape) != 1:
            odd.append(f"its {what} space has the shape {space.shape}, not (size,)")
    if isinstance(action, Box):
        if action.dtype.kind != "f":
            odd.append(f"its actions are of type {action.dtype}, not float32")
        if np.isnan(action.low).any() or np.isnan(action.high).any():
            odd.append("its action space has NaN among its bounds")
    return odd


def reset(env: Any, seeds: Sequence[int]) -> Array:
    """The first observations (n, d) of all environments.

    Raises: Breach, Diverged.
    """
    given = env.reset(seed=list(seeds))
    if not (isinstance(given, tuple) and len(given) == 2):
        raise Breach(f"{_name(env)}.reset gives {_shown(given)}, not (observations, info)")
    obs = _observations(env, given[0], len(seeds))
    if isinstance(env.single_observation_space, Box):
        _finite(env, "observations", obs)
    return obs


def step(env: Any, actions: Any, successors: bool = True, finite: bool = True) -> Step:
    """One step of all environments; `successors`: whether the last observations are wanted.

    `finite`: whether to look at the numbers here, as `finite_step` does.

    Raises: Breach, Diverged.
    """
    given = env.step(actions)
    if not (isinstance(given, tuple) and len(given) == 5):
        raise Breach(
            f"{_name(env)}.step gives {_shown(given)}, not (observations, rewards, terminated, "
            "truncated, info)"
        )
    n = len(actions)
    obs = _observations(env, given[0], n)
    reward = _vector(env, "rewards", given[1], n)
    terminated, truncated = (
        _vector(env, what, x, n).astype(bool, copy=False)
        for what, x in (("terminated", given[2]), ("truncated", given[3]))
    )
    done = terminated | truncated
    next_obs = obs
    if successors and done.any():
        last = given[4].get("final_obs")
        if last is None or len(last) != n:
            raise Breach(
                f"{_name(env)}.step gives no info['final_obs'], an observation for each of {n}, "
                "where an episode ends"
            )
        next_obs = np.array(obs)
        for row in np.flatnonzero(done):
            if np.shape(last[row]) != obs.shape[1:]:
                raise Breach(
                    f"{_name(env)} gives info['final_obs'] of shape {np.shape(last[row])}, not "
                    f"{obs.shape[1:]}"
                )
            next_obs[row] = last[row]
    taken = Step(obs, reward, terminated, truncated, done, next_obs)
    if finite:
        finite_step(env, taken, slice(None))
    return taken


def finite_step(env: Any, taken: Step, rows: slice) -> None:
    """Refuse numbers of the environments `rows` that no network can learn from.

    Raises: Diverged.
    """
    if isinstance(env.single_observation_space, Box):
        _finite(env, "observations", taken.obs[rows])
        if taken.next_obs is not taken.obs:
            _finite(env, "observations", taken.next_obs[rows])
    _finite(env, "rewards", taken.reward[rows])


def _observations(env: Any, given: Any, n: int) -> Array:
    space = env.single_observation_space
    if not isinstance(space, Box):
        return cast(Array, given)  # a policy of the user's own may read it
    obs = np.asarray(given)
    if obs.shape != (n, *space.shape) or obs.dtype.kind not in NUMBERS:
        raise Breach(
            f"{_name(env)} gives observations of shape {obs.shape} and type {obs.dtype}, not "
            f"numbers of shape {(n, *space.shape)}"
        )
    return obs


def _vector(env: Any, what: str, given: Any, n: int) -> Array:
    size = getattr(env, "reward_size", 0) if what == "rewards" else 0
    values = np.asarray(given)
    if values.dtype == object:
        with contextlib.suppress(TypeError, ValueError):  # said below
            values = values.astype(np.float64)
    if values.shape != ((n, size) if size else (n,)) or values.dtype.kind not in NUMBERS:
        wanted = f"{size} numbers an environment, ({n}, {size})" if size else (
            f"one number or bool an environment, ({n},)"
        )  # fmt: skip
        raise Breach(
            f"{_name(env)}.step gives {what} of shape {values.shape} and type {values.dtype}, not "
            f"{wanted}"
        )
    return values.astype(np.float64) if what == "rewards" and values.dtype.kind != "f" else values


def _finite(env: Any, what: str, values: Array) -> None:
    if values.dtype.kind != "f" or np.abs(values).max(initial=0.0) <= HUGE:  # false for NaN
        return
    bad = values[~(np.abs(values) <= HUGE)]
    word = f"beyond {HUGE:g}" if np.isfinite(bad).any() else "not finite"
    raise Diverged(f"{what} of {_name(env)} are {word} ({bad[0]:g})")


def action_of(algorithm: Any, obs: Tensor, explore: bool, space: Box | Discrete) -> Tensor:
    """`algorithm.act`: float32 (n, a), or int64 (n,) where the actions are discrete.

    Checked but for its values, which stay on the device.

    Raises: Breach.
    """
    action = algorithm.act(obs, explore)
    whole = isinstance(space, Discrete)
    shape = (len(obs),) if isinstance(space, Discrete) else (len(obs), *space.shape)
    if not isinstance(action, Tensor) or action.shape != shape or _kind(action) != whole:
        raise Breach(
            f"{type(algorithm).__name__}.act gives {_shown(action)}, not "
            f"{'an integer' if whole else 'a float'} tensor of shape {shape}: one action for each "
            f"of the {len(obs)} observations"
        )
    dtype = torch.int64 if whole else torch.float32
    return action if action.dtype == dtype else action.to(dtype)


def _kind(values: Tensor) -> bool | None:
    """Whether they are whole numbers, not floats; None if neither."""
    if values.is_floating_point():
        return False
    return None if values.is_complex() or values.dtype == torch.bool else True


def actions_for(space: Space[Any], n: int, actions: Any, whose: str) -> Any:
    """Actions that an environment is about to get: (n, a) finite numbers, or (n,) of its choices.

    Raises: Breach, Diverged.
    """
    if isinstance(space, Discrete):
        return _choices(space, n, actions, whose)
    if not isinstance(space, Box):
        return actions
    values = np.asarray(actions)
    if values.shape != (n, *space.shape) or values.dtype.kind not in NUMBERS:
        raise Breach(
            f"{whose} gives actions of shape {values.shape} and type {values.dtype}, not numbers "
            f"of shape {(n, *space.shape)}"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Diverged(f"actions of {whose} are not finite")
    return values


def _choices(space: Discrete, n: int, actions: Any, whose: str) -> NDArray[np.int64]:
    """Actions (n,) of a discrete space, in the environment's own numbers."""
    values = np.asarray(actions)
    if values.shape != (n,) or values.dtype.kind not in "iu":
        raise Breach(
            f"{whose} gives actions of shape {values.shape} and type {values.dtype}, not whole "
            f"numbers of shape ({n},)"
        )
    first, last = int(space.start), int(space.start + space.n) - 1
    if values.min() < first or values.max() > last:
        bad = values[(values < first) | (values > last)][0]
        raise Breach(f"{whose} gives the action {bad}, not a whole number from {first} to {last}")
    return values.astype(np.int64, copy=False)


def learn(algorithm: Any, batch: Any, taken: Collection[str] = ()) -> dict[str, Tensor]:
    """`algorithm.update`: its metrics as detached scalar tensors.

    `taken` are names that the loop logs itself.

    Raises: Breach.
    """
    metrics = algorithm.update(batch)
    who = f"{type(algorithm).__name__}.update"
    if not isinstance(metrics, Mapping):
        raise Breach(f"{who} gives {_shown(metrics)}, not a dict of scalars by name, {{}} for none")
    for name in metrics:
        if not isinstance(name, str):
            raise Breach(f"{who} gives a metric of name {name!r}; a name is a text")
        if name in RESERVED or name in taken:
            raise Breach(f"{who} gives a metric '{name}', which the log writes itself; rename it")
    return {name: scalar(who, name, value, algorithm.device) for name, value in metrics.items()}


def scalar(who: str, name: str, value: Any, device: torch.device) -> Tensor:
    """A metric as a detached tensor of no dimension: of a tensor, a number, a numpy scalar.

    Raises: Breach.
    """
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return value.detach().reshape(())
    if isinstance(value, bool | int | float | np.number | np.bool_ | np.ndarray):
        array = np.asarray(value)
        if array.size == 1 and array.dtype.kind in NUMBERS:
            return torch.tensor(float(array.reshape(())), device=device)
    raise Breach(f"{who} gives as metric '{name}' {_shown(value)}, not one real number")


def _name(env: Any) -> str:
    made = getattr(env, "made_of", None)
    return made[0] if made else type(env).__name__


def _shown(value: Any) -> str:
    """What something is, in a few words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {str(value.dtype)[6:]}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {value.shape} and type {value.dtype}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
