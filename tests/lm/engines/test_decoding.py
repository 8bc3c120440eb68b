"""Decoding in place: what transformers' own cache and attention give, without their copies."""

import pytest
import torch
from tiny_lm import write_tiny

from pgbench.lm.engines import decoding
from pgbench.lm.model import LanguageModel

STEPS = decoding.ROOM + 10  # more than a cache grows by at a time


@pytest.fixture(scope="module", params=[1, 2, 4], ids="{} key heads".format)
def model(request, tmp_path_factory):
    sizes = {
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": request.param,
        "max_position_embeddings": 256,
    }
    folder = write_tiny(tmp_path_factory.mktemp("tiny"), initializer_range=0.15, **sizes)
    return LanguageModel(folder, torch.device("cpu"))


@torch.inference_mode()
def states(model, ours):
    """Hidden states of three rows, one of them shorter, of which two are left in mid-course."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 60, (3, 9), generator=generator)
    written = torch.randint(1, 60, (STEPS, 3, 1), generator=generator)
    seen = torch.ones_like(ids)
    seen[1, :4] = 0
    positions = (seen.cumsum(-1) - 1).clamp(min=0)
    out = model.decoder(input_ids=ids, attention_mask=seen, position_ids=positions, use_cache=True)
    cache, position, rows = out.past_key_values, positions[:, -1:], torch.arange(3)
    if ours:
        cache = decoding.growing(cache)
    said = []
    for step, tokens in enumerate(written):
        if step == STEPS // 2:
            rows = torch.tensor([0, 2])
            cache.batch_select_indices(rows)
            seen, position = seen[rows], position[rows]
        position = position + 1
        seen = torch.cat([seen, seen.new_ones(len(rows), 1)], 1)
        asked = dict(
            input_ids=tokens[rows], attention_mask=seen, position_ids=position,
            past_key_values=cache, use_cache=True,
        )  # fmt: skip
        if ours:
            with decoding.decoding(model.decoder.config):
                out = model.decoder(**asked)
        else:
            out = model.decoder(**asked)
        said.append(out.last_hidden_state[:, -1])
    return said, cache


def test_hidden_states_are_those_of_transformers(model):
    ours, cache = states(model, ours=True)
    theirs, other = states(model, ours=False)
    assert cache.get_seq_length() == other.get_seq_length() == 9 + STEPS
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(cache.layers, other.layers, strict=True):
        torch.testing.assert_close(a.keys, b.keys, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a.values, b.values, rtol=1e-4, atol=1e-5)


def test_a_cache_is_written_in_place():
    first = torch.randn(2, 1, 3, 4)
    layer = decoding.GrowingLayer(first, first)
    one = torch.ones(2, 1, 1, 4)
    places = set()
    for step in range(decoding.ROOM):
        keys, values = layer.update((step + 1) * one, one)
        places.add(keys.data_ptr())
        assert keys.shape == values.shape == (2, 1, 4 + step, 4)
    assert len(places) == 1
    assert torch.equal(layer.keys[:, :, :3], first)
    assert layer.keys[0, 0, 3:, 0].tolist() == list(range(1, decoding.ROOM + 1))


def test_the_models_own_attention_is_back_afterwards(model):
    with pytest.raises(KeyError), decoding.decoding(model.decoder.config):
        assert model.decoder.config._attn_implementation == decoding.NAME
        raise KeyError
    assert model.decoder.config._attn_implementation == "sdpa"
