"""RiskPO: bundle scores, the gradient of Theorem 1, tracked quantiles, the released advantages."""

from dataclasses import replace

import pytest
import torch
from near import near
from tiny_lm import make, make_batch
from token_groups import batch

from pgbench.baselines.text.dr_grpo import dr_grpo_advantage
from pgbench.baselines.text.grpo import GRPO, grpo_advantage
from pgbench.baselines.text.gspo import sequence_ratio
from pgbench.baselines.text.riskpo import (
    Config,
    RiskPO,
    bundle_scores,
    credited,
    mvar_advantage,
    released_advantage,
    table,
)
from pgbench.errors import PgbenchError
from pgbench.learning.ops.groups import Totals
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import build

F64 = torch.float64


def number(x):
    return torch.tensor(x, dtype=F64)


def averse(score, a, b, omega):
    return mvar_advantage(number([score]), number([[a]]), number([[b]]), omega)[0]


def released(score, a, b, **settings):
    c = Config(form="released", **settings)
    return released_advantage(number([score]), number([[a]]), number([[b]]), c)[0]


SCORES = [0.0, 1, 2, 3, 4, 5]


def test_the_defaults_are_those_of_the_paper():
    c = Config()
    assert (c.level_low, c.level_high, c.omega, c.bundle) == (0.2, 0.8, 0.5, 5)
    assert (c.form, c.ratio, c.risk, c.centred) == ("paper", "sequence", "averse", False)


# Three questions of four responses; bundle samples of all three: 1, 2, 1, 2.
MIXED = [[1, 0, 0, 1], [0, 1, 0, 1], [0, 1, 1, 0]]


# Eq. 3


def test_worked_numbers():
    near(averse(SCORES, 1.0, 3.0, 1.0), [-4, -2, -1, 0, 0, 0])
    near(averse(SCORES, 1.0, 3.0, 0.0), [-3, -2, -1, 0, 0, 0])  # min(S, b) - b


def test_shape_of_the_advantage():
    a, b, omega = 1.2, 3.4, 0.7
    s = torch.linspace(-2, 7, 901, dtype=F64)
    adv = averse(s.tolist(), a, b, omega)
    slope = adv.diff() / s.diff()
    assert bool((adv <= 0).all()) and bool((slope >= -1e-9).all())
    assert bool((slope.diff() <= 1e-9).all())  # concave
    near(slope[s[1:] < a], torch.full_like(slope[s[1:] < a], 1 + omega))
    inside = (s[:-1] > a) & (s[1:] < b)
    near(slope[inside], torch.ones(int(inside.sum()), dtype=F64))
    near(adv[s > b], torch.zeros(int((s > b).sum()), dtype=F64))


def test_all_of_the_distribution_is_the_mean_up_to_a_constant():
    near(averse(SCORES, 0.0, 5.0, 0.0), number(SCORES) - 5)


def test_equal_quantiles_leave_the_tail():
    near(averse(SCORES, 2.0, 2.0, 1.5), [-5, -2.5, 0, 0, 0, 0])
    near(averse([3.0] * 4, 3.0, 3.0, 1.5), [0] * 4)


def test_risk_seeking_is_the_mirror_image():
    a, b, omega = 1.0, 3.0, 0.5
    seeking = mvar_advantage(number([SCORES]), number([[a]]), number([[b]]), omega, "seeking")[0]
    mirrored = averse([-s for s in SCORES], -b, -a, omega)
    near(seeking + mirrored, torch.full((6,), a - b, dtype=F64))
    near(seeking, [-2, -2, -1, 0, 1.5, 3])


# Theorem 1


def integral(value, p, low, high):
    """Of the quantile function over the levels [low, high]."""
    value, order = value.sort()
    ends = p[order].cumsum(0)
    starts = ends - p[order]
    return (value * (ends.clamp(low, high) - starts.clamp(low, high))).sum()


def mvar(value, p, alpha, beta, omega):
    return (1 + omega) * integral(value, p, 0.0, alpha) + integral(value, p, alpha, beta)


def quantile(value, p, level):
    value, order = value.sort()
    return value[(p[order].cumsum(0) < level).sum()]


