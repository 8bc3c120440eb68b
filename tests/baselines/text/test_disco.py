"""DisCO: the objective and its slopes, the trust region, and what it has in common with GRPO."""

import math
from dataclasses import replace

import pytest
import torch
from near import near
from tiny_lm import make, make_batch
from token_groups import batch

from pgbench.baselines.text.disco import DisCO, classes, numbered, objective, uniform
from pgbench.baselines.text.grpo import GRPO
from pgbench.errors import PgbenchError
from pgbench.learning.ops.groups import Totals, rms
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import build

F64 = torch.float64
LENGTHS = torch.tensor([1, 5, 3, 4, 2, 5, 2, 3, 4])
GROUP = torch.tensor([0, 0, 0, 0, 2, 2, 2, 5, 5])  # prompts of a minibatch have any numbers
RIGHT = torch.tensor([1, 0, 0, 1, 1, 0, 0, 0, 0], dtype=F64)  # the last prompt has none


def parts(right=RIGHT, group=GROUP):
    return uniform(right, group), 1 - right


def value(s, right=RIGHT, group=GROUP, tau=1.0, count_all=True):
    share, wrong = parts(right, group)
    return objective(s, share, wrong, group, tau, count_all)


def scored(seed=0, n=9):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=F64)


def rows(off=0.0, seed=0, right=RIGHT, group=GROUP):
    """Log-probabilities (leaf) and their rows; `off`: how far the old ones are."""
    rng = torch.Generator().manual_seed(seed)
    n, length = len(group), 5
    logp = -3 * torch.rand(n, length, generator=rng, dtype=F64)
    old = logp + off * torch.randn(n, length, generator=rng, dtype=F64) if off else None
    mask = (torch.arange(length) < LENGTHS[:n, None]).to(F64)
    share, wrong = parts(right, group)
    return logp.requires_grad_(), Rows(
        mask=mask, group=group, reward=right, finished=right > 0, old=old, ref=None,
        entropy=torch.zeros_like(mask), totals=Totals(n, int(mask.sum()), 8),
        extra={"share": share, "wrong": wrong, "correct": right},
    )  # fmt: skip


@pytest.fixture(scope="module")
def disco(tiny):
    """`disco(tau=2.0)`: the algorithm with those settings, on one model."""
    algorithm = make(DisCO, tiny)

    def get(**settings):
        algorithm.config = DisCO.Config(model=str(tiny), **settings)
        return algorithm

    return get


def stepped(algorithm, logp, part):
    """Loss, gradient and log of one minibatch that is one micro-batch."""
    part = replace(part, extra=part.extra | algorithm.ahead(logp.detach(), part))
    loss, log = algorithm.loss(logp, part)
    assert all(x.dim() == 0 and not x.requires_grad for x in log.values())
    return loss.detach(), torch.autograd.grad(loss, logp)[0], log


@pytest.mark.parametrize(
    ("tau", "want"), [(100.0, -1.498750), (10.0, -1.487505), (1.0, -1.379885), (0.1, -1.069310)]
)
def test_the_temperature_moves_from_the_mean_to_the_maximum(tau, want):
    s = torch.tensor([0.0, -1.0, -2.0], dtype=F64)
    right, group = torch.tensor([1.0, 0, 0], dtype=F64), torch.zeros(3, dtype=torch.long)
    near(value(s, right, group, tau)[0], -want)
    near(value(s, right, group, None)[0], 1.5)  # DisCO-b
    if tau == 1.0:
        near(value(s, right, group, tau)[1], [1.0, -0.731059, -0.268941])


@pytest.mark.parametrize("tau", [0.3, 10.0, None])
@pytest.mark.parametrize("count_all", [True, False])
def test_slopes_are_the_derivatives(tau, count_all):
    s = scored().requires_grad_()
    j, slope = value(s, tau=tau, count_all=count_all)
    slopes = torch.autograd.grad(j, s, retain_graph=True)[0]
    slope = slope.detach()
    near(slope, slopes)
    # One that adds a constant to all scores of a prompt moves nothing.
    near(torch.zeros(6, dtype=F64).index_add_(0, GROUP, slope), torch.zeros(6))
    near(value(s.detach() + 3.0 * GROUP, tau=tau, count_all=count_all)[0], j.detach())
    assert bool((slope[RIGHT > 0] > 0).all()) and float(slope[7:].abs().sum()) == 0
    # Two of the three prompts are mixed.
    count = 3 if count_all else 2
    near(slope[RIGHT > 0], [1 / (2 * count), 1 / (2 * count), 1 / count])


