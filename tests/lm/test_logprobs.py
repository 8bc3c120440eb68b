"""Log-probabilities by chunks: the numbers of log_softmax, and the memory of one chunk."""

import pytest
import torch

from pgbench.lm import logprobs
from pgbench.lm.logprobs import token_logp


def example(tokens=7, width=5, vocabulary=11, dtype=torch.float32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, width, generator=rng).to(dtype).requires_grad_()
    weight = torch.randn(vocabulary, width, generator=rng).to(dtype).requires_grad_()
    target = torch.randint(vocabulary, (tokens,), generator=rng)
    return hidden, weight, target


def reference(hidden, weight, target, temperature, cap):
    """The same in float64 with every logit at once."""
    logits = hidden.double() @ weight.double().T
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    x = torch.log_softmax(logits / temperature, -1)
    return x.gather(-1, target[:, None]).squeeze(-1), -(x.exp() * x).sum(-1)


@pytest.mark.parametrize("chunk", [1, 2, 7, 100, None])
@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients_are_those_of_log_softmax(chunk, cap, temperature):
    hidden, weight, target = example()
    logp, entropy = token_logp(hidden, weight, target, temperature, cap, chunk)
    expected, expected_entropy = reference(hidden, weight, target, temperature, cap)
    torch.testing.assert_close(logp.double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy.double(), expected_entropy, atol=1e-5, rtol=1e-5)
    assert not entropy.requires_grad
    factor = torch.linspace(-2, 3, len(hidden))
    got = torch.autograd.grad((factor * logp).sum(), [hidden, weight])
    want = torch.autograd.grad((factor * expected).sum(), [hidden, weight])
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_worked_numbers():
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0986123]])  # logits 0, log 3
    logp, entropy = token_logp(hidden, weight, torch.tensor([1]))
    assert float(logp) == pytest.approx(-0.2876821, abs=1e-6)  # log 3/4
    assert float(entropy) == pytest.approx(0.5623351, abs=1e-6)
    logp, _ = token_logp(hidden, weight, torch.tensor([1]), temperature=0.5)
    assert float(logp) == pytest.approx(-0.1053605, abs=1e-6)  # log 9/10


def test_extreme_logits_stay_finite():
    hidden = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[0.0], [500.0], [-500.0]])
    logp, entropy = token_logp(hidden, weight, torch.tensor([2]))
    assert logp.item() == -1000.0 and float(entropy) == 0.0
    assert float(torch.autograd.grad(logp.sum(), hidden)[0]) == -1000.0


def test_head_that_is_not_trained_gets_no_gradient():
    hidden, weight, target = example()
    logp, _ = token_logp(hidden, weight.detach(), target, chunk=3)
    (grad,) = torch.autograd.grad(logp.sum(), [hidden])
    want = torch.autograd.grad(reference(hidden, weight, target, 1.0, None)[0].sum(), [hidden])[0]
    torch.testing.assert_close(grad, want, atol=1e-5, rtol=1e-5)


def test_half_precision_head():
    hidden, weight, target = example(40, 16, 50, torch.bfloat16)
    logp, _ = token_logp(hidden, weight, target, chunk=7)
    assert logp.dtype == torch.float32
    expected, _ = reference(hidden, weight, target, 1.0, None)
    torch.testing.assert_close(logp.double(), expected, atol=0.1, rtol=0.02)
    got = torch.autograd.grad(logp.sum(), [hidden, weight])
    want = torch.autograd.grad(expected.sum(), [hidden, weight])
    for one, other in zip(got, want, strict=True):
        assert one.dtype == torch.bfloat16
        scale = float(other.abs().max())
        torch.testing.assert_close(one, other, atol=0.03 * scale, rtol=0.05)


def peak_bytes(work):
    """Most bytes that PyTorch's allocator held at once during `work`, beyond those before."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        kept = work()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda e: e.start_ns())
    held = peak = 0
    for event in events:
        held += event.nbytes()
        peak = max(peak, held)
    del kept
    return peak


def test_the_measure_sees_what_is_held():
    size = 4 * 10**6
    one = peak_bytes(lambda: torch.zeros(10**6) + 1)
    assert 2 * size <= one < 2.1 * size
    assert size <= peak_bytes(lambda: torch.zeros(10**6).add_(1)) < 1.1 * size


CASES = [
    (50_000, torch.float32, None), (256_000, torch.float32, None),
    (50_000, torch.bfloat16, None), (50_000, torch.float32, 30.0),
]  # fmt: skip


@pytest.mark.parametrize(("vocabulary", "dtype", "cap"), CASES)
def test_memory_is_that_of_the_hidden_states_and_one_chunk(monkeypatch, vocabulary, dtype, cap):
    room = 2**24
    monkeypatch.setattr(logprobs, "CHUNK_BYTES", room)
    hidden, weight, target = example(3 * room // (4 * vocabulary), 16, vocabulary, dtype, seed=1)
    whole = 4 * len(hidden) * vocabulary  # one matrix of all logits

    def work():
        logp, _ = token_logp(hidden, weight, target, cap=cap)
        return torch.autograd.grad(logp.sum(), [hidden, weight])

    returned = sum(x.numel() * x.element_size() for x in (hidden, weight))
    states = hidden.numel() * hidden.element_size()
    used = peak_bytes(work) - returned
    assert used <= 1.2 * (states + room)
    assert used < 0.45 * whole  # so the bound means something here

    def naive():
        x = torch.log_softmax((hidden @ weight.T).float(), -1)
        return torch.autograd.grad(x.gather(-1, target[:, None]).sum(), [hidden, weight])

    if vocabulary == 50_000 and cap is None:
        assert peak_bytes(naive) - returned > 2 * (states + room)
