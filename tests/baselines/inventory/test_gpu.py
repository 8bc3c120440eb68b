"""On a CUDA device: the same gradient as on the CPU, no host synchronisation, a run that ends."""

import pytest
import torch

import pgbench
from pgbench.baselines.inventory import hdpo
from pgbench.catalogue.registry import ALGOS
from pgbench.learning.algorithm import Setup

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
NAMES = sorted(s.name for s in ALGOS.all() if s.family == "inventory" and s.loop == "hindsight")


def make(env, device, compiled=False, **config):
    spaces = env.single_observation_space, env.single_action_space
    setup = Setup(*spaces, 1, 3, torch.device(device), compiled, env)
    return hdpo.HDPO(hdpo.Config(**config), setup)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("name", "policy"),
    [("one-store-lost-sales", "vanilla"), ("one-warehouse-3", "gnn"), ("serial-system", "vanilla")],
)
def test_the_gradient_is_the_cpu_s(name, policy, compiled):
    env = pgbench.make(name)
    traces = env.traces(64, 1)
    one = make(env, "cpu", policy=policy)
    two = make(env, "cuda", compiled, policy=policy)
    expected, _ = one.gradient(one.state["theta"], traces)
    found, _ = two.gradient(two.state["theta"], traces.to("cuda"))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4 * expected.abs().max())


@pytest.mark.parametrize("policy", ["vanilla", "gnn"])
def test_the_update_never_waits_for_the_gpu(policy):
    env = pgbench.make("one-warehouse-3")
    algorithm = make(env, "cuda", policy=policy)
    traces, dev = env.traces(64, 1).to("cuda"), env.traces(64, 2, "dev").to("cuda")
    algorithm.update(traces)
    algorithm.validate(dev, 60)
    torch.cuda.set_sync_debug_mode("error")
    try:
        metrics = algorithm.update(traces)
        algorithm.validate(dev, 60)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_run_on_the_gpu_finishes(name, tmp_path):
    env = "seasonal-store" if name == "quantile" else "one-store-lost-sales"
    settings = {"traces": 256, "batch": 128, "dev_traces": 64}
    result = pgbench.run(
        name, env, budget=200_000, device="cuda", runs=tmp_path, compile=True, settings=settings
    )
    assert result.record["status"] == "finished"
    assert result.record["execution"]["device"] == "cuda"
