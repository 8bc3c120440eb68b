"""A loss reads what the forward pass was asked for, and equal rewards are no reason to move."""

from dataclasses import replace

import pytest
import torch
from tiny_lm import make, make_batch

from pgbench.catalogue.registry import ALGOS, resolve
from pgbench.learning.algorithm import Setup
from pgbench.learning.optim import adamw_

KINDS = {spec.name: resolve(spec) for spec in ALGOS.all() if spec.family == "text"}
SEVERAL = {"epochs": 2, "minibatches": 2, "lr": 1e-5, "micro_tokens": 60}
D3S = [
    {"host": host, "k_init": 0.3, "n_init": 0.75, "schedule": "none", "normaliser": normaliser}
    for host in ("grpo", "gspo")
    for normaliser in ("kept", "lengths")
]
CASES = [
    *((name, {"bundle": 2} if name == "riskpo" else {}) for name in KINDS),
    *(("d3s", case) for case in D3S),
    ("d3s", {**D3S[-1], "entropy_source": "current"}),
    ("d3s", {**D3S[-1], "random_control": "both"}),
    ("gspo", {"form": "token"}),
    ("riskpo", {"ratio": "token", "bundle": 2}),
]
# What moves by more than rewards: gtpo penalises entropy, and copo weighs the rewards of prompts by
# how far their answers agree.
MORE = {"gtpo": {"gamma": 0.0}, "copo": {"consistency": False}}


@pytest.mark.parametrize(
    ("name", "settings"), CASES, ids=[f"{n}-{'-'.join(map(str, s.values()))}" for n, s in CASES]
)
def test_what_the_forward_was_asked_for_is_enough(name, settings, tiny, monkeypatch):
    """Four steps of the whole learner, beside one whose forward passes say everything."""
    batch = make_batch(prompts=6, holes=True, seed=2)
    taken, steps = [], {False: [], True: []}

    def watched(state, name, grad, *rest):
        if name == "theta":
            taken.append(grad.clone())
        adamw_(state, name, grad, *rest)

    monkeypatch.setattr("pgbench.lm.learner.adamw_", watched)
    for dense in (False, True):
        algorithm = make(KINDS[name], tiny, Setup(None, None, 10, 1), **SEVERAL, **settings)
        if dense:
            ask, find = algorithm.micro_batches, algorithm._parts
            other = make(KINDS[name], tiny, Setup(None, None, 10, 1), **SEVERAL, **settings)
            whole = batch.mask if name != "d3s" else other.shape(batch).mask
            algorithm.micro_batches = lambda b, i, asked=None, a=ask, w=whole: a(b, i, w)
            algorithm._parts = lambda *given, f=find, w=whole: f(*given[:5], w, *given[6:])
        log = algorithm.update(batch)
        assert all(bool(x.isfinite()) for x in log.values())
        steps[dense], taken[:] = list(taken), []
    assert len(steps[False]) == len(steps[True]) > 1
    for ours, right in zip(steps[False], steps[True], strict=True):
        size = float(right.abs().max())
        torch.testing.assert_close(ours, right, atol=1e-4 * size + 1e-9, rtol=1e-3)
        if size > 0:  # else all is clipped
            assert float(torch.nn.functional.cosine_similarity(ours, right, dim=0)) > 1 - 1e-5
    later = steps[True][2:] if name != "gspo" and settings.get("host") != "gspo" else steps[True]
    assert any(float(grad.abs().max()) > 0 for grad in later)


@pytest.mark.parametrize("name", KINDS)
def test_equal_rewards_are_no_reason_to_move(name, tiny):
    """Not by rounding either: 0.1 and 0.7 have means over 12 that are not 0.1 and 0.7."""
    for reward in (0.1, 0.7, 1.0):
        batch = make_batch(prompts=4, group=3, seed=1)
        same = torch.full((12,), reward)
        batch = replace(batch, reward=same, greedy=same[:4], correct=same > 0.5)
        algorithm = make(KINDS[name], tiny, Setup(None, None, 10, 1), lr=1e-3, **MORE.get(name, {}))
        before = algorithm.state["theta"].clone()
        algorithm.update(batch)
        assert torch.equal(algorithm.state["theta"], before), reward


def test_a_loss_that_reads_more_than_it_declares_fails(tiny):
    """GSPO's ratio needs every token; said to need a few, it is not a number, not a wrong one."""

    class Sloppy(KINDS["gspo"]):
        def prepare(self, batch, seen):
            few = batch.mask.clone()
            few[:, 3:] = 0
            return super().prepare(batch, seen) | {"reads": few}

    log = make(Sloppy, tiny, **SEVERAL).update(make_batch(seed=2))
    assert bool(log["loss"].isnan())
