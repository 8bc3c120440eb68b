"""`pgbench new`: a file that runs as it is, to be changed into one's own algorithm or suite."""

from __future__ import annotations

import keyword
from pathlib import Path

from pgbench.catalogue.registry import ALGOS, find_env
from pgbench.errors import PgbenchError
from pgbench.support.files import write_bytes

ALGORITHM = '''\
"""@NAME@: one line on what it is (authors, year, arXiv id).

Equations, numbered as in the paper:
  Eq. 1   g = mean[A_t grad log pi(a_t|s_t)], A_t by generalised advantage estimation
  Eq. 2   L_V = mean[(V(s_t) - R_t)^2], R_t = A_t + V(s_t) before the step

Departures from the paper:
- none yet: say here what differs from it, and why.

This file began as REINFORCE with a learned baseline. It runs as it is:
  pgbench run --algo ./@FILE@ --env inverted-pendulum --budget smoke
"""

from __future__ import annotations

from dataclasses import dataclass

import pgbench
import torch
from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.learning.batches import Rollout
from pgbench.settings.config import option
from pgbench.learning.nets import GaussianMlp, Mlp
from pgbench.learning.ops import gaussian
from pgbench.learning.ops.returns import gae, standardize
from pgbench.learning.optim import adam_, clip_norm, with_adam
from torch import Tensor


# 1. Settings: `--set lr=1e-3` changes one, `pgbench explain ./@FILE@` lists them. Give the
#    paper's value as default and its section as third argument. The on-policy loop reads horizon,
#    num_envs, gamma, normalize_obs and normalize_reward; the rest is yours.
@dataclass(frozen=True)
class Config:
    """Where the defaults come from."""

    horizon: int = option(256, "transitions an iteration, over all environments")
    num_envs: int = option(8, "environments stepped in parallel")
    lr: float = option(3e-3, "Adam step size")
    gamma: float = option(0.99, "discount")
    lam: float = option(0.95, "GAE lambda")
    vf_coef: float = option(0.5, "weight of Eq. 2")
    max_grad_norm: float = option(0.5, "gradients are scaled to at most this norm")
    hidden: tuple[int, ...] = option((64, 64), "tanh units a layer")
    normalize_obs: bool = option(True, "running mean and std of observations, clipped to 10")
    normalize_reward: bool = option(True, "rewards over the running std of the discounted return")


# 2. The paper's mathematics as pure functions of tensors, each with its equation and its shapes:
#    easy to test with numbers worked by hand.
def policy_loss(logp: Tensor, adv: Tensor) -> Tensor:
    """A scalar whose gradient is minus Eq. 1; both arguments (B,)."""
    return -(adv * logp).mean()


class @CLASS@(Algorithm):
    """Act with a Gaussian policy; learn by one step a rollout on Eq. 1 and Eq. 2."""

    Config = Config

    # 3. Everything that learning changes is a named tensor in `self.state`: saving, resuming and
    #    checksums then work by themselves. A network is a function of one flat vector.
    def __init__(self, config: Config, setup: Setup) -> None:
        super().__init__(config, setup)
        d, a = setup.box_dims
        init = torch.Generator().manual_seed(setup.seed)
        self.pi = GaussianMlp(Mlp((d, *config.hidden, a)))
        self.vf = Mlp((d, *config.hidden, 1))
        theta = torch.cat([self.pi.init(init), self.vf.init(init)]).to(self.device)
        self.state = with_adam("theta", theta)
        self.step = self.compiled(self._step)

    def nets(self, theta: Tensor, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (..., a), log-std (a,), value (...) for observations (..., d)."""
        pi, vf = theta.split([self.pi.count, self.vf.count])
        return *self.pi(pi, obs), self.vf(vf, obs).squeeze(-1)

    # 4. How it acts. Draw random numbers from `self.noise` or `self.rng` only.
    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions (n, a) for observations (n, d); `explore=False` gives the mode."""
        mean, log_std = self.pi(self.state["theta"][: self.pi.count], obs)
        return mean + log_std.exp() * self.noise(*mean.shape) if explore else mean

    # 5. How it learns from one rollout. Return detached scalars, without `.item()`: they are
    #    logged, and one that is not finite ends the run as diverged.
    def update(self, batch: Rollout) -> dict[str, Tensor]:
        """One step on the whole rollout."""
        return self.step(
            self.state, batch.obs, batch.action, batch.reward, batch.next_obs,
            batch.terminated, batch.done,
        )  # fmt: skip

    def _step(
        self, state: dict[str, Tensor], obs: Tensor, action: Tensor, reward: Tensor,
        next_obs: Tensor, terminated: Tensor, done: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        c = self.config
        value_old, next_value = (self.nets(state["theta"], x)[2] for x in (obs, next_obs))
        # A time limit (done, not terminated) bootstraps from the next value; a termination not.
        adv = gae(reward, value_old, next_value, terminated, done, c.gamma, c.lam)  # (T, n)
        ret = adv + value_old

        def loss(theta: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            mean, log_std, value = self.nets(theta, obs)
            logp = gaussian.log_prob(mean, log_std, action)
            policy = policy_loss(logp, standardize(adv))  # Eq. 1
            value_loss = (value - ret).square().mean()  # Eq. 2
            parts = {
                "policy_loss": policy.detach(),
                "value_loss": value_loss.detach(),
                "entropy": gaussian.entropy(log_std).detach(),
            }
            return policy + c.vf_coef * value_loss, parts

        grad, parts = torch.func.grad(loss, has_aux=True)(state["theta"])
        grad, parts["grad_norm"] = clip_norm(grad, c.max_grad_norm)
        adam_(state, "theta", grad, c.lr)
        return parts


# 6. One registration a file. `requires` names what it needs of an environment.
pgbench.register_algo(
    "@NAME@",
    @CLASS@,
    family="control",
    loop="onpolicy",
    summary="what it is, in one line",
    requires={"ContinuousActions"},
)
'''


