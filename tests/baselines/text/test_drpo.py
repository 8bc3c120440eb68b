"""DRPO: weights by length among right responses, and DisCO's objective with them."""

from dataclasses import replace

import pytest
import torch
from near import near
from tiny_lm import make, make_batch
from token_groups import batch

from pgbench.baselines.text.disco import DisCO
from pgbench.baselines.text.drpo import DRPO, length_reward, omega
from pgbench.baselines.text.grpo import grpo_advantage
from pgbench.errors import PgbenchError
from pgbench.learning.ops.groups import Totals
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import build, canonical, plain

F64 = torch.float64


def weights(lengths, right, lam, longest=8000, group=None):
    group = torch.zeros(len(lengths), dtype=torch.long) if group is None else group
    r = length_reward(torch.tensor(lengths, dtype=F64), longest)
    return omega(r, torch.tensor(right, dtype=F64), group, lam)


def responses(rewards, lengths, limit=16):
    """One batch of those rewards a prompt and lengths a response."""
    data = batch(rewards, length=max(lengths))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).float()
    return replace(data, mask=mask, valid=mask > 0, limit=limit)


def stepped(algorithm, data, off=0.0, seed=0):
    """Loss, gradient, log and what `ahead` found, at random log-probabilities."""
    rng = torch.Generator().manual_seed(seed)
    logp = -3 * torch.rand(data.mask.shape, generator=rng, dtype=F64)
    extra = {k: x.to(F64) for k, x in algorithm.prepare(data, Seen()).items()}
    part = Rows(
        mask=data.mask.to(F64), group=data.group, reward=data.reward, finished=data.finished,
        old=logp + off if off else None, ref=None, entropy=data.mask,
        totals=Totals(len(data), int(data.mask.sum()), data.limit), extra=extra,
    )  # fmt: skip
    found = algorithm.ahead(logp, part)
    leaf = logp.clone().requires_grad_()
    loss, log = algorithm.loss(leaf, replace(part, extra=extra | found))
    return loss.detach(), torch.autograd.grad(loss, leaf)[0], log, found


@pytest.fixture(scope="module")
def drpo(tiny):
    """`drpo(lam=0.5)`: the algorithm with those settings, on one model."""
    algorithm = make(DRPO, tiny)

    def get(**settings):
        algorithm.config = DRPO.Config(model=str(tiny), **settings)
        return algorithm

    return get


def test_weights_worked_out():
    near(weights([2000, 4000], [1, 1], 0.5), [0.622459, 0.377541])
    # Only differences count: log odds of (l_j - l_i) / (C lam).
    near(weights([3000, 5000], [1, 1], 0.5), [0.622459, 0.377541])
    out = weights([1000, 2500, 7000], [1, 1, 1], 0.3)
    near((out[0] / out[2]).log(), 6000 / (8000 * 0.3))


def test_weights_sum_to_one_among_the_right_of_a_prompt():
    group = torch.tensor([0, 0, 0, 2, 2, 3, 3])
    out = weights([3, 9, 5, 4, 4, 8, 2], [1, 1, 0, 0, 0, 1, 0], 0.1, 10, group)
    assert float(out[2]) == float(out[3]) == float(out[4]) == float(out[6]) == 0
    near(torch.zeros(4, dtype=F64).index_add_(0, group, out), [1.0, 0.0, 0.0, 1.0])
    assert float(out[5]) == 1  # a single one: its length has no effect
    assert float(out[0]) > float(out[1]) > 0


def test_limits_of_lam():
    lengths, right = [2, 5, 9, 2, 4], [1, 1, 1, 1, 0]
    uniform = [0.25, 0.25, 0.25, 0.25, 0.0]
    near(weights(lengths, right, None, 10), uniform)
    near(weights(lengths, right, 1e9, 10), uniform)
    for lam in (1e-3, 1e-9):  # the shortest right ones
        near(weights(lengths, right, lam, 10), [0.5, 0, 0, 0.5, 0])
    near(weights([7, 7, 7], [1, 0, 1], 0.1, 10), [0.5, 0, 0.5])


def test_more_weight_on_short_ones_as_lam_falls():
    mean = [
        float((weights([2, 4, 9], [1, 1, 1], lam, 10) * torch.tensor([2.0, 4, 9])).sum())
        for lam in (1e3, 1.0, 0.3, 0.1, 0.01)
    ]
    assert mean == sorted(mean, reverse=True) and mean[0] == pytest.approx(5, abs=0.01)