@pytest.mark.parametrize(("alpha", "beta", "omega"), [(0.2, 0.8, 1.5), (0.1, 0.9, 0), (0.3, 1, 1)])
def test_gradient_of_a_bandit_against_finite_differences(alpha, beta, omega):
    rng = torch.Generator().manual_seed(0)
    theta = torch.randn(10, generator=rng, dtype=F64)
    value = torch.randn(10, generator=rng, dtype=F64)
    p = theta.softmax(-1)
    a, b = quantile(value, p, alpha), quantile(value, p, beta)
    adv = mvar_advantage(value[None], a[None, None], b[None, None], omega)[0]
    exact = p * (adv - (p * adv).sum())  # E[A grad log pi] of a softmax
    step = 1e-6 * torch.eye(10, dtype=F64)
    numeric = torch.stack(
        [
            (
                mvar(value, (theta + d).softmax(-1), alpha, beta, omega)
                - mvar(value, (theta - d).softmax(-1), alpha, beta, omega)
            )
            / 2e-6
            for d in step
        ]
    )
    assert float(exact.abs().max()) > 0.01
    near(exact, numeric, 1e-7)


def test_gradient_of_a_bundle_is_shared_by_its_questions():
    """S of two questions that are answered for themselves: both score functions get A(S)."""
    rng = torch.Generator().manual_seed(1)
    theta = torch.randn(2, 5, generator=rng, dtype=F64, requires_grad=True)
    value = torch.rand(2, 5, generator=rng, dtype=F64)
    score = (value[0][:, None] + value[1]).flatten()

    def joint(theta):
        logp = theta.log_softmax(-1)
        return (logp[0][:, None] + logp[1]).flatten()

    logp = joint(theta)
    p = logp.exp().detach()
    a, b = quantile(score, p, 0.2), quantile(score, p, 0.8)
    adv = mvar_advantage(score[None], a[None, None], b[None, None], 1.5)[0]
    (p * adv * logp).sum().backward()
    for i in (0, 7):
        d = torch.zeros(10, dtype=F64)
        d[i] = 1e-6
        up, down = (joint((theta + s * d.reshape(2, 5)).detach()).exp() for s in (1, -1))
        slope = (mvar(score, up, 0.2, 0.8, 1.5) - mvar(score, down, 0.2, 0.8, 1.5)) / 2e-6
        near(theta.grad.flatten()[i], slope, 1e-7)


# Bundles


def test_bundles_and_their_samples():
    rows = table(torch.tensor([1, 0, 1, 0, 4, 4]))
    assert rows.tolist() == [[1, 3], [0, 2], [4, 5]]
    reward = number([[1, 0], [1, 1], [0, 1]])
    assert bundle_scores(reward, torch.tensor([0, 0, 1])).tolist() == [[2, 1], [0, 1]]
    with pytest.raises(PgbenchError, match="riskpo: groups of 1 and of 2 responses make no bundle"):
        table(torch.tensor([0, 0, 1]))


@pytest.mark.parametrize(("size", "bundles"), [(1, 3), (2, 2), (3, 1), (7, 1)])
def test_any_size_of_bundle(tiny, size, bundles):
    """The last one may be smaller, and its scores are pooled as they are."""
    algorithm = make(RiskPO, tiny, bundle=size)
    out = algorithm.prepare(batch(MIXED), Seen())
    number_of = torch.arange(3) // size
    score = bundle_scores(number(MIXED), number_of)
    assert len(score) == bundles
    q = score.flatten().quantile(number([0.2, 0.8]))
    near(algorithm.state["quantiles"], q)
    want = mvar_advantage(score, q[0], q[1], 0.5)[number_of]
    near(out["adv"], want.flatten().float())
    algorithm.update(replace(batch(MIXED), prompts=((1, 2), (3, 4), (5, 6))))


def test_pairing(tiny):
    """Random samples are of other responses, each of which is in one of them."""
    right = batch([[1, 0, 0, 0], [1, 0, 0, 0]])
    sums = set()
    algorithm = make(RiskPO, tiny, bundle=2, pairing="random", risk="mean")
    for _ in range(30):
        adv = algorithm.prepare(right, Seen())["adv"] + 0.5
        assert float(adv[:4].sum()) == float(adv[4:].sum()) == 2.0
        assert torch.equal(adv[:4].sort().values, adv[4:].sort().values)
        sums.add(float(adv.max()))
    assert sums == {1.0, 2.0}  # the two right ones together or not
    by_index = make(RiskPO, tiny, bundle=2, risk="mean").prepare(right, Seen())["adv"] + 0.5
    near(by_index, [2, 0, 0, 0] * 2)


