"""BAPO: the share, the search on it, and the clipped loss with the bounds that it finds."""

from dataclasses import replace

import pytest
import torch
from near import near
from tiny_lm import make, make_batch
from token_groups import batch

from pgbench.baselines.text.bapo import BAPO, balance, bounded, grid, path, reaches, search, sides
from pgbench.baselines.text.dapo import DAPO
from pgbench.errors import PgbenchError
from pgbench.learning.ops.groups import Totals
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import build

F64 = torch.float64
R = torch.tensor([[2.0, 1.0, 0.5, 1.0]], dtype=F64)
A = torch.tensor([[1.0, 1.0, -1.0, -1.0]], dtype=F64)
W = torch.ones_like(R)
LOWS, HIGHS = grid(0.6, 0.9, 0.02), grid(1.2, 3.0, 0.05)


def share(low, high, adv=A, ratio=R, weight=W, statistic="value"):
    return balance(*sides(adv, ratio, weight, [low], [high], statistic))[0]


def stale(seed=0, n=6, length=5, off=0.7):
    """Advantages, ratios and probabilities of tokens, as of a stale batch, (n, length)."""
    rng = torch.Generator().manual_seed(seed)
    adv = torch.randn(n, 1, generator=rng, dtype=F64).expand(n, length).clone()
    adv[0, 2:] = 0.0
    ratio = (off * torch.randn(n, length, generator=rng, dtype=F64)).exp()
    return adv, ratio, torch.rand(n, length, generator=rng, dtype=F64)


def rows(adv, ratio, old):
    """The rows of a minibatch whose present policy has the log-probabilities old + log ratio."""
    n, length = ratio.shape
    logp = (old + ratio.log()).requires_grad_()
    zeros = torch.zeros(n)
    return logp, Rows(
        mask=torch.ones_like(ratio), group=torch.arange(n), reward=zeros, finished=zeros > 0,
        old=old, ref=None, entropy=torch.zeros_like(ratio), totals=Totals(n, n * length, length),
        extra={"adv": adv},
    )  # fmt: skip


@pytest.fixture(scope="module")
def bapo(tiny):
    """`bapo(rho=0.5)`: the algorithm with those settings, on one model."""
    algorithm = make(BAPO, tiny)

    def get(**settings):
        algorithm.config = BAPO.Config(model=str(tiny), **settings)
        return algorithm

    return get


def stepped(algorithm, logp, part):
    """Loss, gradient and log of one minibatch that is one micro-batch."""
    if algorithm.looks_ahead:
        found = algorithm.ahead(logp.detach(), part)
        part = replace(part, extra=part.extra | found)
    loss, log = algorithm.loss(logp, part)
    assert all(x.dim() == 0 and not x.requires_grad for x in log.values())
    return loss.detach(), torch.autograd.grad(loss, logp)[0], log


def test_shares_worked_out():
    near(share(0.6, 1.2), 2.2 / 3.8)
    near(share(0.6, 1.2), 0.578947)
    near(share(0.9, 1.2), 0.536585)
    near(share(0.6, 2.0), 0.652174)
    near(share(0.6, 1.5), 0.609756)
    # Twice the probability, twice the part.
    weight = torch.tensor([[2.0, 1.0, 1.0, 1.0]], dtype=F64)
    near(share(0.6, 1.2, weight=weight), 3.4 / 5.0)


def test_loss_worked_out():
    low, high = torch.tensor(0.6, dtype=F64), torch.tensor(1.65, dtype=F64)
    loss, cut = bounded(A, R, low, high, None)
    near(loss.mean(), -0.2625)
    assert cut.tolist() == [[True, False, True, False]]
    # Dual clip: a token of A < 0 costs at most 3 |A|.
    far = torch.full_like(R, 5.0)
    near(bounded(A, far, low, high, 3.0)[0], [[-1.65, -1.65, 3.0, 3.0]])
    near(bounded(A, far, low, high, None)[0], [[-1.65, -1.65, 5.0, 5.0]])


def test_search_worked_out():
    found = search(A, R, W, LOWS, HIGHS, rho=0.62)
    near(found["c_high"], 1.65)
    assert HIGHS.index(pytest.approx(1.65)) == 9
    near(found["c_low"], 0.6)
    near(found["share"], 0.623529)
    assert float(found["at_limit"]) == 0


