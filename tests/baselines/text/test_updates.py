"""Every method of the text family on a real model: hooks, settings, and the update as a whole."""

from dataclasses import replace

import pytest
import torch
from tiny_lm import make, make_batch

from pgbench.baselines.text.bnpo import bnpo_advantage
from pgbench.baselines.text.rloo import rloo_advantage
from pgbench.catalogue.registry import ALGOS, resolve
from pgbench.errors import PgbenchError
from pgbench.learning.ops.groups import whiten
from pgbench.lm.rows import Seen
from pgbench.settings.config import build

KINDS = {spec.name: resolve(spec) for spec in ALGOS.all() if spec.family == "text"}
BATCH = make_batch(holes=True, seed=1)
KL_IN_REWARD = ["rloo", "remax", "ppo", "reinforce++"]
COMPARES = ["grpo", "dr-grpo", "dapo", "gspo", "cispo", "gpg", "bnpo"]


def gradient(algorithm, batch=BATCH):
    metrics = algorithm.update(batch)
    return algorithm.model.grad.clone(), metrics


@pytest.mark.parametrize("name", KINDS)
def test_batching_and_skipping_do_not_change_an_update(tiny, name):
    algorithm = make(KINDS[name], tiny)
    start = {key: value.clone() for key, value in algorithm.state.items()}
    one, log = gradient(algorithm)
    scale = float(one.abs().max())
    assert scale > 0 and all(bool(x.isfinite()) for x in log.values())
    for settings in ({"micro_tokens": 40}, {"pack": False}, {}):
        algorithm.load_state_dict({"state": start, "rng": algorithm.rng.get_state()})
        algorithm.config = replace(algorithm.config, **settings)
        # At last with rows that have no advantage.
        algorithm.skips_zero = KINDS[name].skips_zero and bool(settings)
        other, log_2 = gradient(algorithm)
        torch.testing.assert_close(other, one, atol=1e-5 * scale, rtol=1e-4)
        torch.testing.assert_close(log_2["loss"], log["loss"], atol=1e-6, rtol=1e-4)
        if settings:
            for key in log:
                torch.testing.assert_close(log_2[key], log[key], atol=1e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", KINDS)
def test_responses_that_are_reinforced_become_likelier(tiny, name):
    """A few steps on one batch: right responses gain on wrong ones of the same prompt."""
    batch = make_batch(prompts=2, seed=3)
    right = torch.tensor([True, False, True, False] * 2)
    batch = replace(batch, reward=right.float(), correct=right, greedy=torch.full((2,), 0.5))
    algorithm = make(KINDS[name], tiny, lr=1e-3, epochs=1)

    def gap():
        packed = next(algorithm.micro_batches(batch, torch.arange(8)))[1]
        logp = algorithm.model.look(packed).logp.detach()
        mean = logp.sum(-1) / batch.mask.sum(-1)
        return float(mean[right].mean() - mean[~right].mean())

    before = gap()
    for _ in range(5):
        algorithm.update(batch)
    assert gap() > before + 0.05


@pytest.mark.parametrize("name", KINDS)
def test_several_steps_a_batch(tiny, name):
    algorithm = make(KINDS[name], tiny, epochs=2, minibatches=2, lr=1e-3)
    log = algorithm.update(BATCH)
    assert all(bool(x.isfinite()) for x in log.values())
    assert float(log["kl_old"]) > 0


@pytest.mark.parametrize("name", COMPARES)
def test_one_response_a_prompt_is_refused_where_they_are_compared(name):
    with pytest.raises(PgbenchError, match=f"config of {name}: group must be at least 2, not 1"):
        build(KINDS[name].Config, {"group": "1"}, name)


def test_none_is_a_value_of_the_bounds_that_may_be_absent():
    assert build(KINDS["grpo"].Config, {"dual": "3"}, "grpo").dual == 3.0
    assert build(KINDS["bnpo"].Config, {"cap": "none", "dual": "none"}, "bnpo").cap is None


def test_all_take_as_many_responses_a_step():
    """Of the defaults; ReMax's greedy ones count."""
    for name, kind in KINDS.items():
        c = kind.Config()
        assert c.prompts * (c.group + kind.greedy) == 256, name
        assert (c.epochs, c.minibatches) == (1, 1)
        assert getattr(c, "beta", 0.0) == 0.0
        assert kind.needs_of(c) <= {"value", "entropy"}  # no reference, no second old pass


@pytest.mark.parametrize("name", KL_IN_REWARD)
def test_kl_in_the_reward(tiny, name):
    algorithm = make(KINDS[name], tiny, beta=0.1)
    assert {"old", "ref"} <= algorithm.needs_of(algorithm.config)
    seen = algorithm.look(BATCH)
    torch.testing.assert_close(seen.old, seen.ref)
    free = make(KINDS[name], tiny)
    plain = free.prepare(BATCH, replace(seen, ref=None))["adv"]
    # While the policy is the reference the penalty is nothing.
    torch.testing.assert_close(algorithm.prepare(BATCH, seen)["adv"], plain, atol=1e-5, rtol=1e-4)
    away = replace(seen, ref=seen.old - torch.rand(BATCH.mask.shape))
    assert not torch.allclose(algorithm.prepare(BATCH, away)["adv"], plain, atol=1e-3)
    algorithm.update(BATCH)


def test_kl_in_the_reward_of_rloo(tiny):
    algorithm = make(KINDS["rloo"], tiny, beta=0.1)
    old = torch.zeros_like(BATCH.mask)
    seen = Seen(old=old, ref=old - 0.5)  # each token costs 0.05
    want = rloo_advantage(BATCH.reward - 0.05 * BATCH.lengths, BATCH.group)
    torch.testing.assert_close(algorithm.prepare(BATCH, seen)["adv"], want)


def test_grpo_with_a_reference(tiny):
    algorithm = make(KINDS["grpo"], tiny, beta=0.04, lr=1e-2)
    assert float(algorithm.update(BATCH)["kl_ref"]) == 0
    assert float(algorithm.update(BATCH)["kl_ref"]) > 1e-3


def test_reinforce_pp_whitens_over_tokens(tiny):
    for baseline in ("none", "group"):
        adv = make(KINDS["reinforce++"], tiny, baseline=baseline).prepare(BATCH, Seen())["adv"]
        values = adv[BATCH.mask > 0]
        assert abs(float(values.mean())) < 1e-6
        assert float(values.var()) == pytest.approx(1, abs=1e-4)


def test_ppo_without_a_kl_term_credits_the_reward_less_the_value(tiny):
    algorithm = make(KINDS["ppo"], tiny)
    value = torch.randn(BATCH.mask.shape, generator=torch.Generator().manual_seed(2)) * BATCH.mask
    out = algorithm.prepare(BATCH, Seen(value=value))
    want = (BATCH.reward[:, None] - value) * BATCH.mask
    torch.testing.assert_close(out["adv"], whiten(want, BATCH.mask), atol=1e-4, rtol=1e-4)
    target = BATCH.reward[:, None] * BATCH.mask
    torch.testing.assert_close(out["target"] * BATCH.mask, target, atol=1e-5, rtol=1e-5)
    before = algorithm.state["phi"].clone()
    assert float(algorithm.update(BATCH)["value_loss"]) > 0
    assert not torch.equal(algorithm.state["phi"], before)


def test_dapo_keeps_prompts_with_right_and_wrong_responses(tiny):
    algorithm = make(KINDS["dapo"], tiny)
    batch = make_batch(prompts=4, group=4, seed=4)
    correct = torch.tensor([1, 0, 0, 1] + [1] * 4 + [0] * 4 + [0, 0, 0, 1]).bool()
    # Rewards that differ within a prompt do not make up for verdicts that do not.
    batch = replace(batch, correct=correct, reward=torch.rand(16))
    assert algorithm.keep(batch).tolist() == [True, False, False, True]
    # A prompt without rows is not kept.
    part = replace(batch.rows(torch.arange(12)), prompts=batch.prompts)
    assert algorithm.keep(part).tolist() == [True, False, False, False]
    assert make(KINDS["dapo"], tiny, max_rounds=1).keep(batch) is None
    with pytest.raises(ValueError, match="max_rounds must be at least 1, not 0"):
        KINDS["dapo"].Config(max_rounds=0)


def test_dapo_punishes_long_responses_softly(tiny):
    batch = make_batch(prompts=1, group=4, length=10, limit=10)
    lengths = torch.tensor([10, 9, 8, 2])
    mask = (torch.arange(10) < lengths[:, None]).float()
    batch = replace(batch, mask=mask, valid=mask > 0, reward=torch.ones(4))
    shaped = make(KINDS["dapo"], tiny).shape(batch)  # k = 2 tokens, w = 1/2
    torch.testing.assert_close(shaped.reward, torch.tensor([0.5, 0.75, 1.0, 1.0]))
    assert make(KINDS["dapo"], tiny, overlong=0.0).shape(batch) is batch
    with pytest.raises(ValueError, match=r"overlong must be in \[0, 1\]"):
        KINDS["dapo"].Config(overlong=4096)


def test_bnpo_takes_any_bounded_reward(tiny):
    algorithm = make(KINDS["bnpo"], tiny)
    signs = replace(BATCH, reward=2 * BATCH.reward - 1)
    want = algorithm.prepare(BATCH, Seen())["adv"]
    torch.testing.assert_close(want, bnpo_advantage(BATCH.reward, BATCH.group)[0])
    with pytest.raises(PgbenchError, match=r"rewards from -1 to 1 leave \[0, 1\]; set low and"):
        algorithm.prepare(signs, Seen())
    algorithm = make(KINDS["bnpo"], tiny, low=-1.0)
    torch.testing.assert_close(algorithm.prepare(signs, Seen())["adv"], want)
    with pytest.raises(ValueError, match=r"low \(1.0\) must be below high \(1.0\)"):
        KINDS["bnpo"].Config(low=1.0)


def test_bnpo_decomposes(tiny):
    algorithm = make(KINDS["bnpo"], tiny, decompose=True)
    twice = replace(BATCH, parts=BATCH.reward[:, None].expand(-1, 2))
    single = make(KINDS["bnpo"], tiny).prepare(BATCH, Seen())
    for name, value in algorithm.prepare(twice, Seen()).items():
        torch.testing.assert_close(value, single[name])
    batch = make_batch(prompts=6, parts=2, seed=5)
    one, other = (bnpo_advantage(batch.parts[:, k], batch.group)[0] for k in (0, 1))
    torch.testing.assert_close(algorithm.prepare(batch, Seen())["adv"], (one + other) / 2)


def test_bnpo_logs_its_density(tiny):
    log = make(KINDS["bnpo"], tiny).update(BATCH)
    own = bnpo_advantage(BATCH.reward, BATCH.group)[1]
    for name in ("alpha", "beta", "max_weight", "capped_share"):
        assert float(log[name]) == pytest.approx(float(own[name][0]), rel=1e-5)


def test_gpg_logs_its_scale(tiny):
    batch = replace(BATCH, reward=torch.where(BATCH.group < 1, BATCH.reward, torch.ones(16)))
    assert float(make(KINDS["gpg"], tiny).update(batch)["alpha"]) == pytest.approx(4)


def test_remax_needs_greedy_responses():
    assert [name for name, kind in KINDS.items() if kind.greedy] == ["remax"]


@pytest.mark.parametrize("name", KINDS)
def test_learns_to_answer_with_one_token(tiny, name):
    """Bandit of 64 arms, sampled from the model itself: the right arm's probability grows."""
    # Eq. 3 of riskpo only ever pushes down, which in large steps is more noise than signal.
    lr, steps = (1e-3, 200) if name == "riskpo" else (1e-2, 60)
    algorithm = make(KINDS[name], tiny, lr=lr)
    prompt, right = (5, 6, 7), 9
    rng = torch.Generator().manual_seed(0)

    def probabilities():
        ids = torch.tensor([prompt])
        with torch.no_grad():
            return algorithm.model.net(input_ids=ids).logits[0, -1].softmax(-1)

    start = float(probabilities()[right])
    for _ in range(steps):
        p = probabilities()
        drawn = torch.multinomial(p, 64, True, generator=rng)[:, None]
        hit = (drawn == right).squeeze(-1)
        group = torch.arange(4).repeat_interleave(16)
        batch = replace(
            make_batch(prompts=4, group=16, length=1, limit=1),
            prompts=(prompt,) * 4, tokens=drawn, valid=torch.ones(64, 1, dtype=torch.bool),
            mask=torch.ones(64, 1), group=group, reward=hit.float(), correct=hit,
            parts=hit.float()[:, None], finished=torch.ones(64, dtype=torch.bool),
            rollout_logp=p.log()[drawn], greedy=(p.argmax() == right).float().expand(4),
        )  # fmt: skip
        algorithm.update(batch)
    assert start < 0.3 and float(probabilities()[right]) > max(0.9, 2 * start)