# Eq. 6


def test_released_advantage():
    std = float(number(SCORES).std())
    plain = released(SCORES, 1.0, 3.0, mix=0.0)
    near(plain, number([-2, -2, -1, 0, 0, 0]) / 0.6 / std, 1e-4)  # RVaR alone
    mixed = released(SCORES, 1.0, 3.0)
    tail = number([-1, 0, 0, 0, 0, 0]) / 0.2
    near(mixed, (1.5 * tail / std + plain) / 2.5, 1e-4)
    bare = released(SCORES, 1.0, 3.0, mix=0.0, natural=False)
    near(bare, plain + 2 / 0.6 / std, 1e-4)
    upper = released(SCORES, 1.0, 3.0, risk="seeking")
    near(upper, (1.5 * number([0, 0, 0, 0, 1, 2]) / 0.2 / std + plain) / 2.5, 1e-4)


def test_equal_scores():
    near(released([2.0] * 4, 2.0, 2.0), [0] * 4)  # of their own quantiles
    guarded = released([2.0] * 4, 1.0, 4.0)
    near(guarded, [-2 / 0.6 / 2.5] * 4, 1e-4)
    blown_up = released([2.0] * 4, 1.0, 4.0, std_floor=None)
    near(blown_up, guarded * 1e6, 1e-3)
    near(released([2.0], 1.0, 4.0, std_floor=None), guarded[:1], 1e-4)  # one sample: as released


def test_credit():
    reward = number([[1, 0], [1, 1], [0, 0]])
    adv, bundle = number([[2.0, 4.0]]), torch.zeros(3, dtype=torch.long)
    near(credited(adv, reward, bundle, "uniform"), [[2.0, 4]] * 3)
    near(credited(adv, reward, bundle, "score"), [[1, 6], [1, 2], [3, 6]])
    std = 0.5**0.5
    near(credited(adv, reward, bundle, "std"), [[2 / std, 4 / std], [2, 4], [2, 4]], 1e-4)
    # Above the mean: .5 and -.5, 0, 0.
    near(credited(adv, reward, bundle, "sum-mean"), [[2, 4], [0, 0], [0, 0]])
    flat = number([[1.0, 0], [0, 1], [0, 0]])
    near(credited(adv, flat, bundle, "sum-mean"), [[2 / 3, 4 / 3]] * 3)
    # The last bundle is smaller.
    near(
        credited(number([[2.0], [4.0]]), number([[1.0]] * 3), torch.tensor([0, 0, 1]), "sum-mean"),
        [[1], [1], [4]],
    )


def test_bundles_of_one_without_risk_are_grpo(tiny):
    one = make_batch(prompts=6, seed=3)
    algorithm = make(RiskPO, tiny, form="released", risk="mean", bundle=1)
    want = grpo_advantage(one.reward, one.group)
    near(algorithm.prepare(one, Seen())["adv"], want, 1e-5)
    algorithm = make(RiskPO, tiny, risk="mean", bundle=1)
    near(algorithm.prepare(one, Seen())["adv"], dr_grpo_advantage(one.reward, one.group), 1e-6)


# Eq. 5


def rows_of(adv, old, mask):
    n = len(mask)
    log = {name: torch.zeros(n) for name in RiskPO.watched}
    return Rows(
        mask=mask, group=torch.arange(n), reward=torch.zeros(n), finished=torch.ones(n).bool(),
        old=old, ref=None, entropy=torch.zeros_like(mask), totals=Totals(n, int(mask.sum()), 4),
        extra={"adv": adv} | log,
    )  # fmt: skip


