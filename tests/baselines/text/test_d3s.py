"""D3S: which responses, which tokens, how many, and the host when everything is kept."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from tiny_lm import make, make_batch

from pgbench.baselines.text.d3s import D3S, Config, budgets, most_varied, share_of, top_tokens
from pgbench.baselines.text.grpo import GRPO, grpo_advantage
from pgbench.baselines.text.gspo import GSPO
from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Setup
from pgbench.learning.ops.groups import Totals
from pgbench.lm.rows import Rows, Seen
from pgbench.settings.config import build

BATCH = make_batch(prompts=6, holes=True, seed=1)  # 24 rows
ALL = {"n_init": 1.0, "k_init": 1.0}
FIVE = torch.tensor([-1.5, -0.5, 0.0, 0.5, 1.5])


def var(x):
    return float(x.double().var(unbiased=False))


def of(tiny, steps=11, **settings):
    return make(D3S, tiny, Setup(None, None, steps), **settings)


# Eq. 1.


def test_most_varied_worked_numbers():
    assert FIVE[most_varied(FIVE, 2)].tolist() == [-1.5, 1.5]
    assert var(FIVE[most_varied(FIVE, 2)]) == 2.25
    three = most_varied(FIVE, 3)
    assert three.tolist() == [0, 3, 4]  # of two solutions the one with the smaller k
    assert var(FIVE[three]) == pytest.approx(1.555556, abs=1e-6)
    one_sided = torch.tensor([1.0, 1, 1, 1, -0.01, 0, 0, 0])
    rows = most_varied(one_sided, 4)
    assert sorted(one_sided[rows].tolist()) == pytest.approx([-0.01, 0, 1, 1])  # zeros widen it


@pytest.mark.parametrize("seed", range(12))
def test_most_varied_is_exact(seed):
    rng = torch.Generator().manual_seed(seed)
    n = 6 + seed % 7
    x = torch.randn(n, generator=rng)
    if seed % 3 == 0:
        x = x.round()  # ties
    for size in range(1, n + 1):
        best = max(var(x[list(rows)]) for rows in itertools.combinations(range(n), size))
        rows = most_varied(x, size)
        assert len(set(rows.tolist())) == size and rows.tolist() == sorted(rows.tolist())
        assert var(x[rows]) == pytest.approx(best, abs=1e-12)


def test_maximal_variance_and_the_size():
    """Lemma: leaving the worst one out never lowers the unbiased variance."""
    x = torch.randn(11, generator=torch.Generator().manual_seed(0)).double()
    best = [float(x[most_varied(x, size)].var()) for size in range(2, 12)]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(best))
    # A standardised set has subsets of variance at least 1.
    unit = (x - x.mean()) / x.std(unbiased=False)
    assert all(var(unit[most_varied(unit, size)]) >= 1 - 1e-12 for size in range(2, 12))
    pairs = torch.tensor([-1.0, -1, 1, 1])
    assert var(pairs[most_varied(pairs, 3)]) == pytest.approx(0.888889, abs=1e-6)
    assert var(pairs[most_varied(pairs, 4)]) == 1


def test_scaling_and_mirroring_keep_the_set():
    x = torch.randn(40, generator=torch.Generator().manual_seed(3))
    for size in (1, 2, 7, 20, 39):
        rows = most_varied(x, size).tolist()
        assert most_varied(3.5 * x, size).tolist() == rows
        if size > 1:  # of one row the variance is 0 whichever it is
            assert most_varied(-x, size).tolist() == rows


def test_rare_successes_and_rare_failures_go_first():
    reward = torch.tensor([[1, 0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0],
                           [1, 1, 1, 1, 1, 1, 1, 0]]).float().flatten()  # fmt: skip
    group = torch.arange(3).repeat_interleave(8)
    adv = grpo_advantage(reward, group, eps=0.0, unbiased=False)
    for g, p in enumerate((1 / 8, 1 / 2, 7 / 8)):
        own = adv[8 * g : 8 * g + 8]
        assert float(own.max()) == pytest.approx(math.sqrt((1 - p) / p), rel=1e-5)
        assert float(own.min()) == pytest.approx(-math.sqrt(p / (1 - p)), rel=1e-5)
    assert most_varied(adv, 2).tolist() == [0, 23]


def test_one_row_is_the_largest_whatever_the_rounding():
    for seed in range(300):
        x = torch.randn(10 + seed, generator=torch.Generator().manual_seed(seed))
        assert most_varied(x, 1).tolist() == [int(x.argmax())]


def test_ties_and_degenerate_sizes():
    assert most_varied(torch.zeros(6), 3).tolist() == [0, 1, 2]
    assert most_varied(FIVE, 5).tolist() == most_varied(FIVE, 9).tolist() == [0, 1, 2, 3, 4]
    # Zeros fill up where there are too few others.
    x = torch.zeros(8)
    x[2], x[5] = -1.0, 1.0
    assert {2, 5} < set(most_varied(x, 4).tolist())


# Eq. 2 and 3.


def test_tokens_with_the_largest_keys():
    key = torch.tensor([[1.0, 5, 9], [4, 0, 7]])
    mask = torch.tensor([[1.0, 1, 0], [1, 1, 1]])  # the 9 is padding
    assert top_tokens(key, mask, 2).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert top_tokens(key, mask, 9).tolist() == mask.tolist()
    assert float(top_tokens(key, mask, 0).sum()) == 0
    assert top_tokens(torch.ones(2, 3), mask, 3).tolist() == [[1, 1, 0], [1, 0, 0]]
    assert [share_of(0.55, 100), share_of(0.1, 31), share_of(0.0, 9), share_of(1.0, 9)] == [
        55, 4, 0, 9,
    ]  # fmt: skip


def test_schedule():
    c = Config(n_init=16, n_final=64, k_init=0.1, k_final=1.0)
    assert budgets(c, 0, 11, 256) == (16, 0.1)
    assert budgets(c, 10, 11, 256) == budgets(c, 99, 11, 256) == (64, 1.0)
    rows, share = budgets(c, 5, 11, 256)
    assert rows == 40 and share == pytest.approx(0.55)
    assert budgets(c, 0, 1, 256) == (16, 0.1)  # a run of one step
    assert budgets(Config(n_init=16, k_init=0.1, schedule="none"), 9, 11, 256) == (16, 0.1)
    assert budgets(c, 10, 11, 30) == (30, 1.0)
    assert budgets(Config(), 0, 11, 256) == (64, 0.1)
    assert budgets(Config(n_init=0.5, n_final=1.0), 0, 11, 5)[0] == 3  # a half goes up
    assert budgets(Config(n_init=0.01), 0, 11, 8)[0] == 1


def test_rows_and_advantages_of_the_full_groups(tiny):
    algorithm = of(tiny)
    adv = grpo_advantage(BATCH.reward, BATCH.group)
    shaped = algorithm.shape(BATCH)
    index = most_varied(adv, 6)
    assert len(shaped) == 6
    assert torch.equal(shaped.notes["adv"], adv[index])
    assert torch.equal(shaped.tokens, BATCH.tokens[index])
    algorithm.state["updates"].fill_(10)
    assert torch.equal(algorithm.shape(BATCH).tokens, BATCH.tokens)


def test_rows_of_every_prompt(tiny):
    batch = make_batch(prompts=3, group=8, seed=2)
    reward = torch.tensor([[1, 1, 0, 0, 1, 0, 1, 0], [0] * 7 + [1], [1] * 8]).float().flatten()
    batch = replace(batch, reward=reward, correct=reward > 0)
    shaped = of(tiny, scope="intra").shape(batch)
    assert shaped.group.tolist() == [0, 0, 1, 1, 2, 2]
    # The last of the zeros is the largest of them; of equal rewards the first rows.
    assert torch.equal(shaped.tokens[4:], batch.tokens[16:18])
    assert shaped.reward.tolist() == [0, 1, 0, 1, 1, 1]


def test_token_mask(tiny):
    algorithm = of(tiny, k_init=0.3)
    shaped = algorithm.shape(BATCH)
    entropy = torch.rand(shaped.mask.shape, generator=torch.Generator().manual_seed(5))
    out = algorithm.prepare(shaped, Seen(entropy=entropy))
    kept, count = out["weight"], math.ceil(0.3 * float(shaped.mask.sum()))
    assert float(kept.sum()) == count and not bool((kept > shaped.mask).any())
    key = shaped.notes["adv"].abs()[:, None] * entropy
    assert float(key[kept > 0].min()) >= float(key[(shaped.mask > 0) & (kept == 0)].max())
    empty = kept.sum(-1) == 0
    assert bool(empty.any())  # the share is of all rows together
    assert bool((out["adv"][empty] == 0).all())
    assert torch.equal(out["adv"][~empty], shaped.notes["adv"][~empty])


# Eq. 4.


def after(algorithm, batch=BATCH, times=3):
    logs = [algorithm.update(algorithm.shape(batch)) for _ in range(times)]
    return algorithm.state["theta"].clone(), logs


@pytest.mark.parametrize("several", [{}, {"epochs": 2, "minibatches": 2}])
@pytest.mark.parametrize("source", ["old", "current"])
def test_everything_kept_is_the_host_bit_for_bit(tiny, several, source):
    # K = 1 chooses nothing, and a source of entropies is refused there.
    several, k = {"lr": 1e-2, **several}, 1.0 if source == "old" else 1 - 1e-12
    for host, other in (("grpo", make(GRPO, tiny, **several)),
                        ("gspo", make(GSPO, tiny, form="token", **several))):  # fmt: skip
        expected, own = after(other)
        for scope, normaliser in (("cross", "kept"), ("intra", "lengths")):
            mine = of(tiny, host=host, scope=scope, normaliser=normaliser, entropy_source=source,
                      **(ALL | {"k_init": k}), **several)  # fmt: skip
            theta, logs = after(mine)
            assert torch.equal(theta, expected)
            for log, want in zip(logs, own, strict=True):
                assert torch.equal(log["loss"], want["loss"])
    sequence, _ = after(make(GSPO, tiny, **several))
    torch.testing.assert_close(theta, sequence, atol=1e-4, rtol=1e-3)


def rows(off=0.0, **extra):
    rng = torch.Generator().manual_seed(7)
    logp = -torch.rand(3, 4, generator=rng, dtype=torch.float64)
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).double()
    keep = torch.tensor([[0.0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]).double()
    old = logp + off * torch.randn(3, 4, generator=rng, dtype=torch.float64)
    adv = torch.tensor([1.5, 0.0, -0.5]).double()
    none = torch.zeros(3)
    return logp.requires_grad_(), Rows(
        mask=keep, group=none.long(), reward=none, finished=none > 0, old=old, ref=None,
        entropy=torch.zeros(3, 4), totals=Totals(3, 3, 10), extra={"adv": adv, "whole": mask},
    )  # fmt: skip


@pytest.mark.parametrize("host", ["grpo", "gspo"])
def test_gradient_of_the_kept_tokens(tiny, host):
    logp, part = rows()
    shares = {"kept": 1 / (3 * part.mask.sum(-1, keepdim=True).clamp(min=1)),
              "lengths": 1 / (3 * part["whole"].sum(-1, keepdim=True)),
              "constant": torch.full((3, 1), 1 / 30.0)}  # fmt: skip
    algorithm = of(tiny)
    for normaliser, share in shares.items():
        algorithm.config = Config(model=str(tiny), host=host, normaliser=normaliser)
        loss, _ = algorithm.loss(logp, part)
        grad = torch.autograd.grad(loss, logp)[0]
        torch.testing.assert_close(grad, -part["adv"][:, None] * part.mask * share)


def test_gspo_keeps_the_ratio_of_the_whole_response(tiny):
    logp, part = rows(off=0.3)
    algorithm = of(tiny, host="gspo", clip_low=1.0, clip_high=9.0)
    whole = part["whole"]
    s = (((logp.detach() - part.old) * whole).sum(-1) / whole.sum(-1)).exp()
    loss, _ = algorithm.loss(logp, part)
    grad = torch.autograd.grad(loss, logp)[0]
    share = part.mask / (3 * part.mask.sum(-1, keepdim=True).clamp(min=1))
    torch.testing.assert_close(grad, -(s * part["adv"])[:, None] * share)
    assert algorithm.config.clip == (1.0, 9.0)
    assert (Config().clip, Config(host="gspo").clip) == ((0.2, 0.2), (3e-4, 4e-4))


def test_without_tokens_there_is_no_step(tiny):
    for source in ("old", "current"):
        algorithm = of(tiny, k_init=0.0, entropy_source=source)
        before = {name: x.clone() for name, x in algorithm.state.items()}
        log = algorithm.update(algorithm.shape(BATCH))
        assert float(log["kept_tokens"]) == float(log["kept_share"]) == 0
        assert "loss" not in log and algorithm.trained_tokens == 0
        assert float(algorithm.state.pop("updates")) == 1
        assert all(torch.equal(algorithm.state[name], before[name]) for name in algorithm.state)


def test_equal_rewards_change_nothing(tiny):
    batch = replace(BATCH, reward=torch.ones(24), correct=torch.ones(24, dtype=torch.bool))
    algorithm = of(tiny)
    theta = algorithm.state["theta"].clone()
    shaped = algorithm.shape(batch)
    assert torch.equal(shaped.tokens, batch.tokens[:6])
    log = algorithm.update(shaped)
    assert torch.equal(algorithm.state["theta"], theta)
    assert float(log["useful"]) == float(log["adv_variance"]) == 0


def test_present_entropies_choose_as_old_ones_in_one_step(tiny):
    """While the policy is the one of the rollout, and whatever the micro-batches."""
    thetas = []
    for settings in ({}, {"entropy_source": "current"},
                     {"entropy_source": "current", "micro_tokens": 40}):  # fmt: skip
        algorithm = of(tiny, n_init=0.75, k_init=0.4, lr=1e-2, **settings)
        assert algorithm.needs_of(algorithm.config) == (set() if settings else {"entropy"})
        log = algorithm.update(algorithm.shape(BATCH))
        thetas.append((algorithm.model.grad.clone(), log))
    for grad, log in thetas[1:]:
        torch.testing.assert_close(grad, thetas[0][0], atol=1e-5, rtol=1e-3)
        for name in ("loss", "kept_tokens", "kept_share"):
            torch.testing.assert_close(log[name], thetas[0][1][name], atol=1e-6, rtol=1e-4)


def test_what_is_logged(tiny):
    algorithm = of(tiny, n_init=0.5, k_init=0.25)
    shaped = algorithm.shape(BATCH)
    log = algorithm.update(shaped)
    adv = shaped.notes["adv"]
    assert float(log["rows_share"]) == 0.5
    assert float(log["useful"]) == pytest.approx(float((adv != 0).float().mean()))
    assert float(log["adv_variance"]) == pytest.approx(var(adv), rel=1e-5)
    kept = math.ceil(0.25 * float(shaped.mask.sum()))  # all of them of rows with A != 0
    assert float(log["kept_tokens"]) == kept
    assert float(log["kept_share"]) == pytest.approx(kept / float(BATCH.mask.sum()))
    # At the end all rows and tokens; those without an advantage are not trained on.
    algorithm.state["updates"].fill_(10)
    log = algorithm.update(algorithm.shape(BATCH))
    live = grpo_advantage(BATCH.reward, BATCH.group) != 0
    assert float(log["kept_tokens"]) == float(BATCH.mask[live].sum())
    assert float(log["rows_share"]) == 1


def test_random_controls(tiny):
    batch = make_batch(prompts=8, seed=4)
    reward = torch.tensor([[1, 0, 0, 0]] * 3 + [[0] * 4] * 5).float().flatten()  # 12 of 32 live
    batch = replace(batch, reward=reward, correct=reward > 0)
    for control in ("rows", "both"):
        algorithm = of(tiny, random_control=control, k_init=0.25)
        drawn = [algorithm.shape(batch) for _ in range(8)]
        assert all(len(x) == 8 and bool((x.notes["adv"] != 0).all()) for x in drawn)
        assert len({tuple(x.tokens.flatten().tolist()) for x in drawn}) > 4
        log = algorithm.update(drawn[0])
        assert float(log["kept_tokens"]) == math.ceil(0.25 * float(drawn[0].mask.sum()))
        algorithm.state["updates"].fill_(5)  # 20 rows: all that are useful, and some others
        assert int((algorithm.shape(batch).notes["adv"] != 0).sum()) == 12
    assert algorithm.needs_of(algorithm.config) == set()  # random tokens need no entropy
    everything = Config(k_init=1.0)
    assert D3S.needs_of(everything) == D3S.needs_of(Config(**ALL)) == set()
    assert D3S.needs_of(replace(everything, k_final=0.5)) == {"entropy"}
    assert D3S.needs_of(replace(everything, schedule="none")) == set()


@pytest.mark.parametrize("control", ["none", "both"])
def test_a_run_that_goes_on_elsewhere_is_the_same(tiny, control):
    one = of(tiny, lr=1e-2, random_control=control)
    after(one, times=2)
    saved = one.state_dict()
    other = of(tiny, lr=1e-2, random_control=control)
    other.load_state_dict(saved)
    assert int(other.state["updates"]) == 2
    for _ in range(3):
        a, b = (x.update(x.shape(BATCH)) for x in (one, other))
        assert torch.equal(a["kept_tokens"], b["kept_tokens"])
        assert torch.equal(one.state["theta"], other.state["theta"])


def test_settings_that_make_no_sense():
    for settings, words in (
        ({"n_init": "0"}, "n_init must be above 0, not 0.0"),
        ({"n_final": "2.5"}, "n_final must be a share"),
        ({"n_init": "64", "scope": "intra"}, "n_init must be a share of a prompt's rows"),
        ({"k_init": "1.5"}, r"k_init must be in \[0, 1\], not 1.5"),
        ({"k_final": "-0.1"}, "k_final must be in"),
        ({"schedule": "none", "n_final": "0.5"}, "n_final is an option of schedule=linear"),
        ({"random_control": "both", "entropy_source": "current"}, "entropy_source is an option"),
        ({"host": "dapo"}, "host"),
        ({"group": "1"}, "group must be at least 2"),
    ):
        with pytest.raises(PgbenchError, match=words):
            build(Config, settings, "d3s")


def test_ties_are_not_decided_by_rounding():
    """Equal but for the last bits, as the advantages of prompts with the same rewards are."""
    rng = torch.Generator().manual_seed(0)
    adv = torch.tensor([1.0, -1.0, 0.5, -0.5]).repeat(6)
    mask = torch.ones(24, 3)
    key = adv.abs()[:, None] * torch.tensor([2.0, 1.0, 0.5])
    for _ in range(20):
        off = 1 + 2e-7 * torch.randn(24, generator=rng)
        for size in (3, 8, 13):
            assert most_varied(adv * off, size).tolist() == most_varied(adv, size).tolist()
        got = top_tokens(key * off[:, None], mask, 17)
        assert torch.equal(got, top_tokens(key, mask, 17))