def test_scores_of_any_size_are_finite():
    for size in (1e3, 1e-3):
        j, slope = value(scored() * size, tau=0.01)
        assert bool(j.isfinite()) and bool(slope.isfinite().all())


def test_limits_of_the_temperature():
    s = scored(1)
    for a, b in zip(value(s, tau=1e7), value(s, tau=None), strict=True):
        near(a, b)
    # One wrong response a prompt: nothing to choose from.
    right = torch.tensor([1, 0, 1, 1, 1, 0, 1, 1, 0], dtype=F64)
    for tau in (0.1, 10.0, None):
        for a, b in zip(value(s, right, tau=tau), value(s, right, tau=1.0), strict=True):
            near(a, b)


def test_the_order_of_rows_does_not_matter():
    near(numbered(torch.tensor([7, 2, 7, 0, 2])).float(), [2.0, 1.0, 2.0, 0.0, 1.0])
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    s = scored(2)
    j, slope = value(s)
    other, shuffled = value(s[order], RIGHT[order], GROUP[order])
    near(other, j)
    near(shuffled, slope[order])


@pytest.mark.parametrize("tau", [1.0, None])
def test_responses_that_are_there_twice_change_nothing(tau):
    s = scored(3)
    j, slope = value(s, tau=tau)
    twice, slopes = value(s.repeat(2), RIGHT.repeat(2), GROUP.repeat(2), tau)
    near(twice, j)
    near(slopes[:9] + slopes[9:], slope)


def test_rewards_between_belong_to_no_class():
    right, wrong = classes(torch.tensor([1.0, 0.0, 0.1, 0.9, 1.1, -1.0]))
    assert right.tolist() == [1, 0, 0, 0, 0, 0] and wrong.tolist() == [0, 1, 0, 0, 0, 0]
    group = torch.zeros(6, dtype=torch.long)
    slope = objective(scored(4, 6), right.double(), wrong.double(), group, 1.0, True)[1]
    near(slope, [1.0, -1.0, 0, 0, 0, 0])


def test_prepare(disco):
    out = disco().prepare(batch([[1, 1, 0], [0.5, 1, 0], [1, 1, 1]]), Seen())
    near(out["share"], [0.5, 0.5, 0, 0, 1, 0, 1 / 3, 1 / 3, 1 / 3])
    near(out["wrong"], [0, 0, 1, 0, 0, 1, 0, 0, 0])
    assert "adv" not in out  # no row is passed over: all count in K


# The constraint.


def test_at_the_old_policy_there_is_no_penalty(disco):
    for kl in ("k1", "k3"):
        loss, gradient, log = stepped(disco(kl=kl), *rows())
        assert float(log["kl"]) == float(log["penalty_active"]) == 0
        near(loss, -log["objective"])
        free = stepped(disco(kl_weight=0.0), *rows())
        near(gradient, free[1])


def test_a_negative_estimate_is_no_violation(disco):
    logp, part = rows()
    part = replace(part, old=logp.detach() - 0.1)
    _, gradient, log = stepped(disco(), logp, part)
    near(log["kl"], -0.1)
    assert float(log["penalty_active"]) == 0
    near(gradient, stepped(disco(kl_weight=0.0), logp, part)[1])
    assert float(stepped(disco(kl="k3"), logp, part)[2]["penalty_active"]) == 1  # k3 is positive


@pytest.mark.parametrize("kl", ["k1", "k3"])
@pytest.mark.parametrize(("penalty", "factor"), [("released", 0.5), ("paper", 1.0)])
@pytest.mark.parametrize("delta", [1e-4, 0.05, 10.0])
def test_penalty_is_the_squared_hinge(disco, kl, penalty, factor, delta):
    """Value and gradient against the formula, differentiated as it stands."""
    logp, part = rows()
    noise = torch.rand(9, 5, generator=torch.Generator().manual_seed(1), dtype=F64)
    part = replace(part, old=logp.detach() + 0.3 * noise)
    settings = {"kl": kl, "penalty": penalty, "kl_radius": delta, "kl_weight": 20.0}
    loss, gradient, log = stepped(disco(**settings), logp, part)
    gap = part.old - logp
    terms = gap if kl == "k1" else (-gap).exp() + gap - 1
    k = (terms * part.mask).sum() / part.mask.sum()
    s = (logp * part.mask).sum(-1) / part.mask.sum(-1)
    want = -value(s, tau=10.0)[0] + factor * 20 * (k - delta).clamp(min=0) ** 2
    near(loss, want.detach())
    near(gradient, torch.autograd.grad(want, logp)[0])
    near(log["kl"], k.detach())
    assert float(log["penalty_active"]) == float(k > delta)


