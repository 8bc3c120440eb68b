"""Turns are joined as chat templates join them: of four kinds, as models are released with."""

import pytest
import torch
from tiny_lm import write_tiny

from pgbench.errors import PgbenchError
from pgbench.lm.chat import chat_between, chat_text
from pgbench.lm.engines import Sampling, make_engine
from pgbench.lm.model import LanguageModel
from pgbench.lm.rollout import respond
from pgbench.worlds.tasks import Message, Task, Verdict

# ChatML with a system message put in where there is none (Qwen2.5, SmolLM2).
CHATML = """\
{%- if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}\
{%- endif %}
{%- for m in messages %}
    {{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""
# Headers; contents are trimmed, and there is always a system turn (Llama 3).
LLAMA = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system = '' %}{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n' + system }}
{{- '<|eot_id|>' }}
{%- for m in messages %}
    {{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim }}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""
# No system message, roles in turn, an assistant called model (Gemma).
GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}\
{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}\
{% endif %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}\
{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""
# Thoughts of turns before the last question are left out, later ones are framed (Qwen3).
QWEN3 = """\
{%- set ns = namespace(last=messages | length - 1, open=true) %}
{%- for m in messages[::-1] %}
    {%- if ns.open and m.role == 'user' %}
        {%- set ns.open = false %}{%- set ns.last = messages | length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- if m.role == 'assistant' %}
        {%- set content = m.content.split('</think>')[-1].lstrip('\n') %}
        {%- set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\n')
            if '</think>' in m.content else '' %}
        {%- if loop.index0 > ns.last %}
            {{- '<|im_start|>assistant\n<think>\n' + thought + '\n</think>\n\n' + content }}
        {%- else %}{{- '<|im_start|>assistant\n' + content }}{%- endif %}
        {{- '<|im_end|>\n' }}
    {%- else %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""
# No newlines, and a response begins inside a thought (DeepSeek-R1 and its distillations).
DEEPSEEK = """\
{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}\
{% else %}{{ '<|Assistant|>' + m['content'].split('</think>')[-1] + '<|end|>' }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"""
# Blanks around a response, and another begin for every turn (Llama 2).
INST = """\
{% for m in messages %}{% if m['role'] == 'user' %}\
{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}\
{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""
# The template, the mark that ends a turn, the other marks, what a model says between marks.
KINDS = {
    "chatml": (CHATML, "<|im_end|>", ["<|im_start|>"]),
    "llama": (LLAMA, "<|eot_id|>", ["<|start_header_id|>", "<|end_header_id|>"]),
    "gemma": (GEMMA, "<end_of_turn>", ["<start_of_turn>"]),
    "qwen3": (QWEN3, "<|im_end|>", ["<|im_start|>"]),
    "deepseek": (DEEPSEEK, "<|end|>", ["<|User|>", "<|Assistant|>"]),
    "inst": (INST, "</s>", []),
}
ASKED = (Message("user", "2+2?"),)
AGAIN = Message("user", "That is not correct. Try again.")


def tokenizer_of(kind):
    """Bytes and the kind's marks, with its template."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    template, end, marks = KINDS[kind]
    words = ["<bos>", "<|endoftext|>", end, *marks, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    plain = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<bos>", eos_token=end,
        clean_up_tokenization_spaces=False, additional_special_tokens=["<|endoftext|>", *marks],
    )  # fmt: skip
    tokenizer.chat_template = template
    return tokenizer


def model_of(folder, kind):
    tokenizer = tokenizer_of(kind)
    write_tiny(folder, vocab_size=len(tokenizer), eos_token_id=[tokenizer.eos_token_id, 1],
               max_position_embeddings=2048)  # fmt: skip
    tokenizer.save_pretrained(folder)
    return LanguageModel(folder, torch.device("cpu"))


def shown(tokenizer, talk, said, ended, reply=AGAIN):
    """Ids of the second turn's prompt: the first's, what was sampled, what is put between."""
    first = tokenizer(chat_text(tokenizer, talk), add_special_tokens=False)["input_ids"]
    last = tokenizer.eos_token_id if ended else None
    written = tokenizer(said, add_special_tokens=False)["input_ids"] + [last] * ended
    talk = (*talk, Message("assistant", said))
    return first + written + chat_between(tokenizer, talk, reply, last)


def whole(tokenizer, talk):
    return tokenizer(chat_text(tokenizer, talk), add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "cut off"])
