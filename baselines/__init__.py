"""The catalogue of algorithms: one `register_algo` line each, nothing heavy imported."""

if __name__ != "pgbench.baselines":
    raise ImportError(f"this tree is installed as pgbench.baselines; it was imported as {__name__}")

from pgbench.registry import register_algo

register_algo(
    "mdpo", "pgbench.baselines.control.mdpo:MDPO", family="control", loop="onpolicy",
    requires={"ContinuousActions"}, paper="arXiv:2005.09814",
    summary="Mirror Descent Policy Optimization: m full-batch steps near the last policy",
)  # fmt: skip
register_algo(
    "mdpo-off", "pgbench.baselines.control.mdpo_off:MDPOOff", family="control", loop="offpolicy",
    requires={"ContinuousActions"}, paper="arXiv:2005.09814", budget="50k",
    summary="Off-policy Mirror Descent Policy Optimization, KL or Tsallis",
)  # fmt: skip
register_algo(
    "ppo", "pgbench.baselines.control.ppo:PPO", family="control", loop="onpolicy",
    requires={"ContinuousActions"}, paper="arXiv:1707.06347",
    summary="Proximal Policy Optimization: minibatch steps on a clipped surrogate",
)  # fmt: skip
register_algo(
    "reinforce", "pgbench.baselines.control.reinforce:REINFORCE", family="control",
    loop="onpolicy", requires={"ContinuousActions"}, paper="doi:10.1007/BF00992696",
    summary="REINFORCE with a learned value baseline: one policy-gradient step a rollout",
)  # fmt: skip
register_algo(
    "sac", "pgbench.baselines.control.sac:SAC", family="control", loop="offpolicy",
    requires={"ContinuousActions"}, paper="arXiv:1812.05905", budget="50k",
    summary="Soft Actor-Critic: twin critics, tuned or fixed temperature",
)  # fmt: skip
register_algo(
    "trpo", "pgbench.baselines.control.trpo:TRPO", family="control", loop="onpolicy",
    requires={"ContinuousActions"}, paper="arXiv:1502.05477",
    summary="Trust Region Policy Optimization: natural gradient, line search under a KL limit",
)  # fmt: skip

register_algo(
    "hdpo", "pgbench.baselines.inventory.hdpo:HDPO", family="inventory", loop="hindsight",
    requires={"Differentiable", "Graph"}, paper="arXiv:2306.11246",
    summary="Hindsight differentiable policy optimisation: gradients through replayed traces",
)  # fmt: skip
register_algo(
    "ppo", "pgbench.baselines.control.ppo:PPO", family="inventory", loop="onpolicy",
    requires={"ContinuousActions"}, paper="arXiv:1707.06347", budget="1M",
    summary="Proximal Policy Optimization: minibatch steps on a clipped surrogate",
)  # fmt: skip
register_algo(
    "reinforce", "pgbench.baselines.inventory.reinforce:REINFORCE", family="inventory",
    loop="hindsight", requires={"Differentiable", "Graph"}, paper="doi:10.1007/BF00992696",
    summary="REINFORCE on replayed traces: the score-function gradient with a batch baseline",
)  # fmt: skip
register_algo(
    "quantile", "pgbench.baselines.inventory.quantile:Quantile", family="inventory",
    loop="hindsight", requires={"Differentiable", "Graph", "WeeklySales"},
    paper="arXiv:2306.11246",
    summary="Generalised newsvendor: base-stock levels at a quantile of forecast demand",
)  # fmt: skip