def test_slopes_of_a_token(disco):
    """m/l of the row's slope, and the same of every token from the constraint."""
    logp, part = rows(off=0.0)
    part = replace(part, old=logp.detach() + 0.2)
    _, gradient, log = stepped(disco(kl_weight=5.0, kl_radius=0.1), logp, part)
    s = (logp * part.mask).sum(-1) / part.mask.sum(-1)
    slope = value(s.detach(), tau=10.0)[1]
    pull = 5.0 * (0.2 - 0.1)
    want = -part.mask * (slope / LENGTHS)[:, None] - pull * part.mask / part.mask.sum()
    near(gradient, want)
    near(log["kl"], 0.2)
    # Ratio scores: the token's ratio as a factor.
    _, gradient, _ = stepped(disco(score="ratio", kl_weight=0.0), logp, part)
    rho = math.exp(-0.2)
    slope = value(torch.full((9,), rho, dtype=F64), tau=1.0)[1]
    near(gradient, -part.mask * rho * (slope / LENGTHS)[:, None])


def test_without_a_mixed_prompt_only_the_constraint_is_left(disco):
    for right in (torch.zeros(9, dtype=F64), torch.ones(9, dtype=F64)):
        for score in ("log-likelihood", "ratio"):
            for count_all in (True, False):
                logp, part = rows(right=right)
                part = replace(part, old=logp.detach() + 0.2)
                algorithm = disco(score=score, count_all=count_all)
                loss, gradient, log = stepped(algorithm, logp, part)
                assert float(log["objective"]) == 0
                pull = -1e3 * (0.2 - 1e-4)
                near(gradient, pull * part.mask / part.mask.sum(), 1e-9)
                near(loss, 500 * (0.2 - 1e-4) ** 2)
                logp, part = rows(right=right)
                assert float(stepped(algorithm, logp, part)[1].abs().sum()) == 0


@pytest.mark.parametrize("score", ["log-likelihood", "ratio"])
def test_micro_batches_add_up(disco, score):
    """Loss and gradient of a minibatch, in pieces that split its groups."""
    algorithm = disco(score=score, kl_weight=3.0, kl="k3")
    logp, part = rows(off=0.4)
    loss, gradient, log = stepped(algorithm, logp, part)
    assert float(log["penalty_active"]) == 1
    found = algorithm.ahead(logp.detach(), part)
    total, pieces = 0.0, []
    for at in (slice(0, 2), slice(2, 6), slice(6, 9)):
        extra = {k: x[at] if x.dim() else x for k, x in (part.extra | found).items()}
        own = replace(
            part, mask=part.mask[at], group=part.group[at], old=part.old[at], extra=extra,
            reward=part.reward[at],
        )  # fmt: skip
        leaf = logp.detach()[at].requires_grad_()
        piece, _ = algorithm.loss(leaf, own)
        total = total + piece.detach()
        pieces.append(torch.autograd.grad(piece, leaf)[0])
    near(total, loss)
    near(torch.cat(pieces), gradient)


def test_equalised_weights_have_a_root_mean_square_of_one(disco):
    logp, part = rows(off=0.4)
    plain = disco().ahead(logp.detach(), part)
    found = disco(equalise=True).ahead(logp.detach(), part)
    near(rms(found["gain"], part.mask), 1.0)
    near(found["gain"] / found["gain"][0], plain["gain"] / plain["gain"][0])
    assert torch.equal(found["slope_kl"], plain["slope_kl"])
    nothing = replace(part, extra=part.extra | {"share": 0 * RIGHT})
    assert float(disco(equalise=True).ahead(logp.detach(), nothing)["gain"].abs().sum()) == 0


def test_no_right_response_is_pushed_down(disco):
    for seed in range(4):
        assert float(stepped(disco(), *rows(off=0.5, seed=seed))[2]["wrong_sign"]) == 0
    # One that is right by the verifier but has the reward of a wrong one is.
    logp, part = rows()
    part = replace(part, extra=part.extra | {"correct": torch.ones(9, dtype=F64)})
    assert float(disco().ahead(logp.detach(), part)["wrong_sign"]) == pytest.approx(4 / 9)


