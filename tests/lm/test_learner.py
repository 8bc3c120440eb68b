"""The update: the same loss and gradient however it is computed, and nothing learnt by mistake."""

from dataclasses import dataclass, replace

import pytest
import torch
from tiny_lm import make, make_batch, write_tiny

from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import group_mean, k3, masked_mean
from pgbench.lm.config import GroupConfig
from pgbench.lm.learner import GroupAlgorithm


@dataclass(frozen=True)
class Config(GroupConfig):
    beta: float = 0.0
    form: str = "token-mean"


class Plain(GroupAlgorithm):
    """A policy gradient with every part of the learner in use."""

    Config = Config

    def prepare(self, batch, seen):
        return {"adv": batch.reward - group_mean(batch.reward, batch.group)}

    def loss(self, logp, rows):
        loss = -rows.adv * rows.ratio(logp).exp()
        if rows.ref is not None:
            loss = loss + self.config.beta * k3(logp, rows.ref)
        return rows.total(loss, self.config.form), {"adv": masked_mean(rows.adv, rows.mask)}


class Valued(Plain):
    """With a value head, which learns from every row."""

    needs = frozenset({"value"})
    skips_zero = False

    def loss(self, logp, rows):
        loss, log = super().loss(logp, rows)
        return loss + rows.total((rows.value - rows.reward[:, None]).square()), log


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def plain(tiny):
    """`plain(pack=False)`: one algorithm under other settings, as if fresh."""
    algorithm = make(Plain, tiny)
    start = algorithm.state_dict()

    def get(**settings):
        algorithm.load_state_dict(start)
        settings = {"model": str(tiny), "max_grad_norm": 1e9, **settings}
        algorithm.config = Config(**settings)
        algorithm.reference = algorithm.model.theta.clone()
        return algorithm

    return get


BATCH = make_batch(holes=True, seed=1)


def gradient(algorithm, batch=BATCH):
    """The gradient of the last step of an update, and what was logged."""
    metrics = algorithm.update(batch)
    return algorithm.model.grad.clone(), metrics


def same(one, other, tolerance=1e-5):
    (grad, log), (grad_2, log_2) = one, other
    scale = float(grad.abs().max())
    assert scale > 0
    torch.testing.assert_close(grad_2, grad, atol=tolerance * scale, rtol=1e-4)
    assert set(log) == set(log_2)
    for name in log:
        torch.testing.assert_close(log_2[name], log[name], atol=1e-5, rtol=1e-4, msg=name)


FORMS = ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "constant"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "settings", [{"micro_tokens": 1}, {"micro_tokens": 60}, {"pack": False}], ids=str
)
def test_batching_does_not_change_the_update(plain, form, settings):
    same(gradient(plain(form=form)), gradient(plain(form=form, **settings)))


@pytest.mark.parametrize("settings", [{"beta": 0.1}, {"epochs": 2, "minibatches": 2}], ids=str)
def test_nor_do_several_steps_or_a_reference(plain, settings):
    settings = {**settings, "lr": 1e-3}
    algorithm = plain(**settings)
    one = gradient(algorithm)
    moved = algorithm.model.theta.clone()
    algorithm = plain(micro_tokens=40, **settings)
    other = gradient(algorithm)
    if "epochs" in settings:
        assert float(one[1]["kl_old"]) > 0
    # Adam divides by the gradient's size; where that is rounding, so is the step.
    same(one, other, 1e-3)
    torch.testing.assert_close(algorithm.model.theta, moved, atol=2e-3, rtol=0)


def test_checkpointing_recomputes_the_same(plain, tiny):
    same(gradient(plain()), gradient(make(Plain, tiny, checkpointing=True)))


def test_rows_without_advantage_are_skipped_and_still_counted(plain):
    batch = make_batch(seed=2)
    batch = replace(batch, reward=torch.where(batch.group < 2, batch.reward, torch.ones(16)))
    assert int((batch.reward - group_mean(batch.reward, batch.group) == 0).sum()) >= 8
    algorithm = plain()
    before = algorithm.trained_tokens
    one = gradient(algorithm, batch)
    short = algorithm.trained_tokens - before
    algorithm = plain()
    before = algorithm.trained_tokens
    algorithm.skips_zero = False
    try:
        other = gradient(algorithm, batch)
    finally:
        del algorithm.skips_zero
    assert short < algorithm.trained_tokens - before
    scale = float(one[0].abs().max())
    torch.testing.assert_close(other[0], one[0], atol=1e-5 * scale, rtol=1e-4)
    torch.testing.assert_close(one[1]["loss"], other[1]["loss"], atol=1e-6, rtol=1e-5)


