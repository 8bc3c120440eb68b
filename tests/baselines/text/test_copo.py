"""COPO: entropy of answers, the global reward, the blend and its gates, degenerate batches."""

import math
from dataclasses import replace

import pytest
import torch
from near import near
from tiny_lm import make, make_batch
from token_groups import batch

from pgbench.baselines.text.copo import (
    COPO,
    GATES,
    Config,
    answer_entropy,
    consistency,
    global_advantage,
    local_weight,
)
from pgbench.baselines.text.grpo import GRPO, grpo_advantage
from pgbench.errors import PgbenchError
from pgbench.learning.ops.groups import Totals
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import build

F64 = torch.float64


def with_answers(rewards, answers, written=None):
    """A batch with these final answers, a list a prompt, by value and as written."""
    flat = torch.tensor([a for group in answers for a in group])
    other = flat if written is None else torch.tensor([a for group in written for a in group])
    return replace(batch(rewards), answers=torch.stack([flat, other], -1))


# Four prompts: mixed, all right, all wrong and agreeing, all wrong and all different.
REWARDS = [[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
ANSWERS = [[7, 7, 7, 3], [5, 5, 5, 5], [2, 2, 2, 2], [1, 2, 3, 4]]
FOUR = with_answers(REWARDS, ANSWERS)
ZEROS = torch.zeros(4, dtype=torch.long)


def test_worked_numbers():
    entropy = answer_entropy(torch.tensor([7, 7, 7, 3]), ZEROS)
    near(entropy, [0.811278] * 4)
    near(0.75 * consistency(entropy, ZEROS), [0.521828] * 4)
    reward = torch.ones(4)
    near(local_weight(entropy, reward, reward, 20, 1.5, "only-soft"), [1.0419e-6] * 4, 1e-9)
    near(local_weight(entropy, reward, reward, 5, 1.0, "only-soft"), [0.280172] * 4)


def test_entropy_is_in_bits_and_does_not_know_the_names():
    group = FOUR.group
    entropy = answer_entropy(FOUR.answers[:, 0], group)
    near(entropy[[0, 4, 8, 12]], [0.811278, 0, 0, 2])
    near(answer_entropy(1000 - 3 * FOUR.answers[:, 0], group), entropy)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    near(answer_entropy(FOUR.answers[order, 0], group[order]), entropy[order])
    # Numbers of prompts may have gaps, and prompts different sizes.
    near(answer_entropy(torch.tensor([1, 2, 1]), torch.tensor([5, 5, 0])), [1, 1, 0])


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_consistency_from_one_to_one_over_g(size):
    group = torch.zeros(size, dtype=torch.long)
    near(consistency(answer_entropy(group, group), group), [1.0] * size, 1e-12)
    distinct = answer_entropy(torch.arange(size), group)
    near(distinct, [math.log2(size)] * size, 1e-12)
    near(consistency(distinct, group), [1 / size] * size, 1e-12)


def test_global_advantage():
    group = FOUR.group
    shared = torch.tensor([0.521828, 1, 0, 0], dtype=F64)
    adv = global_advantage(shared[group], group)
    near(adv[::4], (shared - shared.mean()) / (shared.std() + 1e-6))
    assert abs(float(adv[::4].sum())) < 1e-9
    for prompt in range(4):
        assert len(set(adv[group == prompt].tolist())) == 1
    assert float(adv[4]) > 0 > float(adv[8])  # all right pushed up, all wrong down
    # A prompt counts once, however many responses it has.
    part = torch.tensor([0, 4, 5, 6, 8, 12, 13])
    near(global_advantage(shared[group][part], group[part]), adv[part])


def test_what_is_prepared(tiny):
    out = make(COPO, tiny).prepare(FOUR, Seen())
    group, entropy = FOUR.group, answer_entropy(FOUR.answers[:, 0], FOUR.group)
    mean = torch.tensor([0.75, 1, 0, 0], dtype=F64)[group]
    near(out["loc"], grpo_advantage(FOUR.reward, group))
    near(out["glob"], global_advantage(mean * consistency(entropy, group), group).float())
    w = torch.sigmoid(20 * (entropy - 1.5)).float()
    near(out["w"], w)
    near(out["adv"], w * out["loc"] + (1 - w) * out["glob"])
    near(out["answer_entropy"], [(0.811278 + 2) / 4] * 16)
    near(out["local_weight"], [float(w.mean())] * 16)
    mass = out["adv"].abs()
    near(out["same_reward_share"], [float(mass[4:].sum() / mass.sum())] * 16)
    assert 0.5 < float(out["same_reward_share"][0]) < 1
    plain = make(COPO, tiny, consistency=False).prepare(FOUR, Seen())
    near(plain["glob"], global_advantage(mean, group).float())


def test_answers_by_value_or_as_written(tiny):
    both = with_answers([[1, 1], [0, 0]], [[1, 1], [2, 2]], [[1, 3], [2, 2]])  # 1/2 and 0.5
    near(make(COPO, tiny).prepare(both, Seen())["answer_entropy"][0], 0.0)
    written = make(COPO, tiny, answers="written").prepare(both, Seen())
    near(written["answer_entropy"][0], 0.5)


def test_slope():
    entropy = torch.tensor([0.0, 1.4, 1.5, 1.6, 3], dtype=F64)
    one = torch.ones(5)
    near(local_weight(entropy, one, one, 0.0, 1.5, "only-soft"), [0.5] * 5)
    near(local_weight(entropy, one, one, 1e6, 1.5, "only-soft"), [0, 0, 0.5, 1, 1])


def test_gates():
    entropy = torch.full((3,), 1.6, dtype=F64)
    reward, local = torch.tensor([0.0, 1, 1]), torch.tensor([-1.0, 1, 0])
    w = 1 / (1 + math.exp(-2))
    want = {
        "only-soft": [w, w, w], "only-soft-with-coef": [w, w, w], "soft-with-zero": [0, w, w],
        "soft-with-forced": [w, w, 0], "only-zero": [0, 1, 1], "only-forced": [1, 1, 0],
        "only-global": [0, 0, 0], "no-global": [1, 1, 1],
    }  # fmt: skip
    assert set(want) == set(GATES)
    for gate, weights in want.items():
        near(local_weight(entropy, reward, local, 20, 1.5, gate), weights)


def test_equal_rewards_force_the_global_term_whatever_the_rounding(tiny):
    """The mean of ten times 0.1 is not 0.1."""
    odd = with_answers([[0.1] * 10, [0.7] * 10], [[1] * 5 + [2] * 5] * 2)
    out = make(COPO, tiny, gate="only-forced").prepare(odd, Seen())
    assert float(out["loc"].abs().sum()) == float(out["w"].sum()) == 0
    near(out["same_reward_share"][0], 1.0)


def test_no_global_is_grpo(tiny):
    one = make_batch(prompts=4, seed=3)
    settings = {"epochs": 2, "minibatches": 2, "lr": 1e-2, "dual": 3.0}
    copo, grpo = make(COPO, tiny, gate="no-global", **settings), make(GRPO, tiny, **settings)
    log, want = copo.update(one), grpo.update(one)
    assert torch.equal(copo.state["theta"], grpo.state["theta"])
    for name, value in want.items():
        near(log[name], value, 1e-6)


def test_only_global_and_the_constant(tiny):
    near(
        make(COPO, tiny, gate="only-global").prepare(FOUR, Seen())["adv"],
        make(COPO, tiny).prepare(FOUR, Seen())["glob"],
    )
    half = make(COPO, tiny, gate="only-soft-with-coef", coef=0.5).prepare(FOUR, Seen())
    near(half["glob"], make(COPO, tiny).prepare(FOUR, Seen())["glob"] / 2)


def test_degenerate_batches(tiny):
    algorithm = make(COPO, tiny)
    # One prompt: nothing to compare it with.
    one = with_answers([[1, 0, 0, 0]], [[1, 2, 3, 3]])
    out = algorithm.prepare(one, Seen())
    assert float(out["glob"].abs().sum()) == 0
    near(out["adv"], out["w"] * out["loc"])
    # All prompts do as well: the local term alone.
    even = with_answers([[1, 0, 0, 0], [0, 0, 1, 0]], [[1, 2, 3, 4], [1, 2, 3, 4]])
    out = algorithm.prepare(even, Seen())
    near(out["glob"], [0] * 8)
    near(out["adv"], out["w"] * grpo_advantage(even.reward, even.group))
    # All wrong everywhere.
    wrong = with_answers([[0] * 4, [0] * 4], [[1, 2, 3, 4], [1] * 4])
    out = algorithm.prepare(wrong, Seen())
    assert all(float(out[name].abs().sum()) == 0 for name in ("adv", "loc", "glob"))
    before = algorithm.state["theta"].clone()
    algorithm.update(wrong)
    assert torch.equal(algorithm.state["theta"], before)
    # One response a prompt: nothing local, no factor.
    single = with_answers([[1], [0]], [[1], [2]])
    out = make(COPO, tiny, group=1).prepare(single, Seen())
    near(out["adv"], [0.5**0.5, -(0.5**0.5)], 1e-5)


def test_terms_that_cancel_are_not_passed_over(tiny):
    """At the ratio one the two cancel; beyond the clip they do not."""
    # loc of the first prompt and glob of both are +-sqrt(1/2); half of each.
    one = with_answers([[1, 0], [0, 0]], [[1, 2], [1, 1]])
    algorithm = make(COPO, tiny, gamma=0.0, eps=0.0, consistency=False)
    out = algorithm.prepare(one, Seen())
    near(out["w"] * out["loc"] + (1 - out["w"]) * out["glob"], [0.5**0.5, 0, *[-(0.5**1.5)] * 2])
    assert bool((out["adv"] != 0).all()) and float(out["adv"][1].abs()) < 1e-7
    # Its gradient, where the ratio has left the bounds, is that of one term.
    mask, gap = torch.ones(1, 1), torch.tensor([[0.5]])
    logp = gap.clone().requires_grad_()
    row = {name: out[name][1:2] for name in ("loc", "glob", "w")}
    total, _ = algorithm.loss(logp, rows_of(torch.zeros(1, 1), mask, **row))
    total.backward()
    near(logp.grad, 0.5 * 0.5**0.5 * gap.exp())


def rows_of(old, mask, **extra):
    n = len(mask)
    log = {name: torch.zeros(n) for name in COPO.watched}
    return Rows(
        mask=mask, group=torch.arange(n), reward=torch.zeros(n), finished=torch.ones(n).bool(),
        old=old, ref=None, entropy=torch.zeros_like(mask), totals=Totals(n, int(mask.sum()), 3),
        extra=extra | log,
    )  # fmt: skip


def test_gradient_on_policy(tiny):
    mask = torch.tensor([[1.0, 1, 0], [1, 1, 1]])
    loc, glob, w = torch.tensor([1.0, -0.5]), torch.tensor([-0.3, 0.7]), torch.tensor([0.2, 0.9])
    logp = torch.full((2, 3), -1.0, requires_grad=True)
    total, log = make(COPO, tiny).loss(logp, rows_of(None, mask, loc=loc, glob=glob, w=w))
    total.backward()
    adv = w * loc + (1 - w) * glob
    near(logp.grad, -(adv / torch.tensor([2.0, 3.0]))[:, None] * mask / 2)
    assert float(log["clip_share"]) == 0


def test_each_term_has_its_own_clip(tiny):
    mask = torch.ones(1, 3)
    gap = torch.tensor([[0.5, -0.5, 2.0]])
    old = torch.full((1, 3), -1.0)
    logp = (old + gap).requires_grad_()
    w = torch.tensor([0.25])
    rows = rows_of(old, mask, loc=torch.tensor([1.0]), glob=torch.tensor([-1.0]), w=w)
    total, log = make(COPO, tiny).loss(logp, rows)
    total.backward()
    r = gap.exp()
    # Local (A > 0): only the second is within 1.2. Global (A < 0): the first alone has a gradient,
    # the second is below 0.8, the third beyond the dual clip.
    local, outer = -torch.tensor([1.2, float(r[0, 1]), 1.2]), torch.tensor([float(r[0, 0]), 0.8, 3])
    near(total, (0.25 * local + 0.75 * outer).mean())
    near(logp.grad, torch.stack([0.75 * r[0, 0], -0.25 * r[0, 1], torch.tensor(0.0)])[None] / 3)
    near(log["clip_share"], (0.25 + 0.75 + 0.25) / 3)


def test_equalised(tiny):
    algorithm = make(COPO, tiny, equalise=True)
    assert set(algorithm.advantages) == {"adv", "loc", "glob"}
    algorithm.update(make_batch(prompts=4, seed=3))
    plain = make(COPO, tiny)
    plain.update(make_batch(prompts=4, seed=3))
    ratio = algorithm.model.grad.norm() / plain.model.grad.norm()
    scaled = plain.model.grad * ratio
    torch.testing.assert_close(algorithm.model.grad, scaled, atol=1e-6, rtol=1e-3)


def test_no_final_answers(tiny):
    with pytest.raises(PgbenchError) as error:
        make(COPO, tiny).update(replace(FOUR, answers=None))
    assert "copo: the verifier of this environment gives no final answers" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": "-1"}, "gamma must be at least 0, not -1"),
        ({"coef": "2"}, "coef is an option of gate=only-soft-with-coef"),
        ({"gate": "only-soft-with-coef", "coef": "0"}, "coef must be above 0, not 0"),
        ({"gate": "no-global", "group": "1"}, "group must be at least 2"),
        ({"gate": "soft"}, "takes only-soft or"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(PgbenchError, match=message):
        build(Config, settings, "copo")
