"""A plug-in of an algorithm that keeps a set of policies, and an environment with details."""

import numpy as np
import torch
from odd_algo import Linear
from odd_env import Drift

import pgbench
from pgbench.catalogue.registry import Metric

MEMBERS = {"left": [1.0, 0.0], "middle": [0.5, 0.5], "right": [0.0, 1.0]}


class Three(Linear):
    """Constant actions -1, 0 and 1, a policy each; judged by the middle one."""

    def __init__(self, config, setup):
        super().__init__(config, setup)
        self.state = {"pushes": torch.tensor([-1.0, 0.0, 1.0])}
        self.place = 1

    def act(self, obs, explore=True):
        return self.state["pushes"][self.place].expand(len(obs), 1).clone()

    def update(self, batch):
        self.state["pushes"] *= 0.5  # what is saved is not what it began with
        return {"size": self.state["pushes"].norm()}

    def policies(self):
        return MEMBERS

    def become(self, name):
        self.place = list(MEMBERS).index(name)


def judge(policy, spec, seeds, env_kwargs):
    """The push that a policy gives, once an episode; a front, a row and a number beside it."""
    pushes = [float(np.asarray(policy(np.ones((1, 2), np.float32)))[0, 0]) for _ in seeds]
    front = np.array([[0.0, 1.0], [0.5, 0.75], [1.0, 0.0]])
    return pushes, [1] * len(seeds), {"front": front, "regret": [3, 2.5, 2], "gap": 0.125}


pgbench.register_env(
    "pushed", lambda num_envs=1: Drift(num_envs, size=1), family="control", summary="A push.",
    underlying="Drift", metrics=[Metric("push")], budgets={"smoke": 256}, evaluator=judge,
)  # fmt: skip
pgbench.register_algo(
    "three", Three, family="control", loop="onpolicy", summary="Three policies.", budget="smoke"
)
