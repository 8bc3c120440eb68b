"""vLLM as an engine: in this process, with its own copy of the weights, updated in place.

It is built with random weights, so that whatever `sync` does not bring is noticed: after every sync
the log-probabilities of some tokens must be those of the training forward.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import logging
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgbench.errors import PgbenchError, install
from pgbench.lm.packing import pack

from . import EngineError, Responses, Sampling
from .transformers import texts_of

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.2}  # of log-probabilities, in nats
CACHE_BYTES = 2**30  # for keys and values, on the CPU
MEMORY = 0.35  # share of a GPU's memory, weights and cache; training needs the rest
ROWS = 256  # responses written at a time
READ = 4096  # tokens of prompts read at a time, on the CPU
ENVIRONMENT = {
    # The engine in a process of its own is slower and cannot be handed tensors.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
}


class VllmEngine:
    """Paged attention and continuous batching, over a copy of the policy's weights.

    Raises: PgbenchError if vLLM is missing, built for another device, or cannot run the model.
    """

    alive: ClassVar[int] = 0  # engines of this process; they share vLLM's process group

    def __init__(self, model: Any, memory: float = MEMORY) -> None:
        self.model = model
        self.vllm = _import(model.device)
        self._llm: Any = None
        try:
            self._llm = self._build(memory)
            VllmEngine.alive += 1
            self.sync()
        except Exception as error:
            self.close()
            if isinstance(error, PgbenchError):
                raise
            raise PgbenchError(
                f"vLLM cannot run {model.path.name}: {_line(error)}; take --set engine=transformers"
                ", or see docs/models.md for what it runs"
            ) from error

    def _build(self, memory: float) -> Any:
        model = self.model
        config = copy.deepcopy(model.core.config)
        config.architectures = [type(model.core).__name__]
        on_cpu = model.device.type == "cpu"
        with tempfile.TemporaryDirectory(prefix="pgbench-vllm-") as folder, _untouched():
            config.save_pretrained(folder)
            model.tokenizer.save_pretrained(folder)
            return self.vllm.LLM(
                model=folder, load_format="dummy", dtype=model.dtype, generation_config="vllm",
                enforce_eager=on_cpu,  # compiling takes minutes there and gains little
                max_model_len=-1,  # the model's, or as much of it as memory allows
                max_num_seqs=ROWS, logprobs_mode="processed_logprobs", disable_log_stats=True,
                gpu_memory_utilization=memory, **(self._on_cpu() if on_cpu else {}),
            )  # fmt: skip

    def _on_cpu(self) -> dict[str, Any]:
        return {
            "kv_cache_memory_bytes": CACHE_BYTES,
            # After a part of a prompt vLLM turns a row's generator back, which those of a CPU
            # cannot do: prompts are read whole.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(READ, self.model.context),
        }

    def generate(
        self, prompts: Sequence[Sequence[int]], count: int, sampling: Sampling, seed: int
    ) -> Responses:
        """`count` responses to each prompt; the same seed gives the same ones.

        Raises: EngineError if vLLM cannot go on.
        """
        rng = torch.Generator().manual_seed(seed)
        seeds = torch.randint(2**31, (len(prompts) * count,), generator=rng).tolist()
        draws = sampling.temperature > 0
        chosen = [
            self.vllm.SamplingParams(
                temperature=sampling.temperature, top_p=sampling.top_p if draws else 1.0,
                max_tokens=sampling.max_tokens, seed=row, logprobs=0 if draws else None,
                stop=list(sampling.stop), include_stop_str_in_output=True,
                detokenize=bool(sampling.stop), skip_special_tokens=False,
                ignore_eos=True, stop_token_ids=sorted(self.model.ends),
            )
            for row in seeds
        ]  # fmt: skip
        outputs = self._ask([prompt for prompt in prompts for _ in range(count)], chosen)
        lengths = torch.tensor([len(out.token_ids) for out in outputs])
        tokens = torch.zeros(len(outputs), int(lengths.max()), dtype=torch.long)
        logp = torch.zeros(tokens.shape)
        for i, out in enumerate(outputs):
            tokens[i, : lengths[i]] = torch.tensor(out.token_ids)
            if draws:
                logp[i, : lengths[i]] = _logps(out)
        finished = torch.tensor([out.finish_reason == "stop" for out in outputs])
        texts = texts_of(self.model.tokenizer, tokens, lengths, sampling.stop)
        return Responses(tokens, lengths, finished, logp, texts)

    def sync(self) -> None:
        """Take over the model's present weights, in place, and make sure that they arrived.

        Raises: EngineError if vLLM cannot go on; PgbenchError if it writes with other weights.
        """
        weights = self.model.weights()
        # Where the head is the embedding's transpose vLLM still keeps a copy of it.
        weights.setdefault("lm_head.weight", self.model.head)
        with self._running() as llm, torch.no_grad():
            llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})
            # Keys and values of the old weights.
            if not llm.reset_prefix_cache():
                raise RuntimeError("the prefix cache cannot be emptied")
        self._compare()

    @torch.no_grad()
    def _compare(self) -> None:
        """Log-probabilities of a few drawn tokens, here and in the training forward."""
        model = self.model
        prompt = [(31 * i + 7) % len(model.head) for i in range(min(16, model.context // 2))]
        params = self.vllm.SamplingParams(
            temperature=1.0, max_tokens=4, logprobs=0, seed=0, ignore_eos=True, detokenize=False
        )
        out = self._ask([prompt], [params])[0]
        tokens = torch.tensor([out.token_ids])
        packed = pack(
            [prompt], tokens, [tokens.shape[1]], torch.ones(tokens.shape), [0], [[0]], model.device
        )
        expected = model.look(packed).logp.float().cpu()
        if not expected.isfinite().all():
            return  # training has diverged, which its loop reports
        gap = float((_logps(out) - expected).abs().max())
        if not gap <= TOLERANCE[model.dtype]:
            raise PgbenchError(
                f"vLLM does not write with the weights of {model.path.name}: log-probabilities "
                f"differ from the training forward's by {gap:.2g} (at most "
                f"{TOLERANCE[model.dtype]:g}); take --set engine=transformers"
            )

    def _ask(self, prompts: Sequence[Sequence[int]], params: Sequence[Any]) -> list[Any]:
        """vLLM's outputs, one a prompt, in their order."""
        with self._running() as llm:
            asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
            return [out.outputs[0] for out in llm.generate(asked, params, use_tqdm=False)]

    @contextlib.contextmanager
    def _running(self) -> Iterator[Any]:
        """vLLM, whose errors are the engine's."""
        if self._llm is None:
            raise EngineError("vLLM was closed")
        try:
            with _untouched():
                yield self._llm
        except Exception as error:
            raise EngineError(f"vLLM: {_line(error)}") from error

    def close(self) -> None:
        """Free weights and cache."""
        if self._llm is None:
            return
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        with contextlib.suppress(Exception):  # what has died need not end well
            self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        VllmEngine.alive -= 1
        if not VllmEngine.alive:
            cleanup_dist_env_and_memory()