# What it shares with GRPO.


def test_ratio_scores_start_with_the_gradient_of_log_likelihoods(disco):
    """On the policy itself all ratios are 1 and J is 0, but its gradient is not."""
    logp, part = rows()
    loss, gradient, log = stepped(disco(score="ratio"), logp, part)
    assert float(loss) == float(log["objective"]) == 0
    near(gradient, stepped(disco(base="disco-b"), logp, part)[1])


@pytest.mark.parametrize("right", [[1, 0, 0, 1], [1, 1, 1, 0], [1, 0, 0, 0]])
def test_grpo_weighs_the_same_gradient_by_the_spread_of_rewards(tiny, disco, right):
    """One prompt, population standard deviation: sqrt(p (1 - p)) times that of DisCO-b."""
    right = torch.tensor(right, dtype=F64)
    logp, part = rows(right=right, group=torch.zeros(4, dtype=torch.long))
    grpo = make(GRPO, tiny, unbiased=False, eps=0.0)
    data = replace(batch([right.tolist()]), mask=part.mask)
    adv = grpo.prepare(data, Seen())["adv"].to(F64)
    loss, _ = grpo.loss(logp, replace(part, extra={"adv": adv}))
    p = float(right.mean())
    want = stepped(disco(base="disco-b"), logp, part)[1]
    near(torch.autograd.grad(loss, logp)[0], math.sqrt(p * (1 - p)) * want)


# Settings and runs.


def test_temperatures_by_score(disco):
    logp, part = rows(off=0.5)
    for score, tau in (("log-likelihood", 10.0), ("ratio", 1.0)):
        own = disco(score=score).ahead(logp.detach(), part)
        same = disco(score=score, tau=tau).ahead(logp.detach(), part)
        other = disco(score=score, tau=0.3).ahead(logp.detach(), part)
        assert torch.equal(own["gain"], same["gain"])
        assert not torch.allclose(own["gain"], other["gain"], atol=1e-3)


@pytest.mark.parametrize("kl", ["k1", "k3"])
def test_several_steps_do_not_depend_on_micro_batches(tiny, kl):
    data, out = make_batch(seed=2, holes=True), []
    for tokens in (4096, 40):
        algorithm = make(DisCO, tiny, epochs=3, lr=1e-3, micro_tokens=tokens, kl=kl)
        log = algorithm.update(data)
        assert float(log["penalty_active"]) > 0
        out.append((log["loss"], algorithm.model.theta.detach().clone()))
    torch.testing.assert_close(out[0][0], out[1][0], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(out[0][1], out[1][1], atol=1e-4, rtol=1e-3)


def test_the_trust_region_holds_the_policy(tiny):
    """More steps on one batch, with and without the constraint."""
    moved = []
    for weight in (0.0, 1e3):
        algorithm = make(DisCO, tiny, epochs=8, lr=1e-3, kl_weight=weight)
        moved.append(float(algorithm.update(make_batch(seed=3))["kl_old"]))
    assert moved[1] < 0.5 * moved[0]


def test_nothing_but_weights_is_carried_over(tiny):
    data = make_batch(seed=4)
    one, other = (make(DisCO, tiny, epochs=2, minibatches=2, lr=1e-3) for _ in range(2))
    one.update(data)
    other.load_state_dict(one.state_dict())
    logs = [x.update(data) for x in (one, other)]
    assert all(torch.equal(logs[0][name], logs[1][name]) for name in logs[0])
    assert torch.equal(one.model.theta, other.model.theta)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau": "0"}, "tau must be above 0, not 0.0"),
        ({"tau": "inf"}, "tau must be a finite number"),
        ({"tau": "5", "base": "disco-b"}, "tau is an option of base=disco; it does nothing"),
        ({"kl_weight": "-1"}, "kl_weight must be at least 0"),
        ({"kl_radius": "-1"}, "kl_radius must be at least 0"),
        ({"score": "sum"}, "'score' takes log-likelihood or ratio, not 'sum'"),
        ({"group": "1"}, "group must be at least 2"),
    ],
)
def test_settings_without_meaning_are_refused(settings, message):
    with pytest.raises(PgbenchError, match=message):
        build(DisCO.Config, settings, "disco")
    assert build(DisCO.Config, {"tau": "none"}, "disco").tau is None
