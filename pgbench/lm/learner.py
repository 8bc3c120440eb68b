"""What every algorithm on groups of responses does alike; its own file says what it does otherwise.

An algorithm gives two functions: `prepare` (advantages and whatever else the loss needs, a row or
a token each) and `loss` (of the rows of a micro-batch, with the denominators of its minibatch).
Everything else is here: old and reference log-probabilities by the training forward, minibatches
and epochs, micro-batches of packed sequences, the optimiser, what is logged.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgbench.errors import PgbenchError
from pgbench.learning.algorithm import Algorithm, Setup
from pgbench.learning.batches import TokenGroups
from pgbench.learning.ops.groups import (
    Totals,
    k3,
    log_ratio,
    masked_mean,
    rms,
)
from pgbench.learning.optim import adamw_, with_adam
from pgbench.lm.engines import Engine, Sampling, make_engine
from pgbench.worlds.tasks import Task, plain_prompt

from .model import LanguageModel, Looked
from .packing import Packed, micro_batches, pack, sequences
from .rows import Rows, Seen
from .sources import find_model, weights_digest


class GroupAlgorithm(Algorithm):
    """Base of the algorithms on groups of responses; `prepare` and `loss` make the difference."""

    # Of old, ref, entropy, value: what `prepare` reads.
    needs: ClassVar[frozenset[str]] = frozenset()
    greedy: ClassVar[bool] = False  # whether each prompt also gets a greedy response
    skips_zero: ClassVar[bool] = True  # rows of zero advantage have no gradient
    watched: ClassVar[tuple[str, ...]] = ()  # logged figures whose mean and spread a record has
    advantages: ClassVar[tuple[str, ...]] = ("adv",)  # what `equalise` scales of `prepare`'s

    def __init__(self, config: Any, setup: Setup) -> None:
        super().__init__(config, setup)
        path = find_model(config.model, setup.env)
        self.model = LanguageModel(
            path, self.device, config.dtype, config.lora_rank, setup.seed, config.checkpointing
        )
        self.state = with_adam("theta", self.model.theta)
        if "value" in self.needs:
            self.state |= with_adam("phi", torch.zeros(self.model.width + 1, device=self.device))
        # The frozen reference is what the run started from, so it need not be saved.
        self.reference = self.model.theta.clone() if "ref" in self.needs_of(config) else None
        self._engine: Engine | None = None
        self.trained_tokens = 0  # since the process began; the loop keeps the count

    def prepare(self, batch: TokenGroups, seen: Seen) -> dict[str, Tensor]:
        """Row or token tensors for the loss.

        `adv` (N,) or (N, T): the factor of each token's score function while the ratio is one;
        without it no row is passed over. `weight` (N, T): multiplies the mask. `reads` (N, T): the
        tokens whose log-probabilities the loss reads, if not all of the batch's mask; the forward
        pass is asked for these alone, and the others are not a number to the loss.
        """
        raise NotImplementedError

    @property
    def looks_ahead(self) -> bool:
        """Whether `ahead` has something to say of the next step."""
        return False

    def ahead(self, logp: Tensor, rows: Rows) -> dict[str, Tensor]:
        """What the loss needs of a whole minibatch at once: (n, ...) or scalars, for `Rows`.

        `logp` and `rows` are of the present policy, without gradient.
        """
        return {}

    def loss(self, logp: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the rows (a sum over whole-minibatch denominators) and what to log.

        `logp` (n, T) is the only tensor with gradient, besides `rows.value`. It is not a number at
        tokens of the policy that the forward pass was not asked for (see `prepare`), so that a loss
        that reads more than it declares fails at once, and 0 where nothing was predicted.
        """
        raise NotImplementedError

    def choose(self, env: Any, count: int, rng: random.Random) -> list[Task]:
        """The next prompts to train on."""
        tasks: list[Task] = env.sample(count, rng)
        return tasks

    def keep(self, batch: TokenGroups) -> Tensor | None:
        """Prompts (B,) bool worth training on; others are drawn in place of the rest. None: all."""
        return None

    def shape(self, batch: TokenGroups) -> TokenGroups:
        """The batch with other rewards, rows left out or put in; called once it is complete."""
        return batch

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """What `prepare` or `loss` reads under this config; `ref` where a KL term has weight."""
        return cls.needs | ({"ref"} if getattr(config, "beta", 0.0) else frozenset())

    @property
    def engine(self) -> Engine:
        """The engine, built on first use, with the present weights."""
        if self._engine is None:
            self._engine = make_engine(self.config.engine, self.model)
        return self._engine

    def sampling(self, explore: bool = True) -> Sampling:
        """How responses are drawn in training; without `explore` the most likely ones."""
        c, env = self.config, self.setup.env
        return Sampling(
            c.temperature if explore else 0.0, c.top_p if explore else 1.0,
            c.max_tokens or env.max_tokens, env.stop,
        )  # fmt: skip

    def act(self, obs: Sequence[str], explore: bool = True) -> list[str]:  # type: ignore[override]
        """Completions of prompts: drawn as in training, or the most likely ones.

        Raises: PgbenchError for a prompt that does not fit into the model's context.
        """
        prompts = [self.model.encode(plain_prompt(text), self.setup.env.chat) for text in obs]
        sampling, longest = self.sampling(explore), max(map(len, prompts))
        if longest + sampling.max_tokens > self.model.context:
            raise PgbenchError(
                f"a prompt has {longest} tokens; with a response of up to {sampling.max_tokens} it "
                f"exceeds the {self.model.context} that {self.model.path.name} reads"
            )
        seed = int(torch.randint(2**48, (), generator=self.rng, device=self.rng.device))
        return self.engine.generate(prompts, 1, sampling, seed).texts

    def policy(self, moments: Any = None) -> Any:
        """What evaluation asks for completions."""
        from .policy import TextPolicy

        return TextPolicy(self)

    def policy_state(self) -> dict[str, Any]:
        """What acting needs: no moments of the optimiser."""
        return {"state": {"theta": self.state["theta"].detach().cpu().clone()}}

    def provenance(self) -> dict[str, Any]:
        """Which weights learning started from."""
        return {"model": {"name": self.config.model, "weights": weights_digest(self.model.path)}}

    def restart_engine(self) -> None:
        """Throw the engine away; the next use builds another."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, in the engine, too."""
        state = {**self.state, **saved["state"]}  # a policy alone comes without moments
        super().load_state_dict({"state": state, "rng": saved.get("rng", self.rng.get_state())})
        if self._engine is not None:
            self._engine.sync()

    # The update.

    def update(self, batch: TokenGroups) -> dict[str, Tensor]:
        """Learn from one batch of groups."""
        c = self.config
        seen = self.look(batch)
        extra = self.prepare(batch, seen)
        # 1 where the forward pass is asked, -1 where the policy's token is left out, 0 elsewhere.
        asked = torch.where(batch.mask > 0, 2 * (extra.pop("reads", batch.mask) > 0) - 1.0, 0.0)
        if "weight" in extra:
            batch = replace(batch, mask=batch.mask * extra.pop("weight"))
        adv = extra.get("adv")
        if c.equalise and adv is not None:
            scale = rms(adv, batch.mask)
            extra |= {name: extra[name] / scale for name in self.advantages}
        live = torch.ones(len(batch), dtype=torch.bool)
        if self.skips_zero and adv is not None and "ref" not in self.needs_of(c):
            live = (adv if adv.dim() == 1 else adv.abs().sum(-1)) != 0
        log: dict[str, list[Tensor]] = {}
        trained = 0
        for epoch in range(c.epochs):
            for number, part in enumerate(self.split(batch)):
                totals = Totals(len(part), int(batch.mask[part].sum()), batch.limit)
                first = epoch == number == 0
                trained += self._step(
                    batch, part[live[part]], totals, seen, extra, log, asked, first=first
                )
        metrics = {name: torch.stack(values).mean() for name, values in log.items()}
        if adv is not None and adv.dim() == 1:
            right = batch.correct
            metrics["wrong_sign"] = (right & (adv < 0)).sum() / right.sum().clamp(min=1)
        self.trained_tokens += trained
        return metrics

    def look(self, batch: TokenGroups) -> Seen:
        """What the present policy and the reference say of a batch, where somebody needs it."""
        c = self.config
        needs = set(self.needs_of(c))
        if c.epochs * c.minibatches > 1 or c.importance_cap:
            needs.add("old")
        everything = torch.arange(len(batch))
        out: dict[str, Tensor] = {}
        with torch.no_grad():
            if needs & {"old", "entropy", "value"}:
                parts = [(rows, self._facts(look)) for rows, look in self._looks(batch, everything)]
                order = torch.cat([rows for rows, _ in parts]).argsort()
                for name in needs & {"old", "entropy", "value"}:
                    out[name] = torch.cat([facts[name] for _, facts in parts]).cpu()[order]
            if "ref" in needs:
                assert self.reference is not None
                with self.model.at(self.reference):
                    looked = [(rows, x.logp) for rows, x in self._looks(batch, everything)]
                order = torch.cat([rows for rows, _ in looked]).argsort()
                out["ref"] = torch.cat([logp for _, logp in looked]).cpu()[order]
        return Seen(**out)

    def _facts(self, look: Looked) -> dict[str, Tensor]:
        out = {"old": look.logp, "entropy": look.entropy}
        return out | ({"value": self.values(look)} if "phi" in self.state else {})

    def values(self, look: Looked) -> Tensor:
        """The value head on the states that predict each token, (n, T)."""
        phi = self.state["phi"]
        return look.packed.unpack((look.hidden.float() @ phi[:-1]) + phi[-1])

    def split(self, batch: TokenGroups) -> list[Tensor]:
        """Rows of each minibatch of a pass: whole groups, shuffled if there are several."""
        count = int(batch.group.max()) + 1
        if self.config.minibatches == 1:
            return [torch.arange(len(batch))]
        order = torch.randperm(count, generator=self.rng, device=self.rng.device).cpu()
        chunks = order.tensor_split(min(self.config.minibatches, count))
        return [torch.isin(batch.group, chunk).nonzero().squeeze(-1) for chunk in chunks]

    def _looks(self, batch: TokenGroups, index: Tensor) -> Iterator[tuple[Tensor, Looked]]:
        """Forward passes over the rows at `index`, a micro-batch at a time, with their rows."""
        for rows, packed in self.micro_batches(batch, index):
            yield rows, self.model.look(packed, self.config.temperature)

    def micro_batches(
        self, batch: TokenGroups, index: Tensor, asked: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Packed]]:
        """The rows at `index` as packed sequences that predict the tokens `asked`, by default the
        mask's; a micro-batch at a time.
        """
        asked = batch.mask if asked is None else asked
        if not len(index):
            return
        c = self.config
        lengths = batch.valid.sum(-1).tolist()
        group = batch.group.tolist()
        rows = index.tolist()
        limit = min(c.micro_tokens, self.model.context) if c.pack and self.model.packs else 0
        plan = sequences([lengths[r] for r in rows], [group[r] for r in rows], batch.prompts, limit)
        sizes = [
            len(batch.prompts[group[rows[part[0]]]]) + sum(lengths[rows[i]] for i in part)
            for part in plan
        ]
        for chunk in micro_batches(plan, sizes, c.micro_tokens):
            chosen = [rows[i] for s in chunk for i in plan[s]]
            index, local, at = torch.tensor(chosen), [], 0
            for s in chunk:
                local.append(list(range(at, at + len(plan[s]))))
                at += len(plan[s])
            yield index, pack(
                batch.prompts, batch.tokens[index], [lengths[r] for r in chosen],
                asked[index], [group[r] for r in chosen], local, self.device,
            )  # fmt: skip

    def _step(
        self, batch: TokenGroups, index: Tensor, totals: Totals, seen: Seen,
        extra: dict[str, Tensor], log: dict[str, list[Tensor]], asked: Tensor, first: bool,
    ) -> int:  # fmt: skip
        """One optimiser step on the rows at `index`; returns how many tokens went forward."""
        model, phi = self.model, self.state.get("phi")
        model.grad.zero_()
        if phi is not None:
            phi.requires_grad_(True)
        tokens, whole, sums = 0, 0.0, dict[str, Tensor]()
        losses: list[Tensor] = []
        for rows, look, part in self._parts(batch, index, totals, seen, extra, asked, first):
            loss, metrics = self.loss(look.logp, part)
            loss.backward()
            tokens += look.packed.tokens
            weight = float(batch.mask[rows].sum())
            whole += weight
            metrics |= self.monitor(look, part, batch.rollout_logp[rows] if first else None)
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0) + weight * value.detach()
            losses.append(loss.detach())
        for name, value in sums.items():
            log.setdefault(name, []).append(value / max(whole, 1.0))
        if tokens:
            log.setdefault("loss", []).append(torch.stack(losses).sum())
            # Without a row that has a gradient there is no step, not even one of the moments.
            norm = model.grad.norm()
            log.setdefault("grad_norm", []).append(norm)
            model.grad.mul_(torch.clamp(self.config.max_grad_norm / (norm + 1e-6), max=1.0))
            adamw_(self.state, "theta", model.grad, self.config.lr, self.config.weight_decay)
        if phi is not None:
            phi.requires_grad_(False)
            if phi.grad is not None:
                adamw_(self.state, "phi", phi.grad, self.config.lr)
            phi.grad = None
        return tokens

    def _parts(
        self, batch: TokenGroups, index: Tensor, totals: Totals, seen: Seen,
        extra: dict[str, Tensor], asked: Tensor, first: bool,
    ) -> Iterator[tuple[Tensor, Looked, Rows]]:  # fmt: skip
        """Forward passes of a step: which rows, what is said of them, what the loss reads."""
        chunks: Iterable[tuple[Tensor, Packed]] = self.micro_batches(batch, index, asked)
        count = 0  # of micro-batches, where the whole minibatch is looked at before its loss
        if self.looks_ahead:
            chunks = list(chunks)
            count = len(chunks)

        def part(rows: Tensor, packed: Packed) -> tuple[Looked, Rows]:
            look = self.model.look(packed, self.config.temperature)
            # What was not asked for is not a number: 0 would be taken for a log-probability.
            unknown = (asked[rows] < 0).to(self.device)
            look = replace(look, logp=look.logp.masked_fill(unknown, float("nan")))
            return look, self.rows(batch, rows, look, totals, seen, extra, first)

        found: dict[str, Tensor] = {}
        if count > 1:
            with torch.no_grad():
                parts = [part(*chunk) for chunk in chunks]
                logp = torch.cat([look.logp for look, _ in parts])
                found = self.ahead(logp, Rows.joined([rows for _, rows in parts]))
        at = 0
        for index, packed in chunks:
            look, rows = part(index, packed)
            if count == 1:  # the pass with gradient says it all
                with torch.no_grad():
                    found = self.ahead(look.logp.detach(), rows)
            own = {k: x[at : at + len(index)] if x.dim() else x for k, x in found.items()}
            at += len(index)
            yield index, look, replace(rows, extra=rows.extra | own)

    def rows(
        self, batch: TokenGroups, index: Tensor, look: Looked, totals: Totals, seen: Seen,
        extra: dict[str, Tensor], first: bool = False,
    ) -> Rows:  # fmt: skip
        """What `loss` gets of the rows at `index`, on the algorithm's device."""

        def here(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[index].to(self.device, non_blocking=True)

        cap, importance = self.config.importance_cap, None
        if cap and seen.old is not None:
            gap = log_ratio(seen.old.cpu()[index], batch.rollout_logp[index])
            importance = gap.exp().clamp(max=cap).to(self.device)
        kept = {
            name: here(getattr(batch, name)) for name in ("mask", "group", "reward", "finished")
        }
        return Rows(
            **kept, old=None if first else here(seen.old), ref=here(seen.ref),  # type: ignore[arg-type]
            entropy=look.entropy, totals=totals, importance=importance,
            extra={name: here(value) for name, value in extra.items()},  # type: ignore[misc]
            value=None if "phi" not in self.state else self.values(look),
        )  # fmt: skip

    @torch.no_grad()
    def monitor(self, look: Looked, rows: Rows, rollout: Tensor | None) -> dict[str, Tensor]:
        """What is logged of every step: entropy, movement, disagreement with the engine."""
        old = look.logp if rows.old is None else rows.old
        out = {
            "entropy": masked_mean(look.entropy, rows.mask),
            "kl_old": masked_mean(k3(look.logp, old), rows.mask),
        }
        if rollout is not None:
            gap = (rollout.to(self.device) - look.logp).abs()
            out["mismatch"] = masked_mean(gap, rows.mask)
        return out
