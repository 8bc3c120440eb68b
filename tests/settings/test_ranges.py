"""Every number that a user can set has a range, and what is outside is one line."""

import dataclasses
import math
import typing
from pathlib import Path

import pytest

from pgbench.catalogue.capabilities import make
from pgbench.catalogue.registry import ALGOS, ENVS, resolve
from pgbench.errors import PgbenchError
from pgbench.runs.plan import Plan, load_loop, make_plan, shortfall
from pgbench.settings.config import build, option, other
from pgbench.settings.keywords import check_keywords, check_needs, keywords
from pgbench.settings.ranges import Bounds
from pgbench.support.names import named

ALGORITHMS = {f"{s.family}/{s.name}": s for s in ALGOS.all()}
ENVIRONMENTS = {s.id: s for s in ENVS.all() if not s.instance_of}

LIKE = {
    "onpolicy": ("pendulum", "control/ppo"),
    "offpolicy": ("pendulum", "control/sac"),
    "hindsight": ("one-store-lost-sales", "inventory/hdpo"),
    "group": ("math-nano", "text/grpo"),
}  # an environment and a built-in algorithm of each loop


def outside(bounds):
    """Numbers just outside a range."""
    yield from (math.nan, math.inf, -math.inf)
    if bounds.above is not None:
        yield bounds.above
    if bounds.at_least is not None:
        yield bounds.at_least - 1
    if bounds.below is not None:
        yield bounds.below
    if bounds.at_most is not None:
        yield bounds.at_most + 1


def numeric(hint):
    """Whether a number is among the values of a type."""
    return hint in (int, float) or any(map(numeric, typing.get_args(hint)))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_number_of_an_algorithm(name):
    config = resolve(ALGORITHMS[name]).Config
    assert build(config, {}, name) == config()
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        for switch, wanted in (pair for case in field.metadata["only"] for pair in case.items()):
            at = {f.name: f for f in dataclasses.fields(config)}[switch]
            if at.metadata["choices"] and not isinstance(wanted, other):
                assert set(wanted) < set(at.metadata["choices"])
        if not numeric(hints[field.name]) or hints[field.name] is bool:
            continue
        bounds = field.metadata["bounds"]
        assert bounds is not None, f"{name}: {field.name} has no range"
        for value in outside(bounds):
            if field.name == "lam" and value == math.inf and "none or inf" in field.metadata["doc"]:
                continue
            given = (value,) if isinstance(field.default, tuple) else value
            with pytest.raises(PgbenchError, match=field.name) as caught:
                build(config, {field.name: given}, name)
            assert "\n" not in str(caught.value)
            with pytest.raises(PgbenchError, match=field.name):
                config(**{field.name: given})


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_number_of_an_environment(name):
    spec = ENVIRONMENTS[name]
    try:
        entry = resolve(spec)
    except PgbenchError as error:
        pytest.skip(str(error))
    known, complete = keywords(entry)
    assert complete
    assert "num_envs" not in known
    for key, word in known.items():
        if any(kind in (bool, float, int) for kind in word.options):
            with pytest.raises(PgbenchError, match=key):
                check_keywords(entry, {key: {1, 2}}, name)
        if not any(map(numeric, word.options)) or word.options == (bool,):
            continue
        assert word.bounds is not None, f"{name}: {key} has no range"
        check_keywords(entry, {key: word.default}, name)
        for value in outside(word.bounds):
            if word.bounds.infinite and math.isinf(value):
                continue
            given = (value, value) if isinstance(word.default, tuple) else value
            with pytest.raises(PgbenchError) as caught:
                check_keywords(entry, {key: given}, name)
            assert "\n" not in str(caught.value)
            assert key in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    "max_episode_steps=-5 max_episode_steps=0 max_episode_steps=2.5 max_episode_steps=true "
    "max_episode_steps={1,2} num_threads=-3 num_envs=4 g=1e999 g=fast g=nan full_info=3".split(),
)
def test_a_plan_checks_the_environments_settings(setting):
    key, _, value = setting.partition("=")
    with pytest.raises(PgbenchError, match=key):
        make_plan("ppo", "pendulum", settings={f"env.{key}": value}, device="cpu")


