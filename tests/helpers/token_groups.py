"""Batches of judged responses, made by hand."""

import torch

from pgbench.learning.batches import TokenGroups


def batch(rewards, length=3):
    """One prompt a list of rewards, each response `length` tokens long."""
    flat = torch.tensor([float(r) for group in rewards for r in group])
    n = len(flat)
    return TokenGroups(
        prompts=tuple((i, i + 1) for i in range(len(rewards))),
        tokens=torch.ones(n, length, dtype=torch.long),
        valid=torch.ones(n, length, dtype=torch.bool),
        mask=torch.ones(n, length),
        group=torch.tensor([i for i, group in enumerate(rewards) for _ in group]),
        reward=flat,
        correct=flat > 0,
        parts=flat[:, None],
        finished=torch.ones(n, dtype=torch.bool),
        rollout_logp=-torch.ones(n, length),
        limit=length,
        part_names=("accuracy",),
        answers=torch.stack([flat.long(), flat.long()], -1),
    )
