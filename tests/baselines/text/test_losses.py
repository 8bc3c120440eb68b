"""Losses of the text family: gradients by autograd against closed forms."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_lm import make

from pgbench.baselines.text.cispo import CISPO
from pgbench.baselines.text.grpo import GRPO
from pgbench.baselines.text.gspo import GSPO, sequence_ratio, token_ratio
from pgbench.baselines.text.ppo import PPO
from pgbench.catalogue.registry import ALGOS, resolve
from pgbench.learning.ops.groups import Totals, per_token
from pgbench.lm.learner import GroupAlgorithm
from pgbench.lm.rows import Rows

KINDS = {spec.name: resolve(spec) for spec in ALGOS.all() if spec.family == "text"}
FORMS = {
    "reinforce": "seq-sum", "rloo": "seq-sum", "rloo-lp": "seq-sum", "remax": "seq-sum",
    "bnpo": "seq-sum",
    "grpo": "seq-mean", "gspo": "seq-mean", "d3s": "seq-mean", "dr-grpo": "constant",
    "ppo": "tokens", "reinforce++": "tokens", "dapo": "tokens", "cispo": "tokens", "gpg": "tokens",
}  # fmt: skip
# Their losses need more than advantages; each has a file of tests.
ELSEWHERE = {"bapo", "riskpo", "copo", "drpo", "disco", "gtpo"}
CLIPPED = {
    "grpo": (0.2, 0.2), "dr-grpo": (0.2, 0.2), "reinforce++": (0.2, 0.2), "ppo": (0.2, 0.2),
    "dapo": (0.2, 0.28), "bnpo": (0.2, 0.28), "d3s": (0.2, 0.2),
}  # fmt: skip
N, T, LMAX = 5, 6, 8


@pytest.fixture(scope="module")
def method(tiny):
    """`method("grpo", beta=0.1)`: an algorithm of those settings; each class is built once."""
    built: dict[type, GroupAlgorithm] = {}

    def get(name, **settings):
        kind = KINDS[name]
        if kind not in built:
            built[kind] = make(kind, tiny)
        algorithm = built[kind]
        algorithm.config = kind.Config(model=str(tiny), **settings)
        return algorithm

    return get


def rows(seed=0, off=0.0, **more):
    """Log-probabilities (leaf, float64) and the rows around them; old ones differ by `off` std."""
    rng = torch.Generator().manual_seed(seed)
    logp = -torch.rand(N, T, generator=rng, dtype=torch.float64) * 3
    lengths = torch.tensor([1, 6, 3, 4, 2])
    mask = (torch.arange(T) < lengths[:, None]).double()
    adv = torch.randn(N, generator=rng, dtype=torch.float64)
    noise = off * torch.randn(N, T, generator=rng, dtype=torch.float64)
    zeros = torch.zeros(N)
    extra = {name: zeros for name in ("alpha", "beta", "max_weight", "capped_share")}
    extra |= {"adv": adv, "value": torch.zeros(N, T), "target": torch.zeros(N, T)}
    return logp.requires_grad_(), Rows(
        mask=mask, group=torch.arange(N), reward=zeros, finished=zeros > 0,
        old=None if not off else logp.detach() + noise, ref=None, entropy=torch.zeros(N, T),
        totals=Totals(N, int(mask.sum()), LMAX), extra=extra, value=torch.zeros(N, T), **more,
    )  # fmt: skip


def share(name, mask):
    """What a token's loss is multiplied with, (N, T)."""
    return mask * {
        "seq-sum": torch.full((N, 1), 1 / N),
        "seq-mean": 1 / (N * mask.sum(-1, keepdim=True)),
        "constant": torch.full((N, 1), 1 / (N * LMAX)),
        "tokens": torch.full((N, 1), 1 / float(mask.sum())),
    }[FORMS[name]]  # fmt: skip


def gradient(algorithm, logp, part):
    loss, log = algorithm.loss(logp, part)
    assert loss.dim() == 0 and all(x.dim() == 0 and not x.requires_grad for x in log.values())
    return torch.autograd.grad(loss, logp)[0]


