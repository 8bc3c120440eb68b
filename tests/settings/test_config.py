"""Settings from the command line and from TOML, typed by the dataclass; budgets; hashes."""

import dataclasses

import pytest

from pgbench.errors import PgbenchError
from pgbench.settings.config import (
    amount,
    build,
    canonical,
    digest,
    option,
    parse_settings,
    plain,
    read_toml,
)


@dataclasses.dataclass(frozen=True)
class Config:
    lr: float = option(0.1, "step size", "Table 1")
    steps: int = option(10, "steps")
    flag: bool = option(False, "a switch")
    form: str = option("paper", "which", choices=("paper", "released"))
    hidden: tuple[int, ...] = option((64, 64), "units")
    target: float | None = option(None, "a target")

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError("steps is at least 0")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_are_finite(value):
    """A record is JSON, which has no others."""
    with pytest.raises(PgbenchError, match="config of it: lr must be a finite number, not "):
        build(Config, {"lr": value}, "it")
    with pytest.raises(PgbenchError, match="target must be a finite number"):
        build(Config, {"target": value}, "it")


def refused(pattern, function, *arguments):
    with pytest.raises(PgbenchError, match=pattern) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        ("lr", "1e-3", 0.001),
        ("lr", 1, 1.0),
        ("steps", "1e3", 1000),
        ("steps", 5, 5),
        ("flag", "yes", True),
        ("flag", False, False),
        ("form", "released", "released"),
        ("hidden", "32,16", (32, 16)),
        ("hidden", "32x16", (32, 16)),
        ("hidden", "(8,)", (8,)),
        ("hidden", [8, 4], (8, 4)),
        ("hidden", 8, (8,)),
        ("target", "none", None),
        ("target", "0.5", 0.5),
    ],
)
def test_typed_by_the_dataclass(key, raw, value):
    got = getattr(build(Config, {key: raw}, "toy"), key)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("settings", "pattern"),
    [
        ({"lr": "fast"}, "'lr' takes a number, not 'fast'"),
        ({"lr": True}, "'lr' takes a number"),
        ({"steps": "1.5"}, "'steps' takes a whole number"),
        ({"flag": "maybe"}, "'flag' takes true or false"),
        ({"form": "other"}, "'form' takes paper or released, not 'other'"),
        ({"hidden": "a,b"}, "'hidden' takes a whole number"),
        ({"target": "x"}, "'target' takes a number or none"),
        ({"steps": -1}, "steps is at least 0"),
        ({"stpes": 1}, "unknown config key of toy 'stpes'; did you mean steps"),
        ({"zzz": 1}, "pgbench explain toy"),
    ],
)
def test_mistakes_name_the_key(settings, pattern):
    refused(pattern, build, Config, settings, "toy")


def test_settings_of_the_command_line():
    assert parse_settings(["a=1", " b = x=y"]) == {"a": "1", "b": "x=y"}
    refused("key=value, not 'lr'", parse_settings, ["lr"])
    refused("key=value", parse_settings, ["=1"])


def test_toml(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[config]\nlr = 0.5\nhidden = [8, 8]\n")
    assert build(Config, read_toml(str(path)), "toy") == Config(lr=0.5, hidden=(8, 8))
    path.write_text("lr = 0.25\n")
    assert read_toml(str(path)) == {"lr": 0.25}
    path.write_text("lr = \n")
    refused("not valid TOML", read_toml, str(path))
    path.write_text("config = 3\n")
    refused("must be a table", read_toml, str(path))
    path.write_bytes(b"\xff\xfe")
    refused("not valid TOML", read_toml, str(path))
    refused("there is no config file", read_toml, str(tmp_path / "none.toml"))
    refused("cannot be read", read_toml, str(tmp_path))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200k", 200_000),
        ("1.5M", 1_500_000),
        ("50000", 50_000),
        (7, 7),
        ("2B", 2 * 10**9),
        ("small", 9),
    ],
)
def test_amounts(text, value):
    assert amount(text, {"small": 9}) == value


@pytest.mark.parametrize(
    "text", ["10x", "", "k", "-5", "0", "0.5", "1.0001k", "nan", "inf", "1e99"]
)
def test_no_amounts(text):
    refused("is no budget.*or small", amount, text, {"small": 9})


def test_canonical_form_and_digest():
    assert canonical({"b": 1.0, "a": [1e-5, True]}) == '{"a":[1e-05,true],"b":1.0}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    assert plain(Config())["hidden"] == [64, 64]
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))
