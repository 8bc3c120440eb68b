"""The catalogue of algorithms: one `register_algo` line each, nothing heavy imported."""

if __name__ != "pgbench.baselines":
    raise ImportError(f"this tree is installed as pgbench.baselines; it was imported as {__name__}")

from typing import Any

from pgbench.catalogue.registry import register_algo

_EITHER = {"ContinuousActions|DiscreteActions"}

register_algo(
    "mdpo", "pgbench.baselines.control.mdpo:MDPO", family="control", loop="onpolicy",
    requires=_EITHER, paper="arXiv:2005.09814",
    summary="Mirror Descent Policy Optimization: m full-batch steps near the last policy",
)  # fmt: skip
register_algo(
    "mdpo-off", "pgbench.baselines.control.mdpo_off:MDPOOff", family="control", loop="offpolicy",
    requires={"ContinuousActions"}, paper="arXiv:2005.09814", budget="50k",
    summary="Off-policy Mirror Descent Policy Optimization, KL or Tsallis",
)  # fmt: skip
register_algo(
    "ppo", "pgbench.baselines.control.ppo:PPO", family="control", loop="onpolicy",
    requires=_EITHER, paper="arXiv:1707.06347",
    summary="Proximal Policy Optimization: minibatch steps on a clipped surrogate",
)  # fmt: skip
register_algo(
    "reinforce", "pgbench.baselines.control.reinforce:REINFORCE", family="control",
    loop="onpolicy", requires=_EITHER, paper="doi:10.1007/BF00992696",
    summary="REINFORCE with a learned value baseline: one policy-gradient step a rollout",
)  # fmt: skip
register_algo(
    "sac", "pgbench.baselines.control.sac:SAC", family="control", loop="offpolicy",
    requires={"ContinuousActions"}, paper="arXiv:1812.05905", budget="50k",
    summary="Soft Actor-Critic: twin critics, tuned or fixed temperature",
)  # fmt: skip
register_algo(
    "trpo", "pgbench.baselines.control.trpo:TRPO", family="control", loop="onpolicy",
    requires=_EITHER, paper="arXiv:1502.05477",
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

# fmt: off
_TEXT: dict[str, Any] = {
    "family": "text", "loop": "group", "requires": {"Text", "Groups", "Verifier"}, "extra": "text",
}
register_algo("bapo", "pgbench.baselines.text.bapo:BAPO", paper="arXiv:2510.18927",
    summary="GRPO with clip bounds searched for, so that positive tokens keep a share", **_TEXT)
register_algo("bnpo", "pgbench.baselines.text.bnpo:BNPO", paper="arXiv:2506.02864",
    summary="Beta Normalization Policy Optimization: weights by a density of pass rates", **_TEXT)
register_algo("cispo", "pgbench.baselines.text.cispo:CISPO", paper="arXiv:2506.13585",
    summary="Clipped importance weights on every token, none of them dropped", **_TEXT)
register_algo("copo", "pgbench.baselines.text.copo:COPO", paper="arXiv:2508.04138",
    summary="GRPO blended with an advantage among prompts where a prompt's answers agree", **_TEXT)
register_algo("d3s", "pgbench.baselines.text.d3s:D3S", paper="arXiv:2509.22115",
    summary="GRPO or GSPO on the most varied responses and their most uncertain tokens", **_TEXT)
register_algo("dapo", "pgbench.baselines.text.dapo:DAPO", paper="arXiv:2503.14476",
    summary="GRPO with dynamic sampling, a higher upper clip, mean over tokens", **_TEXT)
register_algo("disco", "pgbench.baselines.text.disco:DisCO", paper="arXiv:2505.12366",
    summary="Scores of right less those of wrong responses, within a KL trust region", **_TEXT)
register_algo("dr-grpo", "pgbench.baselines.text.dr_grpo:DrGRPO", paper="arXiv:2503.20783",
    summary="Dr. GRPO: GRPO without division by standard deviation or length", **_TEXT)
register_algo("drpo", "pgbench.baselines.text.drpo:DRPO", paper="arXiv:2510.04474",
    summary="DisCO with weights that prefer short ones among the right responses", **_TEXT)
register_algo("gpg", "pgbench.baselines.text.gpg:GPG", paper="arXiv:2504.02546",
    summary="Group Policy Gradient: no ratio, no clip, mixed prompts count in full", **_TEXT)
register_algo("grpo", "pgbench.baselines.text.grpo:GRPO", paper="arXiv:2402.03300",
    summary="Group Relative Policy Optimization: rewards standardised within a prompt", **_TEXT)
register_algo("gspo", "pgbench.baselines.text.gspo:GSPO", paper="arXiv:2507.18071",
    summary="Group Sequence Policy Optimization: one ratio and clip a response", **_TEXT)
register_algo("gtpo", "pgbench.baselines.text.gtpo:GTPO", paper="arXiv:2508.03772",
    summary="Conflict tokens spared, uncertain responses filtered and penalised", **_TEXT)
register_algo("ppo", "pgbench.baselines.text.ppo:PPO", paper="arXiv:1707.06347",
    summary="Proximal Policy Optimization on tokens, with a value head", **_TEXT)
register_algo("reinforce", "pgbench.baselines.text.reinforce:REINFORCE",
    paper="doi:10.1007/BF00992696",
    summary="REINFORCE on whole responses, less the mean reward of the batch", **_TEXT)
register_algo("reinforce++", "pgbench.baselines.text.reinforce_pp:REINFORCEpp",
    paper="arXiv:2501.03262",
    summary="Rewards to go, standardised over the tokens of the batch, clipped", **_TEXT)
register_algo("remax", "pgbench.baselines.text.remax:ReMax", paper="arXiv:2310.10505",
    summary="REINFORCE with the reward of the greedy response as baseline", **_TEXT)
register_algo("riskpo", "pgbench.baselines.text.riskpo:RiskPO", paper="arXiv:2510.00911",
    summary="Mixed Value-at-Risk of the scores of bundles of questions", **_TEXT)
register_algo("rloo", "pgbench.baselines.text.rloo:RLOO", paper="arXiv:2402.14740",
    summary="REINFORCE with the mean of a prompt's other responses as baseline", **_TEXT)
register_algo("rloo-lp", "pgbench.baselines.text.rloo_lp:RLOOLP", paper="arXiv:2502.04463",
    summary="RLOO in which shorter right responses are worth more", **_TEXT)
# fmt: on
