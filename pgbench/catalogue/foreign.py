"""`gym:ID` and `mo:ID`: environments of Gymnasium's registry as entries of the catalogue.

Any id that is registered there, `gym:package:ID` after importing the package. Nothing is imported
before such a name is asked for.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pgbench.catalogue.registry import EnvSpec, Metric
from pgbench.errors import PgbenchError, install
from pgbench.support.names import unknown

WHAT = {"gym": "Gymnasium", "mo": "MO-Gymnasium"}
BUDGETS = {"smoke": 10_000, "small": 100_000, "paper": 1_000_000}
VERSION = re.compile(r"(.*)-v(\d+)")
_entries: dict[Any, EnvSpec] = {}  # by name and the registration that it stands for


class Entry:
    """Makes the environments of one registered id; an entry point with the constructor's keywords.

    `__wrapped__` is the constructor, for whoever looks at signature, document and source.
    """

    def __init__(self, name: str, module: str, registered: Any, reward_size: int = 0) -> None:
        self.name, self.module, self.registered = name, module, registered
        self.reward_size = reward_size
        self.__wrapped__ = _constructor(registered, name)
        self.__doc__ = self.__wrapped__.__doc__
        self.facts: dict[str, str] = {}  # for its page

    def __call__(
        self,
        num_envs: int,
        *,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """The vector environment; keywords are the constructor's, and Gymnasium's time limit.

        Raises: PgbenchError if Gymnasium cannot make it.
        """
        from pgbench.worlds.lanes import Lanes

        words = {"max_episode_steps": max_episode_steps, **kwargs}
        make_one = functools.partial(_make_one, self.module, self.registered.id, render_mode, words)
        with _in_one_line(self.name, kwargs):
            lanes = Lanes(
                make_one,
                num_envs,
                name=self.name,
                reward_size=self.reward_size,
                registered=self.record(),
                key=(self.name, repr(sorted(words.items()))),
            )
        return lanes

    def record(self) -> dict[str, Any]:
        """What a record says of the environment: id, entry point, package, time limit."""
        spec = self.registered
        package, version = _package(self.__wrapped__)
        point = self.__wrapped__
        return {
            "id": spec.id,
            "entry_point": f"{point.__module__}:{getattr(point, '__qualname__', '')}",
            "package": package,
            "version": version,
            "max_episode_steps": spec.max_episode_steps,
        }


def _make_one(module: str, id: str, render_mode: str | None, words: dict[str, Any]) -> Any:
    import gymnasium

    if module:
        importlib.import_module(module)
    drawn: dict[str, Any] = {"render_mode": render_mode} if render_mode else {}
    with _no_notices():
        return gymnasium.make(id, disable_env_checker=True, **drawn, **words)


def foreign_env(name: str) -> EnvSpec:
    """The environment that `gym:ID`, `gym:package:ID` or `mo:ID` names; without `-v1` the latest.

    Raises: PgbenchError for an id that is not registered, a package that is missing, spaces that
    no algorithm here takes.
    """
    prefix, _, rest = name.partition(":")
    module, _, wanted = rest.rpartition(":")
    _imported(name, prefix, module)
    return _entry(f"{prefix}:{module}:" if module else f"{prefix}:", module, wanted)


def _entry(start: str, module: str, wanted: str) -> EnvSpec:
    """The catalogue's entry for an id; `start` is what stands before the id in the name."""
    registered = _registered(start, wanted)
    key = start, registered.id, id(registered)
    if key not in _entries:
        _entries[key] = _made(start, module, registered)
    return _entries[key]


def _made(start: str, module: str, registered: Any) -> EnvSpec:
    """An environment is made, to see its spaces."""
    name, base, version = f"{start}{registered.id}", registered.id, 0
    if found := VERSION.fullmatch(base):
        base, version = found[1], int(found[2])
    entry = Entry(name, module, registered)
    with _in_one_line(name, {}):
        env = _make_one(module, registered.id, None, {})
    try:
        capabilities = _capabilities(env, entry, name)
    finally:
        env.close()
    package, package_version = _package(entry.__wrapped__)
    return EnvSpec(
        id=f"{start}{base}",
        version=version,
        family="morl" if "VectorReward" in capabilities else "control",
        entry_point=entry,
        summary=f"{registered.id} as it is registered with Gymnasium",
        underlying=f"{registered.id} of {package} {package_version}",
        metrics=(Metric("return per episode"),),
        budgets=BUDGETS,
        capabilities=frozenset(capabilities),
        max_episode_steps=registered.max_episode_steps,
        origin=_origin(module, entry.__wrapped__),
    )