def test_grids_and_paths():
    assert (len(LOWS), len(HIGHS)) == (16, 37) and (LOWS[-1], HIGHS[-1]) == (0.9, 3.0)
    near(torch.tensor(HIGHS).diff(), torch.full((36,), 0.05), 1e-6)
    assert grid(0.8, 0.8, 0.1) == [0.8] and grid(0.6, 0.7, 0.5) == [0.6, 0.7]
    near(torch.tensor(grid(1.0, 1.25, 0.1)), [1.0, 1.1, 1.2, 1.25])
    assert len(path(16, 37)[0]) == 36 + 15 + 1
    assert torch.stack(path(3, 2)).tolist() == [[0, 0, 1, 2], [0, 1, 1, 1]]
    assert torch.stack(path(3, 2, "released")).tolist() == [[0, 1, 2, 2], [0, 0, 0, 1]]


def test_the_share_rises_with_c_high_and_falls_with_c_low():
    for seed in range(5):
        pos, neg = sides(*stale(seed), LOWS, HIGHS)
        assert bool((balance(pos, neg[:1]).diff() >= 0).all())
        assert bool((balance(pos[:1], neg).diff() <= 0).all())
        # Of the tokens with gradient only, it rises with both.
        pos, neg = sides(*stale(seed), LOWS, HIGHS, "gradient")
        assert bool((balance(pos, neg[:1]).diff() >= 0).all())
        assert bool((balance(pos[:1], neg).diff() >= 0).all())


@pytest.mark.parametrize("order", ["paper", "released"])
@pytest.mark.parametrize(
    ("target", "rho"), [("share", 0.4), ("share", 0.55), ("pos-over-neg", 0.9)]
)
@pytest.mark.parametrize("statistic", ["value", "gradient"])
def test_the_search_is_the_loop_of_the_paper(order, target, rho, statistic):
    """One bound at a time, the share computed anew for each pair."""
    moved = set()
    for seed in range(8):
        adv, ratio, weight = stale(seed)
        i = j = 0
        while True:
            pos, neg = sides(adv, ratio, weight, [LOWS[i]], [HIGHS[j]], statistic)
            end = (i, j) == (len(LOWS) - 1, len(HIGHS) - 1)
            if bool(reaches(pos, neg, rho, target)[0]) or end:
                break
            low_moves = j == len(HIGHS) - 1 if order == "paper" else i < len(LOWS) - 1
            i, j = (i + 1, j) if low_moves else (i, j + 1)
        found = search(adv, ratio, weight, LOWS, HIGHS, rho, order, target, statistic)
        near(found["c_low"], LOWS[i])
        near(found["c_high"], HIGHS[j])
        near(found["share"], balance(pos, neg)[0])
        assert float(found["at_limit"]) == end
        moved.add((i, j))
    assert len(moved) > 1


def test_raising_c_low_never_reaches_the_target_by_values_but_may_by_gradients():
    # One positive token that no bound touches; negative ones just above the lower bound.
    ratio = torch.tensor([[1.0, 0.7, 0.7]], dtype=F64)
    adv = torch.tensor([[1.0, -1.0, -1.0]], dtype=F64)
    found = search(adv, ratio, torch.ones_like(adv), LOWS, HIGHS, rho=0.5)
    near(found["c_low"], 0.9)
    assert float(found["at_limit"]) == 1
    near(found["share"], 1 / 2.8)
    found = search(adv, ratio, torch.ones_like(adv), LOWS, HIGHS, rho=0.5, statistic="gradient")
    near(found["c_low"], 0.7)  # where they lose their gradient
    near(found["share"], 1.0)


def test_pos_over_neg_is_a_share_in_other_words():
    for seed in range(5):
        data = stale(seed)
        one = search(*data, LOWS, HIGHS, rho=0.4)
        other = search(*data, LOWS, HIGHS, rho=2 / 3, target="pos-over-neg")
        assert all(torch.equal(one[name], other[name]) for name in one)
    half = torch.tensor([0.5], dtype=F64)
    near(balance(half, torch.ones_like(half)), [1 / 3])


