"""Minibatch orders, the clipped value loss, and the choice of a matrix library."""

import pytest
import torch

from pgbench.learning.ops.fit import clipped_value_loss, shuffled
from pgbench.learning.ops.matmul import fast_matmul, onednn_keeps_float32


def test_each_epoch_visits_everything_but_its_remainder_once():
    index = shuffled(10, 3, 4, torch.Generator().manual_seed(0))
    assert index.shape == (12, 3)
    for epoch in index.view(4, 9):
        assert len(set(epoch.tolist())) == 9
        assert set(epoch.tolist()) <= set(range(10))
    assert not torch.equal(index[:3], index[3:6])


def test_a_rollout_smaller_than_a_minibatch_is_one_minibatch():
    index = shuffled(5, 64, 2, torch.Generator().manual_seed(0))
    assert index.shape == (2, 5)
    assert sorted(index[0].tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (1.1, 0.81),  # inside the clip: plain
        (1.5, 0.64),  # went the right way too far: the clipped branch, (1.2 - 2)^2
        (0.0, 4.0),  # went the wrong way: plain, (0 - 2)^2
    ],
)
def test_clipped_value_loss(value: float, want: float):
    one = torch.ones(1)
    assert clipped_value_loss(value * one, one, 2 * one, 0.2).item() == pytest.approx(want)


def test_clipping_stops_the_gradient_only_where_it_helps():
    slope = torch.func.grad(lambda v: clipped_value_loss(v, torch.ones(1), 2 * torch.ones(1), 0.2))
    assert slope(torch.tensor([1.5])).item() == 0
    assert slope(torch.tensor([1.1])).item() == pytest.approx(-1.8)


def test_fast_matmul_keeps_full_precision_and_restores_the_setting():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 256, 256, generator=rng)
    exact = x.double() @ y.double()
    before = torch.backends.mkldnn.matmul.fp32_precision
    with fast_matmul(torch.device("cpu")):
        product = x @ y
        inside = torch.backends.mkldnn.matmul.fp32_precision
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    assert (inside != before) == onednn_keeps_float32()
    # Rounding to bfloat16 would leave errors near 0.3.
    assert (product - exact).abs().max() < 1e-3


def test_fast_matmul_leaves_other_devices_alone():
    before = torch.backends.mkldnn.matmul.fp32_precision
    with fast_matmul(torch.device("cuda")):
        assert torch.backends.mkldnn.matmul.fp32_precision == before
