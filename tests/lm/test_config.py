"""Settings that every algorithm on groups refuses, before anything is made."""

import pytest

from pgbench.errors import PgbenchError
from pgbench.lm.config import GroupConfig
from pgbench.settings.config import build

LEAST = ("max_tokens", "lora_rank", "importance_cap", "weight_decay")


@pytest.mark.parametrize("name", LEAST)
def test_what_is_off_at_zero_is_not_below(name):
    message = rf"^config of grpo: {name} must be at least 0, not -1(\.0)?$"
    with pytest.raises(PgbenchError, match=message):
        build(GroupConfig, {name: "-1"}, "grpo")
    assert getattr(build(GroupConfig, {name: "0"}, "grpo"), name) == 0
    assert getattr(build(GroupConfig, {name: "2"}, "grpo"), name) == 2
