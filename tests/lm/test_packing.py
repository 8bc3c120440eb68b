"""Packed sequences: what a padded forward pass of every row on its own says, in fewer tokens."""

import pytest
import torch
from tiny_lm import make_batch, write_tiny

from pgbench.lm.model import LanguageModel
from pgbench.lm.packing import micro_batches, pack, sequences


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return LanguageModel(write_tiny(tmp_path_factory.mktemp("tiny")), torch.device("cpu"))


def padded(model, batch, left, temperature=1.0):
    """Log-probabilities (N, T) by transformers alone: one padded row a response, a 2-D mask."""
    rows = [
        list(batch.prompts[g]) + batch.tokens[i, : int(batch.valid[i].sum())].tolist()
        for i, g in enumerate(batch.group.tolist())
    ]
    width = max(map(len, rows))
    ids, seen = torch.zeros(2, len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        at = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, at], seen[i, at] = torch.tensor(row), 1
    positions = (seen.cumsum(-1) - 1).clamp(min=0)
    logits = model.net(input_ids=ids, attention_mask=seen, position_ids=positions).logits
    logp = torch.log_softmax(logits.float() / temperature, -1)
    out = torch.zeros_like(batch.mask)
    for i, row in enumerate(rows):
        prompt = len(batch.prompts[batch.group[i]])
        start = (width - len(row) if left else 0) + prompt
        for t in range(len(row) - prompt):
            if batch.mask[i, t]:
                out[i, t] = logp[i, start + t - 1, batch.tokens[i, t]]
    return out


def packed(batch, limit, left=False):
    lengths, group = batch.valid.sum(-1).tolist(), batch.group.tolist()
    plan = sequences(lengths, group, batch.prompts, limit)
    return pack(batch.prompts, batch.tokens, lengths, batch.mask, group, plan, left=left)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("limit", [0, 20, 1000])
def test_equals_the_padded_forward_pass_row_by_row(model, limit, left, holes):
    batch = make_batch(holes=holes, seed=1)
    with torch.no_grad():
        expected = padded(model, batch, left=not left, temperature=0.8)
        looked = model.look(packed(batch, limit, left), 0.8)
    for row in range(len(batch)):
        torch.testing.assert_close(looked.logp[row], expected[row], atol=1e-5, rtol=1e-5)
    assert float(looked.logp[batch.mask == 0].abs().sum()) == 0
    assert float(looked.entropy[batch.mask > 0].min()) > 0
    assert len(looked.hidden) == int(batch.mask.sum())


@pytest.mark.parametrize("limit", [0, 1000])
def test_gradients_equal_those_of_the_padded_forward_pass(model, limit):
    batch = make_batch(holes=True, seed=2)
    factor = torch.randn(batch.mask.shape, generator=torch.Generator().manual_seed(3))

    def gradient(logp):
        return torch.autograd.grad((factor * logp).sum(), model.parameters)

    # Two paddings of transformers' own differ by rounding; packing may not differ by more.
    one, other = (gradient(padded(model, batch, left)) for left in (False, True))
    ours = gradient(model.look(packed(batch, limit)).logp)
    for a, b, c in zip(one, other, ours, strict=True):
        scale = float(a.abs().max())
        torch.testing.assert_close(a, b, atol=1e-5 * scale, rtol=1e-5)
        torch.testing.assert_close(c, a, atol=1e-5 * scale, rtol=1e-5)


def test_a_response_sees_neither_the_others_nor_the_padding(model):
    batch = make_batch(prompts=2, group=3, seed=4)
    whole = packed(batch, 1000)
    before = model.look(whole).logp.detach()
    spoiled = batch.tokens.clone()
    spoiled[1] = (spoiled[1] + 7) % 64
    other = pack(
        batch.prompts, spoiled, batch.valid.sum(-1).tolist(), batch.mask, batch.group.tolist(),
        [[0, 1, 2], [3, 4, 5]],
    )  # fmt: skip
    after = model.look(other).logp.detach()
    keep = torch.tensor([0, 2, 3, 4, 5])
    torch.testing.assert_close(after[keep], before[keep], atol=1e-6, rtol=0)
    assert not torch.allclose(after[1], before[1])


def test_a_prompt_is_computed_once_for_its_responses(model):
    batch = make_batch(prompts=1, group=8, length=6)
    lengths = int(batch.valid.sum())
    assert packed(batch, 1000).tokens == len(batch.prompts[0]) + lengths
    assert packed(batch, 0).tokens == 8 * (len(batch.prompts[0]) + 6)


def test_sequences_hold_rows_of_one_prompt_up_to_the_limit():
    prompts = [[1] * 10, [1] * 4]
    plan = sequences([3, 5, 4, 2, 9], [0, 1, 0, 0, 1], prompts, 18)
    assert plan == [[3], [0, 2], [1, 4]]  # 12, 17 and 18 tokens
    assert sequences([30, 1], [0, 0], prompts, 18) == [[1], [0]]  # one alone may be longer
    assert sequences([1, 1], [0, 0], prompts, 0) == [[0], [1]]
    assert sequences([], [], prompts, 18) == []


def test_micro_batches_count_the_padding():
    plan = [[0], [1], [2], [3], [4]]
    assert micro_batches(plan, [3, 3, 4, 6, 20], 12) == [[0, 1, 2], [3], [4]]
    assert micro_batches(plan, [3, 3, 4, 6, 20], 1000) == [[0, 1, 2, 3, 4]]
    assert micro_batches([], [], 10) == []


def test_unpack_puts_values_where_the_mask_is():
    batch = make_batch(prompts=2, group=2, length=5, holes=True, seed=5)
    whole = packed(batch, 1000)
    steps = torch.arange(batch.mask.numel()).view_as(batch.mask) + 1.0
    values = steps[whole.row, whole.step]
    assert torch.equal(whole.unpack(values), steps * batch.mask)
    assert torch.equal(whole.target, batch.tokens[whole.row, whole.step])
