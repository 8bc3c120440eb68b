"""Updates of every algorithm on the strict device; prints what each of them raised, as JSON.

A program of its own: the backend must be registered before the process takes its first gradient.
Networks of the small families run whole updates. Of a language model's update the part that the
device computes runs: forward pass, loss and its gradient, optimiser; batches are put together on
the host, from Python lists.
"""

import dataclasses
import json
import sys
import traceback
from pathlib import Path

import torch
import transformers
from strict import Mover, device, mode
from tiny_lm import make, make_batch, write_tiny

from pgbench.catalogue.registry import ALGOS, find_env, missing_capabilities, resolve
from pgbench.learning.optim import adamw_
from pgbench.lm.rows import Rows
from pgbench.runs.contract import Bench, default_env
from pgbench.runs.runner import build

BATCH = make_batch(prompts=4, holes=True, seed=1)
CHOICES = "cartpole"  # an environment of discrete actions


def small(spec, folder, env=None):
    """A whole update, after one on the CPU: the first may look at the data and refuse them."""
    bench = Bench(spec.name, env or default_env(spec.name, spec.family), folder)
    algorithm, env, loop = build(bench.plan())
    if hasattr(loop, "next_batch"):
        batch = loop.next_batch()
    elif hasattr(loop, "replay"):
        for _ in range(algorithm.config.batch):
            loop.interact(random=True)
        batch = loop.replay.draw(torch.arange(algorithm.config.batch))
    else:
        batch = loop.collect()
    env.close()
    algorithm.update(batch)
    algorithm.state |= {name: int(algorithm.state[name]) for name in algorithm.on_host}
    with mode():
        move = Mover()
        algorithm, batch = move(algorithm), move(batch)
        metrics = algorithm.update(batch)
    stays(algorithm.state, metrics)


def text(spec, folder):
    """Every call that an update on the CPU makes of `ahead` and `loss`, again on the device."""
    algorithm = make(resolve(spec), folder, epochs=2, minibatches=2)
    calls = []

    def recorded(name, hook):
        def call(logp, rows):
            fields = {f.name: getattr(rows, f.name) for f in dataclasses.fields(rows)}
            calls.append((name, logp.detach().clone(), dict(fields)))
            return hook(logp, rows)

        return call

    loss, ahead, kind = algorithm.loss, algorithm.ahead, type(algorithm)
    algorithm.loss, algorithm.ahead = recorded("loss", loss), recorded("ahead", ahead)
    algorithm.update(algorithm.shape(BATCH))
    assert {name for name, _, _ in calls} >= {"loss"}
    del algorithm.loss, algorithm.ahead
    algorithm.state |= {name: int(algorithm.state[name]) for name in algorithm.on_host}
    getattr(algorithm, "_tally", {}).clear()  # GTPO's sums over the update's micro-batches
    with mode():
        move = Mover()
        move(algorithm.state)
        for name, logp, fields in calls:
            rows = Rows(**{key: move(value) for key, value in fields.items()})
            logp = move(logp).requires_grad_(name == "loss")
            out = getattr(kind, name)(algorithm, logp, rows)
            if name == "loss":
                out[0].backward()
                stays({"grad": logp.grad}, out[1])
            else:
                stays(out)
        adamw_(algorithm.state, "theta", algorithm.state["theta"] * 0.1, 1e-3, 0.1)
    stays(algorithm.state)


def forward(folder):
    """Log-probabilities of packed responses under a Llama, their gradient included."""
    algorithm = make(resolve(next(s for s in ALGOS.all() if s.name == "grpo")), folder)
    packed = next(algorithm.micro_batches(BATCH, torch.arange(len(BATCH))))[1]
    with mode():
        move = Mover()
        packed = move(packed)
        net = transformers.LlamaForCausalLM(algorithm.model.core.config)
        for module in net.modules():
            for tensors in (module._parameters, module._buffers):
                move(tensors)
        algorithm.model.core, algorithm.model.decoder = net, net.get_decoder()
        algorithm.model.device = device()
        look = algorithm.model.look(packed)
        look.logp.sum().backward()
    stays({"logp": look.logp, "grad": net.get_output_embeddings().weight.grad})


def stays(*groups):
    """Everything is on the strict device."""
    for group in groups:
        away = {n: str(x.device) for n, x in group.items()
                if isinstance(x, torch.Tensor) and x.device != device()}  # fmt: skip
        assert not away, f"on another device: {away}"


def main(folder):
    device()
    write_tiny(folder)
    report = {}
    cases = {f"{s.family}/{s.name}": (text if s.loop == "group" else small, (s, folder))
             for s in ALGOS.all()}  # fmt: skip
    for spec in ALGOS.all():
        if spec.family == "control" and not missing_capabilities(spec, find_env(CHOICES)):
            cases[f"control/{spec.name} by choices"] = (small, (spec, folder, CHOICES))
    for name, (check, args) in {**cases, "text/forward": (forward, (folder,))}.items():
        try:
            check(*args)
            report[name] = ""
        except Exception:
            report[name] = traceback.format_exc()
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