def new_algorithm(name: str, folder: Path) -> Path:
    """Write `<name>.py` into `folder`; `name` may have dashes, the file gets underscores.

    Raises: PgbenchError if the name is no identifier or taken, or the file exists.
    """
    stem = name.replace("-", "_")
    if (
        not (stem.isascii() and stem.isidentifier())
        or keyword.iskeyword(stem)
        or stem != stem.lower()
    ):
        raise PgbenchError(
            f"'{name}' cannot name an algorithm; use small letters, digits and dashes, "
            "beginning with a letter, for example my-algo"
        )
    if any(spec.name == name for spec in ALGOS.all()):
        raise PgbenchError(
            f"'{name}' is the name of an algorithm already (`pgbench explain {name}`); take "
            f"another, for example my-{name}"
        )
    path = folder / f"{stem}.py"
    if path.exists():
        raise PgbenchError(f"{path} exists already and is left as it is; take another name")
    class_name = "".join(part.capitalize() for part in stem.split("_")) or "Algo"
    text = ALGORITHM.replace("@NAME@", name).replace("@CLASS@", class_name)
    write_bytes(path, text.replace("@FILE@", path.name).encode())
    return path


SUITE = """\
# A suite is the whole definition of a board; docs/leaderboards.md has the rules. Change what you
# like, but nothing once runs are recorded: then it is another suite, @STEM@-v2.
#   pgbench bench @NAME@ --dry-run     what it will run
#   pgbench bench @NAME@               runs it, and writes leaderboards/@NAME@.html
name = "@NAME@"                           # the file's name; words and a version
title = "@TITLE@"
about = "What is compared here, and why."
rules = 1
limit = 3600                              # seconds that a run may take; over it, it has failed
protocol = { episodes = 20, curve_points = 10, curve_episodes = 4 }

# One table an environment. The fingerprint of yours, with its keywords if it has some:
#   pgbench new suite @STEM@-two --env hopper --env pendulum
@ENVS@
[[track]]                                 # one table of the board; there may be several
name = "short"
title = "@BUDGET@ @UNIT@"
budget = @BUDGET@                         # whole iterations of every entry (horizon, below)
seeds = 3
environments = [@IDS@]
entry = [
    # A setting that differs needs a label; "./mine.py" is an algorithm, too.
    { algo = "ppo", set = { horizon = 512 } },
    { algo = "ppo", label = "ppo, slow", set = { horizon = 512, lr = 1e-4 } },
]
"""
ENVIRONMENT = """\
[environments.@ID@]
version = "@VERSION@"
golden = "@GOLDEN@"
floor = @FLOOR@                           # 0 of the normalised score, and what a failed run scores
floor_origin = "@FLOOR_ORIGIN@"
reference = @REFERENCE@                   # 1 of the normalised score
reference_origin = "@REFERENCE_ORIGIN@"
"""


def new_suite(name: str, root: Path, envs: list[str]) -> Path:
    """Write `<root>/suites/<name>.toml` with the fingerprints of the control environments `envs`.

    Raises: PgbenchError if the name or an environment does not do, or the file exists.
    """
    from pgbench.catalogue.fingerprint import golden
    from pgbench.records.suite import NAME, read_suite

    name = name if NAME.fullmatch(name) else f"{name}-v1"
    if not NAME.fullmatch(name):
        raise PgbenchError(
            f"'{name}' cannot name a suite; use small letters, digits and dashes, for example "
            "my-suite-v1"
        )
    path = root / "suites" / f"{name}.toml"
    if path.exists():
        raise PgbenchError(f"{path} exists already and is left as it is; take another name")
    budget, tables, specs = 10_240, [], [find_env(env) for env in envs]
    for spec in specs:
        if spec.family != "control":
            raise PgbenchError(
                f"{spec.id} is of family {spec.family}; this writes suites of control environments "
                "(leaderboards/suites has the others to copy from)"
            )
        anchors = {key: spec.anchors.get(key) for key in ("random", "reference")}
        low, high = anchors["random"], anchors["reference"]
        values = {
            "ID": spec.id, "VERSION": spec.name, "GOLDEN": golden(spec),
            "FLOOR": f"{low.value if low else 0.0}",
            "FLOOR_ORIGIN": low.origin if low else "to be measured: a random policy's score",
            "REFERENCE": f"{high.value if high else 1000.0}",
            "REFERENCE_ORIGIN": high.origin if high else "to be found: the score to be reached",
        }  # fmt: skip
        tables.append(_filled(ENVIRONMENT, values))
    stem = name.rpartition("-v")[0]
    text = _filled(SUITE, {
        "NAME": name, "STEM": stem, "TITLE": stem.replace("-", " ").capitalize(),
        "ENVS": "\n".join(tables), "BUDGET": f"{budget:_}", "UNIT": specs[0].budget_unit,
        "IDS": ", ".join(f'"{spec.id}"' for spec in specs),
    })  # fmt: skip
    write_bytes(path, text.encode())
    read_suite(path)
    return path


def _filled(text: str, values: dict[str, str]) -> str:
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text
