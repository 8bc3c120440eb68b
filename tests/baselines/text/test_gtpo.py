"""GTPO: conflict runs and their weights, the entropy filter and penalty, the two forms."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_lm import make, make_batch

from pgbench.baselines.text.dr_grpo import dr_grpo_advantage
from pgbench.baselines.text.gtpo import GTPO, Config, run_weights, runs
from pgbench.errors import PgbenchError
from pgbench.learning.ops.groups import Totals
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import build

BATCH = make_batch(holes=True, seed=1)
LN2 = math.log(2)
THREE = [[1, 2, 3, 9], [1, 2, 4, 9], [1, 5, 3, 9]]


def found(rows, adv, group=None, mask=None, width=0):
    """Runs of responses given as lists of tokens."""
    width = max(width, *map(len, rows))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    valid = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    mask = valid.float() if mask is None else torch.tensor(mask)
    group = torch.zeros(len(rows), dtype=torch.long) if group is None else torch.tensor(group)
    adv = torch.tensor(adv).float()
    forward, backward = runs(tokens, valid, mask, group, adv)
    return forward, backward, run_weights(forward, backward, adv) * valid


def lengths(x):
    return x.sum(-1).tolist()


# Eq. 2 and 3.


def test_worked_conflicts():
    adv = torch.tensor([2.0, -1, -1])
    forward, backward, lam = found(THREE, adv.tolist())
    assert lengths(forward) == [4, 2, 1] and lengths(backward) == [4, 1, 2]
    assert lengths(forward | backward) == [4, 3, 3]
    assert lam.tolist() == [[2, 2, 2, 2], [0, 0, 1, 0], [0, 1, 0, 0]]
    both = run_weights(forward, backward, adv, product=True)
    assert both.tolist() == [[4, 4, 4, 4], [0, 0, 1, 0], [0, 1, 0, 0]]


def brute(rows, adv, group, backward):
    """Runs by sets of (place, token), one response at a time."""
    out = []
    for i, row in enumerate(rows):
        mine = row[::-1] if backward else row
        run = 0
        for t, token in enumerate(mine):
            signs = {
                (adv[j] > 0) - (adv[j] < 0)
                for j, other in enumerate(rows)
                if group[j] == group[i] and t < len(other)
                and (other[::-1] if backward else other)[t] == token
            }  # fmt: skip
            if adv[i] == 0 or not {1, -1} <= signs:
                break
            run += 1
        out.append(run)
    return out


@pytest.mark.parametrize("seed", range(8))
def test_runs_of_random_responses(seed):
    rng = torch.Generator().manual_seed(seed)

    def draw(high, *shape):
        return torch.randint(high, shape, generator=rng).tolist()

    group = sorted(draw(3, 14))
    rows = [[5] * draw(3, 1)[0] + draw(2, 1 + draw(5, 1)[0]) + [7] for _ in group]
    adv = [float(x - 1) for x in draw(3, 14)]
    forward, backward, lam = found(rows, adv, group, width=12)
    assert lengths(forward) == brute(rows, adv, group, False)
    assert lengths(backward) == brute(rows, adv, group, True)
    assert sum(lengths(backward)) > 0
    for i, row in enumerate(rows):
        run = forward[i, : len(row)].tolist()
        assert run == sorted(run, reverse=True)  # from the first token on, without a gap
        run = backward[i, : len(row)].tolist()
        assert run == sorted(run)
    sign = torch.tensor(adv)[:, None]
    valid = torch.arange(12) < torch.tensor([len(row) for row in rows])[:, None]
    assert set(lam[valid].tolist()) <= {0.0, 1.0, 2.0}
    assert not bool((valid & (lam == 2) & (sign <= 0)).any())
    assert not bool((valid & (lam == 0) & (sign >= 0)).any())


def test_one_sided_groups_have_no_conflict():
    for adv in ([1.0, 1, 0], [-1.0, -1, 0], [0.0, 0, 0]):
        assert set(found(THREE, adv)[2].flatten().tolist()) == {1.0}
    # Nor do responses to different prompts conflict, nor those without an advantage.
    assert set(found(THREE, [2.0, -1, -1], [0, 1, 1])[2].flatten().tolist()) == {1.0}
    assert found([[1], [1], [1]], [1.0, 0, -1])[2].tolist() == [[2], [1], [0]]


def test_padding_and_order_change_nothing():
    rows = [*THREE, [1, 2, 9]]
    adv = [2.0, -1, -1, 1]
    lam = found(rows, adv)[2]
    assert torch.equal(found(rows, adv, width=9)[2][:, :4], lam)
    order = [3, 1, 0, 2]
    moved = found([rows[i] for i in order], [adv[i] for i in order])[2]
    assert torch.equal(moved, lam[order])


def test_a_gap_ends_a_run():
    forward, backward, _ = found([[1, 2, 3, 4, 9], [1, 8, 3, 7, 9]], [1.0, -1])
    assert lengths(forward) == [1, 1] and lengths(backward) == [1, 1]  # the 3 is shared, too
    # Ends of different length are aligned at the last token, which counts.
    forward, backward, _ = found([[1, 2, 3, 8, 9], [4, 8, 9]], [1.0, -1])
    assert lengths(forward) == [0, 0] and lengths(backward) == [2, 2]
    # A token that an environment said is in no conflict and ends a run.
    mask = [[1.0, 0, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]]
    forward, backward, _ = found([[1, 2, 3, 9]] * 2 + [[1, 2, 4, 9]], [1.0, -1, -1], mask=mask)
    assert lengths(forward) == [1, 1, 1] and lengths(backward) == [2, 2, 1]


# Eq. 4 and 5.


def rows_of(algorithm, batch, entropy, seed=0):
    """A micro-batch of the whole batch with the entropies (N,) of its responses."""
    rng = torch.Generator().manual_seed(seed)
    logp = -torch.rand(batch.mask.shape, generator=rng, dtype=torch.float64)
    extra = algorithm.prepare(batch, Seen())
    return logp.requires_grad_(), Rows(
        mask=batch.mask, group=batch.group, reward=batch.reward, finished=batch.finished,
        old=None, ref=None, entropy=torch.as_tensor(entropy)[:, None] * batch.mask,
        totals=Totals(len(batch), int(batch.mask.sum()), batch.limit), extra=extra,
    )  # fmt: skip


def three(rewards=(3.0, 0, 0)):
    """The worked example as a batch; rewards 3, 0, 0 and scale 1 give A = 2, -1, -1."""
    batch = make_batch(prompts=1, group=3, length=4, limit=4)
    valid = torch.ones(3, 4, dtype=torch.bool)
    return replace(
        batch, tokens=torch.tensor(THREE), valid=valid, mask=valid.float(),
        reward=torch.tensor(rewards), correct=torch.tensor(rewards) > 0,
    )  # fmt: skip


def settings(algorithm, **options):
    algorithm.config = Config(model=algorithm.config.model, **options)
    algorithm.state["h_ini"].fill_(options.pop("h_ini", 0.0))
    return algorithm


def gradient(algorithm, logp, part):
    loss, _ = algorithm.loss(logp, part)
    return torch.autograd.grad(loss, logp)[0].float()


@pytest.fixture(scope="module")
def gtpo(tiny):
    return make(GTPO, tiny)


def test_gradient_in_closed_form(gtpo):
    settings(gtpo, scale=1.0)
    logp, part = rows_of(gtpo, three(), [0.5, 0.6, 0.9])
    adv = torch.tensor([2 - 0.05, -1 - 0.06, 0])  # the last is filtered
    lam = torch.tensor([[2.0, 2, 2, 2], [0, 0, 1, 0], [0, 1, 0, 0]])
    want = -adv[:, None] * lam / 4 / 3
    torch.testing.assert_close(gradient(gtpo, logp, part), want)
    # Without the filter, then with H_ini above the threshold, the third counts, too.
    adv[2] = -1 - 0.09
    want = -adv[:, None] * lam / 4 / 3
    settings(gtpo, scale=1.0, threshold="none")
    torch.testing.assert_close(gradient(gtpo, logp, part), want)
    settings(gtpo, scale=1.0)
    gtpo.state["h_ini"].fill_(0.8)
    torch.testing.assert_close(gradient(gtpo, logp, part), want)


def test_gradient_of_the_released_form(gtpo):
    """Double weights, divided by the longer run, summed over the prompt; the filter is at 0.7."""
    settings(gtpo, form="released", scale=1.0)
    gtpo.state["h_ini"].fill_(5.0)  # plays no part
    logp, part = rows_of(gtpo, three(), [0.5, 0.695, 0.9])
    adv = torch.tensor([2 - 0.05, -1 - 0.0695, 0])
    lam = torch.tensor([[4.0, 4, 4, 4], [0, 0, 1, 0], [0, 1, 0, 0]])
    count = torch.tensor([4.0, 2, 2])
    torch.testing.assert_close(gradient(gtpo, logp, part), -(adv / count)[:, None] * lam / 4)
    # Each option can be taken back.
    settings(gtpo, form="released", scale=1.0, threshold="ln2", use_initial_entropy=False,
             double_run="max", divide_by_conflict_count=False, reduce="mean")  # fmt: skip
    logp, part = rows_of(gtpo, three(), [0.5, 0.695, 0.9])
    mine = gradient(gtpo, logp, part)
    settings(gtpo, scale=1.0)
    torch.testing.assert_close(mine, gradient(gtpo, *rows_of(gtpo, three(), [0.5, 0.695, 0.9])))


def test_the_threshold_itself_is_kept(gtpo):
    batch = three()
    for form, entropy, kept in (("paper", 0.7, False), ("released", 0.7, True),
                                ("released", 0.71, False), ("paper", LN2, True)):  # fmt: skip
        settings(gtpo, form=form)
        push = gtpo.pushes(rows_of(gtpo, batch, [entropy] * 3)[1])[0]
        assert bool(push.any()) == kept, (form, entropy)
    settings(gtpo, only_negative_filter=True)
    push = gtpo.pushes(rows_of(gtpo, batch, [2.0] * 3)[1])[0]
    assert bool(push[0].all()) and not bool(push[1:].any())


def test_without_conflict_penalty_and_filter_it_is_dr_grpo_by_lengths(gtpo):
    settings(gtpo, scale=1.0, gamma=0.0, threshold="none", w_plus=1.0)
    batch = make_batch(prompts=3, seed=8)
    # Tokens that nobody shares.
    batch = replace(batch, tokens=torch.arange(12 * 12).view(12, 12))
    logp, part = rows_of(gtpo, batch, [0.5] * 12)
    want = dr_grpo_advantage(batch.reward, batch.group)[:, None] * batch.mask
    want = -want / batch.mask.sum(-1, keepdim=True) / 12
    torch.testing.assert_close(gradient(gtpo, logp, part), want)
    assert torch.equal(part["lam"], torch.ones(12, 12))


def test_lambda_can_be_left_out(tiny):
    algorithm = make(GTPO, tiny, conflict=False)
    assert float((algorithm.prepare(make_batch(seed=3), Seen())["lam"] - 1).abs().max()) == 0


def test_equal_rewards_leave_the_penalty(gtpo):
    settings(gtpo)
    entropy = torch.tensor([0.1, 0.2, 0.6])
    logp, part = rows_of(gtpo, three((1.0, 1, 1)), entropy)
    want = (0.1 * entropy / 4 / 3)[:, None].expand(3, 4)
    torch.testing.assert_close(gradient(gtpo, logp, part), want)
    # Three times 0.9 is not thrice 0.9 in float32.
    assert gtpo.prepare(three((0.9, 0.9, 0.9)), Seen())["centred"].tolist() == [0, 0, 0]


def test_rewards_scale_and_the_penalty_does_not(gtpo):
    settings(gtpo, scale=1.0)
    one = gtpo.pushes(rows_of(gtpo, three((3.0, 0, 0)), [0.5] * 3)[1])[0]
    two = gtpo.pushes(rows_of(gtpo, three((6.0, 0, 0)), [0.5] * 3)[1])[0]
    lam = torch.tensor([[2.0, 2, 2, 2], [0, 0, 1, 0], [0, 1, 0, 0]])
    torch.testing.assert_close(two - 2 * one, 0.05 * lam)
    settings(gtpo)  # rewards of 0 and 1 reach the released range
    assert float(gtpo.prepare(three((1.0, 0, 0)), Seen())["centred"][0]) == pytest.approx(40 / 3)


# On a model.


def test_entropy_at_the_start_is_found_once(tiny):
    algorithm = make(GTPO, tiny, lr=1e-2)
    assert algorithm.looks_ahead and math.isnan(float(algorithm.state["h_ini"]))
    entropy = algorithm_entropy(algorithm)
    log = algorithm.update(BATCH)
    assert float(log["h_ini"]) == pytest.approx(entropy, rel=1e-5)
    assert float(log["response_entropy"]) == pytest.approx(entropy, rel=1e-5)
    assert not algorithm.looks_ahead
    log = algorithm.update(BATCH)
    assert float(log["h_ini"]) == pytest.approx(entropy, rel=1e-5)
    assert float(log["response_entropy"]) != pytest.approx(entropy, rel=1e-3)
    assert "h_ini" not in make(GTPO, tiny, form="released").update(BATCH)


def algorithm_entropy(algorithm):
    """Mean over the responses of BATCH of the mean entropy of their tokens."""
    index, packed = next(algorithm.micro_batches(BATCH, torch.arange(len(BATCH))))
    entropy, mask = algorithm.model.look(packed).entropy.detach(), BATCH.mask[index]
    return float(((entropy * mask).sum(-1) / mask.sum(-1)).mean())


def test_filter_of_a_model(tiny):
    """Responses of a random model are above every small threshold."""
    algorithm = make(GTPO, tiny, threshold=1e-3, use_initial_entropy=False)
    theta = algorithm.state["theta"].clone()
    log = algorithm.update(BATCH)
    assert float(log["filtered"]) == 1 and float(log["grad_norm"]) == 0
    assert torch.equal(algorithm.state["theta"], theta)
    log = make(GTPO, tiny, threshold=1e-3).update(BATCH)  # H_ini is above it
    assert float(log["filtered"]) == 0 and float(log["grad_norm"]) > 0


def test_right_responses_of_the_wrong_sign(tiny):
    """The penalty makes them so, by degrees; without it no right response is one."""
    shares = []
    for gamma in (0.0, 3.0, 6.0, 1e3):
        log = make(GTPO, tiny, threshold="none", gamma=gamma).update(BATCH)
        shares.append(float(log["wrong_sign"]))
    assert shares == sorted(shares) and (shares[0], shares[-1]) == (0, 1)
    # The same whatever the micro-batches: a share of responses, not of tokens.
    for gamma, share in ((3.0, shares[1]), (6.0, shares[2])):
        algorithm = make(GTPO, tiny, threshold="none", gamma=gamma, micro_tokens=40)
        assert float(algorithm.update(BATCH)["wrong_sign"]) == pytest.approx(share)
    assert 0 < shares[1] < 1 or 0 < shares[2] < 1


def test_rows_without_a_gradient_are_left_out_without_penalty(tiny):
    batch = replace(BATCH, reward=torch.where(BATCH.group < 1, BATCH.reward, torch.ones(16)))
    gradients, tokens = [], []
    for skips in (True, False):
        algorithm = make(GTPO, tiny, gamma=0.0, use_initial_entropy=False)
        algorithm.skips_zero = skips
        algorithm.update(batch)
        gradients.append(algorithm.model.grad.clone())
        tokens.append(algorithm.trained_tokens)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert tokens[0] < tokens[1]
    # The first step finds H_ini on all responses.
    algorithm = make(GTPO, tiny, gamma=0.0)
    algorithm.update(batch)
    algorithm.update(batch)
    assert algorithm.trained_tokens == tokens[1] + tokens[0]


@pytest.mark.parametrize("gamma", [0.1, 0.0])
def test_equalise(tiny, gamma):
    """Gradients that differ by the scale of the rewards alone become one; micro-batches agree."""
    free = {"threshold": "none", "gamma": gamma}
    found = []
    for more in ({}, {"micro_tokens": 40}, {"scale": 40.0, "gamma": 2 * gamma}):
        algorithm = make(GTPO, tiny, equalise=True, **{**free, **more})
        algorithm.update(BATCH)
        found.append(algorithm.model.grad.clone())
    size = float(found[0].abs().max())
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-5 * size, rtol=1e-3)
    plain = make(GTPO, tiny, **free)
    plain.update(BATCH)
    ratio = plain.model.grad.norm() / found[0].norm()
    torch.testing.assert_close(plain.model.grad / ratio, found[0], atol=1e-4 * size, rtol=1e-3)
    assert float(ratio) > 2


def test_a_run_that_goes_on_elsewhere_is_the_same(tiny):
    one, other = make(GTPO, tiny, lr=1e-2), make(GTPO, tiny, lr=1e-2)
    one.update(BATCH)
    other.load_state_dict(one.state_dict())
    assert not other.looks_ahead
    for _ in range(2):
        a, b = one.update(BATCH), other.update(BATCH)
        assert torch.equal(a["h_ini"], b["h_ini"])
        assert torch.equal(one.state["theta"], other.state["theta"])


def test_settings():
    c = Config()
    assert (c.nats, c.looks_at_start, c.product, c.divides, c.sums) == (LN2, True, *[False] * 3)
    c = Config(form="released")
    assert (c.nats, c.looks_at_start, c.product, c.divides, c.sums) == (0.7, False, *[True] * 3)
    assert build(Config, {"threshold": "none"}, "gtpo").nats is None
    assert build(Config, {"threshold": "1.05"}, "gtpo").nats == 1.05
    assert build(Config, {"use_initial_entropy": "false"}, "gtpo").looks_at_start is False
    for settings, words in (
        ({"threshold": "ln3"}, "threshold takes nats, ln2, none or form, not 'ln3'"),
        ({"threshold": "0"}, "threshold must be above 0, not 0.0"),
        ({"gamma": "-1"}, "gamma must be at least 0, not -1.0"),
        ({"w_plus": "-1"}, "w_plus must be at least 0"),
        ({"scale": "0"}, "scale must be above 0"),
        ({"form": "code"}, "form"),
        ({"group": "1"}, "group must be at least 2"),
    ):
        with pytest.raises(PgbenchError, match=words):
            build(Config, settings, "gtpo")