@pytest.mark.parametrize("name", ["hopper", "ant", "humanoid"])
@pytest.mark.parametrize("given", [{"derived": ("xpos",)}, {"contact_forces": True}, {"dt": 0.1}])
def test_what_an_environment_decides_by_itself_is_no_setting(name, given):
    with pytest.raises(PgbenchError, match=f"unknown setting of {name} '"):
        make(name, **given)


def test_make_checks_too_and_takes_what_is_right():
    with pytest.raises(PgbenchError, match="reset_noise_scale must be at least 0, not -1"):
        make("hopper", reset_noise_scale=-1)
    with pytest.raises(PgbenchError, match="healthy_z_range must be two numbers in order"):
        make("hopper", healthy_z_range=(2.0, 1.0))
    with pytest.raises(PgbenchError, match=r"holding must be above 0, not -1"):
        make("many-warehouses", holding=[0.3, -1])
    plan = make_plan("ppo", "pendulum", settings={"env.max_episode_steps": "none"}, device="cpu")
    assert plan.env_kwargs == {"max_episode_steps": None}
    plan = make_plan("ppo", "pendulum", settings={"g": "9"}, device="cpu")
    assert plan.env_kwargs == {"g": 9}


@pytest.mark.parametrize(
    ("algo", "settings", "words"),
    [
        ("text/reinforce++", {"baseline": "group", "group": 1}, "group must be at least 2"),
        ("text/reinforce", {"prompts": 1, "group": 1}, "baseline=batch leaves nothing"),
        ("text/copo", {"prompts": 1, "group": 1}, "nothing to be compared with"),
        ("text/copo", {"gate": "only-global", "gamma": 5}, "gamma is an option of gate=only-soft"),
        ("text/dapo", {"overlong": 0, "overlong_weight": 1}, "option of overlong other than 0"),
        ("text/disco", {"kl_weight": 0, "kl": "k3"}, "kl is an option of kl_weight other than 0"),
        ("text/drpo", {"lam": None, "longest": 9}, "longest is an option of lam other than none"),
        ("text/gtpo", {"conflict": False, "w_plus": 3}, "w_plus is an option of conflict=true"),
        ("text/riskpo", {"mix": 1}, "mix is an option of form=released"),
        ("control/mdpo", {"q": 1.2}, "q is an option of divergence=tsallis; .*divergence=kl"),
        ("control/mdpo-off", {"kappa": 0.2, "m": 5}, "m does nothing"),
        ("control/sac", {"alpha": 0.1, "target_entropy": -1}, "option of alpha=none"),
        ("inventory/hdpo", {"steps": 3}, "steps is an option of policy=gnn"),
        ("inventory/quantile", {"lr": 0.1}, "lr is an option of policy=fixed_quantile or"),
        ("text/d3s", {"schedule": "none", "k_init": 0}, "K is 0 in every step"),
        ("text/d3s", {"k_final": 0, "k_init": 0}, "K is 0 in every step"),
        (
            "text/d3s", {"k_init": 1, "entropy_source": "current"},
            "option of k_init other than 1 and random_control=none or rows, or of k_final other "
            "than 1 and schedule=linear and .*; it does nothing with k_final=1 and k_init=1",
        ),
        ("text/riskpo", {"prompts": 1, "group": 1, "centred": True}, "a score with itself alone"),
        ("text/riskpo", {"group": 1, "quantiles": "bundle"}, "quantiles=bundle compares a score"),
        ("text/riskpo", {"risk": "mean", "centred": True}, "centred is an option of form=paper"),
        ("text/riskpo", {"quantiles": "batch", "eta": 0.5}, "eta is an option of quantiles="),
        ("text/riskpo", {"bundle": 1, "pairing": "random"}, "pairing is an option of bundle other"),
        ("text/bnpo", {"decompose": True, "high": 2}, "high is an option of decompose=false"),
        ("text/copo", {"prompts": 1, "gate": "only-global"}, "prompts must be at least 2"),
        (
            "text/copo", {"gate": "only-zero", "consistency": False, "answers": "written"},
            "answers is an option of gate=.*, or of consistency=true and",
        ),
        ("text/dapo", {"overlong": 0.5, "overlong_weight": 0}, "overlong is an option of over"),
        ("text/ppo", {"vf_coef": 0, "vf_clip": 1}, "vf_clip is an option of vf_coef other than 0"),
        ("text/grpo", {"prompts": 4, "minibatches": 8}, r"at most prompts \(4\), not 8"),
        ("control/ppo", {"gamma": 0, "lam": 0.5}, "lam is an option of gamma other than 0"),
        ("control/trpo", {"backtracks": 1, "shrink": 0.5}, "shrink is an option of backtracks"),
        ("control/mdpo-off", {"kappa": 0, "ent_coef": 0, "q": 1.5}, "kappa other than 0, or of"),
        ("inventory/quantile", {"policy": "fixed_quantile", "forecast": 1, "lr": 0.1}, "forecast"),
    ],
)  # fmt: skip
def test_settings_that_do_nothing_are_refused(algo, settings, words):
    with pytest.raises(PgbenchError, match=words):
        build(resolve(ALGORITHMS[algo]).Config, settings, algo)