def _logps(out: Any) -> Tensor:
    """Log-probabilities of the tokens of one output (T,)."""
    return torch.tensor(
        [step[token].logprob for step, token in zip(out.logprobs, out.token_ids, strict=True)]
    )


def _line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.removeprefix("vLLM: ")


def _import(device: torch.device) -> Any:
    """The package, set up for this process.

    Raises: PgbenchError if it is missing, does not import, or is built for another device.
    """
    if importlib.util.find_spec("vllm") is None:
        raise PgbenchError(
            f"vllm is not installed; run: {install('vllm')} (on a machine without a GPU "
            "see docs/models.md)"
        )
    os.environ.update(ENVIRONMENT)
    logging.getLogger("vllm").setLevel(logging.ERROR)
    try:
        with _untouched():
            import vllm
            from vllm.platforms import current_platform
    except Exception as error:
        raise PgbenchError(
            f"vllm does not import: {_line(error)}; docs/models.md says how to install it"
        ) from error
    if current_platform.device_type != device.type:
        raise PgbenchError(
            f"this vLLM runs on {current_platform.device_type or 'no device found here'}, the run "
            f"on {device.type}; docs/models.md says how to install the other build"
        )
    return vllm


@contextlib.contextmanager
def _untouched() -> Iterator[None]:
    """Keep from the run what vLLM does to its process.

    It seeds and uses the global random generators, forbids to set the number of threads, warns of
    its own code, and its libraries write to the standard output.
    """
    threads, count, state = torch.set_num_threads, torch.get_num_threads(), random.getstate()
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(output, 1)
        os.close(output)
        random.setstate(state)
        torch.set_num_threads = threads
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)