def test_loss_and_its_gradient(tiny):
    mask = torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]])
    gap = torch.tensor([[0.1, 0.0, 0, 0], [-0.9, 0.1, -0.1, -0.1], [0.3, -0.1, 0.1, 0]])
    adv = torch.tensor([-2.0, -1.0, -0.5])
    old = torch.full_like(mask, -1.0)
    logp = (old + gap).requires_grad_()
    rows = rows_of(adv, old, mask)
    s = sequence_ratio(gap, mask)  # the second, e^-.25, is below 1 - .2: no gradient
    total, log = make(RiskPO, tiny).loss(logp, rows)
    total.backward()
    near(total, (2 * s[0] + 1 * 0.8 + 0.5 * s[2]) / 3)
    weight = torch.stack([-adv[0] * s[0] / 2, torch.tensor(0.0), -adv[2] * s[2] / 3])
    near(logp.grad, weight[:, None] * mask / 3)
    near(log["clip_share"], 4 / 9)
    logp.grad = None
    total, _ = make(RiskPO, tiny, ratio="token", dual=3.0).loss(logp, rows)
    total.backward()
    r = gap.exp()
    live = (r >= 0.8) * mask
    near(logp.grad, -adv[:, None] * r * live / 9)
    # Beyond the dual clip there is no gradient, and a response has at most 3 |A|.
    far = (old + 2).requires_grad_()
    total, _ = make(RiskPO, tiny, dual=3.0).loss(far, rows)
    near(total, 3 * 3.5 / 3)
    total.backward()
    assert float(far.grad.abs().sum()) == 0


def test_updates_as_grpo_where_it_is_grpo(tiny):
    one = make_batch(prompts=4, seed=3)
    algorithm = make(RiskPO, tiny, form="released", risk="mean", bundle=1)
    grpo = make(GRPO, tiny)
    algorithm.update(one)
    grpo.update(one)
    torch.testing.assert_close(algorithm.model.grad, grpo.model.grad, atol=1e-6, rtol=1e-4)


def test_scarce_right_answers_give_no_gradient(tiny):
    """Below a share 1 - beta of samples that score, the quantiles are equal: nothing to gain."""
    rewards = [[1] + [0] * 7, [0] * 8]
    out = make(RiskPO, tiny, bundle=2).prepare(batch(rewards), Seen())
    assert float(out["adv"].abs().sum()) == 0
    seeking = make(RiskPO, tiny, bundle=2, risk="seeking").prepare(batch(rewards), Seen())
    assert float(seeking["adv"][0]) > 0


def test_centred(tiny):
    plain = make(RiskPO, tiny, bundle=2).prepare(batch(MIXED), Seen())["adv"]
    adv = make(RiskPO, tiny, bundle=2, centred=True).prepare(batch(MIXED), Seen())["adv"]
    # The mean over bundle samples: the last bundle has one question, the first two.
    mean = (plain[:4].sum() + plain[8:].sum()) / 8
    near(adv, plain - mean)
    assert float(mean) < 0 < float(adv.max())


def test_one_response_a_question(tiny):
    algorithm = make(RiskPO, tiny, bundle=2, group=1)
    out = algorithm.prepare(batch([[1], [0], [1], [1], [0], [0]]), Seen())
    assert bool(out["adv"].isfinite().all())
    near(out["adv"][:2] - out["adv"][4:], out["adv"][0] - out["adv"][4].expand(2))
    assert float(out["adv"][2]) == 0 > float(out["adv"][4])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bundle": "0"}, "bundle must be at least 1, not 0"),
        ({"level_low": "0.8"}, r"level_low \(0.8\) must be below level_high \(0.8\)"),
        ({"level_high": "1.2"}, r"level_high must be in \(0, 1\], not 1.2"),
        ({"omega": "-1"}, "omega must be at least 0, not -1"),
        ({"eta": "0"}, r"eta must be in \(0, 1\], not 0"),
        ({"credit": "std"}, "credit is an option of form=released"),
        ({"natural": "false"}, "natural is an option of form=released"),
        ({"mix": "1"}, "mix is an option of form=released"),
        ({"form": "released", "centred": "true"}, "centred is an option of form=paper"),
        ({"form": "released", "omega": "1"}, "omega is an option of form=paper"),
        ({"risk": "mean", "group": "1"}, "group must be at least 2"),
        ({"form": "released", "level_low": "0"}, "the share of its tail, which is 0"),
        ({"form": "released", "level_high": "1", "risk": "seeking"}, "the share of its tail"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(PgbenchError, match=message):
        build(Config, settings, "riskpo")
