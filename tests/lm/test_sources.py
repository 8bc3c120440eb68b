"""Where models come from, and what is said when one cannot be had."""

import hashlib
import json
import random

import pytest
import torch
from tiny_lm import write_tiny

import pgbench
from pgbench.catalogue.capabilities import make
from pgbench.errors import PgbenchError
from pgbench.lm.cache import making
from pgbench.lm.model import LanguageModel
from pgbench.lm.nano import byte_tokenizer, slip
from pgbench.lm.sources import find_model, weights_digest
from pgbench.runs.plan import Protocol
from pgbench.worlds.tasks import plain_prompt

TINY = "nano:warmup=4,batch=16,layers=1,width=32"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PGBENCH_CACHE", str(tmp_path / "cache"))


def test_nano_is_made_once_and_to_the_same_bits(tmp_path, monkeypatch):
    env = make("math-nano")
    first = find_model(TINY, env)
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert find_model(TINY, env) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    monkeypatch.setenv("PGBENCH_CACHE", str(tmp_path / "elsewhere"))
    second = find_model(TINY, env)
    assert second != first and weights_digest(second) == weights_digest(first)
    other = find_model(TINY + ",seed=1", env)
    assert weights_digest(other) != weights_digest(first)
    assert find_model(TINY, make("math-nano", levels="add1")) != second
    # These two judge alike, and show other work.
    tagged = find_model(TINY, make("math-nano", format="tags"))
    assert tagged != find_model(TINY, make("math-nano", format="tags", scratch=True))


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    find_model("nano:warmup=0", None)
    assert torch.equal(before, torch.random.get_rng_state())


def test_bytes_are_tokens():
    tokenizer = byte_tokenizer()
    for text in ("12+7=", "é ∑\n\t", "<eos>"):
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == len(text.encode()) or text == "<eos>"
        assert tokenizer.decode(ids) == text
    assert len(tokenizer) == 258


def test_a_slip_is_one_character():
    rng = random.Random(0)
    slips = {slip("95", rng) for _ in range(400)}
    assert "95" not in slips
    assert {len(text) for text in slips} == {2, 3}
    assert all(sum(a != b for a, b in zip(text, "95", strict=False)) <= 1 for text in slips)
    assert slip("-+", rng) == "-+"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nanoo", r"there is no model 'nanoo'; take nano, smollm2-135m, a directory or a hub id"),
        ("nano:depth=3", r"unknown config key of nano 'depth'"),
        ("nano:layers", r"takes key=value, not 'layers'"),
        ("nano:width=30,heads=4", r"width 30 is no multiple of heads 4"),
        ("nano:width=12,heads=4,warmup=0", r"width / heads must be even, not 12 / 4 = 3"),
        ("nano:heads=0", "heads must be at least 1, not 0"),
        ("nano:width=0", "width must be at least 1, not 0"),
        ("nano:context=0", "context must be at least 1, not 0"),
        ("nano:batch=0", "batch must be at least 1, not 0"),
        (f"nano:seed={2**64}", r"seed must be in \[-2\^63, 2\^63\), not 18446744073709551616"),
        ("nano:layers=-1", "layers must be at least 1, not -1"),
        ("nano:warmup=-1", "warmup must be at least 0, not -1"),
        ("nano:noise=1.5", r"noise must be in \[0, 1\], not 1.5"),
        ("nano:lr=0", "lr must be above 0, not 0"),
        (TINY, r"learns from demonstrations, which this environment lacks"),
    ],
)
def test_wrong_names(name, message):
    with pytest.raises(PgbenchError, match=message):
        find_model(name, None)


def test_what_a_failed_making_left_behind_is_swept_away(tmp_path):
    target = tmp_path / "made"
    (tmp_path / ".made.99999999").mkdir()  # of a process that was killed
    with pytest.raises(KeyError), making(target) as folder:
        (folder / "half").write_text("x")
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == [".made.lock"]
    with making(target) as folder:
        (folder / "whole").write_text("x")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".made.lock", "made"]


def test_a_digest_without_tokenizer_json(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    bare = weights_digest(tmp_path)
    (tmp_path / "merges.txt").write_text("a b")
    old = weights_digest(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert len({bare, old, weights_digest(tmp_path)}) == 3


def test_a_digest_is_of_names_and_contents_and_of_no_other_file(tmp_path):
    files = {"merges.txt": b"a b", "model.safetensors": b"1", "tokenizer.json": b"{}"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    wanted = hashlib.sha256(b"model.safetensors1tokenizer.json{}").hexdigest()
    assert weights_digest(tmp_path) == wanted  # records have it: it must not change
    (tmp_path / "tokenizer.json").unlink()
    wanted = hashlib.sha256(b"merges.txta bmodel.safetensors1").hexdigest()
    assert weights_digest(tmp_path) == wanted


def test_a_policy_is_loaded_onto_the_weights_that_its_run_began_with(tmp_path):
    model = write_tiny(tmp_path / "model")
    folder = pgbench.run(
        "grpo", "math-nano", budget=1, runs=tmp_path / "runs", device="cpu", threads=1,
        settings={"model": str(model), "prompts": 2, "group": 2, "lora_rank": 1},
        protocol=Protocol(episodes=2, curve_points=1, curve_episodes=2),
    ).folder  # fmt: skip
    write_tiny(model, seed=1)
    with pytest.raises(PgbenchError, match=r"was made from what has changed since: model \("):
        assert pgbench.load(folder).policy
    write_tiny(model)
    assert pgbench.load(folder).policy


def test_a_directory_without_a_tokenizer(tmp_path):
    folder = find_model("nano:warmup=0", None)
    (folder / "tokenizer.json").rename(tmp_path / "gone")
    with pytest.raises(PgbenchError, match=r"lacks tokenizer\.json"):
        find_model(str(folder), None)


def test_damaged_weights_are_one_line():
    folder = find_model("nano:warmup=0", None)
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(PgbenchError, match=r"does not load: [^\n]+$"):
        LanguageModel(folder, torch.device("cpu"))


def test_the_vector_is_the_model(tmp_path):
    model = LanguageModel(find_model("nano:warmup=0", None), torch.device("cpu"))
    assert len(model.theta) == model.size
    before = {name: value.clone() for name, value in model.weights().items()}
    with model.at(torch.zeros_like(model.theta)):
        assert not any(value.any() for value in model.weights().values())
    assert all(torch.equal(before[name], value) for name, value in model.weights().items())
    model.theta.add_(1)
    assert torch.equal(model.head, before["model.embed_tokens.weight"] + 1)
    model.save(tmp_path / "saved")
    again = LanguageModel(tmp_path / "saved", torch.device("cpu"))
    assert torch.equal(again.theta, model.theta)
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["model_type"] == "llama"


def test_adapters_are_merged_into_the_weights():
    folder = find_model("nano:warmup=0", None)
    plain = LanguageModel(folder, torch.device("cpu"))
    lora = LanguageModel(folder, torch.device("cpu"), lora_rank=2, seed=1)
    assert len(lora.theta) < 0.2 * len(plain.theta)
    assert set(lora.weights()) >= set(plain.weights()) - {"lm_head.weight"}
    with torch.no_grad():
        lora.theta.add_(0.1 * torch.randn(len(lora.theta), generator=torch.Generator()))
    merged = lora.weights()
    prompt = torch.tensor([lora.encode(plain_prompt("12+7="), False)])
    with torch.no_grad():
        wanted = lora.net(input_ids=prompt).logits
        plain.net.load_state_dict(merged, strict=False)
        assert torch.allclose(plain.net(input_ids=prompt).logits, wanted, atol=1e-5)
