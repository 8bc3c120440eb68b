"""A whole GRPO step beside TRL's GRPOTrainer: generate, verify, train; in turn, medians.

    python tests/performance/text.py nano --threads 1 --rounds 30
    python tests/performance/text.py smollm2 --threads 2 --rounds 5
    python tests/performance/text.py nano --peer-python PEER/bin/python    # TRL in another venv

Both sides have the same model, prompts of the same distribution, verifier, number and limit of
responses, float32, AdamW, one update a batch, no KL term, the means of a response's mean as loss.
`nano` is the nano model on math-nano (32 prompts x 8 responses x up to 8 tokens); `smollm2` is
SmolLM2-135M on sums of one digit after three examples (4 x 8 x up to 6).

Each side is a process that waits between its steps, so that steps take turns: ours, ours with every
row trained on (by default rows without advantage are left out, which changes no gradient), TRL's.
TRL generates and trains in one batch each, without activation checkpointing, logging and saving. A
step is everything from one optimiser step's end to the next's. Afterwards steps of ours are taken
apart with a clock around each part (the clocks wait for a GPU; the steps before have none).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch

import pgbench
from pgbench.lm.sources import find_model
from pgbench.worlds.tasks import Task, Verdict, plain_prompt
from pgbench.worlds.text_env import TextEnv

EXAMPLES = "2+5=7\n6+1=7\n4+8=12\n"
WARMUP = 2  # steps of each side before the first that counts
POOL = 4096  # prompts that TRL draws from


class Sums(TextEnv):
    """Sums of one digit after three examples; right if the first line is the sum."""

    max_tokens = 6

    def size(self, split: str) -> None:
        """None: tasks are generated without end."""
        return None

    def task(self, index: int, split: str = "train") -> Task:
        """The task of that index."""
        rng = random.Random(index)
        a, b = rng.randrange(10), rng.randrange(10)
        return Task(f"sums/{split}/{index}", plain_prompt(f"{EXAMPLES}{a}+{b}="), str(a + b))

    def verify(self, tasks: Sequence[Task], completions: Sequence[str]) -> list[Verdict]:
        """Compare the first line."""
        pairs = zip(tasks, completions, strict=True)
        right = [said.split("\n")[0].strip() == task.answer for task, said in pairs]
        return [Verdict(float(r), r) for r in right]


# Name: environment, model, prompts, learning rate.
CASES: dict[str, tuple[Callable[[], Any], str, int, float]] = {
    "nano": (lambda: pgbench.make("math-nano"), "nano", 32, 1e-4),
    "smollm2": (Sums, "smollm2-135m", 4, 1e-6),
}


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock() -> tuple[float, float]:
    """The time of the day and of this process's processors, s."""
    return time.perf_counter(), time.process_time()


def since(began: tuple[float, float]) -> tuple[float, float]:
    """How far both clocks have moved, s."""
    now = clock()
    return now[0] - began[0], now[1] - began[1]


def reply(**values: Any) -> None:
    """Answer the main process."""
    print(json.dumps(values), flush=True)


class Clocks:
    """Seconds by part of a step, where they are on."""

    def __init__(self, device: torch.device) -> None:
        self.on, self.device = False, device
        self.spent: dict[str, float] = defaultdict(float)

    def around(self, owner: Any, name: str, part: str) -> None:
        """Put a clock around a function of a module, class or object."""
        plain = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if not self.on:
                return plain(*args, **kwargs)
            wait(self.device)
            began = time.perf_counter()
            try:
                return plain(*args, **kwargs)
            finally:
                wait(self.device)
                self.spent[part] += time.perf_counter() - began

        setattr(owner, name, timed)


def ours(args: argparse.Namespace) -> None:
    """Steps of our loop, as asked for."""
    from pgbench.baselines.text.grpo import GRPO, Config
    from pgbench.learning.algorithm import Setup
    from pgbench.lm import learner
    from pgbench.loops import group

    make, model, _, lr = CASES[args.case]
    device, env = torch.device(args.device), make()
    config = Config(model=model, prompts=args.prompts, group=args.group, lr=lr)
    spaces = env.single_observation_space, env.single_action_space
    algorithm = GRPO(config, Setup(*spaces, 10**9, device=device, env=env))
    loop = group.Group(algorithm, env, 10**9, 0)
    clocks = Clocks(device)
    clocks.around(algorithm.engine, "generate", "generate")
    clocks.around(env, "verify", "verify")
    clocks.around(group, "batch_of", "batch")
    clocks.around(learner, "pack", "batch")
    clocks.around(algorithm.model, "look", "forward")
    clocks.around(torch.Tensor, "backward", "backward")
    clocks.around(learner, "adamw_", "optimiser")
    phases = loop.phases()
    reply(parameters=algorithm.model.size)
    for word in map(str.strip, sys.stdin):
        algorithm.skips_zero = word != "all"  # type: ignore[misc]
        clocks.on = word == "split"
        clocks.spent.clear()
        before = dict(loop.counts)
        wait(device)
        began = clock()
        metrics = next(phases).metrics
        wait(device)
        seconds, processor = since(began)
        counts = {name: value - before[name] for name, value in loop.counts.items()}
        reply(
            seconds=seconds, processor=processor, generated=counts["generated_tokens"],
            trained=counts["trained_tokens"], reward=float(metrics["reward"]),
            parts=dict(clocks.spent),
        )  # fmt: skip


