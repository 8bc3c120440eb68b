"""How data flows between an environment and an algorithm; a loop holds no mathematics.

Imports `lm` and below. Start with `base.Loop`, what a run asks of a loop, then `onpolicy`. The
built-in ones are registered here, as a plug-in's are; nothing heavy is imported.
"""

from pgbench.catalogue.registry import register_loop

register_loop(
    "onpolicy", "pgbench.loops.onpolicy:OnPolicy", unit="environment steps",
    summary="collect a rollout with a fixed policy, learn from it, throw it away",
    batch="pgbench.learning.batches:Rollout", tiny_budget=1024,
    tiny={"horizon": 256, "num_envs": 2, "minibatch": 64, "hidden": "16,16"},
)  # fmt: skip
register_loop(
    "offpolicy", "pgbench.loops.offpolicy:OffPolicy", unit="environment steps",
    summary="every environment step goes to a replay buffer and pays for one update",
    batch="pgbench.learning.batches:Transitions", tiny_budget=700,
    tiny={"num_envs": 2, "start": 40, "batch": 32, "hidden": "16,16"},
)  # fmt: skip
register_loop(
    "hindsight", "pgbench.loops.hindsight:Hindsight", unit="environment steps",
    summary="recorded traces of everything exogenous, replayed under each new policy",
    batch="pgbench.worlds.network:Traces", tiny_budget=100_000,
    tiny={"traces": 64, "batch": 32, "dev_traces": 8, "dev_every": 1, "hidden": "16,16"},
)  # fmt: skip
register_loop(
    "group", "pgbench.loops.group:Group", unit="steps",
    summary="prompts, several responses of a language model to each, verdicts, one update",
    batch="pgbench.learning.batches:TokenGroups", tiny_budget=8,
    tiny={
        "model": "nano:warmup=150,batch=64,layers=1,width=32,noise=0", "prompts": 6, "group": 4,
        "max_rounds": 2,
    },
)  # fmt: skip
