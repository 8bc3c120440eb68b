"""What a language model must be, and what its training forward shares with its own logits."""

import pytest
import torch
from tiny_lm import make_batch, write_tiny

from pgbench.errors import PgbenchError
from pgbench.lm.engines import Sampling, make_engine
from pgbench.lm.learner import sequences
from pgbench.lm.model import LanguageModel
from pgbench.lm.packing import pack
from pgbench.lm.rollout import Row, _say
from pgbench.worlds.tasks import Message, Task

CPU = torch.device("cpu")
SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip


def with_weights(folder, name, **settings):
    """The tokenizer of the tiny model with another architecture; returns the folder."""
    import transformers

    write_tiny(folder)
    config = getattr(transformers, f"{name}Config")(**SMALL, **settings)
    torch.manual_seed(0)
    getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(folder)
    return folder


def looked(model, batch):
    """Log-probabilities (N, T) of a batch by the training forward."""
    lengths, group = batch.valid.sum(-1).tolist(), batch.group.tolist()
    plan = sequences(lengths, group, batch.prompts, 4096 if model.packs else 0)
    packed = pack(batch.prompts, batch.tokens, lengths, batch.mask, group, plan)
    return model.look(packed).logp


@torch.no_grad()
def said_by_the_net(model, batch):
    """The same by the model's own logits, a response at a time."""
    out = torch.zeros_like(batch.mask)
    for i, length in enumerate(batch.valid.sum(-1).tolist()):
        prompt, tokens = batch.prompts[int(batch.group[i])], batch.tokens[i, :length]
        ids = torch.cat([torch.tensor(prompt), tokens])[None]
        logp = model.net(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        out[i, :length] = logp.gather(-1, tokens[:, None]).squeeze(-1)
    return out


@pytest.mark.parametrize("name", ["Llama", "Mistral"])
def test_the_training_forward_is_the_models_own(name, tmp_path):
    """A window of 8 tokens, of which prompt and response have up to 21, hides the prompt."""
    settings = {"sliding_window": 8} if name == "Mistral" else {}
    model = LanguageModel(with_weights(tmp_path, name, **settings), CPU)
    assert model.packs == (name == "Llama")
    batch = make_batch()
    with torch.no_grad():
        ours = looked(model, batch)
    torch.testing.assert_close(ours, said_by_the_net(model, batch), atol=1e-4, rtol=1e-4)


def test_checkpointing_leaves_writing_and_values_as_they_are(tmp_path):
    folder = with_weights(tmp_path, "Llama", attention_dropout=0.5)
    plain, saving = LanguageModel(folder, CPU), LanguageModel(folder, CPU, checkpointing=True)
    batch = make_batch()
    values = [looked(model, batch) for model in (plain, saving)]
    torch.testing.assert_close(*values)
    for value in values:
        value.sum().backward()
    torch.testing.assert_close(plain.grad, saving.grad)
    sampling = Sampling(max_tokens=6)
    written = [make_engine("transformers", m).generate([[5, 7]], 3, sampling, 1)
               for m in (plain, saving)]  # fmt: skip
    assert torch.equal(written[0].tokens, written[1].tokens)


def test_logits_that_are_more_than_a_product_are_refused(tmp_path):
    folder = with_weights(tmp_path, "Granite", logits_scaling=8.0)
    with pytest.raises(PgbenchError, match="more than hidden states times a matrix"):
        LanguageModel(folder, CPU)


def test_a_model_that_never_ends_is_refused(tmp_path):
    from transformers import AutoTokenizer

    write_tiny(tmp_path, eos_token_id=None)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(PgbenchError, match="no token that ends a text"):
        LanguageModel(tmp_path, CPU)


def test_a_reply_without_chat_ends_with_its_own_last_character(tmp_path):
    model = LanguageModel(write_tiny(tmp_path), CPU)
    talk = (Message("user", "ab"), Message("assistant", "c"))
    tokens = model.encode_reply(talk, Message("user", "wrong:"), chat=False, written=[9])
    assert model.tokenizer.decode(tokens) == "\nwrong:"


def test_a_model_is_saved_with_what_it_is_written_with(tmp_path):
    """A temperature without sampling, which transformers reads and does not write."""
    import json

    from transformers import AutoModelForCausalLM

    folder = write_tiny(tmp_path / "model")
    given = {"do_sample": False, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [0, 5]}
    (folder / "generation_config.json").write_text(json.dumps(given))
    model = LanguageModel(folder, CPU)
    model.save(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert {key: saved.get(key, given[key]) for key in given} == given
    assert saved["temperature"] == 0.6 and saved["eos_token_id"] == [0, 5]
    again = LanguageModel(tmp_path / "saved", CPU)
    assert again.ends == model.ends == {0, 5} and torch.equal(again.theta, model.theta)
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").generation_config
    assert read.temperature == 0.6 and not read.do_sample
    model.save(tmp_path / "twice")  # the model has its own again


def test_a_conversation_ends_before_it_is_too_long(tmp_path):
    model = LanguageModel(write_tiny(tmp_path, max_position_embeddings=20), CPU)

    class Env:
        chat = False

    talk = (Message("user", "ab"), Message("assistant", "c"))
    for others, goes_on in ((13, True), (14, False)):
        row = Row(Task("t/0", talk[:1]), 0, talk, [9, 9], [1.0, 1.0], [0.0, 0.0])
        assert _say(model, Env(), row, Message("user", "wron"), others) == goes_on
        assert len(row.tokens) == len(row.mask) == len(row.logp) == (7 if goes_on else 2)