def theirs(args: argparse.Namespace) -> None:
    """Steps of TRL's trainer, which waits for a word after each."""
    import transformers
    import trl  # type: ignore[import-not-found]
    from datasets import Dataset

    make, model, _, lr = CASES[args.case]
    env, device = make(), torch.device(args.device)
    path = find_model(model, env)
    net = transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="sdpa"
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    tasks = env.sample(POOL, random.Random(0))
    rows = Dataset.from_list([{"prompt": t.text, "number": i} for i, t in enumerate(tasks)])
    facts: dict[str, float] = {}

    def judge(
        prompts: list[str], completions: list[str], completion_ids: list[list[int]],
        number: list[int], **_: Any,
    ) -> list[float]:  # fmt: skip
        verdicts = env.verify([tasks[i] for i in number], completions)
        sizes = [len(ids) for ids in completion_ids]
        longest = max(len(tokenizer(text)["input_ids"]) for text in set(prompts))
        facts["generated"] = sum(sizes)
        facts["trained"] = len(sizes) * (longest + max(sizes))  # padded, as they go forward
        facts["reward"] = statistics.fmean(v.reward for v in verdicts)
        return [v.reward for v in verdicts]

    class Turns(transformers.TrainerCallback):  # type: ignore[misc]
        """A word is a step."""

        began = clock()

        def on_train_begin(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            """Wait for the first word."""
            reply(parameters=net.num_parameters())
            self.next(control)

        def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            """Answer, and wait for the next word."""
            wait(device)
            seconds, processor = since(self.began)
            reply(seconds=seconds, processor=processor, parts={}, **facts)
            self.next(control)

        def next(self, control: Any) -> None:
            """Wait; without a word training ends."""
            if next(words, None) is None:
                control.should_training_stop = True
            self.began = clock()

    words = map(str.strip, sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        config = trl.GRPOConfig(
            output_dir=folder, use_cpu=device.type == "cpu", bf16=False,
            per_device_train_batch_size=args.prompts * args.group, gradient_accumulation_steps=1,
            num_generations=args.group, max_completion_length=env.max_tokens, temperature=1.0,
            learning_rate=lr, lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0,
            loss_type="grpo", scale_rewards="group", beta=0.0, num_iterations=1, epsilon=0.2,
            gradient_checkpointing=False, max_steps=10**6, save_strategy="no",
            logging_strategy="no", report_to="none", disable_tqdm=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = trl.GRPOTrainer(
            model=net, reward_funcs=judge, args=config, train_dataset=rows,
            processing_class=tokenizer, callbacks=[Turns()],
        )  # fmt: skip
        trainer.train()


class Side:
    """A contestant in its process."""

    def __init__(self, python: str, name: str, args: argparse.Namespace) -> None:
        words = [
            python, __file__, args.case, "--side", name, "--threads", str(args.threads),
            "--prompts", str(args.prompts), "--group", str(args.group), "--device", args.device,
        ]  # fmt: skip
        # The first torch call of a process decides, in either's libraries, too.
        env = os.environ | {"OMP_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "false"}
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            env=env,
        )  # fmt: skip
        self.parameters = int(self._read()["parameters"])

    def step(self, word: str = "step") -> dict[str, Any]:
        """Ask for a step; what it took and gave."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                if "seconds" in answer or "parameters" in answer:
                    return answer
        self.log.seek(0)
        sys.exit(f"a side ended early:\n{self.log.read()[-3000:]}")

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()


def matmul_rate(device: torch.device, threads: int) -> float:
    """Floating-point operations a second of a float32 product of 1024 x 1024 matrices.

    The better of the library that PyTorch takes by itself and of the one of `fast_matmul`.
    """
    from contextlib import nullcontext

    from pgbench.learning.ops.matmul import fast_matmul

    torch.set_num_threads(threads)
    x, y = torch.randn(2, 1024, 1024, device=device).unbind()
    best = float("inf")
    for context in (nullcontext(), fast_matmul(device)):
        with context:
            for _ in range(10):
                wait(device)
                began = time.perf_counter()
                for _ in range(4):
                    x @ y
                wait(device)
                best = min(best, (time.perf_counter() - began) / 4)
    return 2 * 1024**3 / best


def spread(values: Sequence[float]) -> str:
    """Median and the quartiles, in milliseconds."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{1e3 * middle:,.0f} [{1e3 * low:,.0f}, {1e3 * high:,.0f}]"


def compare(args: argparse.Namespace) -> None:
    """Print the table of steps and the parts of ours."""
    env, model = CASES[args.case][0](), CASES[args.case][1]
    find_model(model, env)  # made once, before anybody measures
    rate = matmul_rate(torch.device(args.device), args.threads)
    here = Side(sys.executable, "ours", args)
    sides = {"pgbench": (here, "step"), "pgbench, every row trained": (here, "all")}
    if not args.alone:
        sides["TRL"] = (Side(args.peer_python or sys.executable, "theirs", args), "step")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for number in range(WARMUP + args.rounds):
        for name, (side, word) in sides.items():
            if number < WARMUP and word == "all":
                continue  # the process is warm by its other steps
            row = side.step(word)
            if number >= WARMUP:
                rows[name].append(row)
            print(f"{number - WARMUP + 1} {name}: {row['seconds']:.2f} s", file=sys.stderr)
    parts = [here.step("split") for _ in range(args.rounds)]
    for side in {id(s): s for s, _ in sides.values()}.values():
        side.close()
    print(
        f"{args.case}: {here.parameters:,} parameters, {args.prompts} x {args.group} responses, "
        f"{args.threads} thread(s), {args.rounds} rounds, load average {os.getloadavg()[0]:.2f}; "
        f"a product of matrices {rate / 1e9:.0f} GFLOP/s\n\n"
        "| | step, ms [quartiles] | TRL / this | processor, ms | TRL / this "
        "| tokens generated | generated a second "
        "| tokens through the training pass | trained a second | mean reward | of the bound |\n"
        "| --- |" + " ---: |" * 10
    )
    median, used = (
        {name: statistics.median(r[key] for r in got) for name, got in rows.items()}
        for key in ("seconds", "processor")
    )
    for name, got in rows.items():
        mean = {key: statistics.fmean(r[key] for r in got)
                for key in ("seconds", "generated", "trained", "reward")}  # fmt: skip
        ratio, ratio_2 = (
            f"{of['TRL'] / of[name]:.2f}" if "TRL" in of else "-" for of in (median, used)
        )
        # 2 operations a parameter and token forward, 6 with the backward pass.
        bound = here.parameters * (6 * mean["trained"] + 2 * mean["generated"]) / rate
        print(
            f"| {name} | {spread([r['seconds'] for r in got])} | {ratio} "
            f"| {1e3 * used[name]:,.0f} | {ratio_2} | {mean['generated']:.0f} "
            f"| {mean['generated'] / median[name]:,.0f} | {mean['trained']:.0f} "
            f"| {mean['trained'] / median[name]:,.0f} | {mean['reward']:.2f} "
            f"| {100 * bound / median[name]:.0f}% |"
        )
    whole = statistics.median(r["seconds"] for r in parts)
    print("\n| part of our step | ms | share |\n| --- | ---: | ---: |")
    rest = whole
    for part in ("generate", "verify", "batch", "forward", "backward", "optimiser"):
        spent = statistics.median(r["parts"].get(part, 0.0) for r in parts)
        rest -= spent
        print(f"| {part} | {1e3 * spent:.1f} | {100 * spent / whole:.1f}% |")
    print(f"| rest | {1e3 * rest:.1f} | {100 * rest / whole:.1f}% |")
    generate = statistics.median(r["parts"]["generate"] for r in parts)
    train = statistics.median(
        sum(r["parts"][part] for part in ("batch", "forward", "backward", "optimiser"))
        for r in parts
    )
    written, taught = (statistics.fmean(r[key] for r in parts) for key in ("generated", "trained"))
    print(
        f"\nWhile generating {written / generate:,.0f} tokens a second "
        f"({100 * 2 * here.parameters * written / rate / generate:.0f}% of the bound), while "
        f"training {taught / train:,.0f} "
        f"({100 * 6 * here.parameters * taught / rate / train:.0f}%)."
    )


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--prompts", type=int, help="other than the case's")
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peer-python", help="an interpreter with pgbench[text] and trl")
    parser.add_argument("--alone", action="store_true", help="without TRL")
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.prompts = args.prompts or CASES[args.case][2]
    torch.set_num_threads(args.threads)
    if args.side:
        (ours if args.side == "ours" else theirs)(args)
        return
    compare(args)


if __name__ == "__main__":
    main()
