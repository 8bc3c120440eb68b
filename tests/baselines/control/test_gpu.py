"""On a CUDA device: the same update as on the CPU, and no host synchronisation inside it."""

import pytest
import torch

from pgbench.catalogue.registry import ALGOS
from pgbench.loops.onpolicy import OnPolicy
from pgbench.runs.contract import Bench, default_env
from pgbench.runs.plan import make_plan
from pgbench.runs.runner import build

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
NAMES = sorted(spec.name for spec in ALGOS.all() if spec.family == "control")


def first_batch(name, device, tmp_path):
    tiny = Bench(name, default_env(name, "control"), tmp_path).plan()
    settings = {k: getattr(tiny.config, k) for k in tiny.identity["config"]}
    plan = make_plan(
        name, default_env(name, "control"), budget=tiny.budget, settings=settings, device=device,
        compile=False, threads=1,
    )  # fmt: skip
    algorithm, env, loop = build(plan)
    if isinstance(loop, OnPolicy):
        batch = loop.collect()
    else:
        for _ in range(plan.config.batch):
            loop.interact(random=True)
        batch = loop.replay.draw(torch.arange(plan.config.batch, device=algorithm.device))
    env.close()
    return algorithm, batch


@pytest.mark.parametrize("name", NAMES)
def test_the_update_never_waits_for_the_gpu(name, tmp_path):
    algorithm, batch = first_batch(name, "cuda", tmp_path)
    algorithm.update(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        metrics = algorithm.update(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(value).all() for value in metrics.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_run_on_the_gpu_finishes(name, tmp_path):
    from pgbench.api import run

    env = default_env(name, "control")
    result = run(name, env, budget=4096, device="cuda", runs=tmp_path, compile=True,
                 settings={"start": 3900} if name in ("sac", "mdpo-off") else {})  # fmt: skip
    assert result.record["status"] == "finished"
    assert result.record["execution"]["device"] == "cuda"
