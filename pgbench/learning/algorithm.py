"""What every algorithm is: a frozen config, `act`, `update`, and a state that can be saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import torch
from gymnasium.spaces import Box, Discrete, Space
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.learning.ops.draws import Draw
from pgbench.learning.ops.fit import shuffled
from pgbench.learning.outside import outside
from pgbench.learning.policy import Policy
from pgbench.settings.config import check

CPU = torch.device("cpu")
Fn = TypeVar("Fn", bound=Callable[..., Any])


@dataclass(frozen=True)
class Setup:
    """What the runner hands to an algorithm besides its config.

    `budget` is the whole run's, in the unit of the loop (schedules need it); `seed` is already a
    derived stream; `compile` asks for compiled updates.
    """

    observation_space: Space[Any]
    action_space: Space[Any]
    budget: int
    seed: int = 0
    device: torch.device = CPU
    compile: bool = False
    env: Any = None  # the vector environment, for its capabilities alone: the loop steps it
    stacked: bool = False  # whether it works for several seeds (pgbench/learning/stacking.py)

    @property
    def box_dims(self) -> tuple[int, int]:
        """(observation size d, action size a) of two flat boxes.

        Raises: PgbenchError if either space is something else.
        """
        return self.obs_dim, _flat("action", self.action_space)

    @property
    def choice_dims(self) -> tuple[int, int]:
        """(observation size d, number of choices n) of a flat box and a discrete space.

        Raises: PgbenchError if either space is something else.
        """
        if not isinstance(self.action_space, Discrete):
            raise PgbenchError(
                f"this algorithm needs a Discrete action space, not {self.action_space}"
            )
        return self.obs_dim, int(self.action_space.n)

    @property
    def obs_dim(self) -> int:
        """Size d of the observations, a flat box.

        Raises: PgbenchError if they are something else.
        """
        return _flat("observation", self.observation_space)


def _flat(what: str, space: Space[Any]) -> int:
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise PgbenchError(f"this algorithm needs a flat Box as {what} space, not {space}")
    return space.shape[0]


class Algorithm:
    """Base of the reference implementations; no algorithm inherits from another.

    `state` holds every tensor that learning changes, by name; together with the generator `rng`
    it is all that `state_dict` saves. Updates change these tensors in place, so compiled code keeps
    their addresses.
    """

    Config: ClassVar[type]
    # What `act` returns: "clip" actions in the box's own units (the environment gets them clipped),
    # or "scale" actions in [-1, 1] (the environment gets them mapped onto its box), or "free"
    # actions in those units (the environment gets them as they are).
    action_range: ClassVar[str] = "clip"
    explores: ClassVar[bool] = True  # whether `act` draws noise in training
    # Counters in `state` that stay on the host, because they decide what an update does. All else
    # that an update reads is on one device, which it never waits for.
    on_host: ClassVar[frozenset[str]] = frozenset()
    # Whether `--stack` may run several seeds as one: `act` and `update` work on one seed's tensors
    # under torch.vmap, so they draw by `drawn` alone (`noise`, `minibatches`), keep nothing that
    # they change outside `state`, and decide nothing in Python by the value of a tensor.
    stacks: ClassVar[bool] = False

    def __init__(self, config: Any, setup: Setup) -> None:
        check(config)
        self.config = config
        self.setup = setup
        self.device = setup.device
        self.state: dict[str, Tensor] = {}
        self.rng = torch.Generator(self.device).manual_seed(setup.seed)

    @property
    def trained(self) -> list[str]:
        """Names of the parameter vectors in `state`: those with Adam's moments beside them."""
        return [name for name in self.state if f"{name}.m" in self.state]

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions for observations (n, d); `explore=False` gives the mode.

        A finite float tensor of exactly (n, a), or an integer tensor of exactly (n,) that counts
        the choices from 0 where the action space is Discrete. NaN or infinity ends the run as
        diverged; another shape or type, or a choice that is none, is refused
        (pgbench/worlds/checks.py, docs/plugins.md).
        """
        raise NotImplementedError

    def update(self, batch: Any) -> dict[str, Tensor]:
        """Learn from one batch of the loop; returns scalars for the log, by name.

        Tensors of one element, Python or numpy numbers; one that is not finite ends the run as
        diverged. `step`, `kind`, `train_return` and the loop's own names are refused.
        """
        raise NotImplementedError

    def policy(self, moments: Any = None) -> Any:
        """What the world uses: raw observations in, actions for the environment out."""
        return Policy(self, self.setup.action_space, moments)

    def policy_state(self) -> dict[str, Any]:
        """What `act` needs of the state, for `load_state_dict`."""
        return self.state_dict()

    def policies(self) -> dict[str, list[float]]:
        """Of an algorithm that learns a set of policies, each one's name with the weights of the
        objectives that it is for ([] for none); empty for one policy.

        The record lists them, `policy.pt` holds all (`policy_state`), and `pgbench eval` takes one
        by `--policy NAME` or, the nearest, by `--weights`. Where their number changes in training,
        `load_state_dict` must take any number.
        """
        return {}

    def become(self, name: str) -> None:
        """From now on `act` is the policy `name` of `policies()`.

        Before that it is whatever the algorithm is judged by.
        """
        raise NotImplementedError

    def provenance(self) -> dict[str, Any]:
        """What learning started from, besides the seed, for the record."""
        return {}

    def noise(self, *shape: int) -> Tensor:
        """Standard normal draws from the algorithm's own generator."""
        return self.drawn(lambda rng: torch.randn(shape, generator=rng, device=self.device))

    def minibatches(self, total: int, size: int, epochs: int) -> Tensor:
        """Indices of shuffled minibatches, (epochs * (total // size), size); see `shuffled`."""
        return self.drawn(lambda rng: shuffled(total, size, epochs, rng))

    def drawn(self, draw: Draw) -> Tensor:
        """What `draw` makes with the algorithm's own generator (in a stack: with each seed's)."""
        return draw(self.rng)

    def compiled(self, fn: Fn, grad: bool = False) -> Fn:
        """`fn` under no_grad (unless `grad`), compiled if the run asks for it.

        `fn` is a pure function of its tensor arguments (it may change them in place), of static
        shapes, without host synchronisation.
        """
        if self.setup.stacked:
            fn = cast(Fn, torch.vmap(fn))
        without_grad = fn if grad else torch.no_grad()(fn)
        if self.setup.compile:
            without_grad = self.compile(without_grad)
        return cast(Fn, outside(without_grad)) if self.setup.stacked else without_grad

    @staticmethod
    def compile(fn: Fn) -> Fn:
        """`fn` of tensors of static shapes, as one compiled call."""
        # Every algorithm's wrapper has the same code: without isolation the ninth one in a process
        # would exceed the compiler's limit of variants for one function.
        compiler: Any = torch.compile  # its stub lacks the last argument
        compiled = compiler(fn, fullgraph=True, dynamic=False, isolate_recompiles=True)
        return cast(Fn, compiled)

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything that the next `act` or `update` depends on."""
        return {
            "state": {name: value.detach().cpu().clone() for name, value in self.state.items()},
            "rng": self.rng.get_state(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises: PgbenchError if the names or shapes are not this algorithm's.
        """
        shapes = {name: tuple(value.shape) for name, value in self.state.items()}
        given = {name: tuple(value.shape) for name, value in saved["state"].items()}
        if shapes != given:
            wrong = sorted(set(shapes.items()) ^ set(given.items()))
            raise PgbenchError(f"the saved state does not fit {type(self).__name__}: {wrong[:4]}")
        for name, value in saved["state"].items():
            self.state[name].copy_(value)
        self.rng.set_state(saved["rng"])


def same_origin(algorithm: Algorithm, began: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with a run whose learning started from something else.

    `began` is the part `algorithm` of the run's record.

    Raises: PgbenchError naming what differs.
    """
    for name, value in algorithm.provenance().items():
        if name in began and _content(began[name]) != _content(value):
            raise PgbenchError(
                f"the {name} is not the one that {folder} began with (its files have changed "
                "since); restore it, or start over with --fresh"
            )


def _content(value: Any) -> Any:
    """What something is, whatever it is called: a directory may be named from elsewhere."""
    return {k: v for k, v in value.items() if k != "name"} if isinstance(value, dict) else value