@pytest.mark.parametrize(
    ("algo", "settings"),
    [
        ("text/d3s", {"k_init": 0}),
        ("text/d3s", {"n_init": 1, "n_final": 0.5, "scope": "intra"}),
        ("text/d3s", {"schedule": "none", "k_init": 0.2, "entropy_source": "current"}),
        ("text/riskpo", {"prompts": 6, "group": 1, "centred": True}),
        ("text/copo", {"gate": "only-zero", "answers": "written"}),
        ("text/gtpo", {"equalise": True, "scale": 5}),
        ("text/grpo", {"prompts": 8, "minibatches": 8}),
        ("control/mdpo-off", {"kappa": 0, "q": 1.5}),
    ],
)
def test_settings_that_do_something_are_taken(algo, settings):
    config = build(resolve(ALGORITHMS[algo]).Config, settings, algo)
    assert {key: getattr(config, key) for key in settings} == settings


def test_a_plain_dataclass_of_a_plug_in_is_checked_by_build():
    @dataclasses.dataclass(frozen=True)
    class Config:
        lr: float = option(0.1, "step size", above=0)
        mode: str = option("on", "whether", choices=("on", "off"))
        rate: int = option(3, "how often", at_least=1, only={"mode": ("on",)})

    assert build(Config, {"rate": 5}, "it").rate == 5
    for settings in ({"lr": 0}, {"mode": "no"}, {"rate": 0}, {"rate": 2, "mode": "off"}):
        with pytest.raises(PgbenchError, match="config of it: "):
            build(Config, settings, "it")