def test_a_length_reward_in_grpo_pushes_right_responses_down_and_this_does_not(drpo):
    """3 right of 6, the third one long."""
    reward, group = torch.tensor([1, 0.9, 0.1, 0, 0, 0]), torch.zeros(6, dtype=torch.long)
    near(grpo_advantage(reward, group, 0.0, unbiased=False)[2], -0.532, 1e-3)
    near(grpo_advantage((reward > 0).float(), group, 0.0, unbiased=False)[2], 1.0)
    data = responses([[1, 1, 1, 0, 0, 0]], [1, 2, 16, 5, 6, 7])
    _, _, log, found = stepped(drpo(), data)
    assert bool((found["gain"][:3] > 0).all()) and bool((found["gain"][3:] < 0).all())
    assert float(log["wrong_sign"]) == 0


def test_the_constant_is_the_limit_not_the_longest_of_a_batch(drpo):
    lengths = [2, 6, 4, 3]
    out = drpo(lam=0.5).prepare(responses([[1, 1, 1, 0]], lengths, limit=8), Seen())["share"]
    near(out, weights(lengths, [1, 1, 1, 0], 0.5, 8))
    out = drpo(lam=0.5, longest=100).prepare(responses([[1, 1, 1, 0]], lengths), Seen())["share"]
    near(out, weights(lengths, [1, 1, 1, 0], 0.5, 100))


def test_padding_and_words_of_an_environment_are_no_length(drpo):
    data = responses([[1, 1, 0, 0]], [2, 6, 4, 3], limit=8)
    mask = data.mask.clone()
    mask[1, 1:5] = 0  # as long as the first one, but for what an environment said
    near(drpo().prepare(replace(data, mask=mask), Seen())["share"], [0.5, 0.5, 0, 0])


def test_another_preference(tiny):
    class Finished(DRPO):
        def preference(self, data):
            return data.finished.float()

    data = responses([[1, 1, 0, 0]], [2, 6, 4, 3])
    data = replace(data, finished=torch.tensor([False, True, True, True]))
    out = make(Finished, tiny, lam=1.0).prepare(data, Seen())["share"]
    near(out[1] / out[0], 2.718282, 1e-5)


def test_objective_worked_out(drpo):
    """s_N = (-1, -2), tau = 1: log-mean-exp -1.379885, softmax (.731059, .268941)."""
    algorithm = drpo(tau=1.0, lam=0.5, longest=8)
    data = responses([[1, 1, 0, 0], [1, 1, 1, 1]], [2, 4, 3, 3, 1, 2, 3, 4])
    extra = algorithm.prepare(data, Seen())
    levels = torch.tensor([-0.5, -3.0, -1.0, -2.0, -1.0, -1.0, -1.0, -1.0])
    logp = levels[:, None].expand(8, 4)
    part = Rows(
        mask=data.mask, group=data.group, reward=data.reward, finished=data.finished, old=None,
        ref=None, entropy=data.mask, totals=Totals(8, int(data.mask.sum()), 8), extra=extra,
    )  # fmt: skip
    found = algorithm.ahead(logp, part)
    # omega of lengths 2 and 4, C = 8, lam = 1/2 as above; the second prompt adds 0 and counts.
    want = 0.622459 * -0.5 + 0.377541 * -3.0 + 1.379885
    near(found["objective"], want / 2, 1e-5)
    slopes = [0.622459, 0.377541, -0.731059, -0.268941, 0, 0, 0, 0]
    near(found["gain"], 8 / 2 * torch.tensor(slopes), 1e-5)
    only_mixed = drpo(tau=1.0, lam=0.5, longest=8, count_all=False).ahead(logp, part)
    near(only_mixed["objective"], want, 1e-5)


@pytest.mark.parametrize("settings", [{}, {"score": "ratio"}, {"base": "disco-b"}, {"tau": 0.5}])
@pytest.mark.parametrize("off", [0.0, 0.3])
def test_without_lam_or_with_equal_lengths_it_is_disco(tiny, drpo, settings, off):
    data = responses([[1, 1, 0, 0], [1, 0, 1, 0]], [2, 6, 4, 3, 1, 2, 5, 5])
    same = responses([[1, 1, 0, 0], [1, 0, 1, 0]], [4, 4, 3, 2, 5, 1, 5, 2])
    disco = make(DisCO, tiny, **settings)
    for lam, case in ((None, data), (1e9, data), (0.1, same)):
        one, other = stepped(drpo(lam=lam, **settings), case, off), stepped(disco, case, off)
        for a, b in zip(one[:2], other[:2], strict=True):
            near(a, b, 1e-7)
    assert not torch.allclose(
        stepped(drpo(**settings), data, off)[1], stepped(disco, data, off)[1], atol=1e-4
    )


