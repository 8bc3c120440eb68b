"""Generated retail demand: reproducible, and alike to recorded demand in what its page states."""

import numpy as np
import pytest
import torch

from pgbench.envs.inventory import recorded, seasonal
from pgbench.errors import PgbenchError


@pytest.fixture(scope="module")
def demand():
    return seasonal.generate(288, 21, 171, 0)


@pytest.fixture(scope="module")
def series(demand):
    return demand.reshape(-1, 171).double().numpy()


def points(values, at=(10, 50, 90)):
    return np.percentile(values, at).tolist()


def autocorrelation(series, lag):
    a, b = (x - x.mean(1, keepdims=True) for x in (series[:, :-lag], series[:, lag:]))
    return (a * b).mean(1) / np.sqrt((a * a).mean(1) * (b * b).mean(1))


def test_demand_is_reproducible(demand):
    assert demand.shape == (288, 21, 171) and demand.dtype == torch.float32
    assert demand.is_contiguous() and (demand >= 0).all() and torch.equal(demand, demand.round())
    assert torch.equal(seasonal.generate(288, 21, 171, 0), demand)
    assert not torch.equal(seasonal.generate(288, 21, 171, 1), demand)


def test_the_table_states_what_is_generated(demand, series):
    mean = series.mean(1)
    assert series.mean() == pytest.approx(82.6, abs=0.1)
    assert points(mean) == pytest.approx([13.5, 50.2, 183.6], abs=0.1)
    assert points(series.std(1) / mean) == pytest.approx([0.32, 0.43, 0.62], abs=0.01)
    change = np.abs(np.diff(series)).mean(1) / mean
    assert points(change) == pytest.approx([0.24, 0.30, 0.43], abs=0.01)
    assert np.median(series.max(1) / mean) == pytest.approx(2.66, abs=0.01)
    assert (series == 0).mean() == pytest.approx(0.011, abs=0.001)
    for lag, quartiles in {
        1: [0.35, 0.49, 0.59],
        8: [0.05, 0.13, 0.24],
        52: [-0.01, 0.09, 0.22],
    }.items():
        found = points(autocorrelation(series, lag), (25, 50, 75))
        assert found == pytest.approx(quartiles, abs=0.01)
    z = (demand - demand.mean(2, keepdim=True)) / demand.std(2, correction=0, keepdim=True)
    upper = torch.triu_indices(21, 21, 1)
    stores = (z @ z.mT / 171)[:, upper[0], upper[1]].flatten().numpy()
    assert points(stores, (25, 50, 75)) == pytest.approx([0.19, 0.30, 0.42], abs=0.01)
    growth = np.log((series[:, 104:156].mean(1) + 1) / (series[:, :52].mean(1) + 1))
    assert points(growth) == pytest.approx([-0.37, 0.01, 0.38], abs=0.01)
    assert series.mean(0)[50] / series.mean() == pytest.approx(1.24, abs=0.01)


def test_sales_peak_before_every_christmas(series):
    profile = series.mean(0) / series.mean()
    days = recorded.days_from_christmas(171).numpy()
    last = (days >= -11) & (days <= -5)  # the last week that ends before Christmas
    assert last.sum() == 3
    assert (profile[last] > 1.12).all()
    assert np.median(profile) < 1.02


def test_counts_scatter_more_than_poisson_and_pauses_last(series):
    quiet = np.abs(np.diff(series)) ** 2 / 2
    assert np.median(quiet.mean(1) / series.mean(1)) > 2
    none = series == 0
    busy = series.mean(1) > 50  # where chance alone gives no zero
    again = none[busy][:, 1:][none[busy][:, :-1]].mean()
    assert 0.5 < again < 0.7  # mean length 2.5 weeks: 0.6 of the weeks are followed by another


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 300), (3, 40, 5)])
def test_any_size(shape):
    assert seasonal.generate(*shape, 3).shape == shape


def test_one_store_has_the_level_of_many(demand):
    alone = seasonal.generate(2000, 1, 171, 7)
    assert alone.mean().item() == pytest.approx(demand.mean().item(), rel=0.25)


def test_sizes_below_one():
    for shape in ((0, 1, 5), (1, 0, 5), (1, 1, 0)):
        with pytest.raises(PgbenchError, match="is 0; seasonal demand needs at least 1"):
            seasonal.generate(*shape, 0)


def test_it_feeds_both_settings(demand):
    for make, count in ((recorded.one_store, 288 * 21), (recorded.many_warehouses, 288)):
        assert len(make(demand, "train")[1]) == count