def test_dual_clip_takes_far_negative_tokens_out_of_the_gradient_statistic():
    ratio = torch.tensor([[1.0, 4.0]], dtype=F64)
    adv = torch.tensor([[1.0, -1.0]], dtype=F64)
    one = torch.ones_like(adv)
    near(sides(adv, ratio, one, [0.6], [1.2], "gradient")[1], [4.0])
    near(sides(adv, ratio, one, [0.6], [1.2], "gradient", 3.0)[1], [0.0])


def test_degenerate_minibatches(bapo):
    adv, ratio, old = stale(3)
    old = old.log()
    first = (0.6, 1.2, 1.0, 0.0)
    cases = [(adv.abs(), first), (-adv.abs(), (0.9, 3.0, 0.0, 1.0)), (0 * adv, first)]
    for target in ("share", "pos-over-neg"):
        for values, want in cases:
            loss, gradient, log = stepped(bapo(target=target), *rows(values, ratio, old))
            for name, value in zip(("c_low", "c_high", "share", "at_limit"), want, strict=True):
                assert float(log[name]) == pytest.approx(value), name
            assert bool(gradient.isfinite().all()) and bool(loss.isfinite())
            assert float(gradient.abs().sum()) > 0 or not float(values.abs().sum())
    assert float(loss) == 0  # no advantage, no loss


def test_rho_zero_never_moves(bapo):
    for seed in range(3):
        adv, ratio, w = stale(seed)
        log = stepped(bapo(rho=0.0), *rows(-adv.abs(), ratio, w.log()))[2]
        near(log["c_low"], 0.6)
        near(log["c_high"], 1.2)


@pytest.mark.parametrize("settings", [{"mode": "fixed"}, {}])
def test_bounds_without_room_are_the_clip_of_grpo(tiny, bapo, settings):
    """Averaged over tokens, as DAPO's loss is."""
    adv, ratio, w = stale(1)
    room = {"low_min": 0.8, "low_max": 0.8, "high_min": 1.2, "high_max": 1.2}
    loss, gradient, log = stepped(bapo(**settings, **room), *rows(adv, ratio, w.log()))
    other = make(DAPO, tiny, overlong=0.0, clip_low=0.2, clip_high=0.2)
    want = stepped(other, *rows(adv, ratio, w.log()))
    near(loss, want[0])
    near(gradient, want[1])
    near(log["clip_share"], want[2]["clip_share"])


@pytest.mark.parametrize("dual", [None, 1.5])
def test_gradient_by_hand(bapo, dual):
    """r A where the token is within its bound, nothing elsewhere, over all tokens."""
    adv, ratio, w = stale(2, off=1.0)
    _, gradient, log = stepped(bapo(dual=dual, rho=0.5), *rows(adv, ratio, w.log()))
    low, high = log["c_low"], log["c_high"]
    live = ((adv > 0) & (ratio < high)) | ((adv < 0) & (ratio > low) & (ratio < (dual or 1e9)))
    assert 0 < int(live.sum()) < live.numel()
    near(gradient, -(adv * ratio * live) / adv.numel())


def test_on_policy_the_bounds_have_no_effect(bapo):
    adv, ratio, w = stale(4)
    one = torch.ones_like(ratio)
    want = (-adv / adv.numel()).expand_as(ratio)
    for settings in ({}, {"rho": 0.0}, {"rho": 1.0}, {"mode": "fixed"}, {"order": "released"}):
        loss, gradient, log = stepped(bapo(**settings), *rows(adv, one, w.log()))
        near(loss, -adv.mean())
        near(gradient, want)
        assert float(log["clip_share"]) == 0
        if "share" in log:
            near(log["share"], (w * adv.clamp(min=0)).sum() / (w * adv.abs()).sum())


def test_probabilities_of_the_rollout_weigh_the_tokens(bapo):
    adv, ratio, w = stale(5)
    logp, part = rows(adv, ratio, w.log())
    found = bapo().ahead(logp.detach(), part)
    want = search(adv, ratio, w, LOWS, HIGHS, 0.4)
    near(found["share"], want["share"])
    plain = bapo(weighting="none").ahead(logp.detach(), part)["share"]
    near(plain, search(adv, ratio, torch.ones_like(w), LOWS, HIGHS, 0.4)["share"])
    assert abs(float(plain - want["share"])) > 1e-3
    # In the first step the policy is that of the rollout.
    fresh = bapo().ahead(w.log(), replace(part, old=None))["share"]
    near(fresh, (w * adv.clamp(min=0)).sum() / (w * adv.abs()).sum())