@pytest.mark.parametrize(("penalty", "factor"), [("released", 0.5), ("paper", 1.0)])
def test_loss_and_gradient_by_hand(drpo, penalty, factor):
    data = responses([[1, 1, 0], [0, 0, 1]], [2, 6, 4, 3, 1, 2])
    algorithm = drpo(penalty=penalty, kl_weight=4.0, kl_radius=0.05)
    loss, gradient, log, found = stepped(algorithm, data, off=0.3)
    j, n, tokens = log["objective"], len(data), data.mask.sum()
    near(loss, -j + factor * 4 * 0.25**2)
    near(torch.zeros(2, dtype=F64).index_add_(0, data.group, found["gain"]), [0.0, 0.0])
    pull = 2 * factor * 4 * 0.25
    want = -(found["gain"] / n / data.mask.sum(-1))[:, None] - pull / tokens
    near(gradient, want * data.mask)
    # Inside the region the gradient is that of J alone, and so it is on the policy itself.
    free = stepped(drpo(kl_weight=0.0), data, off=0.3)
    inside = stepped(drpo(kl_radius=0.4), data, off=0.3)
    near(inside[1], free[1])
    near(inside[0], -inside[2]["objective"])
    assert float(stepped(drpo(), data)[2]["kl"]) == 0


def test_one_class_only_leaves_the_constraint(drpo):
    for rewards in ([[1, 1, 1]], [[0, 0, 0]], [[0.5, 0.5, 1]]):
        data = responses(rewards, [2, 6, 4])
        assert float(stepped(drpo(), data)[1].abs().sum()) == 0
        _, gradient, log, _ = stepped(drpo(), data, off=0.3)
        assert float(log["objective"]) == 0
        pull = -1e3 * (0.3 - 1e-4) / float(data.mask.sum())
        near(gradient, pull * data.mask)


def test_a_response_that_is_cut_off_is_as_long_as_may_be(drpo):
    """It is wrong by the verifier, and would be the last of the right ones."""
    out = drpo(lam=0.1).prepare(responses([[1, 1, 0, 0]], [2, 16, 16, 3]), Seen())
    assert float(out["share"][1]) < 1e-3 and float(out["wrong"][2]) == 1


def test_shorter_right_responses_gain_on_longer_ones(tiny):
    """Steps on one batch of right responses of 2 and of 12 tokens."""
    data = make_batch(prompts=2, seed=3, limit=12)
    right = torch.tensor([True, True, False, False] * 2)
    lengths = torch.tensor([2, 12, 6, 6] * 2)
    mask = (torch.arange(12) < lengths[:, None]).float()
    data = replace(
        data, tokens=torch.randint(1, 64, (8, 12), generator=torch.Generator().manual_seed(0)),
        valid=mask > 0, mask=mask, reward=right.float(), correct=right,
    )  # fmt: skip

    def gain(lam):
        algorithm = make(DRPO, tiny, lr=1e-3, lam=lam)

        def gap():
            packed = next(algorithm.micro_batches(data, torch.arange(8)))[1]
            s = (algorithm.model.look(packed).logp.detach() * mask).sum(-1) / lengths
            return float((s[0::4] - s[1::4]).mean())

        before = gap()
        for _ in range(5):
            algorithm.update(data)
        return gap() - before

    assert gain(0.1) > gain(None) + 0.1


def test_several_steps_do_not_depend_on_micro_batches(tiny):
    data, out = make_batch(seed=2, holes=True), []
    for tokens in (4096, 40):
        algorithm = make(DRPO, tiny, epochs=3, lr=1e-3, micro_tokens=tokens)
        out.append((algorithm.update(data)["loss"], algorithm.model.theta.detach().clone()))
    torch.testing.assert_close(out[0][0], out[1][0], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(out[0][1], out[1][1], atol=1e-4, rtol=1e-3)


def test_nothing_but_weights_is_carried_over(tiny):
    data = make_batch(seed=4)
    one, other = (make(DRPO, tiny, epochs=2, minibatches=2, lr=1e-3) for _ in range(2))
    one.update(data)
    other.load_state_dict(one.state_dict())
    logs = [x.update(data) for x in (one, other)]
    assert all(torch.equal(logs[0][name], logs[1][name]) for name in logs[0])
    assert torch.equal(one.model.theta, other.model.theta)


def test_lam_may_be_infinite():
    for text in ("inf", "none", "None", "1e999"):
        config = build(DRPO.Config, {"lam": text}, "drpo")
        assert config.lam is None and config == DRPO.Config(lam=None)
        assert '"lam":null' in canonical(plain(config))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lam": "0"}, "lam must be above 0, not 0.0"),
        ({"lam": "-inf"}, "lam must be a finite number"),
        ({"lam": "nan"}, "lam must be a finite number"),
        ({"longest": "-5"}, "longest must be at least 0, not -5"),
        ({"tau": "3", "base": "disco-b"}, "tau is an option of base=disco"),
        ({"kl_weight": "-1"}, "kl_weight must be at least 0"),
        ({"group": "1"}, "group must be at least 2"),
    ],
)
def test_settings_without_meaning_are_refused(settings, message):
    with pytest.raises(PgbenchError, match=message):
        build(DRPO.Config, settings, "drpo")