@pytest.mark.parametrize(
    ("loop", "settings", "words"),
    [
        ("onpolicy", {"horizon": 0}, "horizon must be at least 1, not 0"),
        ("onpolicy", {"num_envs": 0}, "num_envs must be at least 1, not 0"),
        ("onpolicy", {"gamma": 1.5}, r"gamma must be in \[0, 1\], not 1.5"),
        ("offpolicy", {"num_envs": 0}, "num_envs must be at least 1, not 0"),
        ("offpolicy", {"batch": 0}, "batch must be at least 1, not 0"),
        ("offpolicy", {"buffer": 0}, "buffer must be at least 1, not 0"),
        ("offpolicy", {"start": -1}, "start must be at least 0, not -1"),
        ("hindsight", {"traces": 0}, "traces must be at least 1, not 0"),
        ("hindsight", {"dev_every": 0}, "dev_every must be at least 1, not 0"),
        ("hindsight", {"batch": 600, "traces": 600}, "below one update"),
        ("group", {"prompts": 0}, "prompts must be at least 1, not 0"),
        ("group", {"group": 0}, "group must be at least 1, not 0"),
        ("group", {"temperature": 0.0}, "temperature must be above 0, not 0.0"),
    ],
)
def test_what_a_loop_reads_of_a_plug_ins_plain_config(loop, settings, words):
    """Its config declares no range: the loop's own hold, when the run is planned."""
    env, like = LIKE[loop]
    needs = load_loop(loop).needs
    defaults = {name: getattr(resolve(ALGORITHMS[like]).Config(), name) for name in needs}
    plain = {"horizon": 256, "start": 40, "batch": 32, "traces": 512, "max_tokens": 8}
    defaults |= {name: value for name, value in plain.items() if name in defaults}
    parts = [(key, type(value), value) for key, value in defaults.items()]
    config = dataclasses.make_dataclass("Config", parts, frozen=True)
    name = f"plain-{loop}"
    spec = dataclasses.replace(
        ALGORITHMS[like], name=name, entry_point=type("It", (), {"Config": config})
    )
    ALGOS.add((name, spec.family), spec)
    try:
        assert make_plan(name, env, budget=512, device="cpu").config == config()
        with pytest.raises(PgbenchError, match=words) as caught:
            make_plan(name, env, budget=512, settings=settings, device="cpu")
        assert "\n" not in str(caught.value)
        short = dataclasses.make_dataclass("Config", parts[1:], frozen=True)
        with pytest.raises(PgbenchError, match=r"config of it lacks .*, which its loop reads"):
            check_needs(short(), needs, "it")
    finally:
        ALGOS.specs.pop((name, spec.family), None)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(), "a finite number"), (Bounds(above=0), "above 0"),
        (Bounds(at_most=3), "at most 3"), (Bounds(above=0, at_most=1), "in (0, 1]"),
        (Bounds(infinite=True), "a number"),
    ],
)  # fmt: skip
def test_ranges_in_words(bounds, words):
    assert str(bounds) == words


@pytest.mark.parametrize(
    "name", ["my algo", "méthode", "a/b", "../x", "..", "", ".x", "a" * 65, "x\n", "x."]
)
def test_no_names(name):
    with pytest.raises(PgbenchError, match=r"cannot name an? "):
        named("algorithm", name)
    with pytest.raises(PgbenchError, match="cannot name"):
        ENVS.add(name, None)
    algo = dataclasses.replace(ALGORITHMS["control/ppo"], name=name)
    plan = make_plan("ppo", "pendulum", device="cpu")
    with pytest.raises(PgbenchError, match="cannot name"):
        dataclasses.replace(plan, algo=algo).folder(Path("runs"))


@pytest.mark.parametrize("algo", ["sac", "mdpo-off"])
def test_a_budget_that_teaches_nothing_is_refused(algo):
    with pytest.raises(PgbenchError, match=r"ends before learning begins: .*10000.*--set start"):
        make_plan(algo, "inverted-pendulum", budget="smoke", device="cpu")


def test_a_budget_that_iterations_do_not_meet_is_named():
    def plan(**more) -> Plan:
        return make_plan("ppo", "pendulum", device="cpu", **more)

    assert shortfall(plan(budget="8000")) == (
        "the run will end after 6,144 of 8,000 steps, in whole iterations of 2,048; "
        "--set horizon=2000 spends it all"
    )
    assert shortfall(plan(budget="20480")) == shortfall(plan(budget="100k")) == ""


def test_a_fixed_temperature_of_zero_is_zero():
    from pgbench.runs.runner import build as built

    plan = make_plan("sac", "pendulum", settings={"alpha": 0}, device="cpu", compile=False)
    algorithm, env, _ = built(plan)
    env.close()
    assert algorithm.state["log_alpha"].exp() == 0


def test_decimals_are_exact():
    from pgbench.settings.config import amount

    assert [amount(w) for w in ("8.2M", "4.1M", "16.1k", "0.003k")] == [
        8_200_000,
        4_100_000,
        16_100,
        3,
    ]


def test_what_another_setting_switches_off_is_left_out_of_a_draw():
    from pgbench.baselines.text.d3s import Config
    from pgbench.settings.config import active

    drawn = {"schedule": "none", "n_final": 0.5, "lr": 1e-3, "env.x": 1}
    assert active(Config, drawn) == {"schedule": "none", "lr": 1e-3, "env.x": 1}
    assert active(Config, drawn | {"schedule": "linear"}) == drawn | {"schedule": "linear"}
