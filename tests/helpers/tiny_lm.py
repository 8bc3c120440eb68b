"""A Llama of 20,000 parameters in a Hugging Face directory, and batches for it."""

import string

import torch

from pgbench.learning.algorithm import Setup
from pgbench.learning.batches import TokenGroups

CHARACTERS = string.digits + string.ascii_lowercase + "+-*/=%<>()[]{}.,:;!?_ ABCDE\n"
VOCABULARY = ["<eos>", *CHARACTERS]
VOCABULARY += [f"<{i}>" for i in range(64 - len(VOCABULARY))]


def write_tiny(folder, seed=0, **config):
    """Write config, weights and a tokenizer of single characters; returns the folder."""
    import transformers
    from tokenizers import Tokenizer, decoders, models

    vocabulary = {text: i for i, text in enumerate(VOCABULARY)}
    letters = Tokenizer(models.BPE(vocabulary, [], unk_token="<eos>"))
    letters.decoder = decoders.Fuse()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=letters, eos_token="<eos>", pad_token="<eos>"
    ).save_pretrained(folder)
    settings = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
        # Wide enough that log-probabilities differ by more than rounding hides.
        "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(seed)
    net = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**settings, **config}))
    net.save_pretrained(folder)
    return folder


def make_batch(
    prompts=4, group=4, length=12, seed=0, holes=False, rewards=(0.0, 1.0), parts=1, limit=16
):
    """Random responses of 1 to `length` tokens; with `holes` some tokens are an environment's."""
    rng = torch.Generator().manual_seed(seed)
    rows = prompts * group
    lengths = torch.randint(1, length + 1, (rows,), generator=rng)
    lengths[0] = length
    valid = torch.arange(length) < lengths[:, None]
    mask = valid.float()
    if holes:
        hidden = torch.rand(rows, length, generator=rng) < 0.3
        hidden[torch.arange(rows), lengths - 1] = False  # at least the last token is the policy's
        mask = mask * ~hidden
    tokens = torch.randint(1, 64, (rows, length), generator=rng) * valid
    choice = torch.randint(len(rewards), (rows,), generator=rng)
    choice[:2] = torch.tensor([0, len(rewards) - 1])  # the first prompt is mixed
    bits = torch.randint(2, (rows, parts), generator=rng).float()
    return TokenGroups(
        prompts=tuple(
            tuple(torch.randint(1, 64, (3 + 2 * i,), generator=rng).tolist())
            for i in range(prompts)
        ),
        tokens=tokens, valid=valid, mask=mask,
        group=torch.arange(prompts).repeat_interleave(group),
        reward=torch.tensor(rewards)[choice], correct=choice == len(rewards) - 1, parts=bits,
        finished=lengths < length, rollout_logp=torch.zeros(rows, length), limit=limit,
        greedy=torch.randint(2, (prompts,), generator=rng).float(),
        part_names=tuple(f"part{k}" for k in range(parts)),
        answers=(2 * choice + torch.randint(2, (rows,), generator=rng))[:, None].expand(-1, 2),
    )  # fmt: skip


def make(kind, folder, setup=None, **settings):
    """An algorithm (its class) on the model in `folder`; nothing is clipped unless said."""
    settings = {"model": str(folder), "max_grad_norm": 1e9, **settings}
    return kind(kind.Config(**settings), setup or Setup(None, None, 1))