def test_against_autograd_through_transformers_alone(plain):
    """Loss and gradient of a whole batch from padded rows and the textbook formula."""
    algorithm = plain(form="seq-mean-token-sum", temperature=0.8)
    adv = BATCH.reward - group_mean(BATCH.reward, BATCH.group)
    total = torch.zeros(())
    for i in range(len(BATCH)):
        prompt = list(BATCH.prompts[BATCH.group[i]])
        answer = BATCH.tokens[i, BATCH.valid[i]]
        ids = torch.cat([torch.tensor(prompt), answer])[None]
        logits = algorithm.model.net(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        logp = torch.log_softmax(logits / 0.8, -1).gather(-1, answer[:, None]).squeeze(-1)
        total = total - adv[i] * (logp * BATCH.mask[i, BATCH.valid[i]]).sum() / len(BATCH)
    want = torch.autograd.grad(total, algorithm.model.parameters)
    # At ratio 1 the gradient of -A exp(logp - old) is that of -A logp.
    got, log = gradient(algorithm)
    flat = torch.cat([g.flatten() for g in want])
    torch.testing.assert_close(got, flat, atol=1e-5 * float(flat.abs().max()), rtol=1e-4)
    torch.testing.assert_close(log["grad_norm"], flat.norm(), atol=0, rtol=1e-4)


def test_a_step_is_adamw_on_the_clipped_gradient(plain):
    algorithm = plain(max_grad_norm=0.01, lr=1e-2, weight_decay=0.1)
    before = algorithm.model.theta.clone()
    grad, log = gradient(algorithm)
    assert float(log["grad_norm"]) > 0.1
    assert float(grad.norm()) == pytest.approx(0.01, rel=1e-3)
    other = before.clone().requires_grad_()
    other.grad = grad
    torch.optim.AdamW([other], lr=1e-2, weight_decay=0.1).step()
    torch.testing.assert_close(algorithm.model.theta, other.detach(), atol=1e-6, rtol=1e-5)
    assert torch.equal(algorithm.model.theta, algorithm.state["theta"])


def test_nothing_to_learn_changes_nothing(plain):
    algorithm = plain(weight_decay=0.5)
    before = algorithm.state_dict()["state"]
    metrics = algorithm.update(replace(BATCH, reward=torch.ones(len(BATCH))))
    assert metrics == {"wrong_sign": 0}  # no step, so nothing else to log
    for name, value in algorithm.state.items():
        assert torch.equal(value, before[name]), name


def test_equalised_advantages_keep_only_their_direction(plain):
    grad, _ = gradient(plain())
    one, _ = gradient(plain(equalise=True))
    other, _ = gradient(plain(equalise=True), replace(BATCH, reward=50 * BATCH.reward + 3))
    adv = BATCH.reward - group_mean(BATCH.reward, BATCH.group)
    tokens = BATCH.mask.sum()
    size = ((adv[:, None].square() * BATCH.mask).sum() / tokens).sqrt()
    scale = float(one.abs().max())
    torch.testing.assert_close(one, grad / size, atol=1e-5 * scale, rtol=1e-4)
    torch.testing.assert_close(other, one, atol=1e-4 * scale, rtol=1e-3)


def test_minibatches_are_whole_groups_and_every_row_once(plain):
    parts = plain(minibatches=3).split(BATCH)
    assert len(parts) == 3
    assert sorted(torch.cat(parts).tolist()) == list(range(len(BATCH)))
    groups = [set(BATCH.group[part].tolist()) for part in parts]
    assert all(a.isdisjoint(b) for i, a in enumerate(groups) for b in groups[:i])
    again = plain(minibatches=3)
    orders = {tuple(torch.cat(again.split(BATCH)).tolist()) for _ in range(20)}
    assert len(orders) > 1
    assert len(plain(minibatches=9).split(BATCH)) == 4  # as many as there are groups


def test_the_first_step_is_on_policy_and_later_ones_are_not(plain):
    ratios = []

    class Spy(Plain):
        def loss(self, logp, rows):
            ratios.append(rows.ratio(logp).detach()[rows.mask > 0])
            return super().loss(logp, rows)

    algorithm = plain(epochs=2, lr=1e-2)
    algorithm.__class__ = Spy
    try:
        algorithm.update(BATCH)
    finally:
        algorithm.__class__ = Plain
    half = len(ratios) // 2
    assert all(float(r.abs().max()) == 0 for r in ratios[:half])
    assert float(torch.cat(ratios[half:]).abs().max()) > 1e-3


def test_look_gives_old_and_reference_in_the_order_of_the_rows(plain):
    algorithm = plain(beta=0.1, epochs=2, micro_tokens=40)
    seen = algorithm.look(BATCH)
    torch.testing.assert_close(seen.old, seen.ref, atol=1e-5, rtol=1e-5)
    whole = plain(epochs=2).look(BATCH)
    torch.testing.assert_close(seen.old, whole.old, atol=1e-5, rtol=1e-5)
    assert whole.ref is None and plain().look(BATCH).old is None
    algorithm = plain(beta=0.1, lr=1e-2)
    algorithm.update(BATCH)
    after = algorithm.look(BATCH)
    torch.testing.assert_close(after.ref, seen.ref, atol=1e-5, rtol=1e-5)
    now = algorithm.model.look(next(algorithm.micro_batches(BATCH, torch.arange(16)))[1])
    assert not torch.allclose(now.logp.detach(), seen.ref, atol=1e-3)  # theta is back in place


def test_weights_for_the_engine_are_ratios_up_to_the_cap(plain):
    old = plain(epochs=2).look(BATCH).old
    shift = torch.where(torch.arange(len(BATCH)) % 2 == 0, 0.2, 3.0)[:, None]
    batch = replace(BATCH, rollout_logp=(old - shift) * BATCH.mask)
    grad, log = gradient(plain(importance_cap=1.5), batch)
    factor = torch.where(torch.arange(len(BATCH)) % 2 == 0, 1.2214028, 1.5)
    adv = (BATCH.reward - group_mean(BATCH.reward, BATCH.group)) * factor

    class Weighted(Plain):
        def prepare(self, batch, seen):
            return {"adv": adv}

    algorithm = plain()
    algorithm.__class__ = Weighted
    try:
        want, _ = gradient(algorithm)
    finally:
        algorithm.__class__ = Plain
    torch.testing.assert_close(grad, want, atol=1e-5 * float(want.abs().max()), rtol=1e-3)
    assert 0.2 < float(log["mismatch"]) < 3.0


def test_mismatch_is_zero_if_the_engine_agrees(plain):
    old = plain(epochs=2).look(BATCH).old
    metrics = plain().update(replace(BATCH, rollout_logp=old))
    assert float(metrics["mismatch"]) < 1e-6
    assert float(metrics["kl_old"]) == 0
    assert 0 < float(metrics["entropy"]) < 4.16  # log 64


def test_value_head_learns_from_every_row(tiny):
    algorithm = make(Valued, tiny, lr=1e-2)
    assert algorithm.state["phi"].shape == (33,)
    batch = replace(BATCH, reward=torch.ones(len(BATCH)))  # no advantage at all
    seen = algorithm.look(batch)
    assert float(seen.value.abs().max()) == 0
    _, packed = next(algorithm.micro_batches(batch, torch.arange(len(batch))))
    hidden = algorithm.model.look(packed).hidden.detach()
    algorithm.update(batch)
    # d mean (v - 1)^2 = -2 mean(h, 1) at v = 0, and Adam's first step is against its sign
    want = 2 * torch.cat([hidden.mean(0), torch.ones(1)]).sign() * 1e-2 / 2
    torch.testing.assert_close(algorithm.state["phi"], want, atol=1e-5, rtol=1e-4)
    errors = [float(algorithm.update(batch)["loss"]) for _ in range(20)]
    assert errors[-1] < 0.1 * errors[0]
    assert not algorithm.state["phi"].requires_grad
    assert algorithm.trained == ["theta", "phi"]


def test_saved_state_continues_alike(plain, tiny):
    settings = {"epochs": 2, "minibatches": 2, "lr": 1e-2}
    algorithm = plain(**settings)
    algorithm.update(BATCH)
    saved = {
        "state": {name: value.clone() for name, value in algorithm.state.items()},
        "rng": algorithm.rng.get_state().clone(),
    }
    first = algorithm.update(BATCH)
    fresh = make(Plain, tiny, Setup(None, None, 1, seed=9), **settings)
    fresh.load_state_dict(saved)
    again = fresh.update(BATCH)
    assert torch.equal(fresh.model.theta, algorithm.model.theta)
    assert {k: float(v) for k, v in again.items()} == {k: float(v) for k, v in first.items()}


@pytest.mark.parametrize("name", ["prompts", "epochs", "lr", "top_p", "temperature"])
def test_settings_that_make_no_sense_are_refused(name):
    with pytest.raises(ValueError, match=f"^{name} must be "):
        Config(**{name: 0})


def test_rows_keep_the_numbers_of_their_prompts():
    part = BATCH.rows(torch.tensor([5, 0]))
    assert isinstance(part, TokenGroups) and part.group.tolist() == [1, 0]
    assert torch.equal(part.tokens[0], BATCH.tokens[5])
    assert torch.equal(part.lengths, BATCH.mask.sum(-1)[[5, 0]])


def test_half_precision_forward_keeps_float32_parameters(plain, tiny):
    want, _ = gradient(plain())
    algorithm = make(Plain, tiny, dtype="bfloat16")
    got, log = gradient(algorithm)
    assert algorithm.model.theta.dtype == got.dtype == torch.float32
    assert float(torch.cosine_similarity(got, want, dim=0)) > 0.99
    assert float(log["kl_old"]) == 0


def test_adapters_are_all_that_is_trained(tiny):
    pytest.importorskip("peft")
    algorithm = make(Plain, tiny, lora_rank=2, lr=1e-2)
    names = [n for n, p in algorithm.model.net.named_parameters() if p.requires_grad]
    assert names and all("lora_" in name for name in names)
    frozen = {n: p.clone() for n, p in algorithm.model.net.named_parameters() if "lora_" not in n}
    one, log = gradient(algorithm)
    assert float(log["grad_norm"]) > 0
    for name, value in algorithm.model.net.named_parameters():
        assert "lora_" in name or torch.equal(value, frozen[name]), name
    fresh = make(Plain, tiny, lora_rank=2, micro_tokens=40, pack=False)
    other, _ = gradient(fresh)
    torch.testing.assert_close(other, one, atol=1e-5 * float(one.abs().max()), rtol=1e-4)
