"""RiskPO, Eq. 4: the quantiles between which advantages are cut off are tracked over batches."""

import pytest
import torch
from near import near
from tiny_lm import make
from token_groups import batch

from pgbench.baselines.text.riskpo import RiskPO, mvar_advantage, tracked
from pgbench.lm.rows import Seen

F64 = torch.float64
# Three questions of four responses; bundle samples of all three: 1, 2, 1, 2.
MIXED = [[1, 0, 0, 1], [0, 1, 0, 1], [0, 1, 1, 0]]


def number(x):
    return torch.tensor(x, dtype=F64)


def averse(score, a, b, omega):
    return mvar_advantage(number([score]), number([[a]]), number([[b]]), omega)[0]


def test_tracking():
    levels, q = number([0.3, 0.7]), number([1.0, 3.0])
    pool = number([0.0, 2, 4, 4])  # 25% below 1, 50% below 3
    near(tracked(q, levels, pool, 0.2), [1.01, 3.04])
    # A score that equals the quantile is not below it.
    near(tracked(q, levels, number([1.0, 1, 3, 3]), 1.0), [1.3, 3.2])
    # Still only where the share below is the level.
    even = torch.arange(10, dtype=F64)
    near(tracked(number([2.5, 6.5]), levels, even, 0.5), [2.5, 6.5])


def test_quantiles_come_from_the_steps_before(tiny):
    algorithm = make(RiskPO, tiny, bundle=3, level_low=0.3, level_high=0.7, eta=0.2)
    assert bool(algorithm.state["quantiles"].isnan().all())
    first = batch(MIXED)
    out = algorithm.prepare(first, Seen())
    empirical = number([1.0, 2, 1, 2]).quantile(number([0.3, 0.7]))  # 1, 2
    near(algorithm.state["quantiles"], empirical)
    near(out["adv"], [-1, 0, -1, 0] * 3)  # S - b
    other = batch([[0, 0, 0, 1], [0, 0, 0, 1], [0, 1, 0, 1]])  # 0, 1, 0, 3
    out = algorithm.prepare(other, Seen())
    near(out["adv"], averse([0.0, 1, 0, 3], 1.0, 2.0, 0.5).repeat(3).float())
    near(out["quantile_low"], [1.0] * 12)
    near(out["quantile_high"], [2.0] * 12)
    near(out["bundle_score"], [1.0] * 12)
    near(algorithm.state["quantiles"], [1 + 0.2 * (0.3 - 0.5), 2 + 0.2 * (0.7 - 0.75)])


def test_quantiles_survive(tiny):
    algorithm = make(RiskPO, tiny, pairing="random")
    algorithm.prepare(batch(MIXED), Seen())
    saved = algorithm.state_dict()
    next_one = batch([[0, 1, 0, 1], [0, 0, 0, 1], [1, 1, 0, 1]])
    want = algorithm.prepare(next_one, Seen())
    other = make(RiskPO, tiny, pairing="random")
    other.load_state_dict(saved)
    for name, value in other.prepare(next_one, Seen()).items():
        assert torch.equal(value, want[name]), name
    assert torch.equal(other.state["quantiles"], algorithm.state["quantiles"])


def test_quantiles_that_passed_each_other_are_used_in_order(tiny):
    algorithm = make(RiskPO, tiny, bundle=2)
    algorithm.state["quantiles"].copy_(number([1.999, 2.001]))
    same = batch([[1] * 4, [1] * 4])
    algorithm.prepare(same, Seen())
    a, b = algorithm.state["quantiles"].tolist()
    assert a == pytest.approx(2.019) and b == pytest.approx(1.981)
    out = algorithm.prepare(same, Seen())
    near(out["quantile_low"], [1.981] * 8)
    near(out["adv"], [2 - 2.019] * 8)
    assert bool((out["adv"] <= 0).all())


def test_where_quantiles_come_from(tiny):
    one = batch([[0, 0, 1, 1], [1, 1, 1, 0]])  # two bundles of one
    pooled, own = number([0.0, 1.0]), number([[0.0, 1.0], [0.6, 1.0]])
    for name, want in (
        ("batch", pooled.expand(2, 2)),
        ("bundle", own),
        ("tracked", number([[0.5, 2.0]] * 2)),
        ("mean", (own + number([0.5, 2.0])) / 2),
    ):
        algorithm = make(RiskPO, tiny, bundle=1, quantiles=name)
        algorithm.state["quantiles"].copy_(number([0.5, 2.0]))
        score = one.reward.double().reshape(2, 4)
        a, b = algorithm.thresholds(score)
        near(torch.cat([a, b], 1), want)