@pytest.mark.parametrize("kind", ["chatml", "llama", "gemma", "qwen3"])
def test_a_second_turn_is_the_templates_own(kind, ended):
    """Token by token, whether the response ended by itself or by the limit; and a third turn."""
    tokenizer = tokenizer_of(kind)
    talk = (*ASKED, Message("assistant", "It is 5."), AGAIN)
    ids = shown(tokenizer, ASKED, "It is 5.", ended)
    assert ids == whole(tokenizer, talk)
    third = shown(tokenizer, talk, "6 then", ended, Message("user", "No."))
    assert third == whole(
        tokenizer, (*talk, Message("assistant", "6 then"), Message("user", "No."))
    )


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "cut off"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("llama", "  5 \n"),  # trimmed
        ("gemma", " 5 \n"),
        ("qwen3", "<think>\nHm.\n</think>\n\n5"),  # thoughts left out
        ("deepseek", "Hm.\n</think>\n\n5"),
    ],
)
def test_what_was_sampled_stays_where_a_template_rewrites_it(kind, said, ended):
    tokenizer = tokenizer_of(kind)
    want = chat_text(tokenizer, (*ASKED, Message("assistant", said), AGAIN))
    text = tokenizer.decode(shown(tokenizer, ASKED, said, ended))
    head = chat_text(tokenizer, ASKED) + said
    assert text.startswith(head) and said not in want
    rest = text.removeprefix(head)
    # Behind the response, the template's own text to the letter, from the mark on.
    assert rest.startswith(tokenizer.eos_token) and want.endswith(rest)
    assert "Try again." in rest and "5" not in rest


def test_only_blanks_are_dropped_before_the_mark_of_a_response_that_ended():
    tokenizer = tokenizer_of("inst")
    text = tokenizer.decode(shown(tokenizer, ASKED, "5", True))
    assert text.endswith("5</s><bos>[INST] That is not correct. Try again. [/INST]")
    text = tokenizer.decode(shown(tokenizer, ASKED, "5", False))
    assert text.endswith("5 </s><bos>[INST] That is not correct. Try again. [/INST]")


def test_a_response_that_ended_by_another_mark_gets_the_whole_one():
    tokenizer = tokenizer_of("chatml")
    ids = chat_between(tokenizer, (*ASKED, Message("assistant", "5")), AGAIN, 1)
    assert tokenizer.decode(ids).startswith("<|im_end|>\n<|im_start|>user\n")


def test_a_system_message_heads_the_users_first_where_there_is_none():
    system = Message("system", "Be brief.")
    text = chat_text(tokenizer_of("gemma"), (system, *ASKED))
    assert text == (
        "<bos><start_of_turn>user\nBe brief.\n\n2+2?<end_of_turn>\n<start_of_turn>model\n"
    )
    ids = shown(tokenizer_of("gemma"), (system, *ASKED), "5", True)
    assert tokenizer_of("gemma").decode(ids) == (
        "<bos><start_of_turn>user\nBe brief.\n\n2+2?<end_of_turn>\n<start_of_turn>model\n"
        "5<end_of_turn>\n<start_of_turn>user\nThat is not correct. Try again.<end_of_turn>\n"
        "<start_of_turn>model\n"
    )
    assert "Be brief.<|im_end|>" in chat_text(tokenizer_of("chatml"), (system, *ASKED))


def test_what_a_template_refuses_is_one_line():
    with pytest.raises(PgbenchError, match=r"refuses a conversation of user, user: .*alternate"):
        chat_text(tokenizer_of("gemma"), (*ASKED, *ASKED))
    tokenizer = tokenizer_of("chatml")
    tokenizer.chat_template = "{{ messages[-1]['content'] }}"
    with pytest.raises(PgbenchError, match="does not show an earlier response"):
        shown(tokenizer, ASKED, "5", True)


class Talk:
    """Every response is wrong, twice."""

    chat, turns = True, 2

    def verify(self, tasks, said):
        return [Verdict(0.0, False) for _ in said]

    def reply(self, task, talk, verdict):
        return AGAIN


@pytest.mark.parametrize("kind", ["chatml", "llama", "gemma", "qwen3", "deepseek"])
def test_a_rollout_shows_the_templates_text(kind, tmp_path):
    """Through the engine: what was asked in the second turn, with the sampled tokens in it."""
    model = model_of(tmp_path, kind)
    engine = make_engine("transformers", model)
    out = respond(model, engine, Talk(), [Task("t/0", ASKED)], 6, Sampling(max_tokens=60), 3)
    ends = set()
    for row in out.rows:
        mask = torch.tensor(row.mask)
        turns = [int(x) for x in (mask.diff() != 0).nonzero().flatten() + 1]
        sampled, between = row.tokens[: turns[0]], row.tokens[turns[0] : turns[1]]
        last = sampled[-1] if sampled[-1] in model.ends else None
        ends.add(last)
        assert between == chat_between(model.tokenizer, row.talk[:2], AGAIN, last)
        mark = model.tokenizer.eos_token
        assert mark in model.tokenizer.decode([*sampled, *between])
    assert len(ends) > 1, "some are cut off, some end by themselves"