def _imported(name: str, prefix: str, module: str) -> None:
    """Import what registers the id."""
    for package in ["mo_gymnasium"] * (prefix == "mo") + [module] * bool(module):
        try:
            importlib.import_module(package)
        except ImportError as error:
            if package == "mo_gymnasium":
                raise PgbenchError(
                    f"{error.name or error} is not installed; run: {install('mo')}"
                ) from error
            if error.name != package.partition(".")[0]:
                raise PgbenchError(f"{name}: {package} does not import: {error}") from error
            raise PgbenchError(
                f"{name}: there is no package {package}; install it, or put its folder on "
                "Python's path (PYTHONPATH=. pgbench ...)"
            ) from error
        except Exception as error:
            raise PgbenchError(
                f"{name}: {package} does not import: {type(error).__name__}: {error}"
            ) from error


def _registered(start: str, wanted: str) -> Any:
    """Gymnasium's own spec of the id; of an id without a version the latest one.

    Raises: PgbenchError with the nearest ids if there is none.
    """
    import gymnasium

    known = gymnasium.registry
    if wanted not in known:
        numbers = [
            int(found[2]) for id in known if (found := VERSION.fullmatch(id)) and found[1] == wanted
        ]
        unversioned = VERSION.fullmatch(wanted)
        if numbers:
            wanted = f"{wanted}-v{max(numbers)}"
        elif unversioned and unversioned[1] in known:  # our name of an id that has no version
            wanted = unversioned[1]
    if wanted not in known:
        ids = (f"{start}{id}" for id in known if not id.startswith("pgbench/"))
        registry = WHAT[start.partition(":")[0]]
        raise unknown(
            "environment",
            f"{start}{wanted}",
            ids,
            f"{registry} has no such id; gym:PACKAGE:ID imports the package that registers it",
        )
    return known[wanted]


def _capabilities(env: Any, entry: Entry, name: str) -> set[str]:
    from gymnasium.spaces import Discrete

    from pgbench.worlds.flat import flat_action, flat_observation

    observation, _ = flat_observation(env.observation_space, name)
    action, _ = flat_action(env.action_space, name)
    limit = entry.registered.max_episode_steps
    package, version = _package(entry.__wrapped__)
    entry.facts = {
        "observation": f"{observation} from {env.observation_space}"
        if env.observation_space != observation
        else str(observation),
        "action": str(env.action_space),
        "episode": f"at most {limit:,} steps" if limit else "without a time limit",
        "package": f"{package} {version}",
    }
    found = {"DiscreteActions" if isinstance(action, Discrete) else "ContinuousActions"}
    rewards = getattr(env.unwrapped, "reward_space", None)
    if rewards is not None:
        entry.reward_size = int(rewards.shape[0])
        entry.facts["reward"] = f"a vector of {entry.reward_size}"
        found.add("VectorReward")
    return found


def _constructor(spec: Any, name: str) -> Any:
    """The class or function that makes the environment."""
    from gymnasium.envs.registration import load_env_creator

    point = spec.entry_point
    if point is None:
        raise PgbenchError(f"{name} has a vector entry point only; lanes are made of single ones")
    with _in_one_line(name, {}):
        return load_env_creator(point) if isinstance(point, str) else point


def _package(point: Callable[..., Any]) -> tuple[str, str]:
    """The distribution that a constructor is from, and its version; of a file of one's own none."""
    return _distribution(point.__module__.partition(".")[0])


@functools.cache  # reads the metadata of everything that is installed
def _distribution(top: str) -> tuple[str, str]:
    try:
        return top.replace("_", "-"), importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:  # its distribution may have another name
        names = importlib.metadata.packages_distributions().get(top)
    return (names[0], importlib.metadata.version(names[0])) if names else (top, "without version")


def _origin(module: str, point: Callable[..., Any]) -> str:
    """Where the id is registered or its class defined; of the two Gymnasiums' own: here."""
    if not module and point.__module__.partition(".")[0] in ("gymnasium", "mo_gymnasium"):
        return f"{__file__}:1"
    if module and (file := getattr(sys.modules[module], "__file__", None)):
        return f"{file}:1"
    try:
        return f"{inspect.getsourcefile(point)}:1"
    except TypeError:
        return f"{point.__module__}:1"


@contextlib.contextmanager
def _no_notices() -> Iterator[None]:
    """Without what MuJoCo prints and writes into a file for every copy of an old model."""
    if (mujoco := sys.modules.get("mujoco")) is None:
        yield
        return
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


@contextlib.contextmanager
def _in_one_line(name: str, kwargs: dict[str, Any]) -> Iterator[None]:
    """Whatever goes wrong when an environment is made, as one line."""
    try:
        yield
    except PgbenchError:
        raise
    except Exception as error:
        given = f" with {', '.join(f'{k}={v!r}' for k, v in kwargs.items())}" if kwargs else ""
        words = " ".join(str(error).split()) or type(error).__name__
        raise PgbenchError(f"{name} cannot be made{given}: {words}") from error
