"""Order policies: what each location orders, as a pure function of parameters and observations.

A policy turns an observation (d, B) into orders (edges, B) in two steps. `scores` ends before the
last squashing, where noise can be added; `orders` maps scores to orders that stock allows. Nothing
is imported before `make_policy` is called.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any, Protocol

from pgbench.errors import PgbenchError
from pgbench.support.names import unknown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pgbench.worlds.network import Network


class OrderPolicy(Protocol):
    """A policy for one network. Everything is static in shape and free of host synchronisation."""

    lr: float  # Adam step size of the released code for this policy
    clip: float | None = None  # limit of the gradient norm in the released code
    count: int  # number of parameters P
    unroll: int = 10  # periods that are worth compiling together
    wide: bool = False  # its products are wide enough for oneDNN (pgbench/learning/ops/matmul.py)

    def init(self, rng: torch.Generator) -> Tensor:
        """Fresh parameters (P,), on the CPU."""
        ...

    def scores(self, theta: Tensor, obs: Tensor) -> Tensor:
        """Outputs (M, B) before the last squashing, for observations (d, B)."""
        ...

    def orders(self, scores: Tensor, obs: Tensor) -> Tensor:
        """Feasible orders (edges, B), in the order of `Network.edges`, units."""
        ...

    def __call__(self, theta: Tensor, obs: Tensor) -> Tensor:
        """Orders (edges, B) for observations (d, B)."""
        return self.orders(self.scores(theta, obs), obs)

    @staticmethod
    def misfit(network: Network) -> str:
        """Why this policy cannot serve `network`, as the end of a sentence; empty if it can."""
        return ""


# Where each policy lives; imported on first use. PyTorch Geometric's form has its own class.
POLICIES: dict[str, str] = {
    "base_stock": "stock:BaseStock",
    "capped_base_stock": "stock:CappedBaseStock",
    "echelon_stock": "stock:EchelonStock",
    "vanilla": "vanilla:Vanilla",
    "data_driven": "vanilla:DataDriven",
    "symmetry_aware": "symmetric:SymmetryAware",
    "context_free": "symmetric:ContextFree",
    "gnn": "gnn:GNN",
}
BACKENDS: dict[str, str] = {"dense": "gnn:GNN", "pyg": "message:MessageGNN"}


def default_policy(network: Network) -> str:
    """The name of the policy that serves `network` if none is asked for."""
    return "data_driven" if network.past else "vanilla"


def make_policy(
    name: str, network: Network, device: torch.device | str = "cpu", **options: Any
) -> OrderPolicy:
    """The policy `name` for `network`, its constants on `device`.

    `options` go to the policy: `hidden` (layer widths) of vanilla and data_driven; `hidden` (one
    width), `steps` and `backend` ("dense" or "pyg") of gnn.

    Raises: PgbenchError for an unknown name or option, or a network that the policy does not fit.
    """
    if name not in POLICIES:
        raise unknown("policy", name, POLICIES, f"there are {', '.join(POLICIES)}")
    place = POLICIES[name]
    if name == "gnn":
        backend = options.pop("backend", "dense")
        if backend not in BACKENDS:
            raise unknown("backend of gnn", backend, BACKENDS, "there are dense and pyg")
        place = BACKENDS[backend]
    policy = _load(place)
    reason = policy.misfit(network)
    if reason:
        fit = [other for other, where in POLICIES.items() if not _load(where).misfit(network)]
        raise PgbenchError(f"policy {name} {reason}; these fit: {', '.join(fit)}")
    known = list(inspect.signature(policy).parameters)[2:]
    for option in options:
        if option not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise PgbenchError(f"policy {name} has no option '{option}'; {takes}")
    made: OrderPolicy = policy(network, device, **options)
    return made


def policy_options(config: Any) -> dict[str, Any]:
    """The keywords of `make_policy` that a config sets: `hidden`, `steps`, `backend`."""
    options: dict[str, Any] = {}
    if config.policy == "gnn" and len(config.hidden) > 1:
        raise PgbenchError(f"policy gnn has one width, not {config.hidden}; give --set hidden=32")
    if config.hidden:
        options["hidden"] = config.hidden[0] if config.policy == "gnn" else config.hidden
    if config.policy == "gnn":
        given = {name: getattr(config, name, None) for name in ("steps", "backend")}
        options |= {name: value for name, value in given.items() if value is not None}
    return options


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