def near(x, y, tolerance=1e-6):
    torch.testing.assert_close(
        x.double(), torch.as_tensor(y).double(), atol=tolerance, rtol=tolerance
    )


def test_every_method_is_here():
    assert set(FORMS) | ELSEWHERE == set(KINDS)


@pytest.mark.parametrize("name", FORMS)
def test_on_policy_every_method_is_the_policy_gradient(method, name):
    """At ratio 1 the gradient is -A times the share that the aggregation gives a token."""
    logp, part = rows()
    near(gradient(method(name), logp, part), -part.adv * share(name, part.mask))
    near(
        gradient(method(name), logp, replace(part, old=logp.detach())),
        gradient(method(name), logp, part),
    )


@pytest.mark.parametrize("name", CLIPPED)
def test_clipped_surrogate_off_policy(method, name):
    low, high = CLIPPED[name]
    dropped = 0
    for seed in range(5):
        logp, part = rows(seed, off=0.3)
        rho = (logp.detach() - part.old).exp()
        out = ((part.adv > 0) & (rho > 1 + high)) | ((part.adv < 0) & (rho < 1 - low))
        near(gradient(method(name), logp, part), -part.adv * rho * ~out * share(name, part.mask))
        dropped += int((out * part.mask).sum())
    assert dropped > 5


@pytest.mark.parametrize("name", ["reinforce", "rloo", "remax", "gpg"])
def test_plain_policy_gradients_do_not_look_at_the_old_policy(method, name):
    logp, part = rows(1, off=0.3)
    near(gradient(method(name), logp, part), -part.adv * share(name, part.mask))


def test_dual_clip_bounds_the_loss_of_bad_tokens(method):
    logp, part = rows(2)
    part = replace(part, old=logp.detach() - math.log(4.0))  # every ratio is 4
    near(
        gradient(method("grpo", dual=3.0, clip_high=9.0), logp, part),
        -part.adv * 4 * (part.adv > 0) * share("grpo", part.mask),
    )
    near(
        gradient(method("grpo", clip_high=9.0), logp, part),
        -part.adv * 4 * share("grpo", part.mask),
    )


def test_grpo_kl_term(method):
    logp, part = rows(3)
    rng = torch.Generator().manual_seed(4)
    ref = logp.detach() + 0.5 * torch.randn(N, T, generator=rng, dtype=torch.float64)
    part = replace(part, ref=ref)
    slope = 0.04 * (1 - (ref - logp.detach()).exp())
    near(
        gradient(method("grpo", beta=0.04), logp, part),
        (slope - part.adv) * share("grpo", part.mask),
    )
    log = method("grpo", beta=0.04).loss(logp, part)[1]
    gap = (ref - logp.detach())[part.mask > 0]
    near(log["kl_ref"], (gap.exp() - gap - 1).mean())


def test_cispo_drops_no_token(method):
    logp, part = rows(5, off=2.0)
    rho = (logp.detach() - part.old).exp()
    assert float((rho * part.mask).max()) > 5 > 1 > float(rho[part.mask > 0].min())
    base = -part.adv * share("cispo", part.mask)
    near(gradient(method("cispo"), logp, part), base * rho.clamp(max=5))
    near(gradient(method("cispo", clip_low=0.5), logp, part), base * rho.clamp(0.5, 5))
    log = method("cispo").loss(logp, part)[1]
    near(log["bounded_share"], ((rho > 5) * part.mask).sum() / part.mask.sum())
    assert isinstance(method("cispo"), CISPO)


def test_gspo_ratio_of_a_response():
    ratio, mask = torch.tensor([[0.3, -0.1, 7.0]]), torch.tensor([[1.0, 1, 0]])
    assert float(sequence_ratio(ratio, mask)) == pytest.approx(1.105171, abs=1e-6)
    near(sequence_ratio(ratio[:, [1, 0, 2]], mask), sequence_ratio(ratio, mask))
    near(token_ratio(ratio, mask)[mask > 0], [1.105171, 1.105171])


