"""Figures of a run's record that are not its score."""

import pytest
import torch

from pgbench.loops.history import END, GAIN, WINDOW, History


def filled(watched=(), **values):
    history = History(watched)
    for row in zip(*values.values(), strict=True):
        history.add({k: torch.tensor(x) for k, x in zip(values, row, strict=True)})
    return history


def test_the_gradient_norms_spread():
    history = filled(grad_norm=[1.0, 3.0] * 10 + [2.0] * 20 + [9.0])
    out = history.summary()
    assert out["grad_norm_cv"] == pytest.approx(0.5 * (20 / 19) ** 0.5 / 2)
    assert 3.0 <= out["grad_norm_p95"] <= 9.0
    assert "grad_norm_cv" not in filled(grad_norm=[1.0] * 19).summary()


def test_ends_are_means_of_the_last_steps():
    out = filled(length=[9.0] * 10 + [4.0] * END, logp=[-2.0] * 10 + [-0.5] * END).summary()
    assert out["length_end"] == 4 and out["entropy_end"] == 0.5
    assert "format_end" not in out


def test_the_drop_from_the_best_window():
    rate = [0.2] * WINDOW + [0.5] * WINDOW + [0.1] * WINDOW + [0.9]
    assert filled(**{"pass@1": rate}).summary()["pass@1_drop"] == pytest.approx(0.4)


def test_entropy_where_a_gain_is_reached():
    rate = [0.2] * WINDOW + [0.2 + GAIN - 0.01] * WINDOW + [0.3] * WINDOW + [0.4] * WINDOW
    logp = [-x for x in (4.0, 3.0, 2.0, 1.0) for _ in range(WINDOW)]
    out = filled(**{"pass@1": rate, "logp": logp}).summary()
    assert out["entropy_at_gain"] == 2
    flat = filled(**{"pass@1": [0.2] * 80, "logp": logp}).summary()
    assert "entropy_at_gain" not in flat


def test_what_an_algorithm_watches():
    out = filled(("bound",), bound=[1.0, 2.0, 3.0], other=[1.0] * 3).summary()
    assert out == {"bound_mean": 2.0, "bound_sd": pytest.approx((2 / 3) ** 0.5)}


def test_a_metric_that_some_steps_lack():
    history = History()
    history.add({"length": torch.tensor(1.0)})
    history.add({"length": torch.tensor(3.0), "grad_norm": torch.tensor(1.0)})
    assert history.summary()["length_end"] == 2
    again = History()
    again.load_state_dict(history.state_dict())
    assert again.values == history.values == {"length": [1.0, 3.0], "grad_norm": [1.0]}
