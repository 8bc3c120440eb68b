"""Where a model comes from: a recipe, a package, a directory, a hub."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError, install

FILES = ("config.json", "tokenizer.json")


def find_model(name: str, env: Any) -> Path:
    """The directory of a model, made or fetched first where that is needed.

    `nano[:KEY=VALUE,...]` is made for the environment `env`, `smollm2-135m` converted from its
    package; anything else is a directory or the id of a hub.

    Raises: PgbenchError saying what is missing.
    """
    kind = name.partition(":")[0]
    if kind == "nano":
        from .nano import make_nano

        return make_nano(name.partition(":")[2], env)
    if name in ("smollm2-135m",):
        from .pretrained import convert

        return convert(name)
    path = Path(name)
    if path.is_dir():
        missing = [file for file in FILES if not (path / file).is_file()]
        if missing:
            raise PgbenchError(
                f"model directory {path} lacks {' and '.join(missing)}; it must hold what "
                "save_pretrained of a model and of its tokenizer write"
            )
        return path
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise PgbenchError(
            f"there is no model '{name}'; take nano, smollm2-135m, a directory or a hub id "
            "such as org/name"
        )
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise PgbenchError(f"huggingface_hub is not installed; run: {install('text')}") from error
    try:
        patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PgbenchError(f"model '{name}' cannot be had from the hub: {line}") from error


OLD_TOKENIZERS = ("tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")


def weights_digest(path: Path) -> str:
    """SHA-256 of the weights' files and the tokenizer, in the order of their names."""
    total = hashlib.sha256()
    tokenizer = [path / "tokenizer.json"]
    if not tokenizer[0].exists():
        tokenizer = [file for name in OLD_TOKENIZERS if (file := path / name).exists()]
    for file in sorted([*path.glob("*.safetensors"), *tokenizer]):
        total.update(file.name.encode())
        with open(file, "rb") as stream:
            while block := stream.read(2**20):
                total.update(block)
    return total.hexdigest()