def test_rows_without_advantage_and_padding_do_not_count(bapo):
    adv, ratio, w = stale(6)
    logp, part = rows(adv, ratio, w.log())
    want = bapo(rho=0.55).ahead(logp.detach(), part)
    extra = torch.cat([adv, torch.zeros_like(adv), adv]), ratio.repeat(3, 1), w.log().repeat(3, 1)
    logp, part = rows(*extra)
    mask = torch.ones_like(part.mask)
    mask[2 * len(adv) :] = 0
    found = bapo(rho=0.55).ahead(logp.detach(), replace(part, mask=mask))
    assert all(torch.equal(found[name], want[name]) for name in want)


@pytest.mark.parametrize("scope", ["minibatch", "microbatch"])
def test_bounds_of_a_minibatch_do_not_depend_on_its_micro_batches(tiny, scope):
    data, logs, weights = make_batch(seed=2), [], []
    for tokens in (4096, 40):
        algorithm = make(BAPO, tiny, epochs=3, lr=1e-2, scope=scope, micro_tokens=tokens, rho=0.6)
        logs.append(algorithm.update(data))
        weights.append(algorithm.model.theta.detach().clone())
    assert float(logs[0]["c_high"]) > 1.2  # the search has moved
    same = torch.allclose(logs[0]["c_high"], logs[1]["c_high"], atol=1e-4)
    assert same == (scope == "minibatch")
    if same:
        torch.testing.assert_close(*weights, atol=1e-4, rtol=1e-3)


def test_settings_of_the_port(bapo, tiny):
    """Lower bound first, values without weights against rho, dual clip, per micro-batch."""
    algorithm = make(
        BAPO, tiny, order="released", weighting="none", target="pos-over-neg", rho=1.0, dual=3.0,
        scope="microbatch", low_max=0.8, low_step=0.05, high_max=2.0, epochs=2, minibatches=2,
    )  # fmt: skip
    assert not algorithm.looks_ahead
    log = algorithm.update(make_batch(seed=3))
    assert {"c_low", "c_high", "share", "at_limit"} <= set(log)
    assert bapo().looks_ahead and not bapo(mode="fixed").looks_ahead


def test_advantages_are_those_of_grpo(bapo):
    adv = bapo().prepare(batch([[1, 1, 0, 0, 0]]), Seen())["adv"]
    near(adv, [1.0954, 1.0954, -0.7303, -0.7303, -0.7303], 1e-4)


def test_nothing_but_weights_is_carried_over(tiny):
    data = make_batch(seed=4)
    one, other = (make(BAPO, tiny, epochs=2, minibatches=2, lr=1e-3) for _ in range(2))
    one.update(data)
    other.load_state_dict(one.state_dict())
    logs = [x.update(data) for x in (one, other)]
    assert all(torch.equal(logs[0][name], logs[1][name]) for name in logs[0])
    assert torch.equal(one.model.theta, other.model.theta)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low_min": "0.95"}, r"low_min \(0.95\) must be at most low_max \(0.9\)"),
        ({"low_max": "1"}, r"low_max must be in \[0, 1\), not 1"),
        ({"high_min": "0.2"}, "high_min must be above 1, not 0.2"),
        ({"high_max": "1.1"}, r"high_min \(1.2\) must be at most high_max \(1.1\)"),
        ({"low_step": "0"}, "low_step must be above 0"),
        ({"high_step": "-1"}, "high_step must be above 0"),
        ({"rho": "1.5"}, r"rho is a share and must be in \[0, 1\], not 1.5"),
        ({"rho": "-1", "target": "pos-over-neg"}, "rho must be at least 0"),
        ({"dual": "1"}, "dual must be above 1"),
        ({"order": "code"}, "'order' takes paper or released, not 'code'"),
        ({"group": "1"}, "group must be at least 2"),
        ({"mode": "fixed", "rho": "0.5"}, "rho is an option of mode=adaptive"),
        ({"mode": "fixed", "high_max": "2"}, "high_max is an option of mode=adaptive"),
    ],
)
def test_settings_without_meaning_are_refused(settings, message):
    with pytest.raises(PgbenchError, match=message):
        build(BAPO.Config, settings, "bapo")
    assert build(BAPO.Config, {"rho": "1.5", "target": "pos-over-neg"}, "bapo").rho == 1.5
