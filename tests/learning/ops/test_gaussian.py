"""Diagonal Gaussians against torch.distributions and worked numbers."""

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from pgbench.learning.ops import gaussian

F64 = torch.float64


@pytest.fixture
def pair():
    rng = torch.Generator().manual_seed(0)
    mean_p, mean_q, action = torch.randn(3, 5, 4, generator=rng, dtype=F64)
    log_std_p, log_std_q = torch.randn(2, 4, generator=rng, dtype=F64) * 0.5
    return mean_p, log_std_p, mean_q, log_std_q, action


def test_against_torch_distributions(pair):
    mean_p, log_std_p, mean_q, log_std_q, action = pair
    p = Independent(Normal(mean_p, log_std_p.exp().expand_as(mean_p)), 1)
    q = Independent(Normal(mean_q, log_std_q.exp().expand_as(mean_q)), 1)
    close = torch.testing.assert_close
    close(gaussian.log_prob(mean_p, log_std_p, action), p.log_prob(action))
    close(gaussian.kl(mean_p, log_std_p, mean_q, log_std_q), kl_divergence(p, q))
    close(gaussian.entropy(log_std_p).expand(5), p.entropy())


def test_kl_in_both_directions():
    new = torch.tensor([0.5], dtype=F64), torch.tensor([0.8], dtype=F64).log()
    old = torch.zeros(1, dtype=F64), torch.zeros(1, dtype=F64)
    assert gaussian.kl(*new, *old).item() == pytest.approx(0.168144, abs=1e-6)
    assert gaussian.kl(*old, *new).item() == pytest.approx(0.253419, abs=1e-6)
    assert gaussian.kl(*new, *new).item() == 0