def test_both_forms_of_gspo_are_the_closed_form(method):
    clipped = 0
    for seed in range(5):
        logp, part = rows(seed, off=2e-3)
        lengths = part.mask.sum(-1)
        s = (((logp.detach() - part.old) * part.mask).sum(-1) / lengths).exp()
        adv = part["adv"]
        out = ((adv > 0) & (s > 1 + 4e-4)) | ((adv < 0) & (s < 1 - 3e-4))
        clipped += int(out.sum())
        want = -per_token(adv * s * ~out / lengths, part.mask) / N
        values = []
        for form in ("sequence", "token"):
            algorithm = method("gspo", form=form)
            near(gradient(algorithm, logp, part), want)
            loss, log = algorithm.loss(logp, part)
            values.append(loss.detach())
            near(log["clip_share"], (out * lengths).sum() / lengths.sum())
        near(values[0], values[1], 1e-9)
    assert clipped >= 3
    assert isinstance(method("gspo"), GSPO)


def test_ppo_learns_its_value(method):
    logp, part = rows(6)
    rng = torch.Generator().manual_seed(7)
    value = torch.randn(N, T, generator=rng).requires_grad_()
    target, old = torch.randn(2, N, T, generator=rng)
    part = replace(part, value=value, extra={**part.extra, "target": target, "value": old})
    algorithm = method("ppo", vf_clip=0.5, vf_coef=0.1)
    loss, log = algorithm.loss(logp, part)
    (grad,) = torch.autograd.grad(loss, value)
    v = value.detach()
    near_v = old + (v - old).clamp(-0.5, 0.5)
    worse = (near_v - target).square() > (v - target).square()
    inside = (v - old).abs() < 0.5
    slope = torch.where(worse, (near_v - target) * inside, v - target)
    near(grad, 0.1 * slope * part.mask / part.mask.sum(), 1e-5)
    each = 0.5 * torch.maximum((near_v - target).square(), (v - target).square())
    near(log["value_loss"], each[part.mask > 0].mean(), 1e-5)
    assert isinstance(algorithm, PPO)


@pytest.mark.parametrize("name", FORMS)
def test_weights_for_the_engine_multiply_the_policy_loss(method, name):
    logp, part = rows(8)
    weight = torch.full((N, T), 0.7, dtype=torch.float64)
    weight[1] = 0.2
    near(
        gradient(method(name), logp, replace(part, importance=weight)),
        weight * gradient(method(name), logp, part),
    )


@pytest.mark.parametrize("name", FORMS)
def test_the_loss_of_parts_adds_up(method, name):
    logp, part = rows(9, off=0.1)

    def some(index):
        def of(x):
            return x[index] if torch.is_tensor(x) else x

        fields = {f: of(getattr(part, f)) for f in ("mask", "group", "reward", "finished", "old")}
        extra = {key: x[index] for key, x in part.extra.items()}
        return replace(
            part, **fields, entropy=part.entropy[index], extra=extra, value=part.value[index]
        )

    whole = method(name).loss(logp, part)[0]
    parts = [method(name).loss(logp[i], some(torch.tensor(i)))[0] for i in ([0, 3], [4], [1, 2])]
    near(sum(parts).detach(), whole.detach(), 1e-9)


def compiled_equals_eager(algorithm, backend):
    torch._dynamo.reset()
    logp, part = rows(10, off=0.3)

    def loss(x):
        return algorithm.loss(x, part)[0]

    fast = torch.compile(loss, backend=backend, fullgraph=True)
    near(fast(logp).detach(), loss(logp).detach(), 1e-9)
    near(torch.autograd.grad(fast(logp), logp)[0], torch.autograd.grad(loss(logp), logp)[0], 1e-9)


def test_compiled_loss(method):
    compiled_equals_eager(method("grpo"), "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_compiled_losses(method, name):
    compiled_equals_eager(method(name), "inductor")


def test_grpo_is_not_changed_by_what_it_ignores(method):
    """Padding may hold anything."""
    logp, part = rows(11, off=0.3)
    spoiled = torch.where(part.mask > 0, logp.detach(), -1e4).requires_grad_()
    near(gradient(method("grpo"), spoiled, part), gradient(method("grpo"), logp, part))
    assert isinstance(method("grpo"), GRPO)
